//! The registration as the chart has it, and what comes of it in a real API server.

use drainhook_tests::{
    cluster::{ApiServer, Version},
    gateway,
    installation::{NAME, render},
    wait::until,
};
use kube::{
    Api,
    api::{DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    site::{BOTH, FAIL, Site},
    stamp::{Stamp, replica},
};

/// Pods as the API server stores them, with every field that it knows.
pub(crate) fn pods(server: &ApiServer, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    Api::namespaced_with(server.client(), namespace, &resource)
}

pub(crate) fn envoy_pod(name: &str, annotations: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "containers": [{ "name": "envoy", "image": "envoyproxy/envoy:v1.36.2" }] },
    }))
    .unwrap()
}

pub(crate) fn opted_in() -> Value {
    json!({ "drainhook.io/inject": "true" })
}

pub(crate) async fn create(
    server: &ApiServer,
    namespace: &str,
    pod: &DynamicObject,
) -> kube::Result<Value> {
    let created = pods(server, namespace)
        .create(&PostParams::default(), pod)
        .await?;
    Ok(serde_json::to_value(created).unwrap())
}

/// Whether the whole drain is in the pod: sidecar, hook, grace period.
pub(crate) fn has_drain(pod: &Value) -> bool {
    let grace = &pod["spec"]["terminationGracePeriodSeconds"];
    let parsed = serde_json::from_value(pod.clone()).unwrap();
    gateway::has_drain(&parsed) && grace.as_u64() >= Some(305)
}

