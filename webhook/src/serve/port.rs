//! One port: accepts connections, does TLS in a task of each connection, and serves HTTP/1.1 on them
//! until they end.
//!
//! HTTP/1.1 only: API servers talk nothing else to webhooks, and HTTP/2 would let one connection
//! hold many requests.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, header::CONNECTION},
};
use futures_util::FutureExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::{
    connections::{Connections, Phase, Seat, Watch},
    metrics::End,
    stop::{Stage, Stopping},
};

/// A port and all that serves it.
pub(super) struct Port {
    /// For the log.
    pub(super) name: &'static str,
    pub(super) listener: TcpListener,
    /// None for plain HTTP.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// [`Connections::watch`] has to run beside.
    pub(super) connections: Arc<Connections>,
    pub(super) router: Router,
    pub(super) stopping: Stopping,
    /// How long requests under way may take once the port closes.
    pub(super) close_within: Duration,
}

/// Who sent a request: an extension of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Bytes. Bounds the head of a request and what is read of its body at once. The API server's heads
/// are about 200 bytes.
const READ_BUFFER: usize = 16 * 1024;

/// Headers in a request's head. The API server sends six.
const MOST_HEADERS: usize = 32;

/// How long an idle connection that is to go may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long a connection must have been silent before it is closed with the port. A request that
/// meets a closing connection is not sent again, and whoever asks every few seconds is to be told by
/// an answer instead. It is half of the time to close where that is less.
const SILENT: Duration = Duration::from_secs(10);

/// How often to look whether the request that is under way on a connection was answered, once the port is
/// closed. That answer ends the connection: this is for the rare one that was written just before.
const LAST_ANSWER: Duration = Duration::from_millis(100);

/// A pause where no connection can be accepted (no file descriptor left): what is open goes on and
/// some of it ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Port {
    /// Serves until the stage is [`Stage::Closing`] and every connection has ended, or
    /// `close_within` is over. Returns how many were cut off then.
    pub(super) async fn serve(self) -> usize {
        let Self {
            name,
            listener,
            tls,
            connections,
            router,
            stopping,
            close_within,
        } = self;
        let acceptor = tls.map(TlsAcceptor::from);
        let silent = SILENT.min(close_within / 2);
        let begin = |(stream, peer): (TcpStream, SocketAddr), tasks: &mut JoinSet<()>| {
            if let Some(seat) = connections.seat(peer.ip()) {
                let (router, stopping) = (router.clone(), stopping.clone());
                tasks.spawn(
                    Connection {
                        seat,
                        router,
                        stopping,
                        silent,
                    }
                    .run(stream, acceptor.clone()),
                );
            }
        };
        let mut tasks = JoinSet::new();
        let mut closing = stopping.clone();
        loop {
            tokio::select! {
                biased;
                () = closing.reached(Stage::Closing) => break,
                Some(_) = tasks.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => begin(accepted, &mut tasks),
                    Err(error) if is_of_the_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(port = name, %error, "cannot accept connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // What the system has accepted already would be reset.
        while let Some(Ok(accepted)) = listener.accept().now_or_never() {
            begin(accepted, &mut tasks);
        }
        drop(listener);
        let until = Instant::now() + close_within;
        while let Ok(Some(_)) = timeout_at(until, tasks.join_next()).await {}
        let cut = tasks.len();
        tasks.shutdown().await;
        cut
    }
}

/// The peer gave up before it was accepted: nothing is wrong with the port.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

struct Connection {
    seat: Seat,
    router: Router,
    stopping: Stopping,
    /// See [`SILENT`].
    silent: Duration,
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        // Answers are small and waited for. Where it fails the connection is broken already.
        let _ = stream.set_nodelay(true);
        let watch = self.seat.watch().clone();
        match acceptor {
            None => self.serve(stream).await,
            Some(acceptor) => {
                let accepted = tokio::select! {
                    accepted = acceptor.accept(stream) => accepted,
                    () = watch.closing() => return,
                };
                match accepted {
                    Ok(stream) => self.serve(stream).await,
                    Err(error) => {
                        tracing::debug!(peer = %watch.peer, %error, "TLS handshake failed");
                        watch.end(End::Handshake);
                    }
                }
            }
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) {
        let Self {
            seat,
            router,
            stopping,
            silent,
        } = self;
        let watch = seat.watch().clone();
        watch.enter(Phase::Idle);
        let service =
            service_fn(|request| answer(request, router.clone(), watch.clone(), stopping.clone()));
        let io = TokioIo::new(Watched {
            stream,
            watch: watch.clone(),
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // `Connections::watch` knows whether silence is idleness or half a head; hyper's one
            // limit does not.
            .header_read_timeout(None)
            .max_buf_size(READ_BUFFER)
            .max_headers(MOST_HEADERS)
            .serve_connection(io, service);
        tokio::pin!(connection);
        let mut closing = stopping.clone();
        let mut told_to_end = false;
        let mut ends_at = None;
        loop {
            tokio::select! {
                // What has come already is read before anything is closed.
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %watch.peer, %error, "connection broke");
                        watch.end(End::Broken);
                    }
                    return;
                }
                () = watch.closing(), if ends_at.is_none() => {
                    // In the middle of a request there is nobody to be polite to.
                    if watch.phase().0 == Phase::Request {
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                    ends_at = Some(Instant::now() + GOODBYE);
                }
                () = done_with(&watch, &mut closing, silent), if !told_to_end => {
                    told_to_end = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = until(ends_at) => return,
            }
        }
    }
}

/// Returns when the port closes and no request is under way or to be expected on this connection. The
/// answer of one that is under way is the last anyway, and says so; of a head that has come in part hyper
/// knows nothing yet, and would close.
async fn done_with(watch: &Watch, closing: &mut Stopping, silent: Duration) {
    closing.reached(Stage::Closing).await;
    loop {
        let pause = match watch.phase() {
            (Phase::Idle, lasts) if lasts < silent => silent - lasts,
            (Phase::Request, _) => LAST_ANSWER,
            _ => return,
        };
        sleep(pause).await;
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

async fn answer(
    request: Request<Incoming>,
    router: Router,
    watch: Arc<Watch>,
    stopping: Stopping,
) -> Result<Response<Body>, Infallible> {
    watch.enter(Phase::Request);
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(watch.peer));
    let mut response = router.oneshot(request).await?;
    if stopping.stage() > Stage::Serving {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    watch.answered();
    Ok(response)
}

/// A stream that tells its watch when bytes come.
struct Watched<S> {
    stream: S,
    watch: Arc<Watch>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.heard();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
