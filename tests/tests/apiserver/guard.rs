//! While the webhook is down: pods are created, and somebody is told which came without the drain.

use std::process::Output;

use drainhook_tests::{
    cluster::{ApiServer, Version},
    wait::until,
};
use kube::api::DynamicObject;
use serde_json::json;

use crate::{
    admission::{create, envoy_pod, has_drain, opted_in, pods},
    site::{BOTH, FAIL, Site},
};

const TOLD: &str = "asked for a drain and has none";

#[tokio::test]
async fn pods_are_created_without_the_webhook_and_the_guard_tells() {
    for version in BOTH {
        let Some(site) = Site::of(version).await else {
            return;
        };
        let installed = site.install(&[]).await;
        let server = installed.server;
        let mut number = 0;
        until("the guard", async || {
            number += 1;
            let output = apply(
                server,
                "default",
                &envoy_pod(&format!("early-{number}"), opted_in()),
            );
            said(&output).contains(TOLD).then_some(())
        })
        .await
        .unwrap();

        let output = apply(server, "default", &envoy_pod("told", opted_in()));
        assert!(output.status.success(), "{}", said(&output));
        let stored = pods(server, "default").get("told").await.unwrap();
        assert!(!has_drain(&serde_json::to_value(stored).unwrap()));
        let event = server
            .audit()
            .wait_for(|event| event.name == "told" && event.verb == "create")
            .await
            .unwrap();
        let annotation = |end: &str| event.annotations.iter().any(|(key, _)| key.ends_with(end));
        assert!(annotation("/without-drain"), "{event:?}");
        assert!(annotation("/validation_failure"), "{event:?}");

        server
            .namespace("gateways", &[("drainhook.io/inject", "enabled")])
            .await
            .unwrap();
        let told = async |namespace: &str, pod: DynamicObject| {
            let output = apply(server, namespace, &pod);
            assert!(output.status.success(), "{}", said(&output));
            said(&output).contains(TOLD)
        };
        assert!(
            told("gateways", envoy_pod("silent", json!({}))).await,
            "its namespace asked"
        );
        let mut app = envoy_pod("app", json!({}));
        app.data["spec"]["containers"][0] =
            json!({ "name": "app", "image": "registry:5000/app:1" });
        assert!(!told("gateways", app).await, "runs no Envoy");
        let mut gateway = envoy_pod("controller", json!({}));
        gateway.data["spec"]["containers"][0] =
            json!({ "name": "controller", "image": "envoyproxy/gateway:v1.5.0" });
        assert!(
            !told("gateways", gateway).await,
            "what belongs to Envoy is none"
        );
        let refuses = json!({ "drainhook.io/inject": "false" });
        assert!(!told("gateways", envoy_pod("refuses", refuses)).await);
        assert!(!told("default", envoy_pod("plain", json!({}))).await);
        let mut by_hand = envoy_pod("by-hand", opted_in());
        by_hand.data["spec"]["containers"] = json!([
            { "name": "envoy", "image": "envoyproxy/envoy:v1.36.2" },
            { "name": "shutdown-manager", "image": "ghcr.io/drainhook/shutdown-manager:v0.1.0" },
        ]);
        assert!(!told("default", by_hand).await, "has the drain already");
    }
}

#[tokio::test]
async fn a_guard_that_denies_refuses_what_came_without_the_drain_and_nothing_else() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let installed = site.install(&["guard.action=Deny"]).await;
    let server = installed.server;
    let mut number = 0;
    let refused = until("a refusal", async || {
        number += 1;
        create(
            server,
            "default",
            &envoy_pod(&format!("pod-{number}"), opted_in()),
        )
        .await
        .err()
    });
    let refused = refused.await.unwrap().to_string();
    assert!(refused.contains(TOLD), "{refused}");
    create(server, "default", &envoy_pod("plain", json!({})))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pod_with_the_drain_passes_the_guard_in_silence() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let installed = site.serve(&["guard.action=Deny", FAIL], 1).await;
    let server = installed.server;
    let output = apply(server, "default", &envoy_pod("served", opted_in()));
    assert!(
        output.status.success() && !said(&output).contains(TOLD),
        "{}",
        said(&output)
    );
}

fn apply(server: &ApiServer, namespace: &str, pod: &DynamicObject) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(pod).unwrap()).unwrap();
    let mut kubectl = server.kubectl().unwrap();
    kubectl
        .args(["create", "-n", namespace, "-f"])
        .arg(file.path())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
