//! The sidecar's own server: who may call it, over which addresses, and what it tells.

use anyhow::Result;
use drainhook_tests::{
    address::Loopback,
    client::Http1,
    sidecar::{self, get},
};

use crate::stage::{Setting, Stage, WEB};

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
    assert_eq!(stage.proxy().posts(), [""; 0]);
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
    assert_eq!(stage.proxy().posts(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn status_tells_what_is_open_and_metrics_count() -> Result<()> {
    let stage = Stage::with(&[]).await?;
    let status = stage.sidecar.get("/status").await?;
    assert!(status.body.contains("idle"), "{}", status.body);

    let mut client = Http1::connect(stage.at(WEB)).await?;
    let request = client.request("/hold/slow");
    stage.upstream().arrived("slow").await?;
    let hook = stage.hook_told().await?;
    let status = stage
        .sidecar
        .status_becomes(|status| status.to_string().contains("wait"))
        .await?;
    let status = status.to_string();
    assert!(
        status.contains("8080") || status.contains("web"),
        "{status}"
    );
    stage.upstream().release("slow");
    request.reply().await?;
    hook.answer().await?;
    let metrics = stage.sidecar.get("/metrics").await?.body;
    assert!(metrics.contains("shutdown_manager_drain"), "{metrics}");
    assert!(metrics.contains("# TYPE"), "{metrics}");
    Ok(())
}

#[tokio::test]
async fn the_report_is_in_the_answer_in_the_log_and_in_the_termination_message() -> Result<()> {
    let mut stage = Stage::with(&[("--drain-timeout", "2s")]).await?;
    let mut client = Http1::connect(stage.at(WEB)).await?;
    let _request = client.request("/hold/slow");
    stage.upstream().arrived("slow").await?;
    let answer = stage.drain().await?;
    stage.sidecar.terminate()?;
    stage
        .sidecar
        .wait(std::time::Duration::from_secs(30))
        .await?;
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

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}
