//! Which listeners count, and for what.

use std::time::Duration;

use anyhow::{Context, Result};
use drainhook_tests::{
    bootstrap::Listener,
    client::{Http1, Http2, Http3},
    wait::{until, within},
};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    slow::SLOW,
    stage::{BYTES, OTHER, QUIC, Setting, Stage, WEB, free_port, holds},
};

/// What the sidecar tells Envoy where a listener does not follow the health check.
const DRAIN_LISTENERS: &str = "/drain_listeners?graceful&skip_exit";

on_oldest_and_newest![
    a_listener_that_drains_on_modification_only_is_told_too,
    a_listener_of_http3_that_drains_on_modification_only_is_told_too,
];

async fn a_listener_that_drains_on_modification_only_is_told_too(
    release: &'static str,
) -> Result<()> {
    let setting = Setting::bare().await?.release(release).proxied();
    let plain = Listener::http("plain", setting.at(WEB), "upstream");
    let modify = Listener::http("modify", setting.at(OTHER), "upstream").modify_only();
    // With `gradual`, the default, most responses in the first minutes would not say it.
    let setting = setting
        .envoy_argument("--drain-strategy")
        .envoy_argument("immediate");
    let stage = setting.listener(plain).listener(modify).start().await?;

    let slow = stage.slow_at(stage.at(OTHER)).await?;
    let hook = stage.hook_told().await?;
    stage.proxy().posted(DRAIN_LISTENERS).await?;
    holds(&hook).await;
    // No connection may be refused by it, on either listener.
    for port in [WEB, OTHER] {
        assert_eq!(
            Http1::connect(stage.at(port)).await?.get("/").await?.status,
            200
        );
    }
    let (reply, _client) = stage.release(slow).await?;
    assert_eq!(reply.body, "held");
    assert!(
        reply.says_close(),
        "the client is not told to leave: {reply:?}"
    );
    assert_eq!(hook.answer().await?.status, 200);
    assert_eq!(stage.posts(), ["/healthcheck/fail", DRAIN_LISTENERS]);
    Ok(())
}

async fn a_listener_of_http3_that_drains_on_modification_only_is_told_too(
    release: &'static str,
) -> Result<()> {
    let setting = Setting::bare().await?.release(release).proxied();
    let quic = Listener::http3("quic", setting.at(QUIC), "upstream", setting.identity());
    let stage = setting.listener(quic.modify_only()).start().await?;

    let mut client = Http3::connect(stage.at(QUIC), stage.identity()).await?;
    let request = client.request(SLOW);
    let slow = stage.under_way(request, client).await?;
    let hook = stage.hook_told().await?;
    stage.proxy().posted(DRAIN_LISTENERS).await?;
    stage.ends_behind(hook, slow).await?;
    Ok(())
}

#[tokio::test]
async fn listeners_that_follow_the_health_check_are_not_told_twice() -> Result<()> {
    let stage = Setting::new().await?.proxied().start().await?;
    assert_eq!(stage.drain().await?.status, 200);
    assert_eq!(stage.posts(), ["/healthcheck/fail"]);
    Ok(())
}

