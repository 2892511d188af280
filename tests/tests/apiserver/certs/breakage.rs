//! What somebody may do to the Secret and the configurations.

use k8s_openapi::ByteString;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{SECRET, world::World};

/// Everything that somebody may do to our objects.
#[derive(Clone, Copy, Debug)]
pub(super) enum Breakage {
    DeleteSecret,
    EmptySecret,
    DamageKey,
    /// With a field manager of its own, which from then on owns a key that we do not need.
    AddNext,
    EmptyOneBundle,
    ForeignBundles,
    GarbageBundle,
    DeleteConfiguration,
}

impl Breakage {
    pub(super) const ALL: [Self; 8] = [
        Self::DeleteSecret,
        Self::EmptySecret,
        Self::DamageKey,
        Self::AddNext,
        Self::EmptyOneBundle,
        Self::ForeignBundles,
        Self::GarbageBundle,
        Self::DeleteConfiguration,
    ];
}

impl World {
    pub(super) async fn break_(&self, breakage: Breakage) {
        let somebody = PatchParams::apply("somebody").force();
        let bundle_for = |names: &[&str], bundle: &str| {
            let bundle = ByteString(bundle.as_bytes().to_vec());
            let entry = |name: &&str| json!({"name": name, "clientConfig": {"caBundle": bundle}});
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": "drainhook"},
                "webhooks": names.iter().map(entry).collect::<Vec<_>>(),
            })
        };
        let bundles = async |names: &[&str], bundle: &str| {
            let patch = Patch::Apply(bundle_for(names, bundle));
            self.mutating()
                .patch("drainhook", &somebody, &patch)
                .await
                .unwrap();
        };
        let both = ["annotation.drainhook.io", "namespace.drainhook.io"];
        let foreign = self.server.authority().certificate();
        match breakage {
            Breakage::DeleteSecret => {
                self.secrets()
                    .delete(SECRET, &DeleteParams::default())
                    .await
                    .unwrap();
            }
            Breakage::EmptySecret => self.merge_secret(json!({"data": null})).await,
            Breakage::DamageKey => {
                self.merge_secret(json!({"stringData": {"current.key": "garbage"}}))
                    .await;
            }
            Breakage::AddNext => {
                let patch = json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": SECRET},
                    "data": {"next.crt": ByteString(foreign.into_bytes())},
                });
                let patch = Patch::Apply(patch);
                self.secrets()
                    .patch(SECRET, &somebody, &patch)
                    .await
                    .unwrap();
            }
            Breakage::EmptyOneBundle => {
                let patch = json!([{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]);
                let patch = Patch::<Value>::Json(serde_json::from_value(patch).unwrap());
                let params = PatchParams::default();
                self.mutating()
                    .patch("drainhook", &params, &patch)
                    .await
                    .unwrap();
            }
            Breakage::ForeignBundles => bundles(&both, &foreign).await,
            Breakage::GarbageBundle => {
                // The API server takes nothing that is no certificate, but text around one.
                let text = format!("{foreign}{}", self.current().await.unwrap());
                bundles(&both[..1], &text).await;
            }
            Breakage::DeleteConfiguration => {
                let deleted = self
                    .mutating()
                    .delete("drainhook", &DeleteParams::default())
                    .await;
                deleted.unwrap();
                self.register().await;
            }
        }
    }
}
