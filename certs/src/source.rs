//! Where a server gets its certificate from.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::files::{self, FilesOptions};
use crate::served::Served;
use crate::status::Status;

/// A certificate that keeps itself fresh: what to serve, what is known about it, and the work
/// behind it.
///
/// ```no_run
/// # async fn example() -> Result<(), rustls::Error> {
/// use drainhook_certs::{FilesOptions, Source, server_config};
///
/// let Source { resolver, status, background } =
///     Source::files(FilesOptions::new("/tls/tls.crt", "/tls/tls.key"));
/// tokio::spawn(background);
/// let config = server_config(resolver, None)?;
/// status.wait_ready().await;
/// # Ok(())
/// # }
/// ```
pub struct Source {
    /// What rustls asks at each handshake. It has nothing to serve before the first certificate
    /// came; handshakes fail until then.
    pub resolver: Arc<Served>,
    /// What is known.
    pub status: Status,
    /// To be polled for as long as the server serves. It never ends and no fault ends it.
    pub background: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Source {
    /// From files. What is there now is loaded before this returns.
    #[must_use]
    pub fn files(options: FilesOptions) -> Self {
        files::source(options)
    }

    /// Minted by this replica from the CA that the publisher keeps in a Secret.
    #[cfg(feature = "kubernetes")]
    #[must_use]
    pub fn self_managed(
        client: kube::Client,
        options: crate::kubernetes::SelfManagedOptions,
    ) -> Self {
        crate::kubernetes::replica::source(client, options)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Source")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
