//! Webhooks as Services, and users with rights.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::json;

use super::{ApiServer, Credential, Version};

impl ApiServer {
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
}
