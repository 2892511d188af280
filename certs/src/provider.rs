//! The one place that names the crypto provider of the whole workspace.
//!
//! It is `ring`: small, quick to build, and it links statically for musl with nothing but a C
//! compiler. To change it, change this file and the `ring` features in the manifests.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

/// The provider that every TLS configuration of the workspace is built with.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// Makes [`provider`] the default of the process, for libraries that ask rustls for one.
///
/// Calling it again, or after somebody else chose, changes nothing.
pub fn install() {
    // An error only says that the process has a default already.
    let _ = CryptoProvider::clone(&provider()).install_default();
}
