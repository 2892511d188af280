//! Serving certificates that reload and rotate by themselves, for webhooks on Kubernetes.
//!
//! Two ways, one [`Source`]:
//!
//! * *Files*: a chain and its key in a directory that Kubernetes mounts, from cert-manager or
//!   anybody else. They are compared by content every few seconds, read as they stood at one
//!   moment, checked, and swapped in; on any fault the last good pair is served on.
//! * *Self-managed* (feature `kubernetes`): one CA in a Secret. Each serving replica reads it and
//!   mints itself a certificate for a day. A [`Publisher`] is the only one that writes: it makes
//!   and rotates the CA and keeps the `caBundle` of every entry of every webhook configuration.
//!
//! Either way a rotation neither closes a connection nor refuses one: the certificate is replaced
//! by one atomic store, for the handshakes that come after it.
//!
//! ```no_run
//! use drainhook_certs::{Lifetimes, SecretName, SelfManagedOptions, ServerNames, Source};
//!
//! # fn example(client: kube::Client) -> anyhow::Result<()> {
//! let options = SelfManagedOptions {
//!     secret: SecretName { namespace: "drainhook".into(), name: "drainhook-ca".into() },
//!     names: ServerNames::service("drainhook", "drainhook", "cluster.local")?,
//!     lifetimes: Lifetimes::default().validate()?,
//! };
//! let Source { resolver, status, background } = Source::self_managed(client, options);
//! tokio::spawn(background);
//! let config = drainhook_certs::server_config(resolver, None)?;
//! # let _ = (config, status);
//! # Ok(())
//! # }
//! ```

pub mod authority;
pub mod certificate;
mod clients;
mod files;
pub mod handshake;
#[cfg(feature = "kubernetes")]
mod kubernetes;
pub mod lifetimes;
mod names;
mod provider;
#[cfg(feature = "kubernetes")]
mod publishing;
pub mod rotation;
mod served;
mod source;
mod status;

pub use self::clients::ClientAuthority;
pub use self::files::{FilesOptions, LOOK_INTERVAL};
#[cfg(feature = "kubernetes")]
pub use self::kubernetes::{
    ConfigurationName, Publisher, PublisherOptions, ROTATE_ANNOTATION, SecretName,
    SelfManagedOptions,
};
pub use self::lifetimes::{Lifetimes, LifetimesError};
pub use self::names::{NameError, ServerNames};
pub use self::provider::{install, provider};
#[cfg(feature = "kubernetes")]
pub use self::publishing::{PublisherFacts, Publishing};
pub use self::served::{Served, server_config};
pub use self::source::Source;
pub use self::status::{Facts, Fault, Mode, Status};