#[tokio::test]
async fn drain_listeners_always_tells_the_listeners_and_refuses_nobody() -> Result<()> {
    let setting = Setting::new()
        .await?
        .proxied()
        .flag("--drain-listeners", "always");
    let stage = setting.flag("--min-drain", "1s").start().await?;
    let hook = stage.hook_told().await?;
    stage.proxy().posted(DRAIN_LISTENERS).await?;
    assert_eq!(stage.get("/").await?.status, 200);
    assert_eq!(hook.answer().await?.status, 200);
    assert_eq!(stage.get("/").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn drain_listeners_never_does_not_tell_the_listeners_even_where_needed() -> Result<()> {
    let setting = Setting::bare()
        .await?
        .proxied()
        .flag("--drain-listeners", "never");
    let web = Listener::http("web", setting.at(WEB), "upstream").modify_only();
    let stage = setting.listener(web).start().await?;
    assert_eq!(stage.drain().await?.status, 200);
    assert_eq!(stage.posts(), ["/healthcheck/fail"]);
    Ok(())
}

#[tokio::test]
async fn an_excluded_listener_does_not_count_by_name_by_stat_name_or_by_port() -> Result<()> {
    for excluded in ["web", "traffic", "8080"] {
        let setting = Setting::bare().await?.flag("--exclude-listeners", excluded);
        let web = Listener::http("web", setting.at(WEB), "upstream").stat_prefix("traffic");
        let stage = setting.listener(web).start().await?;
        let slow = stage.slow().await?;

        let answer = stage
            .drain()
            .await
            .with_context(|| format!("excluded: {excluded}"))?;
        assert_eq!(answer.status, 200);
        assert!(!slow.is_finished());
        assert!(
            !answer.body.contains("timeout"),
            "excluded: {excluded}: {}",
            answer.body
        );
    }
    Ok(())
}

/// Envoy Gateway #5832 and kin: a pattern such as `admin|worker` drops listeners of users.
#[tokio::test]
async fn an_exclusion_is_a_whole_name_and_never_a_part_of_one() -> Result<()> {
    let setting = Setting::bare()
        .await?
        .flag("--exclude-listeners", "admin,gw,80,my,worker,http");
    let web = Listener::http("my-admin-gw", setting.at(WEB), "upstream").stat_prefix("worker_gw");
    let stage = setting.listener(web).start().await?;
    let slow = stage.slow().await?;
    stage.drain_behind(slow).await?;
    Ok(())
}

#[tokio::test]
async fn an_excluded_listener_leaves_the_others_alone() -> Result<()> {
    let stage = Stage::with(&[("--exclude-listeners", "bytes")]).await?;
    let _excluded = TcpStream::connect(stage.at(BYTES)).await?;
    let mut client = Http2::connect(stage.at(WEB)).await?;
    let request = client.request(SLOW);
    let slow = stage.under_way(request, client).await?;
    stage.drain_behind(slow).await?;
    Ok(())
}

#[tokio::test]
async fn connections_that_arrive_at_a_quietened_port_do_not_extend_the_drain() -> Result<()> {
    let quietened = ("--quietened-listeners", "8080");
    let stage = Stage::with(&[quietened, ("--quiet", "2s"), ("--min-drain", "1s")]).await?;
    stage.get("/").await?;
    let hook = stage.hook_told().await?;
    // As probes would, for ever. Were they counted, there would never be 2 s without one.
    let probes = async {
        while !hook.is_finished() {
            assert_eq!(stage.get("/").await?.status, 200);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    within("a drain to which probes come for ever", probes).await??;
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn what_is_under_way_on_a_quietened_port_counts() -> Result<()> {
    let stage = Stage::with(&[("--quietened-listeners", "8080,8081")]).await?;
    let slow = stage.slow().await?;
    let bytes = TcpStream::connect(stage.at(BYTES)).await?;

    let hook = stage.hook_told().await?;
    holds(&hook).await;
    let (reply, _client) = stage.release(slow).await?;
    assert_eq!(reply.body, "held");
    holds(&hook).await;
    drop(bytes);
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

/// Istio #60728. An internal listener carries what another listener has taken in already.
#[tokio::test]
async fn an_internal_listener_does_not_count() -> Result<()> {
    let setting = Setting::bare().await?.flag("--exclude-listeners", "outer");
    let outer = Listener::tcp("outer", setting.at(BYTES), "inner");
    let inner = Listener::internal("inner", "tunnel");
    let extension = json!([{
        "name": "envoy.bootstrap.internal_listener",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.\
                      InternalListener",
        },
    }]);
    let setting = setting.listener(outer).listener(inner).change(|bootstrap| {
        bootstrap
            .internal_cluster("inner")
            .field("bootstrap_extensions", extension)
    });
    let stage = setting.start().await?;
    let mut client = TcpStream::connect(stage.at(BYTES)).await?;
    client.write_all(b"bytes").await?;
    let through = "listener.envoy_internal_inner.downstream_cx_active";
    until("an internal connection", async || {
        (stage.admin.stat(through).await.ok()? == 1).then_some(())
    })
    .await?;

    let answer = stage.drain().await?;
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    assert_eq!(
        stage.admin.stat(through).await?,
        1,
        "the internal connection was open throughout"
    );
    Ok(())
}

/// Envoy Gateway #4125. A scrape of the admin interface itself, kept alive, is no client.
#[tokio::test]
async fn connections_to_the_admin_interface_do_not_count() -> Result<()> {
    let stage = Stage::with(&[("--wait-for", "connections"), ("--check-delay", "100ms")]).await?;
    let mut scrape = Http1::connect(stage.admin_address()).await?;
    assert_eq!(scrape.get("/stats/prometheus?usedonly").await?.status, 200);
    let answer = stage.drain().await?;
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    assert!(!scrape.is_closed(), "the scraper was connected throughout");
    Ok(())
}

#[tokio::test]
async fn each_address_of_a_listener_counts() -> Result<()> {
    let setting = Setting::bare().await?;
    let web = Listener::http("web", setting.at(WEB), "upstream").also_at(setting.at(OTHER));
    let stage = setting.listener(web).start().await?;
    let slow = stage.slow_at(stage.at(OTHER)).await?;
    stage.drain_behind(slow).await?;
    Ok(())
}

#[tokio::test]
async fn a_listener_on_ipv6_counts_and_is_excluded_by_its_port() -> Result<()> {
    let port = free_port()?;
    let web = format!("[::1]:{port}").parse()?;
    for (excluded, counts) in [("1", true), (port.to_string().as_str(), false)] {
        let setting = Setting::bare().await?.flag("--exclude-listeners", excluded);
        let setting = setting.listener(Listener::http("web", web, "upstream"));
        let stage = setting.start().await?;
        let slow = stage.slow_at(web).await?;
        let hook = stage.hook_told().await?;
        if counts {
            holds(&hook).await;
            let _released = stage.release(slow).await?;
        }
        let answer = hook.answer().await?;
        assert!(!answer.body.contains("timeout"), "{}", answer.body);
    }
    Ok(())
}

/// Two listeners may share a prefix of HTTP statistics; what is in flight cannot be told apart then,
/// and must be taken as in flight on the one that counts.
#[tokio::test]
async fn a_request_counts_although_its_statistics_are_shared_with_an_excluded_listener()
-> Result<()> {
    let setting = Setting::bare().await?.flag("--exclude-listeners", "probes");
    let web = Listener::http("web", setting.at(WEB), "upstream").http_stat_prefix("ingress_http");
    let probes =
        Listener::http("probes", setting.at(OTHER), "upstream").http_stat_prefix("ingress_http");
    let stage = setting.listener(web).listener(probes).start().await?;
    Http1::connect(stage.at(OTHER)).await?.get("/").await?;
    let slow = stage.slow().await?;
    stage.drain_behind(slow).await?;
    Ok(())
}

/// Contour and MARIN3R add a gauge once per label: one more tag in Envoy's configuration doubles it.
#[tokio::test]
async fn one_more_stats_tag_does_not_double_the_count() -> Result<()> {
    let flags = [
        ("--wait-for", "connections"),
        ("--check-delay", "100ms"),
        ("--check-interval", "100ms"),
        ("--min-open-connections", "1"),
    ];
    let mut setting = Setting::bare().await?;
    for (name, value) in flags {
        setting = setting.flag(name, value);
    }
    let web = Listener::http("web", setting.at(WEB), "upstream").stat_prefix("web");
    let tags = json!({
        "stats_tags": [ { "tag_name": "extra", "regex": "^listener\\.((.+?)\\.)downstream" } ]
    });
    let setting = setting
        .listener(web)
        .change(|bootstrap| bootstrap.field("stats_config", tags));
    let stage = setting.start().await?;
    let mut client = Http1::connect(stage.at(WEB)).await?;
    assert_eq!(client.get("/").await?.status, 200);

    // One connection is open and one may be. Counted twice it would never be over.
    let answer = stage.drain().await?;
    assert!(!answer.body.contains("timeout"), "{}", answer.body);
    Ok(())
}
