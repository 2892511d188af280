//! Envoy's admin interface, as a client.

use std::{fmt, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::wait::within;

/// Where an admin interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// At an address and port.
    Tcp(SocketAddr),
    /// At a socket in the file system.
    Unix(PathBuf),
}

/// What an admin interface answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {:.200}", self.body))
    }
}

impl Admin {
    /// Reads it from a bootstrap configuration; `None` where that switches it off.
    pub fn of_bootstrap(bootstrap: &Value) -> Option<Self> {
        let address = &bootstrap["admin"]["address"];
        if let Some(path) = address["pipe"]["path"].as_str() {
            return Some(Self::Unix(path.into()));
        }
        let socket = &address["socket_address"];
        let ip = socket["address"].as_str()?.parse().ok()?;
        let port = u16::try_from(socket["port_value"].as_u64()?).ok()?;
        Some(Self::Tcp(SocketAddr::new(ip, port)))
    }

    /// GET of a path, on a connection of its own.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path).await
    }

    /// POST to a path, on a connection of its own.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn post(&self, path: &str) -> Result<Answer> {
        self.call(Method::POST, path).await
    }

    /// The value of one gauge or counter; 0 where Envoy does not know it (yet).
    ///
    /// # Errors
    /// When there is no answer in time, or not one of the expected form.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let literal = name
            .replace('.', "\\.")
            .replace('[', "\\[")
            .replace(']', "\\]");
        let path = format!("/stats?format=json&filter=^{literal}$");
        let stats = self.get(&path).await?.json()?;
        let listed = stats["stats"]
            .as_array()
            .with_context(|| format!("no stats in {stats}"))?;
        let found = listed.iter().find(|stat| stat["name"] == name);
        Ok(found.and_then(|stat| stat["value"].as_u64()).unwrap_or(0))
    }

    async fn call(&self, method: Method, path: &str) -> Result<Answer> {
        let call = async {
            match self {
                Self::Tcp(address) => {
                    exchange(TcpStream::connect(address).await?, method, path).await
                }
                Self::Unix(socket) => {
                    exchange(UnixStream::connect(socket).await?, method, path).await
                }
            }
        };
        let what = format!("{path} of the admin at {self}");
        within(&what, call).await?.context(what)
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

async fn exchange<S>(stream: S, method: Method, path: &str) -> Result<Answer>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "admin")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
