//! The two ends of the self-managed CA: who writes it, and who mints from it.

mod api;
mod configurations;
mod publisher;
pub(crate) mod replica;
mod secret;
#[cfg(test)]
mod tests;

pub use self::configurations::ConfigurationName;
pub use self::publisher::{Publisher, PublisherOptions};
pub use self::replica::SelfManagedOptions;
pub use self::secret::{ROTATE_ANNOTATION, SecretName};
