//! What the other tests rely on: that the API server which we start is the real thing, calls
//! webhooks by URL and as a Service, and leaves nothing behind.

use std::collections::BTreeMap;

use drainhook_tests::{
    cluster::{ApiServer, Network, Version},
    wait::until,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    site::until_learned,
    stamp::{Call, Stamp, base64, replica},
};

/// Where a review has the label that tells when its pod was created.
const CREATED: &str = "/request/object/metadata/labels/created";

#[tokio::test]
async fn a_webhook_registered_by_url_changes_the_pod_that_is_stored() {
    let server = ApiServer::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stamp = Stamp::new(server.authority(), "localhost", address.ip()).unwrap();
    tokio::spawn(stamp.clone().serve(listener));
    let by_url = json!({ "url": format!("https://{address}/mutate") });
    server
        .apply(&Stamp::registration(server.authority(), by_url))
        .await
        .unwrap();

    let pod = until_stamped(server.client()).await;
    let stored = pods(server.client()).get(&name(&pod)).await.unwrap();
    assert_eq!(stored.metadata.annotations, pod.metadata.annotations);
    let call = stamp.calls().pop().unwrap();
    assert_eq!(
        (call.http.as_str(), call.operation.as_str()),
        ("HTTP/1.1", "CREATE")
    );

    let stamped = |annotations: &BTreeMap<String, String>| {
        annotations.iter().any(|(key, value)| {
            key.starts_with("mutation.webhook.") && value.contains(r#""mutated":true"#)
        })
    };
    let event = server
        .audit()
        .wait_for(|event| stamped(&event.annotations))
        .await
        .unwrap();
    assert_eq!(
        (event.verb.as_str(), event.resource.as_str()),
        ("create", "pods")
    );
    assert_eq!((event.code, event.user.as_str()), (201, "administrator"));
    let metrics = server.metrics().await.unwrap();
    assert_eq!(
        metrics.webhook_requests("stamp.drainhook.io"),
        stamp.calls().len() as f64
    );
    assert_eq!(
        metrics.webhook_slower_than("stamp.drainhook.io", 10.0),
        Some(0.0)
    );
}

#[tokio::test]
async fn a_webhook_registered_as_a_service_is_called_at_its_endpoints() {
    if !Network::available() {
        return;
    }
    for version in [Version::Newest, Version::Oldest] {
        let network = Network::create().unwrap();
        let replicas = [network.attach().unwrap(), network.attach().unwrap()];
        let server = ApiServer::options().version(version).network(&network);
        let server = server
            .webhook_client("kube-apiserver")
            .start()
            .await
            .unwrap();
        server.namespace("hooks", &[]).await.unwrap();
        let mut stamps = Vec::new();
        for endpoint in &replicas {
            let address = endpoint.address();
            let stamp = Stamp::new(server.authority(), "stamp.hooks.svc", address).unwrap();
            let stamp = stamp.with_client_authority(server.authority());
            stamps.push(stamp.clone());
            let serve = async move || {
                let listener = TcpListener::bind(replica(address)).await?;
                stamp.serve(listener).await
            };
            let namespace = endpoint.namespace().clone();
            tokio::spawn(async move { namespace.run(serve).await });
        }
        let service =
            json!({ "service": { "namespace": "hooks", "name": "stamp", "path": "/mutate" } });
        let mut registration = Stamp::registration(server.authority(), service);
        server.apply(&registration).await.unwrap();

        // Only the second is an endpoint: the API server looks them up, nothing else routes.
        server
            .publish_service("hooks", "stamp", 8443, &[replicas[1].address()])
            .await
            .unwrap();
        until_stamped(server.client()).await;
        assert_eq!(stamps[0].calls().len(), 0);
        assert!(
            stamps[1].calls().iter().all(|call| call.certified),
            "{version:?}"
        );

        // The cable of the only endpoint is pulled: the call fails within its time-out, and counts.
        replicas[1].unplug().unwrap();
        let refused = create(server.client()).await.unwrap_err().to_string();
        assert!(refused.contains("failed calling webhook"), "{refused}");
        let metrics = server.metrics().await.unwrap();
        assert!(metrics.webhook_rejections("stamp.drainhook.io", "calling_webhook_error") >= 1.0);

        // Now the first alone is one. The cable stays pulled until it is called: a connection that the API
        // server opened before it heard of the change would serve it for as long as it is kept.
        server
            .publish_service("hooks", "stamp", 8443, &[replicas[0].address()])
            .await
            .unwrap();
        until("a call of the first", async || {
            until_stamped(server.client()).await;
            (!stamps[0].calls().is_empty()).then_some(())
        })
        .await
        .unwrap();
        replicas[1].plug().unwrap();
        // A connection that was begun before the cable was pulled may come about now. None of those is used under
        // another bundle, which makes the API server connect anew: several times, for calls at once.
        let bundle = server.authority().certificate().repeat(2);
        registration["webhooks"][0]["clientConfig"]["caBundle"] = base64(&bundle).into();
        server.apply(&registration).await.unwrap();
        until_learned(&server).await;
        let mut later = JoinSet::new();
        for _ in 0..10 {
            later.spawn(created(server.client(), "later"));
        }
        let made = later.join_all().await.into_iter();
        assert_eq!(made.filter(Result::is_ok).count(), 10);
        let got = |stamp: &Stamp| {
            let calls = stamp.calls().into_iter();
            let created = |call: &Call| call.review.pointer(CREATED) == Some(&json!("later"));
            calls.filter(created).count()
        };
        assert!(got(&stamps[0]) >= 10);
        assert_eq!(got(&stamps[1]), 0, "it is no endpoint");
    }
}

#[tokio::test]
async fn a_deployment_becomes_pods_made_by_the_controllers_own_account() {
    let server = ApiServer::start().await.unwrap();
    server.namespace("shop", &[("team", "shop")]).await.unwrap();
    server
        .apply(&json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "namespace": "shop", "name": "front" },
            "spec": {
                "replicas": 3,
                "selector": { "matchLabels": { "app": "front" } },
                "template": {
                    "metadata": { "labels": { "app": "front" } },
                    "spec": { "containers": [{ "name": "envoy", "image": "envoy" }] },
                },
            },
        }))
        .await
        .unwrap();
    let shop: Api<Pod> = Api::namespaced(server.client(), "shop");
    until("three pods", async || {
        let found = shop.list(&Default::default()).await.ok()?.items;
        (found.len() == 3).then_some(())
    })
    .await
    .unwrap();
    let made = server
        .audit()
        .wait_for(|event| event.verb == "create" && event.resource == "pods");
    let replicaset = "system:serviceaccount:kube-system:replicaset-controller";
    assert_eq!(made.await.unwrap().user, replicaset);

    let output = server
        .kubectl()
        .unwrap()
        .args(["-n", "shop", "get", "pods", "-o", "name"])
        .output();
    let names = String::from_utf8(output.unwrap().stdout).unwrap();
    assert_eq!(
        names
            .lines()
            .filter(|line| line.starts_with("pod/front-"))
            .count(),
        3,
        "{names}"
    );
}

