//! With which object the Secret goes.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::Publisher;
use crate::kubernetes::api::{ApiError, patch};
use crate::kubernetes::secret::Version;

/// By which object the Secret goes: the first of the configurations that there is. Without a
/// registration nobody trusts the CA, so an uninstallation takes it along.
pub(super) enum Owner {
    /// As it should be, or nothing to be done about it: a Secret that somebody else has made stays.
    Right,
    /// This reference is missing.
    Due(Value),
    /// Configurations are to be kept, and there is none: an uninstallation, or before the
    /// installation is complete. A Secret that is made now might be left behind.
    Nobody,
}

impl Publisher {
    /// Lets the Secret go with the registration. This is done by the manager that makes the Secret, and
    /// that owns its labels too, so that a reference to a registration of earlier goes; the steps of a
    /// rotation have another, so that neither takes anything from the other.
    ///
    /// Only the Secret that was seen: where the garbage collector has taken that one meanwhile, an
    /// empty one would be made, tied to a registration that may be gone.
    pub(super) async fn own_secret(
        &self,
        version: &Version,
        owner: &Value,
    ) -> Result<(), ApiError> {
        let name = &self.options.secret;
        let manager = format!("{}-create", self.options.organization);
        let mut metadata = version.metadata(name);
        metadata["labels"] = json!(self.options.labels);
        metadata["ownerReferences"] = json!([owner]);
        let owned = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata});
        patch(&self.secrets(), &manager, &name.name, &owned)
            .await
            .map(drop)
    }

    /// Whether we have made the Secret: then it has all of our labels.
    pub(super) fn is_ours(&self, secret: &Secret) -> bool {
        let labels = secret.labels();
        let mut ours = self.options.labels.iter();
        !self.options.labels.is_empty() && ours.all(|(key, value)| labels.get(key) == Some(value))
    }
}

pub(super) fn is_owned(secret: &Secret, owner: &Value) -> bool {
    let references = secret.owner_references().iter();
    references.into_iter().any(|one| owner["uid"] == *one.uid)
}
