//! Stops a pod exactly as the kubelet does.
//!
//! From Kubernetes' documentation ("Pod lifecycle", "Container lifecycle hooks"), KEP-753 (native
//! sidecars) and the kubelet's observed behaviour:
//!
//! * The preStop hooks of all containers start together. SIGTERM to a container follows the end of
//!   its own hook; whether the hook succeeded makes no difference. A refused or broken connection
//!   of an HTTP hook is its end, any status is a success.
//! * The time that a hook takes is part of the grace period, counted in whole seconds. What is left,
//!   but at least [`MINIMUM_GRACE`], is the time between SIGTERM and SIGKILL.
//! * A native sidecar gets its SIGTERM when all main containers and all sidecars that were started
//!   after it have ended.
//! * Readiness is not waited for, liveness and startup probes are not sent any more.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::pod::{Container, ContainerSpec, Hook, HttpGet, Pod, Probe};

/// The kubelet never leaves a container less than this between SIGTERM and SIGKILL.
pub const MINIMUM_GRACE: Duration = Duration::from_secs(2);

/// What the kubelet calls itself in hooks.
const HOOK_AGENT: &str = "kube-lifecycle/1.36";
/// What it calls itself in probes.
const PROBE_AGENT: &str = "kube-probe/1.36";
/// The default `timeoutSeconds` of a probe is 1; a busy test machine gets more.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that the kubelet reads of a hook's answer.
const ANSWER_LIMIT: usize = 10 << 10;

/// How a pod ended.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// When its end was asked for.
    pub asked: Instant,
    /// When its last container was gone.
    pub gone: Instant,
    /// How each container ended, native sidecars first.
    pub containers: Vec<Ended>,
}

/// How a container ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its name.
    pub name: String,
    /// How its hook ended, where it has one.
    pub hook: Option<HookEnd>,
    /// When it got SIGTERM.
    pub told: Instant,
    /// When it was gone.
    pub gone: Instant,
    /// Whether it had to be killed at the end of the grace period.
    pub killed: bool,
    /// Its last words.
    pub message: Option<String>,
}

/// How a hook ended.
#[derive(Clone, Debug)]
pub struct HookEnd {
    /// What the hook was.
    pub what: String,
    /// When it ended.
    pub at: Instant,
    /// Its status and body where it was a request; or why it failed.
    pub result: Result<String, String>,
}

/// Stops a pod within its grace period, or a shorter one (`kubectl delete --grace-period`).
///
/// # Errors
/// Where the kernel refuses a signal.
pub async fn stop(pod: &mut Pod, grace: Option<Duration>) -> Result<Stopped> {
    let asked = Instant::now();
    let grace = grace.unwrap_or_else(|| pod.grace());
    let address = pod.address();
    // Who waits for whose end: one flag per container, set when it has ended.
    let (flags, turns): (Vec<_>, Vec<_>) = pod
        .containers()
        .iter()
        .map(|_| watch::channel(false))
        .unzip();
    let sidecars: Vec<_> = pod
        .containers()
        .iter()
        .map(|container| container.sidecar)
        .collect();
    let stops =
        pod.containers_mut()
            .iter_mut()
            .zip(flags)
            .enumerate()
            .map(|(at, (container, flag))| {
                // Sidecars come first in the list, in the order in which they were started.
                let before: Vec<_> = (0..sidecars.len())
                    .filter(|other| sidecars[at] && (!sidecars[*other] || *other > at))
                    .map(|other| turns[other].clone())
                    .collect();
                async move {
                    let ended = stop_container(container, address, grace, before).await;
                    flag.send_replace(true);
                    ended
                }
            });
    let containers = join_all(stops)
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    Ok(Stopped {
        asked,
        gone: Instant::now(),
        containers,
    })
}

async fn stop_container(
    container: &mut Container,
    address: Ipv4Addr,
    grace: Duration,
    before: Vec<watch::Receiver<bool>>,
) -> Result<Ended> {
    let began = Instant::now();
    let hook = match container.pre_stop() {
        Some(hook) if !grace.is_zero() => Some(call(container, hook, address, grace).await),
        _ => None,
    };
    let mut left = grace.saturating_sub(whole_seconds(began.elapsed()));
    let waited = Instant::now();
    // Where the time is over, it is nobody's turn to wait any more.
    let _ = timeout(left, their_ends(before)).await;
    left = left
        .saturating_sub(whole_seconds(waited.elapsed()))
        .max(MINIMUM_GRACE);

    let told = Instant::now();
    container.terminate()?;
    let killed = !container.ended_within(left).await;
    if killed {
        container.kill()?;
    }
    Ok(Ended {
        name: container.spec.name.clone(),
        hook,
        told,
        gone: Instant::now(),
        killed,
        message: container.termination_message(),
    })
}

