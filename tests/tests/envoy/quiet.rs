//! When a drain that waits for quiet is over.

use std::time::{Duration, Instant};

use anyhow::Result;
use drainhook_tests::{client::Http1, wait::within};
use tokio::time::sleep;

use crate::{
    arrivals::{TIMES, put_off_the_end},
    stage::{Setting, Stage, WEB, holds},
};

/// Longer than any test waits for an answer.
const NEVER: &str = "200s";

#[tokio::test]
async fn a_drain_does_not_end_before_its_floor() -> Result<()> {
    let stage = Stage::with(&[("--min-drain", "4s")]).await?;
    let hook = stage.hook().await?;
    let begun = hook.begun();
    let answer = hook.answer().await?;
    assert!(
        answer.at - begun >= Duration::from_secs(4),
        "{:?}",
        answer.at - begun
    );
    Ok(())
}

/// Contour #4422: pods that nobody uses waited for a minute.
#[tokio::test]
async fn a_pod_that_nobody_uses_is_drained_at_its_floor() -> Result<()> {
    let stage = Stage::with(&[("--quiet", NEVER), ("--idle-quiet", NEVER)]).await?;
    let answer = stage.drain().await?;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("drained"), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn envoy_is_not_told_before_the_delay_is_over() -> Result<()> {
    let setting = Setting::new().await?.proxied().flag("--drain-delay", "3s");
    let stage = setting.start().await?;
    let hook = stage.hook().await?;
    let begun = hook.begun();
    let answer = hook.answer().await?;
    assert!(answer.at - begun >= Duration::from_secs(3));
    let told = stage
        .proxy()
        .seen()
        .into_iter()
        .find(|seen| seen.path == "/healthcheck/fail");
    assert!(told.expect("Envoy was told").at - begun >= Duration::from_secs(3));
    Ok(())
}

#[tokio::test]
async fn a_connection_that_arrives_extends_the_drain_by_the_quiet_time() -> Result<()> {
    let stage = Stage::with(&[("--quiet", "3s")]).await?;
    stage.get("/").await?;
    let hook = stage.hook_told().await?;
    put_off_the_end(hook, Duration::from_secs(3), async || {
        stage.get("/").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_request_on_an_idle_connection_extends_the_drain_by_the_idle_quiet_time() -> Result<()> {
    let stage = Stage::with(&[("--idle-quiet", "3s")]).await?;
    // Connections that ignore `Connection: close` are closed by Envoy, so each one has one request.
    let mut clients = Vec::new();
    for _ in 0..TIMES {
        let mut client = Http1::connect(stage.at(WEB)).await?;
        client.get("/").await?;
        clients.push(client);
    }
    let hook = stage.hook_told().await?;
    put_off_the_end(hook, Duration::from_secs(3), async || {
        let mut client = clients.pop().expect("a connection for each");
        assert_eq!(client.get("/").await?.status, 200);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn arrivals_that_never_stop_hold_up_the_end_no_longer_than_asked() -> Result<()> {
    // Without the bound the first of them alone would hold it up for longer than this test waits.
    let stage = Stage::with(&[("--arrivals-timeout", "2s"), ("--quiet", NEVER)]).await?;
    assert_eq!(stage.get("/").await?.status, 200);
    let hook = stage.hook_told().await?;
    let begun = hook.begun();
    // As the health checks of a load balancer.
    let checks = async {
        while !hook.is_finished() {
            assert_eq!(stage.get("/").await?.status, 200);
            sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    };
    within("a drain to which somebody comes for ever", checks).await??;
    let answer = hook.answer().await?;
    assert!(answer.at - begun >= Duration::from_secs(2));
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn a_request_that_never_ends_is_left_at_the_bound_and_reported() -> Result<()> {
    let stage = Stage::with(&[("--drain-timeout", "10s")]).await?;
    let slow = stage.slow().await?;

    let hook = stage.hook().await?;
    let begun = hook.begun();
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    let took = answer.at - begun;
    assert!(took >= Duration::from_millis(9_900), "{took:?}");
    assert!(!slow.is_finished());
    assert!(answer.body.contains("timeout"), "{}", answer.body);
    assert!(
        answer.body.contains("web") || answer.body.contains("8080"),
        "{}",
        answer.body
    );
    Ok(())
}

/// The cap is for connections that are not HTTP. A request gets all the time there is.
#[tokio::test]
async fn the_upgrade_timeout_does_not_cut_requests() -> Result<()> {
    let stage = Stage::with(&[("--upgrade-timeout", "500ms")]).await?;
    let _socket = stage.websocket().await?;
    let slow = stage.slow().await?;

    let hook = stage.hook_told().await?;
    holds(&hook).await;
    let (reply, _client) = stage.release(slow).await?;
    assert_eq!(reply.body, "held");
    let answer = hook.answer().await?;
    assert!(answer.body.contains("capped"), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn enough_open_connections_may_stay_where_the_user_says_so() -> Result<()> {
    let stage = Stage::with(&[("--min-open-connections", "1")]).await?;
    let slow = stage.slow().await?;
    let answer = stage.drain().await?;
    assert_eq!(answer.status, 200);
    assert!(!slow.is_finished());
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}

/// The end is due when the last request has been over for `--idle-quiet`. An idle machine is there within half a
/// second; the figure is printed. Judged by the sidecar's looks: it notices the end of the request at the second
/// one afterwards, and from then on it counts the time. Of the looks that come here when that time is over one may
/// have been on its way, and the next one decides.
#[tokio::test]
async fn the_drain_ends_soon_after_it_is_due() -> Result<()> {
    let idle_quiet = Duration::from_secs(1);
    let setting = Setting::new().await?.proxied().flag("--idle-quiet", "1s");
    let stage = setting.start().await?;
    let slow = stage.slow().await?;
    let hook = stage.hook_told().await?;
    holds(&hook).await;
    let _released = stage.release(slow).await?;
    let over = Instant::now();
    let answer = hook.answer().await?;
    let late = answer.at.saturating_duration_since(over + idle_quiet);
    println!("{late:?} after it was due");
    let seen = stage.proxy().seen();
    let looks = seen.iter().filter(|seen| seen.path.contains("type=Gauges"));
    let looks: Vec<_> = looks.map(|look| look.at).filter(|at| *at > over).collect();
    let due = looks.get(2).map_or(answer.at, |at| *at + idle_quiet);
    let afterwards = looks.iter().filter(|at| **at >= due).count();
    assert!(afterwards <= 3, "{afterwards} looks after it was due");
    Ok(())
}
