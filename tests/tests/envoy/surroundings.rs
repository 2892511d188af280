//! Where the sidecar runs: without rights, without a place to write, and beside an Envoy whose admin
//! interface is switched off.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use anyhow::{Context, Result};
use drainhook_tests::{
    bootstrap::{Bootstrap, Listener},
    client::Http1,
    envoy::{Binary, Start, Wanted},
    namespace,
    patience::until,
    process::Process,
    product,
    sidecar::{self, get},
    upstream::Upstream,
};
use tempfile::TempDir;

use crate::stage::{LONG_ENOUGH, Setting, holds};

/// As a pod of Pod Security "restricted" with a read-only root runs it. Making such surroundings
/// takes root.
#[tokio::test]
async fn it_needs_no_rights_no_user_and_no_place_to_write() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a root file system read-only");
        return Ok(());
    }
    let stage = Setting::new().await?.start().await?;
    // Where a build lies, not everybody may look.
    let directory = TempDir::with_prefix("drainhook-unprivileged-")?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let binary = directory.path().join("shutdown-manager");
    fs::copy(product::shutdown_manager()?, &binary)?;

    let address = stage.at(8091);
    let read_only =
        "mount -o remount,bind,ro / && mount -t tmpfs -o ro none /dev/shm && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .env_clear()
        .args(["--mount", "--", "/bin/sh", "-c", read_only, "sh"]);
    command.args([
        "/usr/bin/setpriv",
        "--reuid=65532",
        "--regid=65532",
        "--clear-groups",
    ]);
    command.args(["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]);
    command
        .arg(&binary)
        .args(["--bind", &address.ip().to_string(), "--port", "8091"]);
    command.args(["--admin", &stage.admin.to_string(), "--min-drain", "300ms"]);
    command.args(["--quiet", "300ms", "--termination-log", "/termination-log"]);
    let mut process = Process::spawn("the sidecar without rights", command)?;
    until("the sidecar serves", async || {
        assert!(process.exited()?.is_none(), "{}", process.log());
        Ok(get(address, "/healthz", None).await.is_ok())
    })
    .await?;
    let uid = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    assert!(uid.contains("Uid:\t65532\t65532"), "{uid}");
    assert_eq!(
        get(address, "/shutdown", None).await?.status,
        200,
        "{}",
        process.log()
    );
    assert_eq!(stage.ready().await?, 503);
    Ok(())
}

/// In a network namespace, as a pod has one: `/proc/net/tcp` shows the connections of everybody who
/// shares the network, so elsewhere this would wait for the other tests too.
#[test]
fn with_the_admin_switched_off_open_connections_are_counted_in_proc() -> Result<()> {
    namespace::run(async || {
        let upstream = Upstream::start().await?;
        let web = "127.0.0.1:8080".parse()?;
        let bootstrap = Bootstrap::new()
            .listener(Listener::http("web", web, "upstream"))
            .cluster("upstream", upstream.http())
            .cluster("tunnel", upstream.tcp());
        let binary = Binary::find(Wanted::Usual)?;
        let _envoy = Start::new(&binary)
            .bootstrap(bootstrap.value())
            .run()
            .await?;
        // What is behind Envoy is in the same network here, and its connections from Envoy stay.
        let behind = format!("{},{}", upstream.http().port(), upstream.tcp().port());
        let sidecar = sidecar::Start::on_port(8090)
            .flag("--min-drain", "300ms")
            .flag("--quiet", "300ms")
            .flag("--exclude-listeners", behind)
            .flag("--termination-log", "/dev/null")
            .run()
            .await?;
        let mut client = Http1::connect(web).await?;
        let request = client.request("/hold/slow");
        upstream.arrived("slow").await?;

        let hook = sidecar.hook("/shutdown").await?;
        // It may take a while until it is sure that there is no admin interface.
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert!(
            !hook.is_finished(),
            "the connection was not counted: {}",
            sidecar.log()
        );
        holds(&hook).await;
        upstream.release("slow");
        assert_eq!(request.reply().await?.body, "held");
        tokio::time::sleep(LONG_ENOUGH).await;
        drop(client);
        let answer = hook.answer().await?;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("/proc/net/tcp"), "{}", answer.body);
        Ok(())
    })
    .context("in a network namespace")?;
    Ok(())
}
