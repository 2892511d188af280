//! What starts as HTTP/1.1 and ends as something else: websockets and CONNECT.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::{Method, Request, client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::HOST;
use crate::wait::within;

/// A websocket.
#[derive(Debug)]
pub struct WebSocket {
    stream: WebSocketStream<TcpStream>,
}

impl WebSocket {
    /// Connects to the websocket that echoes.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("to {address}"))?;
        let url = format!("ws://{HOST}/ws");
        let (stream, _) = tokio_tungstenite::client_async(url, stream).await?;
        Ok(Self { stream })
    }

    /// Sends a message and waits until it has come back.
    ///
    /// # Errors
    /// When the websocket is broken.
    pub async fn echo(&mut self, message: &str) -> Result<()> {
        self.stream.send(Message::text(message)).await?;
        let back = within("the echo of a websocket", self.stream.next()).await?;
        let back = back.context("the websocket ended")??;
        if back != Message::text(message) {
            bail!("sent {message:?}, got {back:?}");
        }
        Ok(())
    }

    /// Closes it, as a browser does.
    ///
    /// # Errors
    /// When it is broken already.
    pub async fn close(mut self) -> Result<()> {
        self.stream.close(None).await?;
        let rest = async { while let Some(Ok(_)) = self.stream.next().await {} };
        within("the end of a websocket", rest).await
    }
}

/// A tunnel that was asked for with CONNECT over HTTP/1.1.
#[derive(Debug)]
pub struct Tunnel {
    stream: TokioIo<Upgraded>,
}

impl Tunnel {
    /// Connects.
    ///
    /// # Errors
    /// When it cannot, or the tunnel is refused.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("to {address}"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let target = format!("{HOST}:80");
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(&target)
            .header("host", &target)
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if response.status() != 200 {
            bail!("CONNECT was answered with {}", response.status());
        }
        Ok(Self {
            stream: TokioIo::new(hyper::upgrade::on(response).await?),
        })
    }

    /// Sends bytes and waits until they have come back.
    ///
    /// # Errors
    /// When the tunnel is broken.
    pub async fn echo(&mut self, bytes: &str) -> Result<()> {
        self.stream.write_all(bytes.as_bytes()).await?;
        let mut back = vec![0; bytes.len()];
        within("the echo of a tunnel", self.stream.read_exact(&mut back)).await??;
        if back != bytes.as_bytes() {
            bail!("sent {bytes:?}, got {:?}", String::from_utf8_lossy(&back));
        }
        Ok(())
    }
}
