//! The admin interface fails in ways other than being gone: what cannot be seen is unknown, and
//! unknown is never zero.

use std::time::Duration;

use anyhow::Result;
use drainhook_tests::{admin_proxy::Fault, wait::until};
use serde_json::json;

use crate::{
    arrivals::put_off_the_end,
    slow::Slow,
    stage::{Setting, Stage, holds},
};

/// Longer than the sidecar waits for one answer of the admin interface (5 s).
const HANG: Duration = Duration::from_secs(8);

#[tokio::test]
async fn an_admin_that_answers_garbage_does_not_end_the_drain() -> Result<()> {
    unknown_is_never_zero(Fault::Garbage).await
}

#[tokio::test]
async fn an_admin_that_answers_nothing_at_all_does_not_end_the_drain() -> Result<()> {
    unknown_is_never_zero(Fault::Empty).await
}

#[tokio::test]
async fn an_admin_that_breaks_off_does_not_end_the_drain() -> Result<()> {
    unknown_is_never_zero(Fault::Truncated).await
}

/// consul-dataplane #1072: any error ended the drain at once.
#[tokio::test]
async fn an_admin_that_answers_500_does_not_end_the_drain() -> Result<()> {
    unknown_is_never_zero(Fault::Status(500)).await
}

#[tokio::test]
async fn an_admin_that_does_not_speak_http_does_not_end_the_drain() -> Result<()> {
    unknown_is_never_zero(Fault::NotHttp).await
}

/// Istio #50596: one reading that timed out killed 5,630 connections.
#[tokio::test]
async fn an_admin_that_takes_requests_and_is_silent_does_not_end_the_drain() -> Result<()> {
    unknown_is_never_zero(Fault::Silence).await
}

#[tokio::test]
async fn an_answer_without_statistics_does_not_end_the_drain() -> Result<()> {
    unknown_is_never_zero(Fault::NoStats).await
}

#[tokio::test]
async fn a_slow_admin_makes_the_drain_slower_and_not_wrong() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    let slow = stage.slow().await?;
    stage.proxy().fault(Fault::Slow(Duration::from_millis(300)));
    let hook = stage.hook_told().await?;
    holds(&hook).await;
    let _released = stage.release(slow).await?;
    let answer = hook.answer().await?;
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn an_envoy_that_hangs_is_waited_for_until_the_bound() -> Result<()> {
    let bound = HANG + Duration::from_secs(4);
    let stage = &mut Stage::with(&[("--drain-timeout", &format!("{}s", bound.as_secs()))]).await?;
    let _slow = stage.slow().await?;
    let hook = stage.hook_told().await?;
    stage.envoy.pause()?;
    let begun = hook.begun();
    let answer = hook.answer().await?;
    let took = answer.at - begun;
    assert!(took >= bound - Duration::from_millis(100), "{took:?}");
    assert!(answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn an_envoy_that_hangs_for_a_while_is_drained_afterwards() -> Result<()> {
    let mut stage = Stage::with(&[]).await?;
    let slow = stage.slow().await?;
    let hook = stage.hook_told().await?;
    stage.envoy.pause()?;
    tokio::time::sleep(HANG).await;
    assert!(!hook.is_finished(), "the drain ended because Envoy hangs");
    stage.envoy.resume()?;
    holds(&hook).await;
    let (reply, _client) = stage.release(slow).await?;
    assert_eq!(reply.body, "held");
    let answer = hook.answer().await?;
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}

/// Contour #2262: the call that fails the health check was made once.
#[tokio::test]
async fn envoy_is_told_again_until_it_has_heard() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    stage.proxy().fault_on_post(Fault::Status(503));
    let hook = stage.hook().await?;
    stage.proxy().posted("/healthcheck/fail").await?;
    holds(&hook).await;
    assert_eq!(
        stage.ready().await?,
        200,
        "Envoy was told: nothing is shown"
    );
    until("more than one try", async || {
        (stage.proxy().posts().len() > 1).then_some(())
    })
    .await?;
    stage.proxy().fault_on_post(Fault::None);
    stage.told().await?;
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

/// A `stats_matcher` that hides what is needed: the drain can only wait for its bound, and says why.
#[tokio::test]
async fn hidden_statistics_are_not_zero() -> Result<()> {
    let setting = Setting::new()
        .await?
        .flag("--drain-timeout", "4s")
        .change(|bootstrap| {
            bootstrap.field(
                "stats_config",
                json!({ "stats_matcher": { "reject_all": true } }),
            )
        });
    let stage = setting.start().await?;
    let slow = stage.slow().await?;
    is_held_until_the_bound(&stage, slow).await
}

/// Listener statistics can be read, those of requests cannot.
#[tokio::test]
async fn hidden_request_statistics_are_not_zero() -> Result<()> {
    let hidden = json!({
        "stats_matcher": { "exclusion_list": { "patterns": [ { "prefix": "http." } ] } }
    });
    let setting = Setting::new().await?.flag("--drain-timeout", "4s");
    let setting = setting.change(|bootstrap| bootstrap.field("stats_config", hidden));
    let stage = setting.start().await?;
    let slow = stage.slow().await?;
    is_held_until_the_bound(&stage, slow).await
}

/// Contour #7382: a manager that gets no processor time reads late. It must not read wrongly.
#[tokio::test]
async fn a_sidecar_that_stood_still_does_not_take_the_time_for_quiet() -> Result<()> {
    let mut stage = Stage::with(&[("--quiet", "4s"), ("--idle-quiet", "4s")]).await?;
    // Where nothing ever came, nothing is waited for.
    assert_eq!(stage.get("/").await?.status, 200);
    let hook = stage.hook_told().await?;
    put_off_the_end(hook, Duration::from_secs(4), async || {
        stage.sidecar.pause()?;
        assert_eq!(stage.get("/").await?.status, 200);
        tokio::time::sleep(Duration::from_millis(700)).await;
        stage.sidecar.resume()
    })
    .await
}

/// With a `--drain-timeout` of 4 s.
async fn is_held_until_the_bound(stage: &Stage, slow: Slow) -> Result<()> {
    let hook = stage.hook().await?;
    let begun = hook.begun();
    let answer = hook.answer().await?;
    let took = answer.at - begun;
    assert!(took >= Duration::from_millis(3_900), "{took:?}");
    assert!(answer.body.contains("timeout"), "{}", answer.body);
    assert!(!slow.is_finished());
    Ok(())
}

/// A request is in flight, and the admin fails; neither that nor its recovery ends the drain, but the
/// request's end does.
async fn unknown_is_never_zero(fault: Fault) -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    let slow = stage.slow().await?;

    let hook = stage.hook_told().await?;
    stage.proxy().fault(fault);
    stage.proxy().more_requests(1).await?;
    holds(&hook).await;
    // The fault alone is left: still not known to be over.
    let (reply, _client) = stage.release(slow).await?;
    assert_eq!(reply.body, "held");
    holds(&hook).await;
    stage.proxy().fault(Fault::None);
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}
