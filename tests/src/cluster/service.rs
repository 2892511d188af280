//! Webhooks as Services, and users with rights.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::{ApiServer, Credential, Version};

impl ApiServer {
    /// Creates an object, or changes it to be as given, by server-side apply. The object names its
    /// `apiVersion`, `kind`, name and namespace.
    ///
    /// # Errors
    /// When the API server refuses, or does not know the kind.
    pub async fn apply(&self, object: &Value) -> Result<DynamicObject> {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
        let (version, kind) = (text("/apiVersion"), text("/kind"));
        let name = text("/metadata/name").with_context(|| format!("no name in {object}"))?;
        let (Some(version), Some(kind)) = (version, kind) else {
            anyhow::bail!("no apiVersion or kind in {object}");
        };
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = kube::discovery::pinned_kind(&self.client(), &kind)
            .await
            .with_context(|| format!("look up {kind:?}"))?;
        let api = self.dynamic(&resource, text("/metadata/namespace"));
        let parameters = PatchParams::apply("tests").force();
        api.patch(name, &parameters, &Patch::Apply(object))
            .await
            .with_context(|| format!("apply {} {name}", resource.kind))
    }

    /// Creates a namespace with these labels, and waits until pods can be created in it.
    ///
    /// # Errors
    /// When the API server refuses, or no controller makes its service account.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels: Value = labels.iter().map(|(key, value)| (*key, *value)).collect();
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": labels },
        }))
        .await?;
        self.until_default_account(name).await
    }

    /// Publishes a Service without a selector on port 443, whose endpoints are these addresses, all
    /// on `target_port`. Called again it replaces the endpoints, as happens when a replica turns
    /// unready. The addresses are those of a [`super::Network`]: an endpoint cannot be a loopback
    /// address.
    ///
    /// # Errors
    /// When an address is on the loopback interface, or the API server refuses.
    pub async fn publish_service(
        &self,
        namespace: &str,
        name: &str,
        target_port: u16,
        addresses: &[IpAddr],
    ) -> Result<()> {
        for address in addresses {
            ensure!(
                !address.is_loopback(),
                "{address} cannot be an endpoint; use a Network"
            );
        }
        let metadata = json!({ "namespace": namespace, "name": name });
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": { "ports": [{ "name": "https", "port": 443, "targetPort": target_port }] },
        }))
        .await?;
        let ports = json!([{ "name": "https", "port": target_port, "protocol": "TCP" }]);
        if self.version() == Version::Oldest {
            // Before 1.33 the API server looks a webhook up in the older kind.
            let ips: Vec<_> = addresses
                .iter()
                .map(|address| json!({ "ip": address }))
                .collect();
            let subsets = match ips.as_slice() {
                [] => json!([]),
                ips => json!([{ "addresses": ips, "ports": ports }]),
            };
            self.apply(&json!({
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": metadata,
                "subsets": subsets,
            }))
            .await?;
        }
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|address| json!({ "addresses": [address], "conditions": { "ready": true } }))
            .collect();
        self.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": namespace,
                "name": name,
                "labels": { "kubernetes.io/service-name": name },
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": ports,
        }))
        .await?;
        Ok(())
    }

    /// The credential of a user who may do what the rules say, in every namespace.
    ///
    /// # Errors
    /// When the API server refuses the rules.
    pub async fn user_with_rules(&self, name: &str, rules: &[PolicyRule]) -> Result<Credential> {
        self.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": name },
            "rules": rules,
        }))
        .await?;
        self.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
        }))
        .await?;
        self.user(name, None)
    }

    fn dynamic(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, resource),
            None => Api::all_with(self.client(), resource),
        }
    }
}
