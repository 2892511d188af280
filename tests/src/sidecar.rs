//! The sidecar under test: the binary as it is shipped, as a process.

use std::{
    ffi::OsString,
    fs,
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr},
    ops::{Deref, DerefMut},
    process::{Command, ExitStatus},
    task::Poll,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{
    process::Process,
    product,
    wait::{BOUND, until, within},
};

/// The header in which a hook carries the token.
pub const TOKEN_HEADER: &str = "x-drainhook-token";

/// How often a state is asked for.
const POLL: Duration = Duration::from_millis(20);

/// What the sidecar answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// When its last byte was there.
    pub at: Instant,
}

/// How to start a sidecar.
#[derive(Debug, Clone)]
pub struct Start {
    address: SocketAddr,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    token: Option<String>,
}

impl Start {
    /// One that serves at an address of its own.
    pub fn at(address: SocketAddr) -> Self {
        let start = Self::bare(address).argument("serve");
        let start = start.flag("--bind", address.ip().to_string());
        start.flag("--port", address.port().to_string())
    }

    /// One that serves on a port, on whatever addresses it likes.
    pub fn on_port(port: u16) -> Self {
        Self::bare((Ipv4Addr::LOCALHOST, port).into()).flag("--port", port.to_string())
    }

    /// One that serves at an address, with the flag that Contour has for its port.
    pub fn contour(address: SocketAddr) -> Self {
        let start = Self::bare(address).flag("--bind", address.ip().to_string());
        start.flag("--serve-port", address.port().to_string())
    }

    /// One without any flags, which is expected to serve at this address nevertheless.
    pub fn bare(address: SocketAddr) -> Self {
        Self {
            address,
            arguments: Vec::new(),
            variables: Vec::new(),
            token: None,
        }
    }

    fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more flag, with its value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.arguments.push(name.into());
        self.arguments.push(value.into());
        self
    }

    /// A variable of its environment. It has no others.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Sets a token; [`Sidecar::hook`] sends it.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self.variable("SHUTDOWN_MANAGER_TOKEN", token)
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// When it does not start, ends, or does not serve; with its log.
    pub async fn run(&self) -> Result<Sidecar> {
        let mut sidecar = self.spawn()?;
        let begun = Instant::now();
        while sidecar.get("/healthz").await.is_err() {
            let ended = sidecar.exited()?;
            if ended.is_some() || begun.elapsed() > BOUND {
                bail!(
                    "the sidecar does not serve (exit: {ended:?}): {}",
                    sidecar.log()
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(sidecar)
    }

    /// Starts it, and does not wait.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(&self) -> Result<Sidecar> {
        let mut command = Command::new(product::shutdown_manager()?);
        command
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(&self.arguments);
        let process = Process::spawn("the sidecar", command)?;
        Ok(Sidecar {
            process,
            start: self.clone(),
        })
    }
}

/// A sidecar that runs: a [`Process`] with an HTTP server. Dropping it kills it.
#[derive(Debug)]
pub struct Sidecar {
    process: Process,
    start: Start,
}

impl Sidecar {
    /// Kills it, if it still runs, and starts another one in its place, with the same flags.
    ///
    /// # Errors
    /// As [`Start::run`].
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        *self = self.start.run().await?;
        Ok(())
    }

    /// GET, without a token.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        get(self.start.address, path, None).await
    }

    /// Calls a path as the kubelet calls a preStop hook, and does not wait for the answer. When this
    /// returns, the request has been sent; a sidecar in [`Process::pause`] finds it afterwards.
    ///
    /// # Errors
    /// When the sidecar cannot be reached.
    pub async fn hook(&self, path: &str) -> Result<Hook> {
        let begun = Instant::now();
        let token = self.start.token.as_deref();
        let exchange = send(self.start.address, Method::GET, path, token).await?;
        Ok(Hook {
            task: tokio::spawn(exchange),
            begun,
        })
    }

    /// Calls `/shutdown` and waits for its end.
    ///
    /// # Errors
    /// When it is not answered.
    pub async fn drain(&self) -> Result<Answer> {
        self.hook("/shutdown").await?.answer().await
    }

    /// What `/status` answers.
    ///
    /// # Errors
    /// When that is not JSON.
    pub async fn status(&self) -> Result<Value> {
        let answer = self.get("/status").await?;
        serde_json::from_str(&answer.body).with_context(|| format!("not JSON: {}", answer.body))
    }

    /// Waits until `/status` is as wanted.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn status_becomes(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        until("the status that is wanted", async || {
            self.status().await.ok().filter(&wanted)
        })
        .await
    }

    /// One value of `/metrics`: the line that begins with this name, labels included.
    ///
    /// # Errors
    /// When there is none.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let answer = self.get("/metrics").await?;
        let mut lines = answer.body.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.with_context(|| format!("no {name} in {}", answer.body))?;
        value
            .trim()
            .parse()
            .with_context(|| format!("{name} is {value}"))
    }

    /// The highest resident memory so far, in bytes.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn peak_resident_bytes(&self) -> Result<u64> {
        Ok(self.kernel_status("VmHWM:")? * 1024)
    }

    /// How many threads it has.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn threads(&self) -> Result<u64> {
        self.kernel_status("Threads:")
    }

    /// How often it was woken up so far.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn context_switches(&self) -> Result<u64> {
        self.kernel_status("voluntary_ctxt_switches:")
    }

    fn kernel_status(&self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.with_context(|| format!("no {field} in {path}"))
    }
}

impl Deref for Sidecar {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Sidecar {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// A hook that was called and may not be answered yet. Dropping it hangs up.
#[derive(Debug)]
pub struct Hook {
    task: JoinHandle<Result<Answer>>,
    begun: Instant,
}

impl Hook {
    /// Whether it was answered, or failed.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// When it was called: the sidecar has heard of it later.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn answer(mut self) -> Result<Answer> {
        within("the answer to a hook", &mut self.task).await??
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs `shutdown-manager` with these arguments and variables, to its end.
///
/// # Errors
/// When it does not start, or does not end.
pub async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Result<(ExitStatus, String)> {
    let mut command = Command::new(product::shutdown_manager()?);
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied());
    let mut process = Process::spawn("shutdown-manager", command)?;
    let status = process.wait(BOUND).await?;
    Ok((status, process.log()))
}

/// GET, on a connection of its own.
///
/// # Errors
/// When there is no answer.
pub async fn get(address: SocketAddr, path: &str, token: Option<&str>) -> Result<Answer> {
    call(address, Method::GET, path, token).await
}

/// Any request, on a connection of its own.
///
/// # Errors
/// When there is no answer.
pub async fn call(
    address: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&str>,
) -> Result<Answer> {
    within(path, send(address, method, path, token).await?).await?
}

async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&str>,
) -> Result<impl Future<Output = Result<Answer>> + use<>> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("to {address}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection.fuse());
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("host", address.to_string());
    if let Some(token) = token {
        request = request.header(TOKEN_HEADER, token);
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?);
    // Writes it; the answer is waited for below.
    let written = poll_fn(|context| Poll::Ready(connection.as_mut().poll(context)));
    if let Poll::Ready(ended) = written.await {
        ended?;
    }
    Ok(async move {
        // The connection lives in this future, so that dropping it hangs up.
        let exchange = async {
            let response = response.await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, body))
        };
        tokio::pin!(exchange, connection);
        let (status, body) = tokio::select! {
            biased;
            exchanged = &mut exchange => exchanged?,
            ended = &mut connection => {
                ended?;
                exchange.await?
            }
        };
        let _still_open = sender;
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer {
            status,
            body,
            at: Instant::now(),
        })
    })
}
