//! The sidecar's own server: who may call it, over which addresses, and what it tells.

use anyhow::Result;
use drainhook_tests::{
    address::Loopback,
    admin_proxy::Fault,
    client::Http1,
    sidecar::{self, get},
    wait::BOUND,
};
use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::stage::{BYTES, Setting, Stage, WEB, free_port};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn without_the_token_nobody_drains_and_nobody_waits() -> Result<()> {
    let stage = Setting::new().await?.proxied().token(TOKEN).start().await?;
    let sidecar = stage.sidecar_address();
    let longer = format!("{TOKEN}0");
    for wrong in [
        None,
        Some(""),
        Some("wrong"),
        Some(&TOKEN[1..]),
        Some(&longer),
    ] {
        for path in ["/shutdown", "//shutdown", "/shutdown/envoy", "/wait"] {
            let answer = get(sidecar, path, wrong).await?;
            assert_eq!(answer.status, 403, "{path} with {wrong:?}: {}", answer.body);
            assert!(
                !answer.body.contains(TOKEN),
                "the token is told: {}",
                answer.body
            );
        }
    }
    assert_eq!(stage.posts(), [""; 0]);
    assert_eq!(stage.ready().await?, 200);
    // A probe has no token.
    for path in ["/healthz", "/metrics"] {
        assert_eq!(get(sidecar, path, None).await?.status, 200, "{path}");
    }
    assert!(
        !stage.sidecar.log().contains(TOKEN),
        "the token is in the log"
    );
    Ok(())
}

#[tokio::test]
async fn with_the_token_the_hook_drains() -> Result<()> {
    let stage = Setting::new().await?.token(TOKEN).start().await?;
    assert_eq!(stage.drain().await?.status, 200);
    assert_eq!(stage.ready().await?, 503);
    Ok(())
}

#[tokio::test]
async fn by_default_it_serves_over_ipv4_and_ipv6() -> Result<()> {
    let port = free_port()?;
    let _sidecar = sidecar::Start::on_port(port).run().await?;
    for address in ["127.0.0.1", "::1"] {
        let address = (address.parse::<std::net::IpAddr>()?, port).into();
        let answer = get(address, "/healthz", None).await;
        assert_eq!(answer?.status, 200, "{address}");
    }
    Ok(())
}

#[tokio::test]
async fn it_can_be_bound_to_ipv6_alone() -> Result<()> {
    let port = free_port()?;
    let _sidecar = sidecar::Start::at(format!("[::1]:{port}").parse()?)
        .run()
        .await?;
    assert!(
        get(([127, 0, 0, 1], port).into(), "/healthz", None)
            .await
            .is_err()
    );
    Ok(())
}

