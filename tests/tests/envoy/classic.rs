//! `--wait-for connections`: the loop of Contour's manager, with its flags.

use std::time::Duration;

use anyhow::Result;
use drainhook_tests::{
    client::Http1,
    sidecar::{self, get},
    wait::until,
};
use tokio::net::TcpStream;

use crate::stage::{BYTES, Setting, Stage, WEB, free_port, holds};

const CLASSIC: [(&str, &str); 3] = [
    ("--wait-for", "connections"),
    ("--check-delay", "500ms"),
    ("--check-interval", "100ms"),
];

#[tokio::test]
async fn the_classic_loop_waits_for_idle_connections_too() -> Result<()> {
    let stage = Stage::with(&CLASSIC).await?;
    let mut client = Http1::connect(stage.at(WEB)).await?;
    client.get("/").await?;
    let hook = stage.hook_told().await?;
    holds(&hook).await;
    drop(client);
    let answer = hook.answer().await?;
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}

/// Contour #6928: it did not count connections of TCP proxies.
#[tokio::test]
async fn the_classic_loop_counts_tcp_connections() -> Result<()> {
    let stage = Stage::with(&CLASSIC).await?;
    let client = TcpStream::connect(stage.at(BYTES)).await?;
    let hook = stage.hook_told().await?;
    holds(&hook).await;
    drop(client);
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_classic_loop_looks_no_earlier_than_after_its_delay() -> Result<()> {
    let mut setting = Setting::new().await?.proxied();
    for (name, value) in CLASSIC {
        setting = setting.flag(name, value);
    }
    let stage = setting.flag("--check-delay", "3s").start().await?;
    let hook = stage.hook_told().await?;
    let begun = hook.begun();
    let answer = hook.answer().await?;
    assert!(
        answer.at - begun >= Duration::from_secs(3),
        "{:?}",
        answer.at - begun
    );
    // Told at once, as Contour's is, and not only after the delay.
    let told = stage
        .proxy()
        .seen()
        .into_iter()
        .find(|seen| seen.path == "/healthcheck/fail");
    assert!(answer.at - told.expect("Envoy was told").at >= Duration::from_secs(2));
    Ok(())
}

#[tokio::test]
async fn the_classic_loop_looks_once_in_each_interval() -> Result<()> {
    let mut setting = Setting::new().await?.proxied();
    for (name, value) in CLASSIC {
        setting = setting.flag(name, value);
    }
    let stage = setting.flag("--check-interval", "1s").start().await?;
    let client = Http1::connect(stage.at(WEB)).await?;
    let hook = stage.hook_told().await?;
    let some = async || {
        let seen = stage.proxy().seen().into_iter();
        let looks = seen.filter(|seen| seen.path.contains("type=Gauges"));
        u32::try_from(looks.count()).ok().filter(|looks| *looks > 3)
    };
    let looks = until("some looks", some).await?;
    let took = hook.begun().elapsed();
    // One when it begins, and one a second.
    let least = Duration::from_secs(1) * (looks - 1);
    assert!(took >= least, "{looks} looks in {took:?}");
    drop(client);
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_classic_loop_lets_as_many_connections_stay_as_allowed() -> Result<()> {
    let mut setting = Setting::new().await?;
    for (name, value) in CLASSIC {
        setting = setting.flag(name, value);
    }
    let stage = setting.flag("--min-open-connections", "2").start().await?;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Http1::connect(stage.at(WEB)).await?;
        client.get("/").await?;
        clients.push(client);
    }
    let hook = stage.hook_told().await?;
    holds(&hook).await;
    clients.pop();
    assert_eq!(hook.answer().await?.status, 200);
    assert!(clients.iter().all(|client| !client.is_closed()));
    Ok(())
}

/// A manifest of Contour's needs no other flags.
#[tokio::test]
async fn the_flags_of_contour_work_and_the_admin_may_be_a_bare_path() -> Result<()> {
    let stage = Setting::new().await?.admin_socket().start().await?;
    let drainhook_tests::envoy::Admin::Unix(path) = &stage.admin else {
        panic!("not a socket")
    };
    let ready_file = path.with_file_name("ready");
    let sidecar = sidecar::Start::contour(stage.at(8091))
        .flag("--wait-for", "connections")
        .flag("--admin-address", path)
        .flag("--check-delay", "0s")
        .flag("--check-interval", "1s")
        .flag("--min-open-connections", "0")
        .flag("--drain-delay", "0s")
        .flag("--ready-file", &ready_file)
        .run()
        .await?;
    assert!(!ready_file.exists());
    assert_eq!(
        get(stage.at(8091), "/shutdown", None).await?.status,
        200,
        "{}",
        sidecar.log()
    );
    assert_eq!(stage.ready().await?, 503);
    assert!(
        ready_file.exists(),
        "the ready file is written when the drain is over"
    );
    Ok(())
}

/// Contour #3490: the admin port was hard-coded.
#[tokio::test]
async fn the_admin_port_can_be_given_alone() -> Result<()> {
    let port = free_port()?;
    let setting = Setting::new()
        .await?
        .admin_at(([127, 0, 0, 1], port).into());
    let stage = setting.start().await?;
    let sidecar = sidecar::Start::contour(stage.at(8091))
        .flag("--admin-port", port.to_string())
        .flag("--min-drain", "300ms")
        .flag("--quiet", "300ms")
        .run()
        .await?;
    assert_eq!(sidecar.drain().await?.status, 200);
    assert_eq!(stage.ready().await?, 503);
    Ok(())
}

#[tokio::test]
async fn the_admin_may_be_on_ipv6() -> Result<()> {
    let port = free_port()?;
    let admin = format!("[::1]:{port}").parse()?;
    let stage = Setting::new().await?.admin_at(admin).start().await?;
    assert_eq!(stage.drain().await?.status, 200);
    assert_eq!(stage.ready().await?, 503);
    Ok(())
}

/// Contour #3771 and #4084.
#[tokio::test]
async fn a_ready_file_that_cannot_be_written_does_not_fail_the_drain() -> Result<()> {
    let stage = Stage::with(&[("--ready-file", "/proc/no/such/place")]).await?;
    let answer = stage.drain().await?;
    assert_eq!(answer.status, 200);
    assert_eq!(stage.ready().await?, 503);
    assert!(
        stage.sidecar.log().contains("/proc/no/such/place"),
        "nobody is told"
    );
    Ok(())
}
