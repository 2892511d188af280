//! Several Envoys in a pod, and one sidecar beside them.

use std::time::Duration;

use anyhow::{Result, anyhow};
use drainhook_tests::{
    client::Http1,
    sidecar::{self, Hook, Sidecar},
};

use crate::stage::{Setting, Stage, WEB, holds};

/// Hooks that come within 2 s are the end of the pod; this is clearly later.
const LATER: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_hook_with_a_name_drains_that_envoy_alone() -> Result<()> {
    let pod = Pod::start().await?;
    let answer = pod.sidecar.hook("//shutdown/inner").await?.answer().await?;
    assert_eq!(answer.status, 200);
    assert_eq!(pod.inner.ready().await?, 503);
    assert_eq!(pod.outer.ready().await?, 200);
    assert!(!pod.outer.get("/").await?.says_close());
    Ok(())
}

#[tokio::test]
async fn a_single_hook_does_not_wait_for_the_other_envoy() -> Result<()> {
    let pod = Pod::start().await?;
    let mut client = Http1::connect(pod.outer.at(WEB)).await?;
    let request = client.request("/hold/slow");
    pod.outer.upstream().arrived("slow").await?;

    // The inner one's container is restarted: its own drain, and nobody else's.
    let answer = pod.sidecar.hook("/shutdown/inner").await?.answer().await?;
    assert_eq!(answer.status, 200);
    assert!(!request.is_finished());
    assert_eq!(pod.outer.ready().await?, 200);

    // Later the outer one is drained, for itself.
    tokio::time::sleep(LATER).await;
    let hook = pod.sidecar.hook("/shutdown/outer").await?;
    pod.outer.told().await?;
    holds(&hook).await;
    pod.outer.upstream().release("slow");
    request.reply().await?;
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn hooks_that_come_together_are_released_together() -> Result<()> {
    let mut pod = Pod::start().await?;
    let mut client = Http1::connect(pod.outer.at(WEB)).await?;
    let request = client.request("/hold/slow");
    pod.outer.upstream().arrived("slow").await?;

    // Nothing is under way on the inner one, but what comes through the outer one may need it.
    let [inner, outer] = pod.together(["/shutdown/inner", "/shutdown/outer"]).await?;
    pod.inner.told().await?;
    pod.outer.told().await?;
    holds(&inner).await;
    holds(&inner).await;
    assert!(!outer.is_finished());
    pod.outer.upstream().release("slow");
    request.reply().await?;
    assert_eq!(outer.answer().await?.status, 200);
    assert_eq!(inner.answer().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_hook_without_a_name_drains_all_of_them() -> Result<()> {
    let pod = Pod::start().await?;
    let mut client = Http1::connect(pod.inner.at(WEB)).await?;
    let request = client.request("/hold/slow");
    pod.inner.upstream().arrived("slow").await?;

    let hook = pod.sidecar.hook("/shutdown").await?;
    pod.inner.told().await?;
    pod.outer.told().await?;
    holds(&hook).await;
    pod.inner.upstream().release("slow");
    request.reply().await?;
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    assert!(
        answer.body.contains("inner") && answer.body.contains("outer"),
        "{}",
        answer.body
    );
    Ok(())
}

#[tokio::test]
async fn an_envoy_that_is_gone_does_not_hold_up_the_others() -> Result<()> {
    let mut pod = Pod::start().await?;
    // Its drain cannot be over before.
    let _slow = pod.inner.slow().await?;
    let hook = pod.sidecar.hook("/shutdown").await?;
    pod.inner.told().await?;
    pod.inner.envoy.kill()?;
    let answer = hook.answer().await?;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("envoy-gone"), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn wait_is_held_until_all_drains_are_over() -> Result<()> {
    let mut pod = Pod::start().await?;
    let mut client = Http1::connect(pod.outer.at(WEB)).await?;
    let request = client.request("/hold/slow");
    pod.outer.upstream().arrived("slow").await?;

    let calls = ["/wait", "/shutdown/inner", "/shutdown/outer"];
    let hooks = pod.together(calls).await?;
    pod.outer.told().await?;
    tokio::time::sleep(LATER).await;
    assert!(
        !hooks[0].is_finished(),
        "released while one of them was draining"
    );
    pod.outer.upstream().release("slow");
    request.reply().await?;
    for hook in hooks {
        assert_eq!(hook.answer().await?.status, 200);
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_no_envoy_has_is_refused_and_drains_nobody() -> Result<()> {
    let pod = Pod::start().await?;
    let answer = pod.sidecar.hook("/shutdown/inne").await?.answer().await?;
    assert_eq!(answer.status, 404);
    assert!(
        answer.body.contains("inner") && answer.body.contains("outer"),
        "{}",
        answer.body
    );
    assert_eq!(
        (pod.inner.ready().await?, pod.outer.ready().await?),
        (200, 200)
    );
    Ok(())
}

/// Two Envoys, each with a sidecar of its stage that nobody calls, and the one for both.
struct Pod {
    sidecar: Sidecar,
    inner: Stage,
    outer: Stage,
}

impl Pod {
    async fn start() -> Result<Self> {
        let inner = Setting::new().await?.start().await?;
        let outer = Setting::new().await?.start().await?;
        let sidecar = sidecar::Start::at(outer.at(8091))
            .flag(
                "--admin",
                format!("outer={},inner={}", outer.admin, inner.admin),
            )
            .flag("--min-drain", "300ms")
            .flag("--quiet", "300ms")
            .flag("--idle-quiet", "200ms")
            .flag("--host-network", "true")
            .run()
            .await?;
        Ok(Self {
            sidecar,
            inner,
            outer,
        })
    }

    /// Calls these paths in this order. The sidecar finds all of the calls at once, however long this takes.
    async fn together<const N: usize>(&mut self, paths: [&str; N]) -> Result<[Hook; N]> {
        self.sidecar.pause()?;
        let mut hooks = Vec::new();
        for path in paths {
            hooks.push(self.sidecar.hook(path).await?);
        }
        self.sidecar.resume()?;
        hooks
            .try_into()
            .map_err(|_| anyhow!("a hook for each path"))
    }
}
