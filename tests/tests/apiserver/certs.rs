//! The self-managed CA against a real API server: it rotates, it is healed, several publishers do
//! not fight, and no call of the API server fails over any of it.

mod breakage;
mod latecomer;
mod owner;
mod world;

use std::{collections::BTreeSet, sync::atomic::Ordering::Relaxed, time::Duration};

use anyhow::{Context, Result};
use drainhook_certs::{Fault, Lifetimes, Publishing, Source, rotation::Event};
use drainhook_tests::{
    cluster::Version,
    process::Process,
    product,
    wait::{BOUND, until},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use self::{
    breakage::Breakage,
    latecomer::Latecomer,
    world::{World, self_managed},
};

const NAMESPACE: &str = "drainhook";
const SECRET: &str = "drainhook-ca";

/// Nothing comes due by itself: what happens is what the test does.
const QUIET: Lifetimes = Lifetimes {
    authority: Duration::from_secs(24 * 60 * 60),
    authority_rotation: Duration::from_secs(12 * 60 * 60),
    // The overlap makes them look every 200 ms.
    overlap: Duration::from_secs(2),
    leaf: Duration::from_secs(60 * 60),
    leaf_renewal: Duration::from_secs(30 * 60),
    backdate: Duration::from_secs(60),
};

/// The same for tests in which the next CA comes to sign: the API server has as long as this to learn of it.
const UNHURRIED: Lifetimes = Lifetimes {
    overlap: Duration::from_secs(10),
    ..QUIET
};

/// A CA every 21 seconds and a leaf every two. Each overlaps with its successor for longer than a machine
/// usually stands still.
const HASTY: Lifetimes = Lifetimes {
    authority: Duration::from_secs(60),
    authority_rotation: Duration::from_secs(21),
    overlap: Duration::from_secs(6),
    leaf: Duration::from_secs(9),
    leaf_renewal: Duration::from_secs(2),
    backdate: Duration::from_secs(2),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ca_rotates_many_times_and_no_call_of_the_api_server_fails() {
    const ROTATIONS: usize = 3;
    let mut world = World::start(Version::Newest, HASTY).await;
    let publishers = world.publishers(3).await;
    world.until_called().await;

    let mut authorities = BTreeSet::new();
    let (mut calls, mut failed) = (0, Vec::new());
    let mut latecomer = Latecomer::new(HASTY.overlap);
    while authorities.len() <= ROTATIONS || latecomer.late == 0 {
        authorities.extend(world.current().await);
        latecomer.call(&world).await;
        calls += 1;
        if let Err(error) = world.create().await {
            failed.push(error.to_string());
        }
    }
    assert_eq!(failed, Vec::<String>::new(), "of {calls} calls");
    assert_eq!(latecomer.failed, Vec::<String>::new());
    let leaves = ROTATIONS as u64 * 2;
    for replica in &world.replicas {
        let facts = replica.status.facts();
        assert!(facts.loads > leaves, "{facts:?}");
        assert_eq!(facts.faults.get(&Fault::Expired), None, "{facts:?}");
        assert!(replica.handshakes.load(Relaxed) > 0);
    }
    let count = |event| {
        let one = |publishing: &Publishing| publishing.facts().events.get(&event).copied();
        publishers.iter().filter_map(one).sum::<u64>()
    };
    assert_eq!(count(Event::Founded), 1);
    assert!(count(Event::Switched) >= ROTATIONS as u64);
    // Each step is taken by one of the three.
    assert!(count(Event::Started) <= count(Event::Switched) + 1);
    for never in [
        Event::Reopened,
        Event::RepairedBundle,
        Event::Salvaged,
        Event::Restored,
    ] {
        assert_eq!(count(never), 0, "{never:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_somebody_breaks_is_healed_without_a_restart_and_without_another_ca() {
    let mut world = World::start(Version::Newest, QUIET).await;
    let publishing = world.publishers(2).await;
    world.until_called().await;
    let before = world.current().await.unwrap();
    let served = world.loads();

    for breakage in Breakage::ALL {
        world.break_(breakage).await;
        let what = format!("{breakage:?} is healed");
        until(&what, async || world.is_well().await.then_some(()))
            .await
            .unwrap();
        // The API server learns of it a moment later.
        world.until_called().await;
        assert_eq!(
            world.current().await.as_ref(),
            Some(&before),
            "{breakage:?}: the same CA"
        );
    }
    assert_eq!(world.loads(), served, "the replicas did not even mint");
    let happened = |event| {
        publishing
            .iter()
            .any(|one: &Publishing| one.facts().events.contains_key(&event))
    };
    for event in [Event::Restored, Event::FilledBundle, Event::RepairedBundle] {
        assert!(happened(event), "{event:?}");
    }
    assert!(!happened(Event::Salvaged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_lost_while_no_publisher_runs_costs_no_call() {
    let mut world = World::start(Version::Newest, UNHURRIED).await;
    world.publishers(1).await;
    world.until_called().await;
    let before = world.current().await.unwrap();
    world.stop_publishers().await;
    world
        .secrets()
        .delete(SECRET, &DeleteParams::default())
        .await
        .unwrap();

    let publishing = world.publishers(2).await;
    let mut failed = Vec::new();
    until(
        "another CA signs and the lost one is published still",
        async || {
            failed.extend(world.create().await.err().map(|error| error.to_string()));
            world
                .current()
                .await
                .is_some_and(|current| current != before)
                .then_some(())
        },
    )
    .await
    .unwrap();
    for _ in 0..20 {
        failed.extend(world.create().await.err().map(|error| error.to_string()));
    }
    assert_eq!(failed, Vec::<String>::new());
    let salvaged = publishing
        .iter()
        .filter(|one| one.facts().events.contains_key(&Event::Salvaged));
    assert_eq!(salvaged.count(), 1);
    assert_eq!(world.phase().await.as_deref(), Some("switched"));
    assert!(world.secret_text("previous.crt").await.contains(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_publishers_that_start_at_once_make_one_ca_and_then_leave_everything_alone() {
    let mut world = World::start(Version::Newest, QUIET).await;
    let publishing = world.publishers(8).await;
    // Each may find it right before the last write is over.
    until("all of them find everything right", async || {
        let facts = || publishing.iter().map(Publishing::facts);
        let written: u64 = facts().map(|one| one.secret_writes).sum();
        (facts().all(|one| one.right) && written >= 2).then_some(())
    })
    .await
    .unwrap();
    let before = world.versions().await;
    // Each of them looks some ten times meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.versions().await, before);
    let facts: Vec<_> = publishing.iter().map(Publishing::facts).collect();
    let sum = |count: fn(&drainhook_certs::PublisherFacts) -> u64| facts.iter().map(count).sum();
    assert_eq!(
        facts
            .iter()
            .filter(|one| one.events.contains_key(&Event::Founded))
            .count(),
        1
    );
    let (secret, configurations): (u64, u64) = (
        sum(|one| one.secret_writes),
        sum(|one| one.configuration_writes),
    );
    // The CA, and that it is published; each configuration once.
    assert_eq!((secret, configurations), (2, 2));
    assert_eq!(sum(|one| one.failures), 0u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_somebody_asks_for_happens_once() {
    let mut world = World::start(Version::Newest, UNHURRIED).await;
    world.publishers(2).await;
    world.until_called().await;
    let before = world.current().await.unwrap();
    let annotation = json!({"metadata": {"annotations": {"drainhook.io/rotate": "please"}}});
    world.merge_secret(annotation).await;
    let mut failed = Vec::new();
    until("the switch", async || {
        failed.extend(world.create().await.err().map(|error| error.to_string()));
        (world.phase().await.as_deref() == Some("switched")).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(failed, Vec::<String>::new());
    assert_ne!(world.current().await.unwrap(), before);
    assert_eq!(world.secret_text("rotate").await, "please");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_mints_on_while_the_api_server_is_away() {
    let lifetimes = Lifetimes {
        authority: Duration::from_secs(600),
        authority_rotation: Duration::from_secs(50),
        ..HASTY
    };
    let mut world = World::start(Version::Newest, lifetimes).await;
    world.publishers(1).await;
    world.until_called().await;
    world.server.control_plane().api_server().kill().unwrap();
    let before = world.loads();
    until("three leaves without an API server", async || {
        let now = world.loads();
        now.iter()
            .zip(&before)
            .all(|(now, before)| *now >= before + 3)
            .then_some(())
    })
    .await
    .unwrap();
    for replica in &world.replicas {
        let facts = replica.status.facts();
        assert!(facts.expires_in(std::time::SystemTime::now()).unwrap() > 0.0);
        assert!(replica.status.ready() && facts.standing.contains_key(&Fault::Disconnected));
        assert_eq!(facts.standing.len(), 1, "{:?}", facts.standing);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_needs_no_more_rights_than_its_own_objects_by_name() {
    for version in [Version::Newest, Version::Oldest] {
        let world = World::start_without_replicas(version).await;
        let mut process = publisher(&world, publisher_rules()).await;
        until("every caBundle is written", async || {
            let bundles = world.bundles().await;
            let current = world.current().await?;
            bundles
                .iter()
                .all(|bundle| *bundle == current)
                .then_some(())
        })
        .await
        .unwrap();
        assert!(!process.log().contains("PRIVATE KEY"));

        let page = plain_page(&process, "/metrics").await.unwrap();
        assert!(
            page.contains("drainhook_publisher_events_total{event=\"founded\"} 1"),
            "{page}"
        );
        until("it says that it is ready", async || {
            let page = plain_page(&process, "/readyz").await.ok()?;
            page.contains("every caBundle is right").then_some(())
        })
        .await
        .unwrap();

        // The readers read, and nothing else.
        let reader = world
            .server
            .user_with_rules("reader", &rules(reader_rules()))
            .await
            .unwrap();
        let client = world.server.client_for(&reader).await.unwrap();
        let options = self_managed(QUIET);
        let Source {
            status, background, ..
        } = Source::self_managed(client.clone(), options);
        let background = tokio::spawn(background);
        status.wait_ready().await;
        background.abort();
        let secrets = Api::<Secret>::namespaced(client, NAMESPACE);
        let refused = secrets
            .delete(SECRET, &DeleteParams::default())
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("forbidden"), "{refused}");

        process.terminate().unwrap();
        let status = process.wait(BOUND).await.unwrap();
        assert!(status.success(), "{status}");
    }
}

/// `drainhook certs` as a user with these rights and no others.
async fn publisher(world: &World, rights: Value) -> Process {
    let user = world
        .server
        .user_with_rules("publisher", &rules(rights))
        .await
        .unwrap();
    let kubeconfig = world.server.kubeconfig_for("publisher", &user).unwrap();
    let mut command = std::process::Command::new(product::drainhook().unwrap());
    command.args(["certs", "--bind", "127.0.0.1", "--plain-port", "0"]);
    command
        .env("KUBECONFIG", kubeconfig)
        .env("DRAINHOOK_NAMESPACE", NAMESPACE);
    Process::spawn("drainhook certs", command).unwrap()
}

/// What the publisher may do; each verb is needed.
fn publisher_rules() -> Value {
    json!([
        // get and patch: the CA. list and watch: to be told when it is touched. create: a
        // server-side apply of what does not exist is a creation of that name.
        {
            "apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET],
            "verbs": ["get", "list", "watch", "create", "patch"],
        },
        // The same without create.
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
            "resourceNames": ["drainhook"],
            "verbs": ["get", "list", "watch", "patch"],
        },
    ])
}

fn reader_rules() -> Value {
    json!([{
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET],
        "verbs": ["list", "watch"],
    }])
}

fn rules(rules: Value) -> Vec<k8s_openapi::api::rbac::v1::PolicyRule> {
    serde_json::from_value(rules).unwrap()
}

/// A page of the plain port that the process says it has bound.
async fn plain_page(process: &Process, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let log = process.log();
    let began = log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["plain"].as_str().map(str::to_owned)
    });
    let mut stream = TcpStream::connect(began.context("no port in the log")?).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}
