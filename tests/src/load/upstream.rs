//! The application behind Envoy, played by the tests: it answers what the
//! [load generator](super) asks for in a header, whatever the path.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::ASK;

/// The pace of the pieces of a stream.
const PIECE: Duration = Duration::from_millis(100);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A running upstream. It ends, with every connection and without a word to anybody, when it is
/// dropped: as a process does that has no handler for SIGTERM.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Upstream {
    /// Listens on `address`; on a free port where its port is 0.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Upstream {
            address,
            server: tokio::spawn(accept(listener)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener) {
    // Dropped with this task, so that its end is the end of every connection.
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let server = auto::Builder::new(hyper_util::rt::TokioExecutor::new());
    let websockets = Websockets::default();
    let service = service_fn(|request| answer(request, Arc::clone(&websockets)));
    // A connection that its client breaks off is no news to this server.
    let _ = server
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
    let mut websockets = std::mem::take(&mut *locked(&websockets));
    while websockets.join_next().await.is_some() {}
}

/// The websockets of a connection, which end with the task that holds them.
type Websockets = Arc<Mutex<JoinSet<()>>>;

fn locked(websockets: &Websockets) -> MutexGuard<'_, JoinSet<()>> {
    websockets.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    mut request: Request<Incoming>,
    websockets: Websockets,
) -> Result<Response<Body>, Infallible> {
    if let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() {
        let upgrade = hyper::upgrade::on(&mut request);
        locked(&websockets).spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                echo(TokioIo::new(upgraded)).await;
            }
        });
        return Ok(switching_protocols(&key));
    }
    let ask = request
        .headers()
        .get(ASK)
        .and_then(|ask| ask.to_str().ok())
        .unwrap_or_default();
    match ask
        .split_once('=')
        .map(|(what, length)| (what, milliseconds(length)))
    {
        Some(("slow", Some(length))) => {
            tokio::time::sleep(length).await;
            Ok(Response::new(Full::from("slow\n").boxed_unsync()))
        }
        Some(("stream", Some(length))) => Ok(Response::new(pieces(length))),
        _ => Ok(Response::new(Full::from("ok\n").boxed_unsync())),
    }
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

/// A body that goes on for so long.
fn pieces(length: Duration) -> Body {
    let count = length.as_millis().div_ceil(PIECE.as_millis());
    let pieces = stream::iter(0..count).then(|_| async {
        tokio::time::sleep(PIECE).await;
        Ok(Frame::data(Bytes::from_static(b"piece\n")))
    });
    BodyExt::boxed_unsync(StreamBody::new(pieces))
}

fn switching_protocols(key: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = derive_accept_key(key.as_bytes()).parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

async fn echo(stream: TokioIo<hyper::upgrade::Upgraded>) {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        // tungstenite answers pings and closes by itself when it is polled on.
        if message.is_text() && socket.send(message).await.is_err() {
            return;
        }
    }
}
