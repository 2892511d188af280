//! Accepts connections, and keeps strangers from using them all up: the port is open to the whole
//! pod network.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
    time::{sleep, timeout},
};
use tower::ServiceExt;

use crate::group::ENVOY_ENDS;

/// A kubelet sends its few lines at once.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The least that hyper allows, and more than any hook's headers.
const BUFFER: usize = 8192;

/// Connections that have not sent their request yet. When there are more, the oldest has to go: so
/// nobody can keep a hook or a probe out by holding connections open.
const MOST_WITHOUT_REQUEST: usize = 64;

/// Requests being answered. Hooks wait for the end of a drain, one for each container.
const MOST_REQUESTS: usize = 512;

/// After a failed accept: out of file descriptors, and some will be given back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long answers may take to leave when all is over: those to `/wait` come last.
const LAST_ANSWERS: Duration = ENVOY_ENDS.saturating_add(Duration::from_secs(2));

/// A bound server.
pub(crate) struct Server {
    listener: TcpListener,
    router: Router,
    busy: watch::Sender<usize>,
    waiting: Arc<Waiting>,
}

/// Connections that have not sent a request yet, the oldest first.
#[derive(Default)]
struct Waiting {
    number: AtomicUsize,
    connections: Mutex<VecDeque<(usize, AbortHandle)>>,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, router: Router) -> Self {
        Self {
            listener,
            router,
            busy: watch::Sender::new(0),
            waiting: Arc::default(),
        }
    }

    /// Serves until dropped. Call [`Server::answered`] before.
    pub(crate) async fn serve(&self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => self.spawn(stream),
                Err(error) => {
                    tracing::debug!(%error, "cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Returns when every request has been answered, or after a short while.
    pub(crate) async fn answered(&self) {
        let mut busy = self.busy.subscribe();
        let _ = timeout(LAST_ANSWERS, busy.wait_for(|busy| *busy == 0)).await;
    }

    fn spawn(&self, stream: TcpStream) {
        let number = self.waiting.number.fetch_add(1, Ordering::Relaxed);
        let connection = serve_one(
            stream,
            self.router.clone(),
            self.busy.clone(),
            Arc::clone(&self.waiting),
            number,
        );
        let task = tokio::spawn(connection);
        self.waiting.push(number, task.abort_handle());
    }
}

impl Waiting {
    fn push(&self, number: usize, connection: AbortHandle) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.push_back((number, connection));
        if connections.len() > MOST_WITHOUT_REQUEST
            && let Some((_, oldest)) = connections.pop_front()
        {
            oldest.abort();
        }
    }

    fn remove(&self, number: usize) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.retain(|(other, _)| *other != number);
    }
}

async fn serve_one(
    stream: TcpStream,
    router: Router,
    busy: watch::Sender<usize>,
    waiting: Arc<Waiting>,
    number: usize,
) {
    // Counts from the request to the last byte of the answer, however the connection ends.
    let request_counted = Mutex::new(None);
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        waiting.remove(number);
        let counted = Busy::begin(&busy);
        let too_many = *busy.borrow() > MOST_REQUESTS;
        *request_counted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(counted);
        let router = router.clone();
        async move {
            if too_many {
                let mut answer =
                    axum::response::Response::new(Body::from("too many requests wait\n"));
                *answer.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
                return Ok(answer);
            }
            router.oneshot(request.map(Body::new)).await
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        // Callers come seconds or minutes apart: an open connection would only be one to lose.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
    waiting.remove(number);
}

/// One more request is being answered, for as long as this lives.
struct Busy(watch::Sender<usize>);

impl Busy {
    fn begin(busy: &watch::Sender<usize>) -> Self {
        busy.send_modify(|count| *count += 1);
        Self(busy.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
