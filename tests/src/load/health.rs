//! The health checks of a load balancer in front: a new connection to every target each second,
//! on the port that carries the traffic, until the target is gone.
//!
//! They say nothing about clients and never count as failed. They matter because they go on while
//! a pod drains: a drain that waits until nothing new arrives has to see past them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};

use super::http1::{describe, dial, read};
use super::record::{Failure, Kind, Outcome, Recorder};
use super::{PATIENCE, Target};

/// Between two checks of one target: what load balancers do at their most eager.
const EVERY: Duration = Duration::from_secs(1);

/// The targets that a load balancer checks. A target is checked from [`HealthChecks::add`] to
/// [`HealthChecks::remove`], also while it drains.
#[derive(Debug)]
pub struct HealthChecks {
    recorder: Arc<Recorder>,
    target: Target,
    checks: Mutex<Vec<(SocketAddr, JoinHandle<()>)>>,
}

impl HealthChecks {
    /// No target yet. What the checks see goes to `recorder`.
    pub fn new(recorder: Arc<Recorder>, target: Target) -> Self {
        HealthChecks {
            recorder,
            target,
            checks: Mutex::default(),
        }
    }

    /// Starts to check a target.
    pub fn add(&self, endpoint: SocketAddr) {
        let check = tokio::spawn(repeat(
            Arc::clone(&self.recorder),
            self.target.clone(),
            endpoint,
        ));
        self.checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((endpoint, check));
    }

    /// Ends the checks of a target that is gone.
    pub fn remove(&self, endpoint: SocketAddr) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        checks.retain(|(checked, check)| {
            if *checked == endpoint {
                check.abort();
            }
            *checked != endpoint
        });
    }
}

impl Drop for HealthChecks {
    fn drop(&mut self) {
        for (_, check) in self
            .checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            check.abort();
        }
    }
}

/// How often a pod that does not serve yet is asked again.
const SERVES_POLL: Duration = Duration::from_millis(50);

/// Waits until an endpoint answers a request of the load as it should, all the way through Envoy.
///
/// # Errors
/// The last failure, where it does not within [`PATIENCE`].
pub async fn serves(endpoint: SocketAddr, target: &Target) -> anyhow::Result<()> {
    let begun = Instant::now();
    // A record of its own: these are no requests of clients.
    let recorder = Recorder::new();
    loop {
        match timeout(PATIENCE, check(&recorder, target, endpoint)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) if begun.elapsed() > PATIENCE => anyhow::bail!("{failure}"),
            Err(_) => anyhow::bail!("no answer within {PATIENCE:?}"),
            Ok(Err(_)) => sleep(SERVES_POLL).await,
        }
    }
}

async fn repeat(recorder: Arc<Recorder>, target: Target, endpoint: SocketAddr) {
    let mut ticks = interval(EVERY);
    loop {
        ticks.tick().await;
        let sent = Instant::now();
        let result = timeout(PATIENCE, check(&recorder, &target, endpoint))
            .await
            .unwrap_or(Err(Failure::TimedOut));
        let outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Answered);
        recorder.ended(Kind::HealthCheck, Some(endpoint), sent, outcome);
    }
}

async fn check(recorder: &Recorder, target: &Target, endpoint: SocketAddr) -> Result<(), Failure> {
    let stream = dial(endpoint).await?;
    recorder.arrived(endpoint, Kind::HealthCheck);
    let unanswered = |error: hyper::Error| Failure::Unanswered(describe(&error));
    let (mut sender, connection) = handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(unanswered)?;
    tokio::spawn(connection);
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = target.path.parse().unwrap_or_default();
    if let Ok(host) = target.host.parse() {
        request.headers_mut().insert(HOST, host);
    }
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    read(sender.send_request(request).await.map_err(unanswered)?).await
}
