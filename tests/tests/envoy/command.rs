//! The command line: `shutdown`, and what is said and returned when something is wrong.

use std::{net::TcpListener, process::ExitStatus};

use anyhow::Result;
use drainhook_tests::{
    address::Loopback,
    client::Http1,
    sidecar::{self, run},
};

use crate::stage::{Setting, Stage, WEB};

/// sysexits' EX_USAGE: the configuration is wrong, and starting again would not help.
const USAGE: i32 = 64;

#[tokio::test]
async fn shutdown_asks_the_local_sidecar_and_succeeds_when_drained() -> Result<()> {
    let stage = Stage::with(&[]).await?;
    let mut client = Http1::connect(stage.at(WEB)).await?;
    let request = client.request("/hold/slow");
    stage.upstream().arrived("slow").await?;
    let (bind, port) = parts(&stage);
    let command =
        tokio::spawn(
            async move { run(&["shutdown", "--bind", &bind, "--port", &port], &[]).await },
        );
    stage.told().await?;
    tokio::time::sleep(crate::stage::LONG_ENOUGH).await;
    assert!(!command.is_finished(), "did not wait for the drain");
    stage.upstream().release("slow");
    request.reply().await?;
    let (status, output) = command.await??;
    assert_eq!(status.code(), Some(0), "{output}");
    Ok(())
}

#[tokio::test]
async fn shutdown_fails_when_the_drain_reached_its_bound() -> Result<()> {
    let stage = Stage::with(&[("--drain-timeout", "2s")]).await?;
    let mut client = Http1::connect(stage.at(WEB)).await?;
    let _request = client.request("/hold/slow");
    stage.upstream().arrived("slow").await?;
    let (bind, port) = parts(&stage);
    let (status, output) = run(&["shutdown", "--bind", &bind, "--port", &port], &[]).await?;
    assert_trouble(status, &output);
    assert!(output.contains("timeout"), "{output}");
    Ok(())
}

#[tokio::test]
async fn shutdown_fails_where_nobody_listens_and_says_where() -> Result<()> {
    let nobody = Loopback::claim()?;
    let arguments = ["shutdown", "--bind", &nobody.to_string(), "--port", "8090"];
    let (status, output) = run(&arguments, &[]).await?;
    assert_trouble(status, &output);
    assert!(output.contains("8090"), "{output}");
    Ok(())
}

#[tokio::test]
async fn shutdown_sends_the_token_of_its_environment() -> Result<()> {
    let stage = Setting::new()
        .await?
        .token("the-token-of-the-pod")
        .start()
        .await?;
    let (bind, port) = parts(&stage);
    let arguments = ["shutdown", "--bind", &bind, "--port", &port];
    let (status, output) = run(&arguments, &[]).await?;
    assert_trouble(status, &output);
    assert!(output.contains("token"), "{output}");
    assert_eq!(stage.ready().await?, 200);

    let token = [("SHUTDOWN_MANAGER_TOKEN", "the-token-of-the-pod")];
    let (status, output) = run(&arguments, &token).await?;
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(stage.ready().await?, 503);
    Ok(())
}

#[tokio::test]
async fn wrong_flags_are_a_usage_error_that_names_all_of_them() -> Result<()> {
    let faults: [(&[&str], &[&str]); 9] = [
        (&["--min-drian", "5s"], &["--min-drian"]),
        (&["serv"], &["serv"]),
        (&["--min-drain", "soon"], &["--min-drain", "soon"]),
        (&["--port", "70000"], &["--port", "70000"]),
        (
            &["--wait-for", "godot"],
            &["--wait-for", "godot", "quiet", "connections"],
        ),
        (
            &["--drain-listeners", "maybe"],
            &["--drain-listeners", "maybe", "auto"],
        ),
        (&["--admin", "a=1,a=2"], &["--admin"]),
        (&["--min-drain", "300s"], &["min-drain", "drain-timeout"]),
        (
            &["--quiet", "x", "--idle-quiet", "y"],
            &["--quiet", "--idle-quiet"],
        ),
    ];
    for (flags, named) in faults {
        let (status, output) = run(flags, &[]).await?;
        assert_eq!(status.code(), Some(USAGE), "{flags:?}: {output}");
        for name in named {
            assert!(output.contains(name), "{flags:?}: no {name} in {output}");
        }
        assert_one_line(&output);
    }
    Ok(())
}