#[tokio::test]
async fn a_user_may_do_what_its_rules_say_and_nothing_else() {
    let server = ApiServer::start().await.unwrap();
    let rules = [serde_json::from_value(json!({
        "apiGroups": [""], "resources": ["pods"], "verbs": ["list"],
    }))
    .unwrap()];
    let reader = server.user_with_rules("reader", &rules).await.unwrap();
    let account = server.service_account("default", "default").await.unwrap();
    let reader = server.client_for(&reader).await.unwrap();
    let account = server.client_for(&account).await.unwrap();

    // RBAC reads its own objects through a cache.
    until("the right to list", async || {
        pods(reader.clone()).list(&Default::default()).await.ok()
    })
    .await
    .unwrap();
    assert!(
        create(reader)
            .await
            .unwrap_err()
            .to_string()
            .contains("forbidden")
    );
    let refused = pods(account)
        .list(&Default::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("system:serviceaccount:default:default"),
        "{refused}"
    );
}

#[tokio::test]
async fn several_api_servers_of_both_versions_run_side_by_side() {
    let oldest = ApiServer::options().version(Version::Oldest).start();
    let (newest, oldest) = tokio::join!(ApiServer::start(), oldest);
    let (newest, oldest) = (newest.unwrap(), oldest.unwrap());
    let minor = async |server: &ApiServer| server.client().apiserver_version().await.unwrap().minor;
    assert_eq!(
        (minor(&newest).await.as_str(), minor(&oldest).await.as_str()),
        ("36", "30")
    );
    create(newest.client()).await.unwrap();
    let others = pods(oldest.client())
        .list(&Default::default())
        .await
        .unwrap();
    assert!(others.items.is_empty());
}

/// Creates pods until one comes out stamped: the API server learns of a registration a little later.
async fn until_stamped(client: Client) -> Pod {
    let stamped = until("a stamped pod", async || {
        // Before, the webhook is not registered, or its Service is not known.
        create(client.clone())
            .await
            .ok()
            .filter(|pod| pod.metadata.annotations.is_some())
    });
    stamped.await.unwrap()
}

async fn create(client: Client) -> kube::Result<Pod> {
    created(client, "at-first").await
}

/// With a label that tells when.
async fn created(client: Client, when: &str) -> kube::Result<Pod> {
    let pod = serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "generateName": "envoy-", "labels": { "created": when } },
        "spec": { "containers": [{ "name": "envoy", "image": "envoy" }] },
    }));
    pods(client)
        .create(&PostParams::default(), &pod.unwrap())
        .await
}

fn pods(client: Client) -> Api<Pod> {
    Api::default_namespaced(client)
}

fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap()
}