/// Contour #3901, Envoy Gateway #9853: a port that is open on the node is open to everybody.
#[tokio::test]
async fn on_the_network_of_the_node_it_serves_on_loopback_alone() -> Result<()> {
    let port = free_port()?;
    let other = Loopback::claim()?;
    let _sidecar = sidecar::Start::on_port(port)
        .flag("--host-network", "true")
        .run()
        .await?;
    assert_eq!(
        get(([127, 0, 0, 1], port).into(), "/healthz", None)
            .await?
            .status,
        200
    );
    assert!(get(other.port(port), "/healthz", None).await.is_err());
    Ok(())
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_nothing_is_posted() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    for path in [
        "/",
        "/shutdow",
        "/shutdown/envoy/more",
        "/healthcheck/fail",
        "/quitquitquit",
    ] {
        assert_eq!(stage.sidecar.get(path).await?.status, 404, "{path}");
    }
    assert_eq!(stage.posts(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn status_tells_what_the_drain_waits_for() -> Result<()> {
    let stage = Stage::with(&[("--quietened-listeners", "8081")]).await?;
    let status = stage.sidecar.status().await?;
    assert_eq!(status["phase"], "idle");
    assert_eq!(status["envoys"][0]["name"], "envoy");

    let slow = stage.slow().await?;
    let bytes = TcpStream::connect(stage.at(BYTES)).await?;
    let hook = stage.hook_told().await?;
    let waits = |status: &Value| {
        let envoy = &status["envoys"][0];
        status["phase"] == "wait" && envoy["listeners"].as_array().is_some_and(|l| l.len() == 2)
    };
    let status = stage.sidecar.status_becomes(waits).await?;
    let envoy = &status["envoys"][0];
    assert_eq!(envoy["decision"], "1 requests are in flight", "{status:#}");
    let open = |port: u16| {
        let name = stage.at(port).to_string().replace(':', "_");
        let listeners = envoy["listeners"].as_array().unwrap();
        listeners
            .iter()
            .find(|listener| listener["listener"] == name.as_str())
            .unwrap()
    };
    assert_eq!(
        (&open(WEB)["connections"], &open(WEB)["counts_as"]),
        (&json!(1), &json!("counted"))
    );
    assert_eq!(open(BYTES)["counts_as"], "quietened");
    assert_eq!(
        envoy["http"],
        json!([{ "prefix": "web", "requests": 1, "upgrades": 0 }])
    );

    let _released = stage.release(slow).await?;
    drop(bytes);
    hook.answer().await?;
    let idle = |status: &Value| status["phase"] == "idle";
    let status = stage.sidecar.status_becomes(idle).await?;
    assert!(
        status["envoys"][0]["last_drain"]["reason"].is_string(),
        "{status:#}"
    );
    Ok(())
}

#[tokio::test]
async fn metrics_count_drains_by_reason_and_calls_by_result() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    let metric = async |name: &str| stage.sidecar.metric(name).await;
    let started = r#"shutdown_manager_drain_started_total{envoy="envoy"}"#;
    let quiet = r#"shutdown_manager_drain_ended_total{envoy="envoy",reason="drained"}"#;
    let told = r#"shutdown_manager_polls_total{call="healthcheck_fail",result="ok"}"#;
    let failed = r#"shutdown_manager_polls_total{call="healthcheck_fail",result="status"}"#;
    assert_eq!(metric(started).await?, 0.0);

    stage.proxy().fault_on_post(Fault::Status(500));
    let hook = stage.hook().await?;
    stage.proxy().posted("/healthcheck/fail").await?;
    stage.proxy().fault_on_post(Fault::None);
    hook.answer().await?;
    assert_eq!((metric(started).await?, metric(quiet).await?), (1.0, 1.0));
    assert_eq!(metric(told).await?, 1.0);
    assert!(metric(failed).await? >= 1.0);
    Ok(())
}

#[tokio::test]
async fn a_head_request_starts_no_drain_and_a_post_does() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    let at = stage.sidecar_address();
    assert_eq!(
        sidecar::call(at, Method::HEAD, "/shutdown", None)
            .await?
            .status,
        405
    );
    assert_eq!(
        sidecar::call(at, Method::PUT, "/shutdown", None)
            .await?
            .status,
        405
    );
    assert_eq!(stage.posts(), [""; 0]);
    assert_eq!(
        sidecar::call(at, Method::POST, "/shutdown", None)
            .await?
            .status,
        200
    );
    assert_eq!(stage.posts(), ["/healthcheck/fail"]);
    Ok(())
}

#[tokio::test]
async fn the_report_is_in_the_answer_in_the_log_and_in_the_termination_message() -> Result<()> {
    let mut stage = Stage::with(&[("--drain-timeout", "10s")]).await?;
    let mut client = Http1::connect(stage.at(WEB)).await?;
    let _request = client.request("/hold/slow");
    stage.upstream().arrived("slow").await?;
    let answer = stage.drain().await?;
    stage.sidecar.terminate()?;
    stage.sidecar.wait(BOUND).await?;
    let log = stage.sidecar.log();
    for (place, text) in [
        ("answer", answer.body),
        ("log", log.clone()),
        ("termination message", stage.termination_message()),
    ] {
        assert!(text.contains("timeout"), "no reason in the {place}: {text}");
        assert!(
            text.contains("web") || text.contains("8080"),
            "not what was left: {place}: {text}"
        );
    }
    let told = log
        .lines()
        .filter(|line| line.contains("reason=timeout"))
        .count();
    assert!(told <= 1, "the report is one line: {log}");
    Ok(())
}
