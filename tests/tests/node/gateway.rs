//! A gateway on a node: Envoy in front of an application, behind a Service, with mixed load on it.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use drainhook_tests::{
    bootstrap::{Bootstrap, Listener},
    cluster::{Cluster, Image},
    envoy::Wanted,
    load::{Target, serves},
    product,
    wait::until,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

/// Envoy's traffic and admin ports, and the application's.
const TRAFFIC: u16 = 8000;
const ADMIN: u16 = 9901;
const APPLICATION: u16 = 8080;

/// Envoy and the application, on every node, and the drain's sidecar.
pub(crate) async fn provide_images(cluster: &Cluster) -> Result<(Image, Image)> {
    let images = tokio::task::spawn_blocking(|| -> Result<_> {
        let tools = Image::tools(Path::new(env!("CARGO_BIN_EXE_traffic")))?;
        Ok((Image::envoy(Wanted::Usual)?, tools, Image::sidecar()?))
    });
    let (envoy, tools, sidecar) = images.await??;
    for image in [&envoy, &tools, &sidecar] {
        cluster.import(image)?;
    }
    Ok((envoy, tools))
}

/// A Deployment of Envoy with an application beside it, which opts in, and its Service.
pub(crate) fn manifest(envoy: &Image, tools: &Image, replicas: u32) -> Value {
    let everywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bootstrap = Bootstrap::new()
        .admin(here(ADMIN))
        .listener(Listener::http(
            "traffic",
            everywhere(TRAFFIC),
            "application",
        ))
        .cluster("application", here(APPLICATION))
        // Where `CONNECT` goes, which nobody sends.
        .cluster("tunnel", here(APPLICATION));
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "gateway", "namespace": "default" },
        "spec": {
            "replicas": replicas,
            "strategy": { "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "selector": { "matchLabels": { "app": "gateway" } },
            "template": {
                "metadata": {
                    "labels": { "app": "gateway" },
                    "annotations": { "drainhook.io/inject": "true" },
                },
                "spec": {
                    "containers": [
                        {
                            "name": "envoy",
                            "image": envoy.reference(),
                            "args": ["--config-yaml", bootstrap.value().to_string()],
                            "ports": [{ "name": "http", "containerPort": TRAFFIC }],
                            "readinessProbe": {
                                "httpGet": { "path": "/", "port": TRAFFIC },
                                "periodSeconds": 1,
                            },
                        },
                        {
                            "name": "application",
                            "image": tools.reference(),
                            "args": ["serve", everywhere(APPLICATION).to_string()],
                        },
                    ],
                },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "gateway", "namespace": "default" },
        "spec": {
            "selector": { "app": "gateway" },
            "ports": [{ "port": 80, "targetPort": TRAFFIC }],
        },
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": [deployment, service] })
}

/// The manifest with the drain in it, as `drainhook inject` writes it.
pub(crate) fn inject(manifest: &Value) -> Result<Value> {
    let mut drainhook = std::process::Command::new(product::drainhook()?);
    drainhook.args(["inject", "--kubernetes-version", "1.36", "-"]);
    let mut drainhook = drainhook
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = drainhook.stdin.take().context("no standard input")?;
    stdin.write_all(manifest.to_string().as_bytes())?;
    drop(stdin);
    let output = drainhook.wait_with_output()?;
    ensure!(
        output.status.success(),
        "drainhook inject ended with {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("read what drainhook inject wrote")
}

/// Applies the manifest and returns where its Service is, once all pods are ready and it
/// answers on the first node.
pub(crate) async fn deploy(cluster: &Cluster, manifest: &Value) -> Result<SocketAddr> {
    let items = manifest["items"]
        .as_array()
        .context("the manifest is not a list")?;
    for item in items {
        cluster.apply(item).await?;
    }
    until_rolled_out(cluster).await?;
    let services: Api<Service> = Api::default_namespaced(cluster.client());
    let service = services
        .get("gateway")
        .await?
        .spec
        .context("a Service without a spec")?;
    let ip = service.cluster_ip.context("a Service without an address")?;
    let address = SocketAddr::new(ip.parse()?, 80);
    let node = cluster
        .nodes()
        .first()
        .context("a cluster without a node")?;
    // Every kube-proxy learns of the endpoints in its own time.
    until("the Service answers", async || {
        let ask = async move || serves(address, &Target::default()).await;
        node.namespace().run(ask).await.ok()?.ok()
    })
    .await?;
    Ok(address)
}

/// Begins to replace every pod.
pub(crate) fn restart(cluster: &Cluster) -> Result<()> {
    let mut kubectl = cluster.kubectl()?;
    let status = kubectl
        .args(["rollout", "restart", "deployment/gateway"])
        .status()?;
    ensure!(
        status.success(),
        "kubectl rollout restart ended with {status}"
    );
    Ok(())
}

/// Waits until every pod of the Deployment is a new one and ready, and every old one is gone.
pub(crate) async fn until_rolled_out(cluster: &Cluster) -> Result<()> {
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    until("the gateway is rolled out", async || {
        let deployment = deployments.get("gateway").await.ok()?;
        let wanted = deployment.spec?.replicas?;
        let status = deployment.status?;
        let current = status.observed_generation >= deployment.metadata.generation;
        let ready =
            status.updated_replicas == Some(wanted) && status.ready_replicas == Some(wanted);
        let all = pods
            .list(&ListParams::default().labels("app=gateway"))
            .await
            .ok()?
            .items;
        (current && ready && i32::try_from(all.len()) == Ok(wanted)).then_some(())
    })
    .await
}
