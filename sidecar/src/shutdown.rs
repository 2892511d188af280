//! `shutdown-manager shutdown`: asks the local server to drain, and waits. For exec hooks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{report::Report, serve::TOKEN_HEADER, settings::Settings};

/// A report names a handful of Envoys.
const MOST_BYTES: usize = 256 * 1024;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    /// Nobody serves there.
    #[error("no shutdown-manager answers at {address}: {source}; is --port the one it serves on?")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// It went away in the middle.
    #[error("the shutdown-manager at {address} went away: {source}")]
    Broken {
        /// Where.
        address: SocketAddr,
        /// What hyper says.
        source: hyper::Error,
    },
    /// It refused.
    #[error("the shutdown-manager at {address} answered {status}: {body}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// With which status.
        status: StatusCode,
        /// In which words.
        body: String,
    },
    /// Who answered is no shutdown-manager.
    #[error("what answers at {address} is no shutdown-manager: {what}")]
    Unreadable {
        /// Where.
        address: SocketAddr,
        /// What came.
        what: String,
    },
}

/// Asks for the drain of all Envoys, or of the named one, and waits for its end however long that is:
/// the drain has a bound of its own.
///
/// # Errors
///
/// Why nothing is known about a drain.
pub async fn shutdown(settings: &Settings, name: Option<&str>) -> Result<Report, ShutdownError> {
    let ip = match settings.bind {
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(ip) => ip,
    };
    let address = SocketAddr::new(ip, settings.port);
    let broken = |source| ShutdownError::Broken { address, source };
    let unreadable = |what: String| ShutdownError::Unreadable { address, what };

    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| ShutdownError::Unreachable { address, source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    tokio::spawn(connection);

    let path = name.map_or_else(
        || "/shutdown".to_owned(),
        |name| format!("/shutdown/{name}"),
    );
    let mut request = Request::post(path).header(header::HOST, address.to_string());
    if let Some(token) = &settings.token {
        request = request.header(TOKEN_HEADER, token.as_str());
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|e| unreadable(e.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_BYTES)
        .collect()
        .await;
    let body = body
        .map_err(|error| unreadable(error.to_string()))?
        .to_bytes();
    if status != StatusCode::OK {
        let body = String::from_utf8_lossy(&body).trim().to_owned();
        return Err(ShutdownError::Refused {
            address,
            status,
            body,
        });
    }
    serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))
}
