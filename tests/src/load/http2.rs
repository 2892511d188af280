//! A client of HTTP/2 (prior knowledge) with one connection that many requests share.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::PATIENCE;
use super::clients::Surroundings;
use super::http1::{ASK, Ask, Opened, Origin, connect, describe, read};
use super::record::{Failure, Kind, Outcome};

/// One HTTP/2 connection at a time; another where it is going away.
pub(super) struct Http2 {
    surroundings: Surroundings,
    connection: Mutex<Option<Connection>>,
}

#[derive(Clone)]
struct Connection {
    origin: Origin,
    sender: SendRequest<Empty<Bytes>>,
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
            let Connection { origin, sender } = connection;
            let learn = |headers: &HeaderMap| origin.learn(headers, &self.surroundings.recorder);
            let exchange = exchange(sender, self.request(ask), learn);
            let outcome = match timeout(PATIENCE, exchange).await {
                Ok(Ok(())) => Outcome::Answered,
                Ok(Err(Lost::Failed(failure))) => Outcome::Failed(failure),
                Ok(Err(Lost::NotWritten)) if fresh => Outcome::Failed(Failure::Unanswered(
                    "the new connection was closed at once".to_owned(),
                )),
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
        if let Some(connection) = slot
            .as_ref()
            .filter(|connection| !connection.sender.is_closed())
        {
            return Ok((connection.clone(), false));
        }
        let Opened { origin, stream } = connect(&self.surroundings, kind).await?;
        let (sender, driver) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| {
                let failure = Failure::Unreachable(describe(&error));
                (Some(origin.endpoint()), failure)
            })?;
        // Its errors come out of the requests on it.
        tokio::spawn(driver);
        let connection = Connection { origin, sender };
        *slot = Some(connection.clone());
        Ok((connection, true))
    }

    /// Gives up the connection that was found to be going away, unless somebody else has replaced
    /// it already. Requests that are still under way on it hold it until they are answered.
    async fn forget(&self, origin: &Origin) {
        let mut slot = self.connection.lock().await;
        if slot
            .as_ref()
            .is_some_and(|connection| connection.origin.is(origin) && connection.sender.is_closed())
        {
            *slot = None;
        }
    }

    fn request(&self, ask: Ask) -> Request<Empty<Bytes>> {
        let target = &self.surroundings.target;
        let mut request = Request::new(Empty::new());
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
    mut sender: SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    learn: impl FnOnce(&HeaderMap),
) -> Result<(), Lost> {
    if sender.ready().await.is_err() {
        return Err(Lost::NotWritten);
    }
    let response = sender
        .try_send_request(request)
        .await
        .map_err(|mut error| {
            // hyper hands a request back only where no frame of it was written: after a GOAWAY.
            if error.take_message().is_some() {
                Lost::NotWritten
            } else {
                Lost::Failed(Failure::Unanswered(describe(error.error())))
            }
        })?;
    learn(response.headers());
    read(response).await.map_err(Lost::Failed)
}
