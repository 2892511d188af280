//! A client of HTTP/1.1 with one connection.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::clients::Surroundings;
use super::record::{Failure, Kind, Outcome, Recorder};

/// How the load generator tells its [upstream](super) what to do. A header, so that
/// paths remain those of the routes under test.
pub const ASK: HeaderName = HeaderName::from_static("x-load-ask");

/// How an answer says which endpoint gave it, `IP:PORT`, where something between the client and the
/// endpoint has balanced, such as a Service. Envoy knows it as `%DOWNSTREAM_LOCAL_ADDRESS%`.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-load-served-by");

/// What a request asks of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// An answer at once.
    Quick,
    /// An answer at once, on a connection that the client gives up afterwards.
    Last,
    /// An answer after so long.
    Slow(Duration),
    /// An answer that begins at once and goes on for so long.
    Stream(Duration),
}

impl Ask {
    /// The value of the header [`ASK`].
    pub(super) fn header(self) -> String {
        match self {
            Ask::Quick | Ask::Last => "quick".to_owned(),
            Ask::Slow(length) => format!("slow={}", length.as_millis()),
            Ask::Stream(length) => format!("stream={}", length.as_millis()),
        }
    }
}

/// A connection to an endpoint of the balancer's choice, before anything was sent on it.
pub(super) struct Opened {
    pub(super) origin: Origin,
    pub(super) stream: TcpStream,
}

/// Where a connection goes to, as far as is known.
#[derive(Clone)]
pub(super) struct Origin {
    arrival: usize,
    endpoint: Arc<Mutex<SocketAddr>>,
}

impl Origin {
    /// The endpoint that has answered, or else the one that was dialled.
    pub(super) fn endpoint(&self) -> SocketAddr {
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether both are the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.endpoint, &other.endpoint)
    }

    /// Takes down what the head of an answer says about who has given it.
    pub(super) fn learn(&self, headers: &HeaderMap, recorder: &Recorder) {
        let said = headers.get(SERVED_BY).and_then(|said| said.to_str().ok());
        let Some(said) = said.and_then(|said| said.parse().ok()) else {
            return;
        };
        let mut endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if *endpoint != said {
            *endpoint = said;
            recorder.accepted_by(self.arrival, said);
        }
    }
}

/// Connects to an endpoint of the balancer's choice.
///
/// # Errors
/// The failure, and the endpoint where one was chosen.
pub(super) async fn connect(
    surroundings: &Surroundings,
    kind: Kind,
) -> Result<Opened, (Option<SocketAddr>, Failure)> {
    let Some(endpoint) = surroundings.balancer.choose() else {
        return Err((None, Failure::NoEndpoint));
    };
    let stream = dial(endpoint)
        .await
        .map_err(|failure| (Some(endpoint), failure))?;
    let arrival = surroundings.recorder.arrived(endpoint, kind);
    let endpoint = Arc::new(Mutex::new(endpoint));
    let origin = Origin { arrival, endpoint };
    Ok(Opened { origin, stream })
}

