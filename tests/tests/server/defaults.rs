//! The installation's defaults, changed under a server that runs, as the kubelet and people do it.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use drainhook_tests::{volume::Volume, wait::until};
use serde_json::Value;

use crate::stage::{Answer, Client, Server};

const FILE: &str = "defaults.yaml";

/// What the sidecar is told of its bound.
const BOUND: &str = "SHUTDOWN_MANAGER_DRAIN_TIMEOUT";

#[tokio::test]
async fn each_swap_of_the_mounted_file_counts_for_the_reviews_that_follow() {
    let directory = tempfile::tempdir().unwrap();
    let (mut mounted, server) = mounted(directory.path()).await;
    let client = server.client();
    // One connection goes through all of it, as the API server keeps its own.
    let mut kept = client.connect().await.unwrap();
    assert_eq!(bound(&kept.ask().await.unwrap()).as_deref(), Some("60s"));
    for seconds in [61, 62, 63] {
        let text = format!("drain-timeout: {seconds}s");
        mounted.swap(&[(FILE, &text)]).unwrap();
        until_bound(&client, &format!("{seconds}s")).await;
        let answer = kept.ask().await.unwrap();
        assert_eq!(bound(&answer), Some(format!("{seconds}s")));
    }
    // What is no longer said is drainhook's own again.
    mounted.swap(&[(FILE, "")]).unwrap();
    until_bound(&client, "300s").await;
    assert_eq!(reloads(&server, "loaded").await, 5.0);
    assert_eq!(reloads(&server, "kept").await, 0.0);
}

#[tokio::test]
async fn a_faulty_file_leaves_the_last_good_one_in_use_and_is_told_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let (mut mounted, server) = mounted(directory.path()).await;
    let client = server.client();
    until_bound(&client, "60s").await;
    for (number, (text, says)) in [
        ("drain-timeout: soon", "soon"),
        ("drain-timeuot: 70s", "drain-timeuot"),
        ("drain-timeout: [70s", "not YAML"),
        // Right one by one.
        ("{drain-timeout: 70s, min-drain: 80s}", "min-drain"),
    ]
    .into_iter()
    .enumerate()
    {
        mounted.swap(&[(FILE, text)]).unwrap();
        let faults = number as f64 + 1.0;
        until(says, async || {
            (reloads(&server, "kept").await >= faults).then_some(())
        })
        .await
        .unwrap();
        let answer = client.ask().await.unwrap();
        assert_eq!(bound(&answer).as_deref(), Some("60s"), "{text}");
        let told = String::from_utf8_lossy(&answer.body);
        assert!(
            told.contains("defaults are faulty, the last good ones are used"),
            "{told}"
        );
        let page = server.page("/readyz?verbose").await.unwrap();
        assert!(
            page.starts_with("HTTP/1.1 200") && page.contains(says),
            "{says}: {page}"
        );
        assert!(server.process.log().contains(says), "{says}");
    }
    mounted.swap(&[(FILE, "drain-timeout: 70s")]).unwrap();
    until_bound(&client, "70s").await;
    let answer = client.ask().await.unwrap();
    assert!(!String::from_utf8_lossy(&answer.body).contains("faulty"));
}

/// Where no kubelet is in between: an editor renames, a shell writes in place.
#[tokio::test]
async fn a_plain_file_may_be_replaced_rewritten_and_missing_for_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    fs::write(&file, "drain-timeout: 60s").unwrap();
    let server = server(&file).await;
    let client = server.client();
    until_bound(&client, "60s").await;

    let next = directory.path().join("next");
    fs::write(&next, "drain-timeout: 61s").unwrap();
    fs::rename(&next, &file).unwrap();
    until_bound(&client, "61s").await;

    fs::remove_file(&file).unwrap();
    until("the fault", async || {
        (reloads(&server, "kept").await >= 1.0).then_some(())
    })
    .await
    .unwrap();
    until_bound(&client, "61s").await;

    fs::write(&file, "drain-timeout: 62s").unwrap();
    until_bound(&client, "62s").await;
    fs::write(&file, "drain-timeout: 63s").unwrap();
    until_bound(&client, "63s").await;
}

/// A server with a file of defaults in a volume, as the kubelet mounts it.
async fn mounted(directory: &Path) -> (Volume, Server) {
    let place = directory.join("defaults");
    let mounted = Volume::mount(place, &[(FILE, "drain-timeout: 60s")]).unwrap();
    let server = server(&mounted.file(FILE)).await;
    (mounted, server)
}

async fn server(defaults: &Path) -> Server {
    Server::start(&[&format!("--defaults={}", defaults.display())]).await
}

async fn until_bound(client: &Client, wanted: &str) {
    until(&format!("a bound of {wanted}"), async || {
        let answer = client.ask().await.ok()?;
        (bound(&answer).as_deref() == Some(wanted)).then_some(())
    })
    .await
    .unwrap();
}

async fn reloads(server: &Server, result: &str) -> f64 {
    let labels = [("result", result)];
    server
        .metric("drainhook_defaults_reloads_total", &labels)
        .await
}

/// The bound of the drain that an answer gives its pod.
fn bound(answer: &Answer) -> Option<String> {
    let review: Value = serde_json::from_slice(&answer.body).ok()?;
    let patch = BASE64.decode(review["response"]["patch"].as_str()?).ok()?;
    let patch: Value = serde_json::from_slice(&patch).ok()?;
    let variables = patch.as_array()?.iter().filter_map(|operation| {
        let sidecar = &operation["value"];
        // It is appended, or the first of a list.
        let container = sidecar.get(0).unwrap_or(sidecar);
        container["env"].as_array()
    });
    let bound = variables
        .flatten()
        .find(|variable| variable["name"] == BOUND)?;
    Some(bound["value"].as_str()?.to_owned())
}
