//! Envoy ends, starts again, or never does.

use std::time::Duration;

use anyhow::Result;
use drainhook_tests::{
    address::Loopback,
    bootstrap::Listener,
    sidecar::{self, Answer},
    wait::until,
};

use crate::stage::{Setting, Stage, WEB, holds};

/// What makes two processes different even where clocks are read in whole seconds.
const AGE: Duration = Duration::from_secs(4);

/// So long a drain waits for an Envoy that was never there.
const STARTUP: Duration = Duration::from_secs(10);

/// Istio #36686: Envoy had exited, and its agent waited on.
#[tokio::test]
async fn a_drain_is_over_at_once_when_envoy_is_gone() -> Result<()> {
    let mut stage = Stage::with(&[]).await?;
    let _socket = stage.websocket().await?;
    let hook = stage.hook_told().await?;
    holds(&hook).await;
    stage.envoy.kill()?;
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    is_gone(&answer);
    Ok(())
}

#[tokio::test]
async fn an_envoy_that_ended_before_the_hook_needs_no_drain() -> Result<()> {
    let mut stage = Stage::with(&[]).await?;
    until("a first look", async || {
        stage.sidecar.log().contains("Envoy found").then_some(())
    })
    .await?;
    stage.envoy.kill()?;
    let answer = stage.drain().await?;
    assert_eq!(answer.status, 200);
    is_gone(&answer);
    Ok(())
}

#[tokio::test]
async fn an_envoy_that_restarts_during_a_drain_is_told_nothing() -> Result<()> {
    let mut stage = Stage::with(&[]).await?;
    let _socket = stage.websocket().await?;
    let hook = stage.hook_told().await?;
    // Envoy tells its age in whole seconds, so it must have one.
    tokio::time::sleep(AGE).await;
    assert!(!hook.is_finished());
    // The sidecar sees no gap: between two looks there is another process.
    stage.restart_envoy_unseen().await?;

    let answer = hook.answer().await?;
    is_gone(&answer);
    assert_eq!(stage.ready().await?, 200);
    assert!(!stage.get("/").await?.says_close());
    Ok(())
}

/// The smallest of gaps: told, and not looked at yet.
#[tokio::test]
async fn an_envoy_that_restarts_just_after_it_was_told_is_told_nothing() -> Result<()> {
    let mut stage = Stage::with(&[("--min-drain", "60s")]).await?;
    tokio::time::sleep(AGE).await;
    let hook = stage.hook_told().await?;
    stage.restart_envoy_unseen().await?;

    let answer = hook.answer().await?;
    is_gone(&answer);
    assert_eq!(stage.ready().await?, 200);
    Ok(())
}

#[tokio::test]
async fn an_envoy_that_restarts_before_it_was_told_is_told_nothing() -> Result<()> {
    let setting = Setting::new().await?.proxied().flag("--drain-delay", "8s");
    let mut stage = setting.start().await?;
    tokio::time::sleep(AGE).await;
    let hook = stage.hook().await?;
    stage.proxy().more_requests(1).await?;
    stage.restart_envoy_unseen().await?;

    let answer = hook.answer().await?;
    is_gone(&answer);
    assert_eq!(stage.posts(), [""; 0]);
    assert_eq!(stage.ready().await?, 200);
    Ok(())
}

#[tokio::test]
async fn an_envoy_that_restarts_after_a_drain_can_be_drained_again() -> Result<()> {
    let mut stage = Setting::new().await?.proxied().start().await?;
    assert_eq!(stage.drain().await?.status, 200);
    stage.envoy.restart().await?;
    assert_eq!(stage.ready().await?, 200);

    let slow = stage.slow().await?;
    let hook = stage.hook_told().await?;
    holds(&hook).await;
    let (reply, _client) = stage.release(slow).await?;
    assert!(reply.says_close());
    let answer = hook.answer().await?;
    assert!(!answer.body.contains("envoy-gone"), "{}", answer.body);
    assert_eq!(stage.posts(), ["/healthcheck/fail", "/healthcheck/fail"]);
    Ok(())
}

/// Contour #2665: Envoy never ran, and its manager asked for ever.
#[tokio::test]
async fn an_envoy_that_never_ran_needs_no_drain() -> Result<()> {
    let address = Loopback::claim()?;
    let sidecar = sidecar::Start::at(address.port(8090))
        .flag("--admin", address.port(9901).to_string())
        .flag("--host-network", "true")
        .run()
        .await?;
    let hook = sidecar.hook("/shutdown").await?;
    let begun = hook.begun();
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    let took = answer.at - begun;
    assert!(
        took >= STARTUP,
        "an Envoy that is slow to start was given up after {took:?}"
    );
    is_gone(&answer);
    Ok(())
}

/// Its listeners wait for a control plane that is not there; the admin interface is there already.
#[tokio::test]
async fn an_envoy_that_never_came_up_needs_no_drain() -> Result<()> {
    let setting = Setting::bare().await?;
    let nobody = setting.at(19_999);
    let setting = setting.change(|bootstrap| bootstrap.listeners_from(nobody));
    let stage = setting.initializing().start().await?;
    let info = stage.admin.get("/server_info").await?;
    assert!(info.body.contains("INITIALIZING"), "{}", info.body);

    let answer = stage.drain().await?;
    assert_eq!(answer.status, 200);
    is_gone(&answer);
    Ok(())
}

#[tokio::test]
async fn an_envoy_that_comes_up_while_the_drain_begins_is_drained() -> Result<()> {
    let mut stage = Stage::with(&[]).await?;
    stage.envoy.kill()?;
    // Another one, which has never seen an Envoy.
    stage.sidecar.restart().await?;
    let hook = stage.hook().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.envoy.restart().await?;
    let took = hook.begun().elapsed();
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    // One that has taken longer, as on a machine that was held up, may have been given up.
    assert!(
        stage.ready().await? == 503 || took > STARTUP / 2,
        "Envoy was not drained: {}",
        answer.body
    );
    Ok(())
}

#[tokio::test]
async fn the_admin_interface_may_be_a_unix_socket() -> Result<()> {
    let stage = Setting::new().await?.admin_socket().start().await?;
    let slow = stage.slow().await?;
    stage.drain_behind(slow).await?;
    Ok(())
}

#[tokio::test]
async fn a_socket_file_whose_envoy_is_dead_is_no_envoy() -> Result<()> {
    let mut stage = Setting::new().await?.admin_socket().start().await?;
    let _socket = stage.websocket().await?;
    let hook = stage.hook_told().await?;
    holds(&hook).await;
    stage.envoy.kill()?;
    let drainhook_tests::envoy::Admin::Unix(path) = &stage.admin else {
        panic!("not a socket")
    };
    assert!(
        path.exists(),
        "Envoy took the file with it: nothing is shown"
    );
    let answer = hook.answer().await?;
    is_gone(&answer);
    assert!(path.exists());
    Ok(())
}

/// The listener is gone from Envoy's configuration, its connections may still be there.
#[tokio::test]
async fn an_envoy_without_listeners_is_drained_at_its_floor() -> Result<()> {
    let stage = Setting::bare().await?.start().await?;
    let answer = stage.drain().await?;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn listeners_that_were_never_used_are_empty() -> Result<()> {
    let setting = Setting::bare().await?;
    let web = Listener::http("web", setting.at(WEB), "upstream");
    let stage = setting.listener(web).start().await?;
    let answer = stage.drain().await?;
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}

/// The drain ended because its Envoy had.
fn is_gone(answer: &Answer) {
    assert!(answer.body.contains("envoy-gone"), "{}", answer.body);
}
