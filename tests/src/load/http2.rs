//! A client of HTTP/2 (prior knowledge) with one connection that many requests share.
//!
//! It stands on h2 and not on hyper, since whether a request was written decides whether it is lost.
//! Where a GOAWAY arrives at the very moment in which a request is handed over, hyper (1.12) fails that
//! request without giving it back, written or not, and drops it even where the server would answer: about
//! one in ten thousand at a rolling update on a busy machine.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::PATIENCE;
use super::clients::Surroundings;
use super::http1::{ASK, Ask, Opened, Origin, connect, describe};
use super::record::{Failure, Kind, Outcome};

/// One HTTP/2 connection at a time; another where it is going away.
pub(super) struct Http2 {
    surroundings: Surroundings,
    connection: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    origin: Origin,
    sender: SendRequest<Bytes>,
    /// Whether anything was answered on it, whoever had asked.
    answered: Arc<AtomicBool>,
}

impl Http2 {
    pub(super) fn new(surroundings: Surroundings) -> Self {
        Http2 {
            surroundings,
            connection: Mutex::new(None),
        }
    }

    /// Sends one request and takes down how it ended.
    pub(super) async fn send(&self, kind: Kind, ask: Ask) {
        let began = Instant::now();
        loop {
            let (connection, fresh) = match self.connection(kind).await {
                Ok(connection) => connection,
                Err((endpoint, failure)) => {
                    self.ended(kind, endpoint, began, Outcome::Failed(failure));
                    return;
                }
            };
            let Connection {
                origin,
                sender,
                answered,
            } = connection;
            let learn = |headers: &HeaderMap| {
                answered.store(true, Relaxed);
                origin.learn(headers, &self.surroundings.recorder);
            };
            let exchange = exchange(sender, self.request(ask), learn);
            let outcome = match timeout(PATIENCE, exchange).await {
                Ok(Ok(())) => Outcome::Answered,
                Ok(Err(Lost::Failed(failure))) => Outcome::Failed(failure),
                Ok(Err(Lost::NotWritten)) if fresh && !answered.load(Relaxed) => {
                    let why = "the new connection was closed at once".to_owned();
                    Outcome::Failed(Failure::Unanswered(why))
                }
                Ok(Err(Lost::NotWritten)) => {
                    self.surroundings.recorder.replaced();
                    self.forget(&origin).await;
                    continue;
                }
                Err(_) => Outcome::Failed(Failure::TimedOut),
            };
            self.ended(kind, Some(origin.endpoint()), began, outcome);
            return;
        }
    }

    /// The connection that is there, or a new one (true). Who finds none connects, and the others
    /// wait for it instead of connecting too.
    async fn connection(
        &self,
        kind: Kind,
    ) -> Result<(Connection, bool), (Option<SocketAddr>, Failure)> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok((connection.clone(), false));
        }
        let Opened { origin, stream } = connect(&self.surroundings, kind).await?;
        let (sender, driver) = handshake(stream).await.map_err(|error| {
            let failure = Failure::Unreachable(describe(&error));
            (Some(origin.endpoint()), failure)
        })?;
        // Its errors come out of the requests on it.
        tokio::spawn(driver);
        let connection = Connection {
            origin,
            sender,
            answered: Arc::default(),
        };
        *slot = Some(connection.clone());
        Ok((connection, true))
    }

    /// Gives up the connection that was found to be going away, unless somebody else has replaced
    /// it already. Requests that are still under way on it hold it until they are answered.
    async fn forget(&self, origin: &Origin) {
        let mut slot = self.connection.lock().await;
        if slot
            .as_ref()
            .is_some_and(|connection| connection.origin.is(origin))
        {
            *slot = None;
        }
    }

    fn request(&self, ask: Ask) -> Request<()> {
        let target = &self.surroundings.target;
        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = format!("http://{}{}", target.host, target.path)
            .parse()
            .unwrap_or_default();
        if let Ok(ask) = ask.header().parse() {
            request.headers_mut().insert(ASK, ask);
        }
        request
    }

    fn ended(&self, kind: Kind, endpoint: Option<SocketAddr>, began: Instant, outcome: Outcome) {
        self.surroundings
            .recorder
            .ended(kind, endpoint, began, outcome);
    }
}

enum Lost {
    NotWritten,
    Failed(Failure),
}

async fn exchange(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    learn: impl FnOnce(&HeaderMap),
) -> Result<(), Lost> {
    // Both fail where the connection is going away or has ended, and then the request has no stream.
    let mut sender = sender.ready().await.map_err(|_| Lost::NotWritten)?;
    let sent = sender.send_request(request, true);
    let (response, _) = sent.map_err(|_| Lost::NotWritten)?;
    let response = response.await;
    let response = response.map_err(|error| Failure::Unanswered(describe(&error)))?;
    learn(response.headers());
    let status = response.status();
    let mut body = response.into_body();
    while let Some(chunk) = body.data().await {
        let truncated = |error| Failure::Truncated(describe(&error));
        let read = chunk.map_err(truncated)?.len();
        body.flow_control()
            .release_capacity(read)
            .map_err(truncated)?;
    }
    if status.is_success() {
        Ok(())
    } else {
        Err(Failure::Status(status.as_u16()).into())
    }
}

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
