//! Rollouts of gateways of every shape, under load.

use std::{io::Write, process::Stdio};

use anyhow::{Context, Result, ensure};
use drainhook_tests::{
    gateway::Gateway,
    load::{Kind, Mix},
    measured::measured,
    product::{self, SIDECAR_MEMORY},
    stage::{Life, play},
};
use serde_json::{Value, json};

use crate::judgement::{self, finished};

/// So many times a Deployment is restarted without a pause: old pods of several rollouts drain at
/// the same time.
const IN_A_ROW: usize = 10;

#[test]
fn a_deployment_that_is_restarted_ten_times_in_a_row_loses_nothing() {
    play(async |scene| {
        let gateway = scene.put_up(Gateway::new()).await.unwrap();
        let traffic = gateway.load(Mix::standard()).await.unwrap();
        let memory = gateway.watch_memory();
        for _ in 0..IN_A_ROW {
            gateway.restart().unwrap();
            gateway.until_ready().await.unwrap();
        }
        gateway.until_rolled_out().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        let ended = judgement::drained(&gateway, &record, 2 * IN_A_ROW);
        judgement::not_systematically_late(&gateway, &record, &ended);
        let most = memory.stop().await.unwrap();
        measured(format_args!("a sidecar had at most {most:?}"));
        assert!((1..=SIDECAR_MEMORY).contains(&most.resident), "{most:?}");
    });
}

#[test]
fn a_daemon_set_on_the_network_of_its_nodes_loses_nothing_behind_a_load_balancer() {
    play(async |scene| {
        let gateway = scene.put_up(Gateway::new().daemon_set()).await.unwrap();
        let traffic = gateway.load_on_nodes(Mix::small()).await.unwrap();
        gateway.roll().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        judgement::drained(&gateway, &record, 2);
    });
}

#[test]
fn the_application_beside_envoy_outlives_it() {
    let ended = rolls(Gateway::new().beside_its_application());
    for life in ended {
        let (envoy, application) = (finished(&life, "envoy"), finished(&life, "application"));
        assert!(envoy <= application, "{envoy:?}, {application:?}");
    }
}

#[test]
fn envoy_with_its_admin_interface_on_a_socket_drains() {
    rolls(Gateway::new().admin_on_a_socket());
}

#[test]
fn a_sidecar_that_is_a_native_one_ends_after_envoy() {
    for life in rolls(Gateway::new().annotation("mode", "native")) {
        let spec = life.pod.spec.as_ref().unwrap();
        let native = spec.init_containers.iter().flatten();
        assert!(native.into_iter().any(|it| it.name == "shutdown-manager"));
        let (envoy, sidecar) = (
            finished(&life, "envoy"),
            finished(&life, "shutdown-manager"),
        );
        assert!(envoy <= sidecar, "{envoy:?}, {sidecar:?}");
    }
}

#[test]
fn a_sidecar_that_is_one_of_the_containers_answers_its_hook_before_it_ends() {
    for life in rolls(Gateway::new().annotation("mode", "container")) {
        let spec = life.pod.spec.as_ref().unwrap();
        assert!(
            spec.containers
                .iter()
                .any(|it| it.name == "shutdown-manager")
        );
    }
}

#[test]
fn two_envoys_in_a_pod_are_released_together() {
    for life in rolls(Gateway::new().two_envoys()) {
        let report = life.report().unwrap();
        for envoy in ["envoy: ", "inner: "] {
            assert!(report.contains(envoy), "{report}");
        }
    }
}

#[test]
fn a_namespace_that_opted_in_is_enough() {
    play(async |scene| {
        let label = format!(
            "label namespace {} drainhook.io/inject=enabled",
            scene.namespace()
        );
        scene.ask(&label).unwrap();
        let gateway = scene.put_up(Gateway::new().not_annotated()).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        gateway.roll().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        judgement::drained(&gateway, &record, 2);
    });
}

#[test]
fn the_classic_loop_loses_nothing_where_no_connection_lies_idle() {
    let gateway = Gateway::new()
        .annotation("wait-for", "connections")
        .annotation("check-delay", "5s")
        .annotation("check-interval", "1s");
    play(async |scene| {
        let gateway = scene.put_up(gateway).await.unwrap();
        let mix = Mix {
            idle: 0,
            ..Mix::small()
        };
        let traffic = gateway.load(mix).await.unwrap();
        gateway.roll().await.unwrap();
        let record = traffic.stop().await.unwrap();
        let mut kinds = Kind::CLIENTS.to_vec();
        kinds.retain(|kind| *kind != Kind::Idle);
        judgement::nothing_of_these_failed(&record, &kinds);
        for life in gateway.lives().iter().filter(|life| life.deleted.is_some()) {
            let report = life.report().unwrap_or_default();
            assert!(report.contains(": drained after"), "{report:?}");
        }
    });
}

#[test]
fn a_manifest_that_the_command_line_has_injected_needs_no_webhook() {
    let injected = Gateway::new().injected(|workload| inject(workload).unwrap());
    for life in rolls(injected) {
        let status = life.pod.metadata.annotations.as_ref().unwrap();
        assert!(status["drainhook.io/status"].contains("shutdown-manager"));
    }
}

/// Rolls a gateway under a small load, of which nothing may fail, and gives the pods that ended.
fn rolls(gateway: Gateway) -> Vec<Life> {
    let mut ended = Vec::new();
    play(async |scene| {
        let gateway = scene.put_up(gateway).await.unwrap();
        let traffic = gateway.load(Mix::small()).await.unwrap();
        gateway.roll().await.unwrap();
        let record = traffic.stop().await.unwrap();
        judgement::nothing_failed(&record);
        ended = judgement::drained(&gateway, &record, 2);
    });
    ended
}

/// What `drainhook inject` makes of a manifest.
fn inject(manifest: &Value) -> Result<Value> {
    let mut drainhook = std::process::Command::new(product::drainhook()?);
    drainhook.args(["inject", "--kubernetes-version", "1.36", "-"]);
    let mut drainhook = drainhook
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = drainhook.stdin.take().context("no standard input")?;
    stdin.write_all(json!(manifest).to_string().as_bytes())?;
    drop(stdin);
    let output = drainhook.wait_with_output()?;
    ensure!(
        output.status.success(),
        "drainhook inject: {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("read what drainhook inject wrote")
}
