//! When a drain that waits for quiet is over.

use std::time::{Duration, Instant};

use anyhow::Result;
use drainhook_tests::{client::Http1, sidecar::Hook};

use crate::stage::{LONG_ENOUGH, Setting, Stage, WEB, holds};

#[tokio::test]
async fn a_drain_does_not_end_before_its_floor() -> Result<()> {
    let stage = Stage::with(&[("--min-drain", "4s")]).await?;
    let hook = stage.hook_told().await?;
    holds(&hook).await;
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
    let stage = Stage::with(&[]).await?;
    let hook = stage.hook().await?;
    let begun = hook.begun();
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    assert!(
        answer.at - begun < Duration::from_secs(10),
        "{:?}",
        answer.at - begun
    );
    Ok(())
}

#[tokio::test]
async fn envoy_is_not_told_before_the_delay_is_over() -> Result<()> {
    let setting = Setting::new().await?.proxied().flag("--drain-delay", "3s");
    let stage = setting.start().await?;
    let hook = stage.hook().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.ready().await?, 200);
    assert!(!stage.get("/").await?.says_close());
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
    let hook = stage.hook_told().await?;
    let (arrived, ended) = after_some(&hook, async || {
        stage.get("/").await?;
        Ok(())
    })
    .await?;
    let answer = hook.answer().await?;
    assert!(!ended, "the drain ended while connections came");
    assert!(
        answer.at - arrived >= Duration::from_secs(3),
        "{:?}",
        answer.at - arrived
    );
    Ok(())
}

#[tokio::test]
async fn a_request_on_an_idle_connection_extends_the_drain_by_the_idle_quiet_time() -> Result<()> {
    let stage = Stage::with(&[("--idle-quiet", "3s")]).await?;
    // Connections that ignore `Connection: close` are closed by Envoy, so each one has one request.
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Http1::connect(stage.at(WEB)).await?;
        client.get("/").await?;
        clients.push(client);
    }
    let hook = stage.hook_told().await?;
    let (asked, ended) = after_some(&hook, async || {
        let mut client = clients.pop().expect("a connection for each");
        assert_eq!(client.get("/").await?.status, 200);
        Ok(())
    })
    .await?;
    let answer = hook.answer().await?;
    assert!(!ended, "the drain ended while requests came");
    assert!(
        answer.at - asked >= Duration::from_secs(3),
        "{:?}",
        answer.at - asked
    );
    Ok(())
}

#[tokio::test]
async fn arrivals_that_never_stop_hold_up_the_end_no_longer_than_asked() -> Result<()> {
    let stage = Stage::with(&[("--arrivals-timeout", "2s"), ("--idle-quiet", "10ms")]).await?;
    let hook = stage.hook_told().await?;
    // As the health checks of a load balancer.
    while !hook.is_finished() {
        assert_eq!(stage.get("/").await?.status, 200);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(
            hook.begun().elapsed() < Duration::from_secs(30),
            "arrivals hold it up for ever"
        );
    }
    let begun = hook.begun();
    let answer = hook.answer().await?;
    assert!(answer.at - begun >= Duration::from_secs(2));
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn a_request_that_never_ends_is_left_at_the_bound_and_reported() -> Result<()> {
    let stage = Stage::with(&[("--drain-timeout", "3s")]).await?;
    let slow = stage.slow().await?;

    let hook = stage.hook().await?;
    let begun = hook.begun();
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    let took = answer.at - begun;
    assert!(took >= Duration::from_millis(2_900), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
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

/// The end is due when the last request has been over for `--idle-quiet`. An idle machine is there
/// within half a second; the figure is printed.
#[tokio::test]
async fn the_drain_ends_soon_after_it_is_due() -> Result<()> {
    let stage = Stage::with(&[("--idle-quiet", "1s"), ("--quiet", "2s")]).await?;
    let slow = stage.slow().await?;
    let hook = stage.hook_told().await?;
    holds(&hook).await;
    let _released = stage.release(slow).await?;
    let due = Instant::now() + Duration::from_secs(1);
    let answer = hook.answer().await?;
    let late = answer.at.saturating_duration_since(due);
    println!("{late:?} after it was due");
    assert!(late < Duration::from_secs(5), "{late:?} after it was due");
    Ok(())
}

/// Does something five times, for longer in all than a drain takes that waits for nothing; says when
/// the last one began, and whether the hook was answered by then.
async fn after_some(
    hook: &Hook,
    mut something: impl AsyncFnMut() -> Result<()>,
) -> Result<(Instant, bool)> {
    let mut last = Instant::now();
    for _ in 0..5 {
        last = Instant::now();
        something().await?;
        tokio::time::sleep(LONG_ENOUGH / 5).await;
    }
    Ok((last, hook.is_finished()))
}
