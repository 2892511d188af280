//! Whatever is sent by whomever, the memory limit of the chart holds, and others are answered.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use drainhook_tests::{product, wait::until};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::stage::{Client, REVIEW, Server, whole};

/// Bytes: what the server reads of a body.
const LONGEST: usize = 7 * 1024 * 1024;

/// Addresses that send as much as they can, with so many connections each.
const PEERS: u8 = 12;
const CONNECTIONS: usize = 4;

/// Addresses that only hold connections, with so many each.
const IDLERS: u8 = 10;
const IDLE_CONNECTIONS: usize = 60;

/// A call and its repetitions after a 429: client-go's default is ten of them.
const TRIES: u32 = 11;

/// What the server gives a handshake and a body before it gives a connection up: what it ends earlier is not ended
/// by a slow machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the server asks for with a 429.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_stays_within_the_memory_limit_of_the_chart_and_keeps_nobody_out() {
    let values = fs::read_to_string(product::workspace().join("manifests/chart/values.yaml"));
    let values: Value = serde_saphyr::from_str(&values.unwrap()).unwrap();
    let limits = &values["server"]["limits"];
    let flags = [
        format!("--max-body-memory={}", limits["bodyMemory"]),
        format!("--max-connections={}", limits["connections"]),
        format!("--max-requests={}", limits["requests"]),
    ];
    let limit = kilobytes(
        values["server"]["resources"]["limits"]["memory"]
            .as_str()
            .unwrap(),
    );
    let server = Server::start(&flags.each_ref().map(String::as_str)).await;
    let client = server.client();

    let mut idle = Vec::new();
    for number in 0..IDLERS {
        let idler = client.from([127, 0, 6, number]);
        for _ in 0..IDLE_CONNECTIONS {
            idle.push(idler.connect_tls().await.unwrap());
        }
    }
    let done = Arc::new(AtomicBool::new(false));
    let many = format!("[{}{{}}]", "{},".repeat(18_000));
    let bodies: [Arc<str>; 3] = [
        // As much text as there may be.
        format!("{REVIEW}{}", " ".repeat(LONGEST - REVIEW.len())).into(),
        // As large a tree as there may be of one review, beside the pod and in it.
        REVIEW
            .replacen('{', &format!("{{\"unknown\":{many},"), 1)
            .into(),
        inside_the_pod(&many).into(),
    ];
    let mut flood = JoinSet::new();
    for number in 0..PEERS {
        for connection in 0..CONNECTIONS {
            let body = bodies[connection % bodies.len()].clone();
            let peer = client.from([127, 0, 5, number]);
            flood.spawn(pour(peer, body, done.clone()));
        }
    }
    until("a full budget", async || {
        let held = server
            .metric("drainhook_admission_held_max_bytes", &[])
            .await;
        (held > 32.0 * 1024.0 * 1024.0).then_some(())
    })
    .await
    .unwrap();
    let mut tries = 0;
    for _ in 0..100 {
        tries += patiently(&client).await;
    }
    done.store(true, Relaxed);
    let answered: usize = flood.join_all().await.into_iter().sum();
    assert!(answered > 50, "{answered}");
    let peak = peak(server.process.pid());
    println!("peak {peak} kB of {limit} kB, {answered} answers to the flood, {tries} tries");
    assert!(peak < limit, "{peak} kB of {limit} kB");
    drop(idle);
    client.ask().await.unwrap().patched().unwrap();
    let panics = server.metric("drainhook_admission_panics_total", &[]).await;
    assert_eq!(panics, 0.0);
}

/// Asks as the API server's client does, which comes again when it is told to, and not for ever. Returns how
/// often it has asked.
async fn patiently(client: &Client) -> u32 {
    for tried in 1..=TRIES {
        let began = Instant::now();
        match client.ask().await {
            Ok(answer) if answer.status == 429 => {}
            Ok(answer) if answer.status == 200 => {
                answer.patched().unwrap();
                return tried;
            }
            other => assert!(began.elapsed() >= PATIENCE, "{other:?}"),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    panic!("asked to come again {TRIES} times");
}

/// Sends this again and again. Returns how often it was answered, whatever.
async fn pour(client: Client, body: Arc<str>, done: Arc<AtomicBool>) -> usize {
    let mut answered = 0;
    while !done.load(Relaxed) {
        let Ok(mut connection) = client.connect().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while let Ok(answer) = connection.send(whole(body.as_bytes().to_vec())).await {
            assert!(
                [200, 408, 413, 429].contains(&answer.status.as_u16()),
                "{answer:?}"
            );
            answered += 1;
            if answer.is_last || done.load(Relaxed) {
                break;
            }
        }
    }
    answered
}

/// A review of a pod that gets its drain, with this in a field that nobody knows.
fn inside_the_pod(text: &str) -> String {
    let mut review: Value = serde_json::from_str(REVIEW).unwrap();
    review["request"]["object"]["spec"]["unknown"] = "HERE".into();
    review.to_string().replace("\"HERE\"", text)
}

/// The most kB that were ever resident.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.unwrap().parse().unwrap()
}

/// Of a quantity in Mi.
fn kilobytes(quantity: &str) -> u64 {
    let number: u64 = quantity.strip_suffix("Mi").unwrap().parse().unwrap();
    number * 1024
}
