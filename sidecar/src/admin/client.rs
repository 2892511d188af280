//! One HTTP call to Envoy's admin interface: bounded in time and in bytes.
//!
//! Each call has a connection of its own. Once Envoy drains, its admin interface closes connections
//! after each reply anyway, and a connection that was kept could be one to a process that is gone.

use std::{io, ops::ControlFlow, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::Address;
use crate::stats::StatsError;

/// For a connection: loopback and sockets answer at once, or the backlog is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// For a whole call. Stats of a big Envoy take 10 to 200 ms; under a tight CPU limit both sides may
/// be stopped for most of each 100 ms, so this leaves a factor of 25.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// More than the gauges of 20,000 listeners; what sends more is no admin interface.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// How much of an error's body is worth showing.
const SHOWN_BYTES: usize = 160;

/// Why a call has no result. None of these says anything about what Envoy does, but
/// [`AdminError::Refused`] says that nobody listens.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens there.
    #[error("nobody listens at {address}: {source}")]
    Refused {
        /// Where.
        address: Address,
        /// The system's word.
        source: io::Error,
    },
    /// No connection, for another reason.
    #[error("cannot connect to {address}: {source}{}", hint(source))]
    Connect {
        /// Where.
        address: Address,
        /// The system's word.
        source: io::Error,
    },
    /// No answer in time.
    #[error("{address} did not answer {path} within {} s", .after.as_secs())]
    TimedOut {
        /// Where.
        address: Address,
        /// What was asked.
        path: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("{path} broke off: {source}")]
    Broken {
        /// What was asked.
        path: &'static str,
        /// What hyper says.
        source: hyper::Error,
    },
    /// Another status than 200.
    #[error("{path} was answered with {status}: {body:?}")]
    Status {
        /// What was asked.
        path: &'static str,
        /// The status.
        status: StatusCode,
        /// The beginning of the body.
        body: String,
    },
    /// A body that is not what was asked for.
    #[error("{path} was answered with something else: {what}")]
    Unreadable {
        /// What was asked.
        path: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Stats that are none, or not all.
    #[error("/stats: {0}")]
    Stats(#[from] StatsError),
}

impl AdminError {
    /// Whether nobody listens at the address.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether stats are hidden by Envoy's configuration.
    pub fn is_hidden(&self) -> bool {
        matches!(self, Self::Stats(StatsError::Hidden(_)))
    }

    /// The kind of error, as a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Connect { .. } => "connect",
            Self::TimedOut { .. } => "timeout",
            Self::Broken { .. } => "broken",
            Self::Status { .. } => "status",
            Self::Unreadable { .. } | Self::Stats(StatsError::NoStat(_)) => "unreadable",
            Self::Stats(StatsError::Hidden(_)) => "hidden",
        }
    }
}

/// A call: the method, the path without its query (for messages), and the query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'static str,
    pub(super) query: &'a str,
}

/// Makes a call and hands each piece of a 200's body to `take`, until `take` breaks.
///
/// # Errors
///
/// Why there is no complete answer. Pieces may have been handed over before.
pub(super) async fn call<F>(address: &Address, call: Call<'_>, take: F) -> Result<(), AdminError>
where
    F: FnMut(&[u8]) -> ControlFlow<()>,
{
    let path = call.path;
    let timed_out = |after| AdminError::TimedOut {
        address: address.clone(),
        path,
        after,
    };
    let connected = timeout(CONNECT_TIMEOUT, connect(address))
        .await
        .map_err(|_| timed_out(CONNECT_TIMEOUT))??;
    let exchange = async {
        match connected {
            Stream::Tcp(stream) => exchange(stream, call, take).await,
            Stream::Unix(stream) => exchange(stream, call, take).await,
        }
    };
    timeout(CALL_TIMEOUT, exchange)
        .await
        .map_err(|_| timed_out(CALL_TIMEOUT))?
}

/// Whether somebody listens, without asking anything.
pub(super) async fn is_refused(address: &Address) -> bool {
    let connected = timeout(CONNECT_TIMEOUT, connect(address)).await;
    matches!(connected, Ok(Err(error)) if error.is_refused())
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn connect(address: &Address) -> Result<Stream, AdminError> {
    let connected = match address {
        Address::Tcp(address) => TcpStream::connect(address).await.map(Stream::Tcp),
        Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
        // tokio takes a path that begins with a zero byte as a name of the abstract namespace.
        Address::Abstract(name) => UnixStream::connect(format!("\0{name}"))
            .await
            .map(Stream::Unix),
    };
    connected.map_err(|source| match source.kind() {
        // A socket whose file is gone, or whose file is there but whose Envoy is not.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => AdminError::Refused {
            address: address.clone(),
            source,
        },
        _ => AdminError::Connect {
            address: address.clone(),
            source,
        },
    })
}

async fn exchange<S, F>(stream: S, call: Call<'_>, take: F) -> Result<(), AdminError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: FnMut(&[u8]) -> ControlFlow<()>,
{
    let broken = |source| AdminError::Broken {
        path: call.path,
        source,
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // The connection moves only while it is polled; it is over when either side is.
    let mut connection = std::pin::pin!(connection);
    let mut talk = std::pin::pin!(talk(&mut sender, call, take));
    tokio::select! {
        result = &mut talk => return result,
        closed = &mut connection => {
            // What came before the close may already be a whole answer.
            if let Err(error) = closed { return Err(broken(error)) }
        }
    }
    talk.await
}

async fn talk<F>(
    sender: &mut http1::SendRequest<Empty<Bytes>>,
    call: Call<'_>,
    mut take: F,
) -> Result<(), AdminError>
where
    F: FnMut(&[u8]) -> ControlFlow<()>,
{
    let path = call.path;
    let broken = |source| AdminError::Broken { path, source };
    let unreadable = |what: String| AdminError::Unreadable { path, what };
    let request = Request::builder()
        .method(call.method)
        .uri(format!("{path}{}", call.query))
        // Envoy refuses a request without a host; that this is no browser's is all it looks for.
        .header(header::HOST, "localhost")
        .header(
            header::USER_AGENT,
            concat!("shutdown-manager/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::new())
        .map_err(|error| unreadable(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let mut body = response.into_body();
    let mut shown = Vec::new();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        bytes += data.len();
        if status != StatusCode::OK {
            shown.extend_from_slice(&data[..data.len().min(SHOWN_BYTES - shown.len())]);
            if shown.len() == SHOWN_BYTES {
                break;
            }
        } else if take(&data).is_break() {
            return Ok(());
        } else if bytes > MOST_BYTES {
            return Err(unreadable(format!("more than {MOST_BYTES} bytes")));
        }
    }
    if status == StatusCode::OK {
        Ok(())
    } else {
        let body = String::from_utf8_lossy(&shown).trim().to_owned();
        Err(AdminError::Status { path, status, body })
    }
}

fn hint(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied {
        " (Envoy makes its socket 0755: run as Envoy's own user)"
    } else {
        ""
    }
}
