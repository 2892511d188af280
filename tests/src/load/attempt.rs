//! Single requests that find out what an endpoint speaks, before a load relies on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Target;
use super::clients::Surroundings;
use super::http1::Ask;
use super::http2::Http2;
use super::record::{Failure, Kind, Recorder};
use super::websocket::WebSocket;

/// Opens a websocket, sends one message, and closes it.
///
/// # Errors
/// How it failed.
pub async fn try_websocket(endpoint: SocketAddr, target: &Target) -> Result<(), Failure> {
    let (surroundings, _stop) = alone(endpoint, target);
    let recorder = Arc::clone(&surroundings.recorder);
    WebSocket::new(surroundings)
        .session(Duration::from_millis(1))
        .await;
    verdict(&recorder)
}

/// Sends one request over HTTP/2.
///
/// # Errors
/// How it failed.
pub async fn try_http2(endpoint: SocketAddr, target: &Target) -> Result<(), Failure> {
    let (surroundings, _stop) = alone(endpoint, target);
    let recorder = Arc::clone(&surroundings.recorder);
    Http2::new(surroundings).send(Kind::Http2, Ask::Quick).await;
    verdict(&recorder)
}

fn alone(endpoint: SocketAddr, target: &Target) -> (Surroundings, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let surroundings = Surroundings {
        balancer: Arc::new(endpoint),
        target: Arc::new(target.clone()),
        recorder: Recorder::new(),
        stopped,
    };
    (surroundings, stop)
}

fn verdict(recorder: &Recorder) -> Result<(), Failure> {
    let record = recorder.record();
    record
        .failures()
        .next()
        .map_or(Ok(()), |(_, failure)| Err(failure.clone()))
}
