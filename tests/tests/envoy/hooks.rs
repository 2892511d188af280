//! Who calls `/shutdown`, how often, and what happens to the sidecar meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;
use drainhook_tests::{
    client::Http1,
    wait::{BOUND, until},
};
use tokio::time::sleep;

use crate::stage::{Setting, Stage, WEB, holds};

/// For so long the sidecar waits for a hook after its own SIGTERM.
const LINGER: Duration = Duration::from_secs(3);

/// For so long those who wait wait for a drain to begin.
const DRAIN_BEGINS: Duration = Duration::from_secs(3);

/// For so long the sidecar holds those who wait where a drain is over and its Envoy does not end.
const ENVOY_ENDS: Duration = Duration::from_secs(3);

/// MARIN3R starts one drain per hook; Envoy Gateway #2864 had two hooks race over a file.
#[tokio::test]
async fn many_hooks_at_once_are_one_drain_and_each_is_answered() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    let slow = stage.slow().await?;
    let mut hooks = Vec::new();
    for _ in 0..20 {
        hooks.push(stage.hook().await?);
    }
    // Connections are taken in their order: when this one is answered, all hooks are in.
    stage.sidecar.get("/healthz").await?;
    let _released = stage.release(slow).await?;
    let mut reports = Vec::new();
    for hook in hooks {
        let answer = hook.answer().await?;
        assert_eq!(answer.status, 200);
        reports.push(answer.body);
    }
    reports.dedup();
    assert_eq!(reports.len(), 1, "one drain has one report: {reports:?}");
    assert_eq!(stage.posts(), ["/healthcheck/fail"]);
    Ok(())
}

#[tokio::test]
async fn a_hook_that_comes_later_joins_the_drain() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    let slow = stage.slow().await?;

    let first = stage.hook_told().await?;
    holds(&first).await;
    // Kubelets up to 1.25 put a slash before a path that has one.
    let second = stage.sidecar.hook("//shutdown").await?;
    holds(&second).await;
    assert!(!first.is_finished());
    let _released = stage.release(slow).await?;
    let (first, second) = (first.answer().await?, second.answer().await?);
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(first.body, second.body);
    assert_eq!(stage.posts(), ["/healthcheck/fail"]);
    Ok(())
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_end_the_drain() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    let slow = stage.slow().await?;

    drop(stage.hook_told().await?);
    // Still the same drain: a caller who comes back is held by it, and Envoy is not told again.
    let again = stage.hook().await?;
    holds(&again).await;
    let _released = stage.release(slow).await?;
    assert_eq!(again.answer().await?.status, 200);
    assert_eq!(stage.posts(), ["/healthcheck/fail"]);
    Ok(())
}

#[tokio::test]
async fn a_drain_whose_caller_hung_up_reports_its_end() -> Result<()> {
    let stage = Stage::with(&[]).await?;
    drop(stage.hook_told().await?);
    until("a report", async || {
        (!stage.termination_message().is_empty()).then_some(())
    })
    .await?;
    let report = stage.termination_message();
    assert!(
        report.contains("quiet") || report.contains("drained"),
        "{report}"
    );
    Ok(())
}