/// Connects to this very endpoint.
pub(super) async fn dial(endpoint: SocketAddr) -> Result<TcpStream, Failure> {
    match timeout(PATIENCE, TcpStream::connect(endpoint)).await {
        Ok(Ok(stream)) => {
            // A request that waits for the acknowledgement of the one before would be a slow one.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Failure::Refused),
        Ok(Err(error)) => Err(Failure::Unreachable(error.to_string())),
        Err(_) => Err(Failure::TimedOut),
    }
}

/// A client with at most one connection at a time, which it keeps as long as it may.
pub(super) struct Http1 {
    surroundings: Surroundings,
    connection: Option<Connection>,
}

struct Connection {
    origin: Origin,
    sender: SendRequest<Empty<Bytes>>,
}

/// What became of a request on a connection.
enum Sent {
    Ended { outcome: Outcome, reusable: bool },
    NotWritten,
}

impl Http1 {
    pub(super) fn new(surroundings: Surroundings) -> Self {
        Http1 {
            surroundings,
            connection: None,
        }
    }

    /// Sends one request and takes down how it ended.
    pub(super) async fn send(&mut self, kind: Kind, ask: Ask) {
        let began = Instant::now();
        if let Some(mut pooled) = self.connection.take() {
            match self.send_on(&mut pooled, ask).await {
                Sent::Ended { outcome, reusable } => {
                    self.finish(kind, began, pooled, outcome, reusable);
                    return;
                }
                Sent::NotWritten => self.surroundings.recorder.replaced(),
            }
        }
        let mut fresh = match self.open(kind).await {
            Ok(fresh) => fresh,
            Err((endpoint, failure)) => {
                let outcome = Outcome::Failed(failure);
                self.surroundings
                    .recorder
                    .ended(kind, endpoint, began, outcome);
                return;
            }
        };
        let (outcome, reusable) = match self.send_on(&mut fresh, ask).await {
            Sent::Ended { outcome, reusable } => (outcome, reusable),
            Sent::NotWritten => {
                let why = "the new connection was closed at once".to_owned();
                (Outcome::Failed(Failure::Unanswered(why)), false)
            }
        };
        self.finish(kind, began, fresh, outcome, reusable);
    }

    fn finish(
        &mut self,
        kind: Kind,
        began: Instant,
        connection: Connection,
        outcome: Outcome,
        reusable: bool,
    ) {
        self.surroundings
            .recorder
            .ended(kind, Some(connection.origin.endpoint()), began, outcome);
        self.connection = reusable.then_some(connection);
    }

    async fn open(&self, kind: Kind) -> Result<Connection, (Option<SocketAddr>, Failure)> {
        let Opened { origin, stream } = connect(&self.surroundings, kind).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| {
            let failure = Failure::Unreachable(describe(&error));
            (Some(origin.endpoint()), failure)
        })?;
        // Its errors come out of the requests on it; one that is idle may end as it likes.
        tokio::spawn(connection);
        Ok(Connection { origin, sender })
    }

    async fn send_on(&self, connection: &mut Connection, ask: Ask) -> Sent {
        if connection.sender.ready().await.is_err() {
            return Sent::NotWritten;
        }
        let recorder = &self.surroundings.recorder;
        let Connection { origin, sender } = connection;
        let learn = |headers: &HeaderMap| origin.learn(headers, recorder);
        let sending = exchange(sender, self.request(ask), learn);
        let Ok(result) = timeout(PATIENCE, sending).await else {
            return Sent::Ended {
                outcome: Outcome::Failed(Failure::TimedOut),
                reusable: false,
            };
        };
        match result {
            Err(Lost::NotWritten) => Sent::NotWritten,
            Err(Lost::Failed(failure)) => Sent::Ended {
                outcome: Outcome::Failed(failure),
                reusable: false,
            },
            Ok(closing) => Sent::Ended {
                outcome: Outcome::Answered,
                reusable: !closing && ask != Ask::Last,
            },
        }
    }

    fn request(&self, ask: Ask) -> Request<Empty<Bytes>> {
        let target = &self.surroundings.target;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = target.path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = target.host.parse() {
            headers.insert(HOST, host);
        }
        if let Ok(ask) = ask.header().parse() {
            headers.insert(ASK, ask);
        }
        if ask == Ask::Last {
            headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
        }
        request
    }
}

enum Lost {
    NotWritten,
    Failed(Failure),
}

/// Sends a request and reads the whole answer; true where the server wants the connection closed.
async fn exchange(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    learn: impl FnOnce(&HeaderMap),
) -> Result<bool, Lost> {
    let response = sender
        .try_send_request(request)
        .await
        .map_err(|mut error| {
            // hyper hands a request back only where no byte of it was written.
            if error.take_message().is_some() {
                Lost::NotWritten
            } else {
                Lost::Failed(Failure::Unanswered(describe(error.error())))
            }
        })?;
    learn(response.headers());
    let closing = wants_close(&response);
    read(response).await.map_err(Lost::Failed)?;
    Ok(closing)
}

/// Reads an answer to its end and judges it.
pub(super) async fn read(response: Response<Incoming>) -> Result<(), Failure> {
    let status = response.status();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.map_err(|error| Failure::Truncated(describe(&error)))?;
    }
    if status.is_success() {
        Ok(())
    } else {
        Err(Failure::Status(status.as_u16()))
    }
}

fn wants_close(response: &Response<Incoming>) -> bool {
    response.headers().get_all(CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value
                .split(',')
                .any(|token| token.trim().eq_ignore_ascii_case("close"))
        })
    })
}

/// An error with its causes, in one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