#[tokio::test]
async fn wrong_variables_are_a_usage_error_that_names_the_variable() -> Result<()> {
    let faults = [
        ("SHUTDOWN_MANAGER_MIN_DRAIN", "-5s"),
        ("SHUTDOWN_MANAGER_WAIT_FOR", "often"),
        ("SHUTDOWN_MANAGER_PORT", "http"),
        ("SHUTDOWN_MANAGER_MIN_OPEN_CONNECTIONS", "few"),
    ];
    for (variable, value) in faults {
        let (status, output) = run(&[], &[(variable, value)]).await?;
        assert_eq!(status.code(), Some(USAGE), "{variable}: {output}");
        assert_one_line(&output);
        assert!(
            output.contains(variable) && output.contains(value),
            "{output}"
        );
    }
    Ok(())
}

/// A Service called `shutdown-manager` makes the kubelet set this variable in every pod around it.
#[tokio::test]
async fn a_link_to_a_service_of_its_name_is_no_setting() -> Result<()> {
    let address = Loopback::claim()?;
    let sidecar = sidecar::Start::at(address.port(8090))
        .variable("SHUTDOWN_MANAGER_PORT", "tcp://10.0.0.1:80")
        .variable("SHUTDOWN_MANAGER_PORT_80_TCP", "tcp://10.0.0.1:80")
        .variable("SHUTDOWN_MANAGER_SERVICE_HOST", "10.0.0.1")
        .run()
        .await?;
    assert!(
        sidecar.log().contains("SHUTDOWN_MANAGER_PORT"),
        "{}",
        sidecar.log()
    );
    Ok(())
}

#[tokio::test]
async fn variables_are_settings_and_flags_win() -> Result<()> {
    let address = Loopback::claim()?;
    let port = address.port(8090);
    let ip = address.to_string();
    let _sidecar = sidecar::Start::bare(port)
        .variable("SHUTDOWN_MANAGER_BIND", &ip)
        .variable("SHUTDOWN_MANAGER_PORT", "1")
        .flag("--port", "8090")
        .run()
        .await?;
    Ok(())
}

/// Contour #3566 and #5356.
#[tokio::test]
async fn a_port_in_use_is_trouble_at_run_time_in_one_line_that_names_it() -> Result<()> {
    let address = Loopback::claim()?;
    let _other = TcpListener::bind(address.port(8090))?;
    let arguments = ["--bind", &address.to_string(), "--port", "8090"];
    let (status, output) = run(&arguments, &[]).await?;
    assert_trouble(status, &output);
    assert_one_line(&output);
    assert!(
        output.contains("8090") && output.contains("--port"),
        "{output}"
    );
    Ok(())
}

#[tokio::test]
async fn an_admin_that_is_not_there_yet_is_no_fault() -> Result<()> {
    let address = Loopback::claim()?;
    let mut sidecar = sidecar::Start::at(address.port(8090))
        .flag("--admin", address.port(9901).to_string())
        .run()
        .await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(sidecar.exited()?.is_none());
    assert_eq!(sidecar.get("/healthz").await?.status, 200);
    Ok(())
}

fn parts(stage: &Stage) -> (String, String) {
    let address = stage.sidecar_address();
    (address.ip().to_string(), address.port().to_string())
}

fn assert_trouble(status: ExitStatus, output: &str) {
    let code = status.code();
    assert!(
        code.is_some_and(|code| code != 0 && code != USAGE),
        "{status}: {output}"
    );
}

fn assert_one_line(output: &str) {
    assert_eq!(
        output.trim_end().lines().count(),
        1,
        "not one line: {output}"
    );
}