/// The API server learns of registrations and endpoints a little later.
pub(crate) async fn until_called(server: &ApiServer) {
    let mut number = 0;
    until("a pod with the drain", async || {
        number += 1;
        let pod = envoy_pod(&format!("first-{number}"), opted_in());
        create(server, "default", &pod).await.ok().filter(has_drain)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn every_object_of_the_installation_is_taken_by_the_api_server_as_it_is_written() {
    let monitoring = ["ServiceMonitor", "PodMonitor", "Issuer", "Certificate"];
    let values: [&[&str]; 3] = [
        &[],
        &[
            "certificates.mode=cert-manager",
            "guard.action=Deny",
            "server.hostNetwork=true",
        ],
        &[
            "certificates.mode=files",
            "certificates.clientCAConfigMap=ca",
            "defaults.port=8091",
        ],
    ];
    for version in BOTH {
        let server = ApiServer::options().version(version).start().await.unwrap();
        server
            .namespace(
                NAME,
                &[("pod-security.kubernetes.io/enforce", "restricted")],
            )
            .await
            .unwrap();
        for values in values {
            for object in render(values).unwrap() {
                // A chart that makes a key makes another at each upgrade, and keeps it in the release.
                assert_ne!(object["kind"], "Secret", "{values:?} {object}");
                if monitoring.iter().any(|kind| object["kind"] == *kind) {
                    continue;
                }
                // kubectl asks for strict validation: an unknown field is an error.
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), object.to_string()).unwrap();
                let output = server
                    .kubectl()
                    .unwrap()
                    .args([
                        "apply",
                        "--server-side",
                        "--dry-run=server",
                        "--validate=strict",
                        "-f",
                    ])
                    .arg(file.path())
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{version:?} {object}: {said}");
                // The host's network is not what "restricted" admits, and is said to be.
                let on_host = object["spec"]["template"]["spec"]["hostNetwork"] == true;
                assert!(
                    on_host || !said.contains("Warning"),
                    "{version:?} {object}: {said}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_pod_that_opts_in_is_stored_with_its_drain_and_others_are_never_sent() {
    for version in BOTH {
        let Some(site) = Site::of(version).await else {
            return;
        };
        let installed = site.serve(&[], 1).await;
        let (server, replica) = (&site.server, &installed.replicas[0]);
        let pod = create(server, "default", &envoy_pod("own", opted_in()))
            .await
            .unwrap();
        assert!(has_drain(&pod), "{pod:#}");
        let stored =
            serde_json::to_value(pods(server, "default").get("own").await.unwrap()).unwrap();
        assert_eq!(stored["spec"], pod["spec"]);
        if version == Version::Newest {
            let sidecar = &pod["spec"]["initContainers"][0];
            assert_eq!(
                sidecar["restartPolicy"], "Always",
                "a native sidecar by itself: {sidecar}"
            );
        } else {
            let last = pod["spec"]["containers"]
                .as_array()
                .unwrap()
                .last()
                .unwrap();
            assert_eq!(last["name"], "shutdown-manager", "{last}");
        }

        let seen = replica.decisions(|_| true);
        for (name, annotations) in [
            ("plain", json!({})),
            ("others", json!({ "example.org/inject": "true" })),
            ("refuses", json!({ "drainhook.io/inject": "false" })),
        ] {
            let pod = create(server, "default", &envoy_pod(name, annotations))
                .await
                .unwrap();
            assert!(!has_drain(&pod), "{name}");
        }
        assert_eq!(
            replica.decisions(|_| true),
            seen,
            "filtered in the API server itself"
        );
    }
}

#[tokio::test]
async fn a_namespace_that_opts_in_gives_all_of_its_envoys_the_drain() {
    for version in BOTH {
        let Some(site) = Site::of(version).await else {
            return;
        };
        let installed = site.serve(&[], 1).await;
        let (server, replica) = (&site.server, &installed.replicas[0]);
        for value in ["enabled", "true"] {
            server
                .namespace(value, &[("drainhook.io/inject", value)])
                .await
                .unwrap();
            // At once, whether the replica has heard of the namespace or not.
            let pod = create(server, value, &envoy_pod("silent", json!({})))
                .await
                .unwrap();
            assert!(has_drain(&pod), "{value}: {pod:#}");
            let both = create(server, value, &envoy_pod("both", opted_in()))
                .await
                .unwrap();
            assert!(has_drain(&both), "{both:#}");
            let refuses = json!({ "drainhook.io/inject": "false" });
            let refuses = create(server, value, &envoy_pod("refuses", refuses))
                .await
                .unwrap();
            assert!(!has_drain(&refuses));
            let mut app = envoy_pod("app", json!({}));
            app.data["spec"]["containers"][0] = json!({ "name": "app", "image": "app:1" });
            assert!(
                !has_drain(&create(server, value, &app).await.unwrap()),
                "no Envoy"
            );
        }
        server
            .namespace("other", &[("drainhook.io/inject", "disabled")])
            .await
            .unwrap();
        let pod = create(server, "other", &envoy_pod("silent", json!({})))
            .await
            .unwrap();
        assert!(!has_drain(&pod));
        let seen_by = |entry: &str, name: &str| {
            replica.decisions(|line| line["entry"] == entry && line["name"] == name)
        };
        assert!(seen_by("object", "both") > 0 && seen_by("namespace", "silent") > 0);
        assert_eq!(
            seen_by("namespace", "both"),
            0,
            "never both: the conditions exclude each other"
        );
        assert_eq!(seen_by("object", "silent"), 0);
    }
}

#[tokio::test]
async fn the_defaults_of_a_namespace_are_followed_as_they_change() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let installed = site.serve(&[], 1).await;
    let server = installed.server;
    installed
        .installation
        .set_defaults("drain-timeout: 10m")
        .unwrap();
    let grace = async |name: String| {
        let pod = create(server, "slow", &envoy_pod(&name, opted_in()))
            .await
            .unwrap();
        pod["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .unwrap()
    };
    server.namespace("slow", &[]).await.unwrap();
    let mut number = 0;
    for (annotation, seconds) in [
        (json!(null), 605),
        (json!("20m"), 1205),
        (json!("40m"), 2405),
    ] {
        server
            .apply(&json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": { "name": "slow", "annotations": { "drainhook.io/drain-timeout": annotation } },
            }))
            .await
            .unwrap();
        until(&format!("a grace period of {seconds}"), async || {
            number += 1;
            (grace(format!("pod-{number}")).await == seconds).then_some(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_container_that_a_later_webhook_adds_gets_its_hook_too() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let installed = site.serve(&[], 1).await;
    let (server, ours) = (&site.server, &installed.replicas[0]);

    // Configurations are called in the order of their names: `stamp` comes after `drainhook`.
    let endpoint = site.network().attach().unwrap();
    let address = endpoint.address();
    server.namespace("hooks", &[]).await.unwrap();
    let adds = json!([{
        "op": "add",
        "path": "/spec/containers/-",
        "value": { "name": "added", "image": "added:1" },
    }]);
    let stamp = Stamp::new(server.authority(), "stamp.hooks.svc", address)
        .unwrap()
        .with_patch(adds);
    let serve = async move || {
        stamp
            .serve(TcpListener::bind(replica(address)).await?)
            .await
    };
    let namespace = endpoint.namespace().clone();
    tokio::spawn(async move { namespace.run(serve).await });
    let service =
        json!({ "service": { "namespace": "hooks", "name": "stamp", "path": "/mutate" } });
    server
        .apply(&Stamp::registration(server.authority(), service))
        .await
        .unwrap();
    server
        .publish_service("hooks", "stamp", 8443, &[address])
        .await
        .unwrap();

    let mut number = 0;
    let pod = until("a pod with the added container", async || {
        number += 1;
        let pod = envoy_pod(&format!("pod-{number}"), opted_in());
        let pod = create(server, "default", &pod).await.ok()?;
        (pod["spec"]["containers"].as_array()?.len() == 2).then_some(pod)
    });
    let pod = pod.await.unwrap();
    assert!(has_drain(&pod), "{pod:#}");
    let added = &pod["spec"]["containers"][1];
    assert_eq!(added["name"], "added");
    assert_eq!(
        added["lifecycle"]["preStop"]["httpGet"]["path"], "/wait",
        "{pod:#}"
    );
    assert_eq!(ours.decisions(|line| line["reason"] == "completed"), 1);
    // One token: the second call has kept the first one's.
    let text = pod.to_string();
    let token = pod.pointer("/spec/containers/0/lifecycle/preStop/httpGet/httpHeaders/0/value");
    let token = token.and_then(Value::as_str).unwrap();
    assert_eq!(
        text.matches(token).count(),
        3,
        "both hooks and the sidecar: {text}"
    );
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace_and_is_the_same_each_time() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let installed = site.serve(&[], 1).await;
    let (server, replica) = (&site.server, &installed.replicas[0]);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let mut specs = Vec::new();
    for _ in 0..2 {
        let pod = pods(server, "default")
            .create(&dry, &envoy_pod("dry", opted_in()))
            .await
            .unwrap();
        let pod = serde_json::to_value(pod).unwrap();
        assert!(has_drain(&pod));
        let mut spec = pod["spec"].clone();
        // The API server itself names the volume of the token anew each time.
        spec.as_object_mut().unwrap().remove("volumes");
        let spec = spec.to_string();
        let volume = spec
            .split("kube-api-access-")
            .nth(1)
            .map(|rest| rest[..5].to_owned());
        specs.push(spec.replace(&volume.unwrap_or_default(), ""));
    }
    assert_eq!(specs[0], specs[1]);
    assert!(specs[0].contains("dry-run"), "no secret is drawn");
    assert!(
        pods(server, "default")
            .get_opt("dry")
            .await
            .unwrap()
            .is_none()
    );
    // The API server calls twice for each: its own plugins change the pod after us, by giving the
    // sidecar the token of the pod's account.
    assert_eq!(
        replica.decisions(|line| line["dry_run"] == true && line["reason"] == "injected"),
        2
    );
    assert_eq!(
        replica.decisions(|line| line["dry_run"] == false && line["name"] == "dry"),
        0
    );
}

#[tokio::test]
async fn a_denial_reaches_the_person_at_kubectl_with_everything_that_is_wrong() {
    for version in BOTH {
        let Some(site) = Site::of(version).await else {
            return;
        };
        let installed = site.serve(&[FAIL], 1).await;
        let (server, replica) = (&site.server, &installed.replicas[0]);
        let wrong = json!({ "drainhook.io/inject": "True", "drainhook.io/min-drian": "5s" });
        let (done, said) = kubectl_apply(server, &envoy_pod("wrong", wrong));
        assert!(!done, "{said}");
        for part in [
            "pods.drainhook.io",
            "denied the request",
            "min-drian",
            "min-drain",
            "True",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(
            pods(server, "default")
                .get_opt("wrong")
                .await
                .unwrap()
                .is_none()
        );
        assert_eq!(replica.decisions(|line| line["outcome"] == "denied"), 1);
    }
}

#[tokio::test]
async fn the_server_may_do_what_it_needs_and_nothing_else() {
    let Some(site) = Site::of(Version::Newest).await else {
        return;
    };
    let installed = site.serve(&[], 1).await;
    let (server, replica) = (&site.server, &installed.replicas[0]);
    let page = replica.get("/readyz?verbose").await.unwrap();
    assert!(page.contains("[+] namespaces"), "{page}");
    let subject = format!("--as=system:serviceaccount:{NAME}:{NAME}");
    let may = |arguments: &[&str]| {
        let mut kubectl = server.kubectl().unwrap();
        let output = kubectl
            .args(["auth", "can-i"])
            .args(arguments)
            .arg(&subject)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim() == "yes"
    };
    assert!(may(&["list", "namespaces"]) && may(&["watch", "namespaces"]));
    for arguments in [
        ["get", "secrets", "--all-namespaces"],
        ["list", "secrets", "--namespace=drainhook"],
        ["list", "pods", "--all-namespaces"],
        ["patch", "namespaces", "--all-namespaces"],
        ["patch", "mutatingwebhookconfigurations", "--all-namespaces"],
        ["create", "events", "--all-namespaces"],
    ] {
        assert!(!may(&arguments), "{arguments:?}");
    }
}

/// Whether it was taken, and what kubectl said on standard error.
pub(crate) fn kubectl_apply(server: &ApiServer, object: &impl serde::Serialize) -> (bool, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(object).unwrap()).unwrap();
    let mut kubectl = server.kubectl().unwrap();
    let output = kubectl
        .args(["apply", "-f"])
        .arg(file.path())
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
