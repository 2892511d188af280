//! Where the sidecar runs: without rights, without a place to write, and beside an Envoy whose admin
//! interface is switched off.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, process::Command};

use anyhow::Result;
use drainhook_tests::{
    admin_proxy::{AdminProxy, Fault, Seen},
    bootstrap::{Bootstrap, Listener},
    client::Http1,
    envoy::{Binary, Envoy, Start, Wanted},
    namespace,
    process::Process,
    product,
    sidecar::{self, Sidecar, get},
    skip::skip,
    upstream::Upstream,
    wait::until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stage::{Setting, holds};

/// As a pod of Pod Security "restricted" with a read-only root runs it. Making such surroundings
/// takes root.
#[tokio::test]
async fn it_needs_no_rights_no_user_and_no_place_to_write() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can make a root file system read-only");
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
        assert!(process.exited().unwrap().is_none(), "{}", process.log());
        get(address, "/healthz", None).await.ok()
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
        let pod = Pod::start(Bootstrap::new()).await?;
        let mut client = Http1::connect(pod.web).await?;
        let request = client.request("/hold/slow");
        pod.upstream.arrived("slow").await?;

        let hook = pod.sidecar.hook("/shutdown").await?;
        // It takes a while until it is sure that there is no admin interface.
        let counted = |status: &Value| status["phase"] == "wait";
        pod.sidecar.status_becomes(counted).await?;
        holds(&hook).await;
        pod.upstream.release("slow");
        assert_eq!(request.reply().await?.body, "held");
        // What happens on a connection cannot be seen there: an open one may carry a request.
        holds(&hook).await;
        drop(client);
        let report = hook.answer().await?.body;
        assert!(report.contains(r#""source":"sockets""#), "{report}");
        assert!(report.contains("/proc/net/tcp"), "{report}");
        Ok(())
    })?;
    Ok(())
}

/// A `stats_matcher` that hides the figures is as good as no admin interface.
#[test]
fn with_statistics_hidden_open_connections_are_counted_in_proc() -> Result<()> {
    let hidden = json!({ "stats_matcher": { "reject_all": true } });
    namespace::run(async || {
        let bootstrap = Bootstrap::new().admin("127.0.0.1:9901".parse()?);
        let pod = Pod::start(bootstrap.field("stats_config", hidden)).await?;
        let client = Http1::connect(pod.web).await?;
        let hook = pod.sidecar.hook("/shutdown").await?;
        let admin = pod.envoy.admin()?;
        until("Envoy was told", async || {
            (admin.get("/ready").await.ok()?.status == 503).then_some(())
        })
        .await?;
        holds(&hook).await;
        drop(client);
        let report = hook.answer().await?.body;
        assert!(report.contains(r#""source":"sockets""#), "{report}");
        assert!(!report.contains("timeout"), "{report}");
        Ok(())
    })?;
    Ok(())
}

/// One reading that is empty says nothing; the next one that is not says all again.
#[test]
fn an_empty_reading_does_not_switch_from_the_admin_to_proc_for_good() -> Result<()> {
    namespace::run(async || {
        let bootstrap = Bootstrap::new().admin("127.0.0.1:9902".parse()?);
        let pod = Pod::start(bootstrap).await?;
        let proxy = AdminProxy::start_at("127.0.0.1:9901".parse()?, pod.envoy.admin()?).await?;
        // Idle, which the admin interface tells and `/proc` does not.
        let mut idle = Http1::connect(pod.web).await?;
        idle.get("/").await?;
        let mut client = Http1::connect(pod.web).await?;
        let request = client.request("/hold/slow");
        pod.upstream.arrived("slow").await?;

        let hook = pod.sidecar.hook("/shutdown").await?;
        proxy.posted("/healthcheck/fail").await?;
        proxy.fault(Fault::Empty);
        let is_empty = |seen: &Seen| seen.path.contains("type=Gauges") && seen.body.is_empty();
        until("an empty reading", async || {
            proxy.seen().iter().any(is_empty).then_some(())
        })
        .await?;
        proxy.fault(Fault::None);
        holds(&hook).await;
        pod.upstream.release("slow");
        assert_eq!(request.reply().await?.body, "held");
        let report = hook.answer().await?.body;
        assert!(report.contains(r#""source":"admin""#), "{report}");
        assert!(!idle.is_closed());
        Ok(())
    })?;
    Ok(())
}

/// What a pod has in its network: Envoy, its sidecar, and here what is behind Envoy too.
struct Pod {
    sidecar: Sidecar,
    envoy: Envoy,
    upstream: Upstream,
    web: SocketAddr,
}

impl Pod {
    async fn start(bootstrap: Bootstrap) -> Result<Self> {
        let upstream = Upstream::start().await?;
        let web = "127.0.0.1:8080".parse()?;
        let bootstrap = bootstrap
            .listener(Listener::http("web", web, "upstream"))
            .cluster("upstream", upstream.http())
            .cluster("tunnel", upstream.tcp());
        let binary = Binary::find(Wanted::Usual)?;
        let envoy = Start::new(&binary)
            .bootstrap(bootstrap.value())
            .run()
            .await?;
        // Envoy keeps its connections to what is behind it.
        let behind = format!("{},{}", upstream.http().port(), upstream.tcp().port());
        let sidecar = sidecar::Start::on_port(8090)
            .flag("--min-drain", "300ms")
            .flag("--quiet", "300ms")
            .flag("--idle-quiet", "200ms")
            .flag("--exclude-listeners", behind)
            .flag("--termination-log", "/dev/null")
            .run()
            .await?;
        Ok(Self {
            sidecar,
            envoy,
            upstream,
            web,
        })
    }
}
