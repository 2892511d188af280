//! The servers behind Envoy. What they answer is decided by the test and not by a clock: a request
//! to `/hold/NAME` is answered when the test says so.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    extract::{
        Path, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, HeaderValue},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::channel::Channel;
use tokio::{
    io,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time,
};

use crate::wait::within;

/// The pause between two chunks of `/stream/NAME`.
const CHUNK_PAUSE: Duration = Duration::from_millis(50);

/// Frames of a gRPC-like stream that may wait for a slow reader.
const GRPC_BACKLOG: usize = 16;

/// An HTTP server (HTTP/1.1 and HTTP/2 without TLS on one port), and a TCP server that echoes.
///
/// | path | answer |
/// |---|---|
/// | `/hold/NAME` | when [`Upstream::release`] was called with the name |
/// | `/stream/NAME` | a chunk every 50 ms until then |
/// | `/ws` | a websocket that echoes |
/// | POST `/grpc` | each data frame of the request at once, then the trailer `grpc-status: 0` |
/// | any other | `ok` |
#[derive(Debug)]
pub struct Upstream {
    http: SocketAddr,
    tcp: SocketAddr,
    names: Names,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Starts both servers on ports that the kernel chooses.
    ///
    /// # Errors
    /// When they cannot listen.
    pub async fn start() -> Result<Self> {
        let mut tasks = JoinSet::new();
        let names = Names::default();
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen for HTTP")?;
        let http = listener.local_addr()?;
        let router = router(names.clone());
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the upstream ended: {error}");
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen for TCP")?;
        let tcp = listener.local_addr()?;
        tasks.spawn(echo_each(listener));
        Ok(Self {
            http,
            tcp,
            names,
            _tasks: tasks,
        })
    }

    /// Where it takes HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it echoes.
    pub fn tcp(&self) -> SocketAddr {
        self.tcp
    }

    /// Waits until a request to `/hold/NAME` or `/stream/NAME` has come through Envoy.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn arrived(&self, name: &str) -> Result<()> {
        let mut arrived = self.names.arrived.subscribe();
        let waiting = arrived.wait_for(|names| names.contains(name));
        within(&format!("a request for {name}"), waiting).await??;
        Ok(())
    }

    /// Lets the requests of this name end, also those that are still to come.
    pub fn release(&self, name: &str) {
        self.names.released.send_modify(|names| {
            names.insert(name.to_owned());
        });
    }
}

#[derive(Debug, Clone)]
struct Names {
    arrived: Arc<watch::Sender<BTreeSet<String>>>,
    released: Arc<watch::Sender<BTreeSet<String>>>,
}

impl Default for Names {
    fn default() -> Self {
        let new = || Arc::new(watch::Sender::new(BTreeSet::new()));
        Self {
            arrived: new(),
            released: new(),
        }
    }
}

impl Names {
    fn arrive(&self, name: &str) -> watch::Receiver<BTreeSet<String>> {
        self.arrived.send_modify(|names| {
            names.insert(name.to_owned());
        });
        self.released.subscribe()
    }
}

fn router(names: Names) -> Router {
    Router::new()
        .route("/hold/{name}", any(hold))
        .route("/stream/{name}", any(stream))
        .route("/ws", get(websocket))
        .route("/grpc", post(grpc))
        .fallback(any(|| async { "ok" }))
        .with_state(names)
}

async fn hold(State(names): State<Names>, Path(name): Path<String>) -> &'static str {
    let mut released = names.arrive(&name);
    let _ = released.wait_for(|names| names.contains(&name)).await;
    "held"
}

async fn stream(State(names): State<Names>, Path(name): Path<String>) -> Body {
    let released = names.arrive(&name);
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        while !released.borrow().contains(&name) {
            if sender
                .send_data(Bytes::from_static(b"chunk\n"))
                .await
                .is_err()
            {
                return;
            }
            time::sleep(CHUNK_PAUSE).await;
        }
        let _ = sender.send_data(Bytes::from_static(b"end\n")).await;
    });
    Body::new(body)
}

async fn websocket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket: WebSocket| {
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_) | Message::Binary(_))
                && socket.send(message).await.is_err()
            {
                return;
            }
        }
    })
}

async fn grpc(request: Body) -> impl IntoResponse {
    let (mut sender, body) = Channel::<Bytes>::new(GRPC_BACKLOG);
    tokio::spawn(async move {
        let mut frames = request.into_data_stream();
        while let Some(Ok(data)) = frames.next().await {
            if sender.send_data(data).await.is_err() {
                return;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let _ = sender.send_trailers(trailers).await;
    });
    ([("content-type", "application/grpc")], Body::new(body))
}

async fn echo_each(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) {
    let (mut reader, mut writer) = stream.split();
    // The peer's reset is as good an end as its FIN.
    let _ = io::copy(&mut reader, &mut writer).await;
}
