//! A proxy in front of Envoy's admin interface: it counts what is asked, and shows the faults that the
//! real Envoy cannot be brought to show.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, channel::Channel, combinators::BoxBody};
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time,
};

use crate::{envoy::Admin, wait::within};

/// What the proxy does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Passes it on.
    #[default]
    None,
    /// Passes it on after a while.
    Slow(Duration),
    /// Takes it and never answers, as a half-open connection would.
    Silence,
    /// Answers 200 with something that is not what was asked for.
    Garbage,
    /// Answers 200 with nothing.
    Empty,
    /// Answers with bytes that are not HTTP.
    NotHttp,
    /// Breaks off in the middle of the answer.
    Truncated,
    /// Answers with this status, as an Envoy does that is overloaded or asked wrongly.
    Status(u16),
    /// Answers with a statistic that nobody asked for, and none that was.
    NoStats,
}

/// A request that went through.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When it came.
    pub at: Instant,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// The bytes of the body that answered it, and the body itself.
    pub body: Bytes,
}

/// The proxy. Ends when dropped.
#[derive(Debug)]
pub struct AdminProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    count: watch::Receiver<usize>,
    _task: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    admin: Admin,
    fault: Mutex<Fault>,
    fault_on_post: Mutex<Fault>,
    seen: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
}

impl AdminProxy {
    /// Starts one on a port that the kernel chooses.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(admin: &Admin) -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), admin).await
    }

    /// Starts one at an address.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start_at(address: SocketAddr, admin: &Admin) -> Result<Self> {
        let listener = TcpListener::bind(address).await.context("listen")?;
        let address = listener.local_addr()?;
        let sender = watch::Sender::new(0);
        let count = sender.subscribe();
        let shared = Arc::new(Shared {
            admin: admin.clone(),
            fault: Mutex::default(),
            fault_on_post: Mutex::default(),
            seen: Mutex::default(),
            count: sender,
        });
        let mut task = JoinSet::new();
        task.spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            count,
            _task: task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows a fault for GET requests from now on.
    pub fn fault(&self, fault: Fault) {
        *locked(&self.shared.fault) = fault;
    }

    /// Shows a fault for POST requests from now on.
    pub fn fault_on_post(&self, fault: Fault) {
        *locked(&self.shared.fault_on_post) = fault;
    }

    /// All requests up to now.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.shared.seen).clone()
    }

    /// The paths of the POST requests up to now: what was done to Envoy.
    pub fn posts(&self) -> Vec<String> {
        let seen = self
            .seen()
            .into_iter()
            .filter(|seen| seen.method == Method::POST);
        seen.map(|seen| seen.path).collect()
    }

    /// Waits until a POST request of this path has come.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn posted(&self, path: &str) -> Result<()> {
        let mut count = self.count.clone();
        let posted = count.wait_for(|_| self.posts().iter().any(|posted| posted == path));
        within(&format!("POST of {path}"), posted).await??;
        Ok(())
    }

    /// Waits until this many more requests have come.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn more_requests(&self, more: usize) -> Result<()> {
        let mut count = self.count.clone();
        let until = *count.borrow() + more;
        let asked = count.wait_for(|count| *count >= until);
        within(&format!("{more} more requests to the admin"), asked).await??;
        Ok(())
    }
}

type Answer = Response<BoxBody<Bytes, Broken>>;

/// Makes hyper break the connection off in the middle of an answer.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off, as the test wants it")
    }
}

impl std::error::Error for Broken {}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(serve_one(stream, shared));
    }
}

async fn serve_one(mut stream: TcpStream, shared: Arc<Shared>) {
    if *locked(&shared.fault) == Fault::NotHttp {
        shared.record(Method::GET, String::new(), Bytes::new());
        let _ = stream
            .write_all(b"\x00\x01 not HTTP at all \xff\r\n\r\n")
            .await;
        return;
    }
    let service = service_fn(|request| answer(request, Arc::clone(&shared)));
    // Ends with an error where a fault wants it.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Answer, Infallible> {
    let method = request.method().clone();
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    let fault = if method == Method::POST {
        &shared.fault_on_post
    } else {
        &shared.fault
    };
    let fault = *locked(fault);
    match fault {
        Fault::None | Fault::NotHttp => {}
        Fault::Slow(pause) => time::sleep(pause).await,
        Fault::Silence => {
            shared.record(method, path, Bytes::new());
            std::future::pending::<()>().await;
            return Ok(full(200, Bytes::new()));
        }
        Fault::Garbage => return Ok(shared.made_up(method, path, 200, "{\"stats\": [ <html>")),
        Fault::Empty => return Ok(shared.made_up(method, path, 200, "")),
        Fault::NoStats => return Ok(shared.made_up(method, path, 200, "server.live: 1\n")),
        Fault::Status(status) => return Ok(shared.made_up(method, path, status, "no")),
        Fault::Truncated => {
            shared.record(method, path, Bytes::new());
            return Ok(truncated());
        }
    }
    let passed = match method {
        Method::POST => shared.admin.post(&path).await,
        _ => shared.admin.get(&path).await,
    };
    let (status, body) = match passed {
        Ok(answer) => (answer.status, Bytes::from(answer.body)),
        // The admin is gone: so is this connection.
        Err(_) => {
            shared.record(method, path, Bytes::new());
            return Ok(truncated());
        }
    };
    shared.record(method, path, body.clone());
    Ok(full(status, body))
}

impl Shared {
    fn record(&self, method: Method, path: String, body: Bytes) {
        let count = {
            let mut seen = locked(&self.seen);
            seen.push(Seen {
                at: Instant::now(),
                method,
                path,
                body,
            });
            seen.len()
        };
        self.count.send_replace(count);
    }

    fn made_up(&self, method: Method, path: String, status: u16, body: &'static str) -> Answer {
        let body = Bytes::from_static(body.as_bytes());
        self.record(method, path, body.clone());
        full(status, body)
    }
}

fn full(status: u16, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).map_err(|never| match never {}).boxed());
    *answer.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

fn truncated() -> Answer {
    let (mut sender, body) = Channel::<Bytes, Broken>::new(2);
    tokio::spawn(async move {
        let _ = sender
            .send_data(Bytes::from_static(b"{\"stats\": [{\"name\": "))
            .await;
        sender.abort(Broken);
    });
    Response::new(body.boxed())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
