//! The order in which a pod's containers are stopped, by the tests' kubelet.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use drainhook_tests::kubelet::{self, MINIMUM_GRACE, Stopped};
use drainhook_tests::pod::{Blueprint, Manifest, Outside, Pod};

/// Runs the pod of a specification (the YAML below `spec:`, indented by two) and stops it at once.
async fn stop(spec: &str) -> Result<Stopped> {
    let manifest = Manifest::parse(&format!("kind: Pod\nmetadata: {{name: p}}\nspec:\n{spec}"))?;
    let blueprint = Blueprint {
        workload: manifest.workload()?,
        manifest,
        programs: super::programs()?,
        outside: Arc::new(Outside::claim()?),
    };
    let mut pod = Pod::start(&blueprint, "p").await?;
    // Until the shells below have set their traps.
    for container in pod
        .containers()
        .iter()
        .filter(|container| !container.is_played())
    {
        while !container.log().contains("up") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    kubelet::stop(&mut pod, None).await
}

#[tokio::test]
async fn sigterm_follows_each_container_s_own_hook() {
    let stopped = stop(
        "
  containers:
  - name: envoy
    image: envoy
    command: [sh, -c, 'echo up; sleep 60']
    lifecycle: {preStop: {exec: {command: [sleep, '2']}}}
  - name: app
    image: app
",
    )
    .await
    .unwrap();
    let [envoy, app] = &stopped.containers[..] else {
        panic!("{stopped:?}")
    };
    let hook = envoy.hook.as_ref().unwrap();
    assert_eq!(hook.result, Ok("200 OK".to_owned()));
    assert!(envoy.told >= hook.at, "the hook was over first");
    assert!(
        app.hook.is_none() && app.gone < hook.at,
        "nobody waited for another's hook"
    );
}

#[tokio::test]
async fn a_hook_that_fails_is_followed_by_sigterm_at_once() {
    let stopped = stop(
        "
  containers:
  - name: envoy
    image: envoy
    command: [sh, -c, 'echo up; sleep 60']
    lifecycle: {preStop: {httpGet: {path: /x, port: 9}}}
",
    )
    .await
    .unwrap();
    let envoy = &stopped.containers[0];
    assert!(envoy.hook.as_ref().unwrap().result.is_err());
    assert!(!envoy.killed);
}

#[tokio::test]
async fn what_a_hook_takes_is_gone_from_the_grace_period_and_the_rest_ends_with_sigkill() {
    let stopped = stop(
        "
  terminationGracePeriodSeconds: 3
  containers:
  - name: envoy
    image: envoy
    command: [sh, -c, \"trap '' TERM; echo up; while :; do sleep 0.1; done\"]
    lifecycle: {preStop: {sleep: {seconds: 60}}}
",
    )
    .await
    .unwrap();
    let envoy = &stopped.containers[0];
    assert!(envoy.killed, "it does not listen to SIGTERM");
    assert!(
        envoy.told - stopped.asked >= Duration::from_secs(3),
        "the hook had the grace period"
    );
    assert!(
        envoy.gone - envoy.told >= MINIMUM_GRACE,
        "and then the least there is"
    );
}

#[tokio::test]
async fn native_sidecars_end_after_the_main_containers_in_reverse_order() {
    let stopped = stop(
        "
  initContainers:
  - {name: one, image: envoy, restartPolicy: Always, command: [sh, -c, 'echo up; sleep 60']}
  - {name: two, image: envoy, restartPolicy: Always, command: [sh, -c, 'echo up; sleep 60']}
  containers:
  - name: main
    image: envoy
    command: [sh, -c, \"trap 'sleep 0.5; exit' TERM; echo up; while :; do sleep 0.1; done\"]
",
    )
    .await
    .unwrap();
    let [one, two, main] = &stopped.containers[..] else {
        panic!("{stopped:?}")
    };
    assert!(main.gone <= two.told, "the main container was gone first");
    assert!(
        two.gone <= one.told,
        "then the sidecar that was started last"
    );
}
