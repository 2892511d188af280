//! Clients of websockets: sessions that end by themselves, and one that never does.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::PATIENCE;
use super::clients::Surroundings;
use super::http1::{Opened, connect, describe};
use super::record::{Failure, Kind, Outcome};

/// The pace of the messages of a session. Each is echoed before the next one is sent.
const CHATTER: Duration = Duration::from_millis(300);
/// How long the client waits before it opens an endless websocket again that was cut.
const AGAIN: Duration = Duration::from_millis(200);

/// A client of websockets.
pub(super) struct WebSocket {
    surroundings: Surroundings,
}

type Socket = WebSocketStream<TcpStream>;

impl WebSocket {
    pub(super) fn new(surroundings: Surroundings) -> Self {
        WebSocket { surroundings }
    }

    /// One session of so long, ended by this client with a closing handshake. It is one request:
    /// failed where it did not open, where a message was not echoed, or where it was not closed
    /// as agreed.
    pub(super) async fn session(&self, length: Duration) {
        let began = Instant::now();
        let (endpoint, result) = match self.open(Kind::WebSocket).await {
            Ok((endpoint, socket)) => (Some(endpoint), talk(socket, began + length).await),
            Err((endpoint, failure)) => (endpoint, Err(failure)),
        };
        let outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Answered);
        self.surroundings
            .recorder
            .ended(Kind::WebSocket, endpoint, began, outcome);
    }

    /// Holds a websocket until the load is over; where it is cut, opens another one.
    pub(super) async fn hold_for_ever(mut self) {
        loop {
            let began = Instant::now();
            let kind = Kind::EndlessWebSocket;
            let (endpoint, outcome) = match self.open(kind).await {
                Ok((endpoint, socket)) => {
                    let mut surroundings = self.surroundings.clone();
                    let outcome = tokio::select! {
                        () = echo_for_ever(socket) => Outcome::Cut,
                        () = surroundings.over() => Outcome::Answered,
                    };
                    (Some(endpoint), outcome)
                }
                Err((endpoint, failure)) => (endpoint, Outcome::Failed(failure)),
            };
            self.surroundings
                .recorder
                .ended(kind, endpoint, began, outcome);
            if !self.surroundings.pause(AGAIN).await {
                return;
            }
        }
    }

    async fn open(
        &self,
        kind: Kind,
    ) -> Result<(SocketAddr, Socket), (Option<SocketAddr>, Failure)> {
        let Opened { origin, stream } = connect(&self.surroundings, kind).await?;
        let target = &self.surroundings.target;
        let url = format!("ws://{}{}", target.host, target.path);
        match timeout(PATIENCE, client_async(url, stream)).await {
            Ok(Ok((socket, response))) => {
                origin.learn(response.headers(), &self.surroundings.recorder);
                Ok((origin.endpoint(), socket))
            }
            Ok(Err(error)) => Err((Some(origin.endpoint()), refusal(error))),
            Err(_) => Err((Some(origin.endpoint()), Failure::TimedOut)),
        }
    }
}

fn refusal(error: tungstenite::Error) -> Failure {
    match error {
        tungstenite::Error::Http(response) => Failure::Status(response.status().as_u16()),
        other => Failure::Unanswered(describe(&other)),
    }
}

/// Sends and echoes until `end`, then closes.
async fn talk(mut socket: Socket, end: Instant) -> Result<(), Failure> {
    while Instant::now() < end {
        echo(&mut socket).await?;
        sleep(CHATTER.min(end.saturating_duration_since(Instant::now()))).await;
    }
    let closing = async {
        socket.close(None).await.map_err(cut)?;
        while let Some(message) = socket.next().await {
            if message.map_err(cut)?.is_close() {
                return Ok(());
            }
        }
        Err(Failure::Truncated(
            "ended without an answer to close".to_owned(),
        ))
    };
    timeout(PATIENCE, closing)
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

async fn echo_for_ever(mut socket: Socket) {
    while echo(&mut socket).await.is_ok() {
        // Nothing comes between two messages but the end.
        if timeout(CHATTER, socket.next()).await.is_ok() {
            return;
        }
    }
}

/// Sends one message and waits for it to come back.
async fn echo(socket: &mut Socket) -> Result<(), Failure> {
    let exchange = async {
        socket.send(Message::text("ping")).await.map_err(cut)?;
        match socket.next().await {
            Some(Ok(message)) if message.is_text() => Ok(()),
            Some(Ok(message)) => Err(Failure::Truncated(format!(
                "{} instead of the echo",
                name(&message)
            ))),
            Some(Err(error)) => Err(cut(error)),
            None => Err(Failure::Truncated("ended without a close".to_owned())),
        }
    };
    timeout(PATIENCE, exchange)
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

fn name(message: &Message) -> &'static str {
    if message.is_close() {
        "a close"
    } else {
        "another message"
    }
}

fn cut(error: tungstenite::Error) -> Failure {
    Failure::Truncated(describe(&error))
}
