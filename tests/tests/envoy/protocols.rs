//! Each protocol holds up the drain for as long as something is under way on it, loses nothing by it,
//! and no longer. On the oldest and the newest supported Envoy.

use std::time::Duration;

use anyhow::Result;
use drainhook_tests::{
    client::{Http1, Http2, Http3, Tunnel, WebSocket},
    sidecar::Answer,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    arrivals::put_off_the_end,
    slow::SLOW,
    stage::{BYTES, QUIC, Setting, WEB, holds},
};

on_oldest_and_newest![
    a_request_over_http1_is_answered_before_the_drain_ends,
    a_request_over_http2_is_answered_before_the_drain_ends,
    a_request_over_http3_is_answered_before_the_drain_ends,
    an_answer_that_streams_is_received_to_its_end,
    a_grpc_stream_ends_by_itself_with_its_status,
    a_websocket_is_held_until_its_client_closes_it,
    a_websocket_is_cut_after_the_upgrade_timeout_and_reported,
    a_connect_tunnel_is_held_until_its_client_closes_it,
    a_connect_tunnel_is_cut_after_the_upgrade_timeout_and_reported,
    a_tcp_connection_is_held_until_its_client_closes_it,
    a_tcp_connection_is_cut_after_the_upgrade_timeout_and_reported,
    idle_connections_of_all_http_versions_do_not_hold_up_the_drain,
    new_connections_are_served_until_the_drain_ends,
];

async fn a_request_over_http1_is_answered_before_the_drain_ends(
    release: &'static str,
) -> Result<()> {
    let stage = Setting::new().await?.release(release).start().await?;
    let slow = stage.slow().await?;

    let (reply, answer) = stage.drain_behind(slow).await?;
    assert!(
        reply.says_close(),
        "the client is not told to leave: {reply:?}"
    );
    assert!(
        answer.body.contains("quiet") || answer.body.contains("drained"),
        "{}",
        answer.body
    );
    Ok(())
}