async fn their_ends(before: Vec<watch::Receiver<bool>>) {
    for mut other in before {
        // Fails only where the other stop was given up, which is an end too.
        let _ = other.wait_for(|ended| *ended).await;
    }
}

/// The kubelet counts in whole seconds and rounds what has passed down.
fn whole_seconds(passed: Duration) -> Duration {
    Duration::from_secs(passed.as_secs())
}

async fn call(container: &Container, hook: &Hook, address: Ipv4Addr, grace: Duration) -> HookEnd {
    let (what, result) = match hook {
        Hook::Sleep { seconds } => {
            let length = Duration::from_secs(*seconds).min(grace);
            tokio::time::sleep(length).await;
            (format!("sleep {seconds}"), Ok(String::new()))
        }
        Hook::Exec { command } => (
            command.join(" "),
            bounded(grace, execute(container, command)).await,
        ),
        Hook::HttpGet(get) => {
            let what = format!("GET {}", get.path.as_deref().unwrap_or("/"));
            (
                what,
                bounded(grace, request(address, &container.spec, get, HOOK_AGENT)).await,
            )
        }
    };
    let result = result.map_err(|error| format!("{error:#}"));
    HookEnd {
        what,
        at: Instant::now(),
        result,
    }
}

async fn bounded(
    grace: Duration,
    call: impl Future<Output = Result<(StatusCode, String)>>,
) -> Result<String> {
    let (status, body) = timeout(grace, call)
        .await
        .map_err(|_| anyhow!("not over within the grace period of {grace:?}"))??;
    Ok(format!("{status} {}", body.trim()).trim().to_owned())
}

async fn execute(container: &Container, command: &[String]) -> Result<(StatusCode, String)> {
    let mut command = tokio::process::Command::from(container.command(command)?);
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {:?}", command.as_std().get_program()))?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok((
        StatusCode::OK,
        String::from_utf8_lossy(&output.stdout).into_owned(),
    ))
}

/// Sends a probe.
///
/// # Errors
/// Where it fails, why.
pub async fn probe(address: Ipv4Addr, container: &ContainerSpec, probe: &Probe) -> Result<()> {
    let check = async {
        if let Some(get) = &probe.http_get {
            let (status, _) = request(address, container, get, PROBE_AGENT).await?;
            anyhow::ensure!(status.as_u16() / 100 < 4, "answered {status}");
        }
        if let Some(socket) = &probe.tcp_socket {
            TcpStream::connect(target(address, container, socket)?).await?;
        }
        Ok(())
    };
    timeout(PROBE_TIMEOUT, check)
        .await
        .map_err(|_| anyhow!("timed out"))?
}

async fn request(
    address: Ipv4Addr,
    container: &ContainerSpec,
    get: &HttpGet,
    agent: &'static str,
) -> Result<(StatusCode, String)> {
    if get
        .scheme
        .as_deref()
        .is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http"))
    {
        bail!("the scheme {:?} is not spoken here", get.scheme);
    }
    let target = target(address, container, get)?;
    let stream = TcpStream::connect(target)
        .await
        .with_context(|| format!("connect to {target}"))?;
    let (mut sender, connection) = handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = get
        .path
        .as_deref()
        .filter(|path| !path.is_empty())
        .unwrap_or("/");
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path.parse().with_context(|| format!("the path {path:?}"))?;
    *request.headers_mut() = headers(target, get, agent)?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_LIMIT)
        .collect()
        .await;
    // What the kubelet cannot read of an answer it does without.
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn headers(target: SocketAddr, get: &HttpGet, agent: &'static str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, target.to_string().parse()?);
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for header in &get.http_headers {
        let name: HeaderName = header
            .name
            .parse()
            .with_context(|| format!("the header {:?}", header.name))?;
        headers.insert(name, header.value.parse()?);
    }
    Ok(headers)
}

fn target(address: Ipv4Addr, container: &ContainerSpec, get: &HttpGet) -> Result<SocketAddr> {
    let port = container
        .port(&get.port)
        .with_context(|| format!("the port {} of {}", get.port, container.name))?;
    let host = match get.host.as_deref() {
        None | Some("" | "localhost") => IpAddr::V4(address),
        Some(host) => {
            let ip: IpAddr = host.parse().with_context(|| format!("the host {host:?}"))?;
            // The node's loopback is the pod's address here.
            if ip.is_loopback() {
                IpAddr::V4(address)
            } else {
                ip
            }
        }
    };
    anyhow::ensure!(host.is_loopback(), "{host} is not an address of this pod");
    Ok(SocketAddr::new(host, port))
}
