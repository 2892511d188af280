//! The reviews in `webhook/tests/reviews` are what a real API server sends.

use std::{collections::BTreeSet, env, fs};

use drainhook_tests::{cluster::ApiServer, product, wait::until};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    admission::{create, envoy_pod},
    stamp::Stamp,
};

/// With `UPDATE_REVIEWS=1` they are written anew; what is in them changes only with this file or with
/// Kubernetes.
#[tokio::test]
async fn the_recorded_reviews_have_the_fields_that_the_api_server_sends() {
    let server = ApiServer::start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stamp = Stamp::new(server.authority(), "localhost", address.ip()).unwrap();
    let stamp = stamp.with_patch(json!([]));
    tokio::spawn(stamp.clone().serve(listener));
    let by_url = json!({ "url": format!("https://{address}/mutate") });
    let mut registration = Stamp::registration(server.authority(), by_url);
    registration["webhooks"][0]["rules"] = json!([
        { "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] },
        { "operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"] },
        { "operations": ["CREATE"], "apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["cronjobs"] },
    ]);
    server.namespace("gateways", &[]).await.unwrap();
    server.apply(&registration).await.unwrap();
    // Each object is created only once, and then it must be registered for.
    let mut number = 0;
    until("a first review", async || {
        number += 1;
        let pod = envoy_pod(&format!("first-{number}"), json!({}));
        create(&server, "default", &pod).await.ok();
        (!stamp.calls().is_empty()).then_some(())
    })
    .await
    .unwrap();

    let record = async |name: &str, object: Value, matches: fn(&Value) -> bool| {
        let review = until(name, async || {
            server.apply(&object).await.ok()?;
            let calls = stamp.calls();
            calls
                .into_iter()
                .map(|call| call.review)
                .find(|review| matches(&review["request"]))
        });
        let file = product::workspace().join(format!("webhook/tests/reviews/{name}.json"));
        let review = review.await.unwrap();
        if env::var_os("UPDATE_REVIEWS").is_some() {
            let text = serde_json::to_string_pretty(&review).unwrap();
            fs::write(&file, text + "\n").unwrap();
        }
        let recorded: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(fields(&recorded), fields(&review), "{name}");
    };
    record("deployment", deployment("edge", true), |request| {
        request["kind"]["kind"] == "Deployment"
    })
    .await;
    record("deployment-pod", deployment("edge", true), |request| {
        request["kind"]["kind"] == "Pod"
            && request["object"]["metadata"]["generateName"].is_string()
    })
    .await;
    record(
        "deployment-misspelt",
        deployment("misspelt", false),
        |request| request["name"] == "misspelt",
    )
    .await;
    record("misspelt-pod", deployment("misspelt", false), |request| {
        request["kind"]["kind"] == "Pod"
            && request["object"]["metadata"]["labels"]["app"] == "misspelt"
    })
    .await;
    record("cronjob", cronjob(), |request| {
        request["kind"]["kind"] == "CronJob"
    })
    .await;
    let mut plain = deployment("plain", true);
    plain["spec"]["template"]["metadata"]["annotations"] = json!({});
    record("plain-pod", plain, |request| {
        request["kind"]["kind"] == "Pod"
            && request["object"]["metadata"]["labels"]["app"] == "plain"
    })
    .await;
}

/// The places of all values. Names and times differ each time; who wrote which field has such names as
/// keys and is left out.
fn fields(review: &Value) -> BTreeSet<String> {
    fn collect(value: &Value, place: &str, places: &mut BTreeSet<String>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(object) => object
                .iter()
                .filter(|(key, _)| *key != "managedFields")
                .map(|(key, child)| (format!("{place}/{key}"), child))
                .collect(),
            Value::Array(items) => (0..)
                .zip(items)
                .map(|(index, child): (usize, _)| (format!("{place}/{index}"), child))
                .collect(),
            _ => Vec::new(),
        };
        if children.is_empty() {
            places.insert(place.to_owned());
        }
        for (place, child) in children {
            collect(child, &place, places);
        }
    }
    let mut places = BTreeSet::new();
    collect(review, "", &mut places);
    places
}

fn deployment(name: &str, right: bool) -> Value {
    let key = if right {
        "drainhook.io/min-drain"
    } else {
        "drainhook.io/min-drian"
    };
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "namespace": "gateways", "labels": { "app": name } },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": {
                    "labels": { "app": name },
                    "annotations": { "drainhook.io/inject": "true", key: "10s" },
                },
                "spec": { "containers": [{
                    "name": "envoy",
                    "image": "envoyproxy/envoy:v1.36.2",
                    "args": ["--config-path", "/etc/envoy/envoy.yaml", "--concurrency", "2"],
                    "ports": [{ "name": "http", "containerPort": 8080 }],
                    "readinessProbe": { "httpGet": { "path": "/ready", "port": 8080 } },
                    "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
                }] },
            },
        },
    })
}

fn cronjob() -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": { "name": "nightly", "namespace": "gateways" },
        "spec": { "schedule": "0 3 * * *", "jobTemplate": { "spec": { "template": {
            "metadata": { "annotations": { "drainhook.io/inject": "true" } },
            "spec": {
                "restartPolicy": "OnFailure",
                "containers": [{ "name": "app", "image": "example.org/app:1" }],
            },
        } } } },
    })
}