async fn a_request_over_http2_is_answered_before_the_drain_ends(
    release: &'static str,
) -> Result<()> {
    let stage = Setting::new().await?.release(release).start().await?;
    let mut client = Http2::connect(stage.at(WEB)).await?;
    let slow = client.request("/hold/slow");
    let slower = client.request("/hold/slower");
    stage.upstream().arrived("slow").await?;
    stage.upstream().arrived("slower").await?;

    let hook = stage.hook_told().await?;
    stage.upstream().release("slow");
    assert_eq!(slow.reply().await?.body, "held");
    // GOAWAY has come with that answer; the other stream of the connection still counts.
    holds(&hook).await;
    stage.upstream().release("slower");
    assert_eq!(slower.reply().await?.body, "held");
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

async fn a_request_over_http3_is_answered_before_the_drain_ends(
    release: &'static str,
) -> Result<()> {
    let stage = Setting::new().await?.release(release).start().await?;
    let mut client = Http3::connect(stage.at(QUIC), stage.identity()).await?;
    let request = client.request(SLOW);
    let slow = stage.under_way(request, client).await?;
    stage.drain_behind(slow).await?;
    Ok(())
}

async fn an_answer_that_streams_is_received_to_its_end(release: &'static str) -> Result<()> {
    let stage = Setting::new().await?.release(release).start().await?;
    let mut http1 = Http1::connect(stage.at(WEB)).await?;
    let mut http2 = Http2::connect(stage.at(WEB)).await?;
    let streams = [http1.request("/stream/one"), http2.request("/stream/two")];
    stage.upstream().arrived("one").await?;
    stage.upstream().arrived("two").await?;

    let hook = stage.hook_told().await?;
    holds(&hook).await;
    stage.upstream().release("one");
    stage.upstream().release("two");
    for stream in streams {
        let reply = stream.reply().await?;
        assert!(reply.body.ends_with("end\n"), "{reply:?}");
    }
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

async fn a_grpc_stream_ends_by_itself_with_its_status(release: &'static str) -> Result<()> {
    let stage = Setting::new().await?.release(release).start().await?;
    let mut client = Http2::connect(stage.at(WEB)).await?;
    let mut stream = client.grpc().await?;
    stream.echo("before the drain").await?;

    let hook = stage.hook_told().await?;
    stream.echo("during the drain").await?;
    holds(&hook).await;
    stream.echo("after a while").await?;
    stream.finish().await?;
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

async fn a_websocket_is_held_until_its_client_closes_it(release: &'static str) -> Result<()> {
    let stage = Setting::new().await?.release(release).start().await?;
    let mut socket = WebSocket::connect(stage.at(WEB)).await?;
    socket.echo("before the drain").await?;

    let hook = stage.hook_told().await?;
    holds(&hook).await;
    socket.echo("during the drain").await?;
    socket.close().await?;
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

async fn a_websocket_is_cut_after_the_upgrade_timeout_and_reported(
    release: &'static str,
) -> Result<()> {
    let setting = Setting::new().await?.release(release);
    let stage = setting.flag("--upgrade-timeout", "1s").start().await?;
    let mut socket = WebSocket::connect(stage.at(WEB)).await?;

    let answer = stage.drain().await?;
    // The sidecar cuts nothing: the websocket lives until Envoy is told to end.
    socket.echo("after the drain").await?;
    is_capped(&answer, "web", "8080");
    Ok(())
}

async fn a_connect_tunnel_is_held_until_its_client_closes_it(release: &'static str) -> Result<()> {
    let stage = Setting::new().await?.release(release).start().await?;
    let mut tunnel = Tunnel::connect(stage.at(WEB)).await?;
    tunnel.echo("before the drain").await?;

    let hook = stage.hook_told().await?;
    holds(&hook).await;
    tunnel.echo("during the drain").await?;
    drop(tunnel);
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

async fn a_connect_tunnel_is_cut_after_the_upgrade_timeout_and_reported(
    release: &'static str,
) -> Result<()> {
    let setting = Setting::new().await?.release(release);
    let stage = setting.flag("--upgrade-timeout", "1s").start().await?;
    let mut tunnel = Tunnel::connect(stage.at(WEB)).await?;

    let answer = stage.drain().await?;
    tunnel.echo("after the drain").await?;
    is_capped(&answer, "web", "8080");
    Ok(())
}

async fn a_tcp_connection_is_held_until_its_client_closes_it(release: &'static str) -> Result<()> {
    let stage = Setting::new().await?.release(release).start().await?;
    let mut client = TcpStream::connect(stage.at(BYTES)).await?;
    echo(&mut client, b"before the drain").await?;

    let hook = stage.hook_told().await?;
    holds(&hook).await;
    echo(&mut client, b"during the drain").await?;
    drop(client);
    assert_eq!(hook.answer().await?.status, 200);
    Ok(())
}

async fn a_tcp_connection_is_cut_after_the_upgrade_timeout_and_reported(
    release: &'static str,
) -> Result<()> {
    let setting = Setting::new().await?.release(release);
    let stage = setting.flag("--upgrade-timeout", "1s").start().await?;
    let mut client = TcpStream::connect(stage.at(BYTES)).await?;
    echo(&mut client, b"before the drain").await?;

    let answer = stage.drain().await?;
    echo(&mut client, b"after the drain").await?;
    is_capped(&answer, "bytes", "8081");
    Ok(())
}

async fn idle_connections_of_all_http_versions_do_not_hold_up_the_drain(
    release: &'static str,
) -> Result<()> {
    let stage = Setting::new().await?.release(release).start().await?;
    let mut http1 = Http1::connect(stage.at(WEB)).await?;
    let mut http2 = Http2::connect(stage.at(WEB)).await?;
    let mut http3 = Http3::connect(stage.at(QUIC), stage.identity()).await?;
    http1.get("/").await?;
    http2.get("/").await?;
    http3.get("/").await?;
    // Connected, and never used.
    let unused = Http1::connect(stage.at(WEB)).await?;

    let answer = stage.drain().await?;
    assert_eq!(answer.status, 200);
    for (protocol, closed) in [
        ("HTTP/1.1", http1.is_closed()),
        ("HTTP/2", http2.is_closed()),
        ("HTTP/3", http3.is_closed()),
        ("unused", unused.is_closed()),
    ] {
        assert!(
            !closed,
            "the idle connection of {protocol} was closed by the drain"
        );
    }
    Ok(())
}

async fn new_connections_are_served_until_the_drain_ends(release: &'static str) -> Result<()> {
    let setting = Setting::new().await?.release(release).flag("--quiet", "2s");
    let stage = setting.start().await?;
    stage.get("/").await?;
    let hook = stage.hook_told().await?;
    put_off_the_end(hook, Duration::from_secs(2), async || {
        let reply = stage.get("/").await?;
        assert_eq!(reply.status, 200);
        assert!(
            reply.says_close(),
            "the client is not told to leave: {reply:?}"
        );
        Ok(())
    })
    .await
}

/// The report says that something was left behind on this listener.
fn is_capped(answer: &Answer, listener: &str, port: &str) {
    let body = &answer.body;
    assert!(body.contains("capped"), "{body}");
    assert!(body.contains(listener) || body.contains(port), "{body}");
}

async fn echo(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).await?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await?;
    assert_eq!(back, bytes);
    Ok(())
}