/// Contour #3192 and #4851, Envoy Gateway #3220 and #5832: the manager's own restart drained Envoy.
#[tokio::test]
async fn sigterm_without_a_drain_ends_the_sidecar_and_does_not_touch_envoy() -> Result<()> {
    let mut stage = Setting::new().await?.proxied().start().await?;
    let slow = stage.slow().await?;

    stage.sidecar.terminate()?;
    let status = stage.sidecar.wait(BOUND).await?;
    assert_eq!(status.code(), Some(0), "{}", stage.sidecar.log());
    assert_eq!(stage.posts(), [""; 0]);
    assert_eq!(stage.ready().await?, 200);
    let (reply, mut client) = stage.release(slow).await?;
    assert!(!reply.says_close(), "a client was told to leave: {reply:?}");
    assert_eq!(client.get("/").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_killed_sidecar_leaves_envoy_alone_and_its_successor_drains_as_ever() -> Result<()> {
    let mut stage = Setting::new().await?.proxied().start().await?;
    let mut client = Http1::connect(stage.at(WEB)).await?;
    assert!(!client.get("/").await?.says_close());
    stage.sidecar.kill()?;
    stage.sidecar.restart().await?;
    assert!(!client.get("/").await?.says_close());
    assert_eq!(stage.posts(), [""; 0]);
    assert_eq!(stage.drain().await?.status, 200);
    assert_eq!(stage.posts(), ["/healthcheck/fail"]);
    Ok(())
}

/// Envoy Gateway #9484: containers are stopped in no order, so the hook may come after our SIGTERM.
#[tokio::test]
async fn a_hook_that_comes_just_after_sigterm_is_not_refused() -> Result<()> {
    let mut stage = Stage::with(&[]).await?;
    let told = Instant::now();
    stage.sidecar.terminate()?;
    until("SIGTERM is noticed", async || {
        stage.sidecar.log().contains("told to stop").then_some(())
    })
    .await?;
    sleep(Duration::from_millis(50)).await;
    let answer = match stage.drain().await {
        Ok(answer) => answer,
        // Where this test was held up meanwhile, the sidecar has waited long enough.
        Err(_) if (LINGER..BOUND).contains(&told.elapsed()) => return Ok(()),
        Err(error) => return Err(error),
    };
    assert_eq!(answer.status, 200);
    assert_eq!(stage.ready().await?, 503, "Envoy was not drained");
    assert_eq!(stage.sidecar.wait(BOUND).await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn sigterm_during_a_drain_waits_for_its_end_and_its_answer() -> Result<()> {
    let mut stage = Stage::with(&[]).await?;
    let slow = stage.slow().await?;

    let hook = stage.hook_told().await?;
    stage.sidecar.terminate()?;
    holds(&hook).await;
    assert!(
        stage.sidecar.exited()?.is_none(),
        "the sidecar ended before the drain did"
    );
    let _released = stage.release(slow).await?;
    assert_eq!(hook.answer().await?.status, 200);
    assert_eq!(stage.sidecar.wait(BOUND).await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_caller_of_wait_is_held_until_the_drain_ends() -> Result<()> {
    let stage = Stage::with(&[]).await?;
    let slow = stage.slow().await?;

    // The kubelet calls all hooks at once, so this one may be the first.
    let asked = Instant::now();
    let wait = stage.sidecar.hook("/wait").await?;
    sleep(Duration::from_millis(200)).await;
    let hook = stage.hook_told().await?;
    // Where this test was held up meanwhile, the first one has waited long enough for a drain.
    let is_in_time = asked.elapsed() < DRAIN_BEGINS;
    let late = stage.sidecar.hook("/wait").await?;
    sleep(Duration::from_secs(6)).await;
    assert!(
        !(late.is_finished() || is_in_time && wait.is_finished()),
        "released before the drain ended"
    );
    let _released = stage.release(slow).await?;
    for hook in [hook, wait, late] {
        assert_eq!(hook.answer().await?.status, 200);
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_of_wait_outlives_envoy() -> Result<()> {
    let mut stage = Stage::with(&[]).await?;
    let asked = Instant::now();
    let hook = stage.hook_told().await?;
    let wait = stage.sidecar.hook("/wait").await?;
    hook.answer().await?;
    sleep(Duration::from_millis(500)).await;
    // Where this test was held up meanwhile, the sidecar has waited long enough.
    let released = wait.is_finished() && asked.elapsed() < ENVOY_ENDS;
    assert!(!released, "released while Envoy was there");
    stage.envoy.kill()?;
    assert_eq!(wait.answer().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn wait_starts_no_drain_and_is_answered_where_none_begins() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    let answer = stage.sidecar.hook("/wait").await?.answer().await?;
    assert_eq!(answer.status, 200);
    assert_eq!(stage.posts(), [""; 0]);
    assert_eq!(stage.ready().await?, 200);
    assert!(!stage.get("/").await?.says_close());
    Ok(())
}

#[tokio::test]
async fn health_checks_are_answered_whatever_envoy_does() -> Result<()> {
    let mut stage = Stage::with(&[]).await?;
    let healthy = async |stage: &Stage| stage.sidecar.get("/healthz").await.unwrap().status;
    assert_eq!(healthy(&stage).await, 200);
    stage.envoy.pause()?;
    assert_eq!(healthy(&stage).await, 200);
    let hook = stage.hook().await?;
    assert_eq!(healthy(&stage).await, 200);
    assert!(!hook.is_finished());
    stage.envoy.kill()?;
    hook.answer().await?;
    assert_eq!(healthy(&stage).await, 200);
    Ok(())
}
