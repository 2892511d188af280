//! What the sidecar costs: in memory, in threads, and in what it asks of Envoy.

use std::time::Duration;

use anyhow::Result;
use drainhook_tests::{
    admin_proxy::Seen, bootstrap::Listener, client::Http1, product::SIDECAR_MEMORY, wait::until,
};
use hyper::Method;

use crate::stage::{Setting, Stage, WEB, holds};

/// A large gateway's configuration.
const CLUSTERS: usize = 2_000;
const LISTENERS: u16 = 55;

/// One look at a large gateway, in bytes.
const READING: usize = 20_000;

/// No more often than this are counters read while requests are in flight.
const COUNTERS_PACE: Duration = Duration::from_millis(250);

#[tokio::test]
async fn a_drain_of_a_large_gateway_costs_little() -> Result<()> {
    let stage = large_gateway().await?;
    let mut clients = Vec::new();
    for port in ports() {
        let mut client = Http1::connect(stage.at(port)).await?;
        assert_eq!(client.get("/").await?.status, 200);
        clients.push(client);
    }
    let mut client = Http1::connect(stage.at(WEB)).await?;
    let request = client.request("/hold/slow");
    stage.upstream().arrived("slow").await?;

    let hook = stage.hook_told().await?;
    let before = stage.proxy().seen().len();
    stage.proxy().more_requests(10).await?;
    holds(&hook).await;
    let during = readings(&stage.proxy().seen()[before..]);
    assert!(!during.is_empty());
    let (counters, gauges): (Vec<_>, Vec<_>) = during.iter().partition(|seen| has_counters(seen));
    // While something is in flight counters decide nothing; they are kept fresh, at a slower pace.
    let span = during[during.len() - 1].at - during[0].at;
    let most = span.as_millis() / COUNTERS_PACE.as_millis() + 2;
    assert!(
        counters.len() as u128 <= most,
        "{} readings in {span:?}",
        counters.len()
    );
    let before = stage.proxy().seen().len();
    stage.upstream().release("slow");
    request.reply().await?;
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    let idle = readings(&stage.proxy().seen()[before..]);
    assert!(
        idle.iter().any(has_counters),
        "arrivals on idle connections were never looked at"
    );

    let peak = stage.sidecar.peak_resident_bytes()?;
    let largest = |of: &[&Seen]| {
        of.iter()
            .map(|reading| reading.body.len())
            .max()
            .unwrap_or(0)
    };
    let look = largest(&gauges) + largest(&counters);
    println!(
        "peak resident memory {peak} bytes; readings of gauges {} of at most {} bytes, \
         of counters {} of at most {} bytes",
        gauges.len(),
        largest(&gauges),
        counters.len(),
        largest(&counters),
    );
    assert!(
        look <= READING,
        "gauges and counters together are {look} bytes"
    );
    assert!(peak <= SIDECAR_MEMORY, "{peak} bytes resident");
    assert_eq!(stage.sidecar.threads()?, 1);
    Ok(())
}

#[tokio::test]
async fn a_sidecar_with_nothing_to_do_asks_nothing_and_tells_nothing() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    // It may look once at what it is to drain.
    until("that look", async || {
        stage.sidecar.log().contains("Envoy found").then_some(())
    })
    .await?;
    let before = stage.proxy().seen();
    assert!(
        before.iter().all(|seen| seen.path == "/server_info"),
        "{before:?}"
    );
    let switches = stage.sidecar.context_switches()?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        stage.proxy().seen().len(),
        before.len(),
        "Envoy is asked while nobody drains"
    );
    let woken = stage.sidecar.context_switches()? - switches;
    assert!(woken <= 10, "woken {woken} times in 5 s with nothing to do");
    Ok(())
}

#[tokio::test]
async fn after_a_drain_the_sidecar_sleeps_again() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    stage.drain().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = stage.proxy().seen().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.proxy().seen().len(), before);
    Ok(())
}

#[tokio::test]
async fn readings_come_a_few_times_a_second_and_no_more() -> Result<()> {
    let setting = Setting::new().await?.proxied();
    let stage = setting.start().await?;
    let mut client = Http1::connect(stage.at(WEB)).await?;
    let request = client.request("/hold/slow");
    stage.upstream().arrived("slow").await?;
    let hook = stage.hook_told().await?;
    stage.proxy().more_requests(2).await?;
    let before = stage.proxy().seen().len();
    let begun = std::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let took = begun.elapsed();
    let asked = stage.proxy().seen().len() - before;
    // Every 100 to 250 ms a reading, each of at most two requests.
    let most = 2 * (took.as_millis() / 100 + 1);
    assert!(asked as u128 <= most, "{asked} requests in {took:?}");
    stage.upstream().release("slow");
    request.reply().await?;
    hook.answer().await?;
    Ok(())
}

async fn large_gateway() -> Result<Stage> {
    let mut setting = Setting::bare().await?.proxied();
    for port in ports() {
        let name = format!("gateway_listener_{port}");
        let listener = Listener::http(&name, setting.at(port), "upstream");
        setting = setting.listener(listener);
    }
    let nobody = setting.at(19_999);
    setting = setting.change(|bootstrap| {
        (0..CLUSTERS).fold(bootstrap, |bootstrap, number| {
            bootstrap.cluster(&format!("namespace/service-{number}/8080"), nobody)
        })
    });
    setting.start().await
}

fn ports() -> impl Iterator<Item = u16> {
    (0..LISTENERS).map(|number| WEB + 100 * number)
}

fn readings(seen: &[Seen]) -> Vec<Seen> {
    let readings = seen.iter().filter(|seen| seen.method == Method::GET);
    readings
        .filter(|seen| seen.path.starts_with("/stats"))
        .cloned()
        .collect()
}

fn has_counters(reading: &Seen) -> bool {
    reading.body.windows(6).any(|window| window == b"_total")
}
