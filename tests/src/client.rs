//! Clients of each protocol, each of them one connection. None of them ever retries: what a client
//! would lose is what the tests look for.

mod http3;
mod tunnel;

use std::{net::SocketAddr, pin::Pin};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, channel};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{http1, http2},
    header::HeaderMap,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinHandle};

pub use self::{
    http3::Http3,
    tunnel::{Tunnel, WebSocket},
};

use crate::wait::within;

/// The name of the server in all requests, and so in the certificate of a server with TLS.
pub const HOST: &str = "drainhook.test";

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub body: String,
}

impl Reply {
    /// Whether it asks the client to leave (HTTP/1.1).
    pub fn says_close(&self) -> bool {
        self.headers
            .get("connection")
            .is_some_and(|value| value == "close")
    }

    async fn read(response: Response<Incoming>) -> Result<Self> {
        let (head, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .context("the answer broke off")?
            .to_bytes();
        Ok(Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Pending {
    task: JoinHandle<Result<Reply>>,
}

impl Pending {
    /// Whether it is over.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it failed, in any way that its client would see.
    pub async fn reply(self) -> Result<Reply> {
        within("the end of a request", self.task).await??
    }
}

/// A connection of HTTP/1.1 that is kept alive.
#[derive(Debug)]
pub struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Http1 {
    /// Connects.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("to {address}"))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            sender,
            connection: tokio::spawn(connection),
        })
    }

    /// Sends a request, and does not wait for its answer.
    pub fn request(&mut self, path: &str) -> Pending {
        let response = get(path).map(|request| self.sender.send_request(request));
        Pending {
            task: tokio::spawn(async { Reply::read(response?.await?).await }),
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When it fails, in any way that its client would see.
    pub async fn get(&mut self, path: &str) -> Result<Reply> {
        self.sender
            .ready()
            .await
            .context("the connection is closed")?;
        self.request(path).reply().await
    }

    /// Whether the other side has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.connection.is_finished()
    }
}

/// A connection of HTTP/2 without TLS.
#[derive(Debug)]
pub struct Http2 {
    sender: http2::SendRequest<Sent>,
    connection: JoinHandle<hyper::Result<()>>,
}

/// What HTTP/2 requests send: one of nothing, or a stream of a client that goes on and on.
type Sent = Pin<Box<dyn hyper::body::Body<Data = Bytes, Error = std::io::Error> + Send>>;

impl Http2 {
    /// Connects.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("to {address}"))?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        Ok(Self {
            sender,
            connection: tokio::spawn(connection),
        })
    }

    /// Sends a request, and does not wait for its answer.
    pub fn request(&mut self, path: &str) -> Pending {
        let empty: Sent = Box::pin(Full::default().map_err(|never| match never {}));
        let request = Request::get(format!("http://{HOST}{path}")).body(empty);
        let response = request.map(|request| self.sender.send_request(request));
        Pending {
            task: tokio::spawn(async { Reply::read(response?.await?).await }),
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When it fails, in any way that its client would see.
    pub async fn get(&mut self, path: &str) -> Result<Reply> {
        self.sender
            .ready()
            .await
            .context("the connection is closed")?;
        self.request(path).reply().await
    }

    /// Opens a stream in both directions, as gRPC does.
    ///
    /// # Errors
    /// When it is not answered, or with an error.
    pub async fn grpc(&mut self) -> Result<GrpcStream> {
        let (sender, body) = channel::Channel::<Bytes, std::io::Error>::new(1);
        let body: Sent = Box::pin(body);
        let request = Request::post(format!("http://{HOST}/grpc"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)?;
        let response = self.sender.send_request(request).await?;
        if response.status() != 200 {
            bail!("the stream was answered with {}", response.status());
        }
        Ok(GrpcStream {
            sender: Some(sender),
            received: response.into_body(),
        })
    }

    /// Whether the connection is closed: GOAWAY was honoured and nothing is left on it, or worse.
    pub fn is_closed(&self) -> bool {
        self.connection.is_finished()
    }
}

/// A stream in both directions over HTTP/2, with trailers at its end. What is in its frames does not
/// matter to Envoy, so they carry plain bytes.
#[derive(Debug)]
pub struct GrpcStream {
    sender: Option<channel::Sender<Bytes, std::io::Error>>,
    received: Incoming,
}

impl GrpcStream {
    /// Sends a message and waits until it has come back.
    ///
    /// # Errors
    /// When the stream is broken.
    pub async fn echo(&mut self, message: &'static str) -> Result<()> {
        let sender = self.sender.as_mut().context("the stream was ended")?;
        sender
            .send_data(Bytes::from_static(message.as_bytes()))
            .await?;
        within("the echo of a stream", self.echoed(message)).await?
    }

    async fn echoed(&mut self, message: &'static str) -> Result<()> {
        let mut back = Vec::new();
        while back.len() < message.len() {
            let frame = self.received.frame().await.context("the stream ended")??;
            back.extend_from_slice(frame.data_ref().context("trailers came too early")?);
        }
        if back != message.as_bytes() {
            bail!("sent {message:?}, got {:?}", String::from_utf8_lossy(&back));
        }
        Ok(())
    }

    /// Ends the stream and waits for its status.
    ///
    /// # Errors
    /// When it does not end with status 0.
    pub async fn finish(mut self) -> Result<()> {
        drop(self.sender.take());
        within("the status of a stream", self.status()).await?
    }

    async fn status(&mut self) -> Result<()> {
        while let Some(frame) = self.received.frame().await {
            if let Some(trailers) = frame?.trailers_ref() {
                match trailers.get("grpc-status") {
                    Some(status) if status == "0" => return Ok(()),
                    other => bail!("the stream ended with grpc-status {other:?}"),
                }
            }
        }
        bail!("the stream ended without a status")
    }
}

fn get(path: &str) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    Request::get(path)
        .header("host", HOST)
        .body(Full::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::Loopback,
        bootstrap::{Bootstrap, Identity, Listener},
        envoy::{Binary, NEWEST, OLDEST, Start, Wanted},
        upstream::Upstream,
    };

    #[tokio::test]
    async fn every_protocol_goes_through_the_oldest_and_the_newest_envoy() -> Result<()> {
        for release in [OLDEST, NEWEST] {
            let address = Loopback::claim()?;
            let upstream = Upstream::start().await?;
            let identity = Identity::new(HOST)?;
            let (web, quic) = (address.port(8080), address.port(8443));
            let bootstrap = Bootstrap::new()
                .admin(address.port(9901))
                .listener(Listener::http("web", web, "upstream"))
                .listener(Listener::http3("quic", quic, "upstream", &identity))
                .cluster("upstream", upstream.http())
                .cluster("tunnel", upstream.tcp());
            let binary = Binary::find(Wanted::Release(release))?;
            let _envoy = Start::new(&binary)
                .bootstrap(bootstrap.value())
                .run()
                .await?;

            let mut http1 = Http1::connect(web).await?;
            let held = http1.request("/hold/name");
            upstream.arrived("name").await?;
            assert!(!held.is_finished());
            upstream.release("name");
            assert_eq!(held.reply().await?.body, "held");
            assert_eq!(Http2::connect(web).await?.get("/").await?.body, "ok");
            assert_eq!(
                Http3::connect(quic, &identity).await?.get("/").await?.body,
                "ok"
            );

            let mut http2 = Http2::connect(web).await?;
            let mut stream = http2.grpc().await?;
            stream.echo("a message").await?;
            stream.echo("another").await?;
            stream.finish().await?;

            let mut socket = WebSocket::connect(web).await?;
            socket.echo("a message").await?;
            socket.close().await?;
            Tunnel::connect(web).await?.echo("some bytes").await?;
        }
        Ok(())
    }
}
