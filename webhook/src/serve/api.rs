//! `/mutate` and `/warn`: from an HTTP request to an HTTP answer, for whatever comes in.
//!
//! | what came | what is answered |
//! |---|---|
//! | a review that can be decided | 200 and a review; denied only for what the object itself says |
//! | not JSON, not a review of `admission.k8s.io/v1`, no request, no uid, an object too deep | 400 |
//! | another path, method or media type, a compressed body | 404, 405, 415 |
//! | a body that is not there after five seconds | 408, and the connection is closed |
//! | more than [`body::LONGEST`], or more values than there is memory for | 413 |
//! | too much at once | 429 with `Retry-After: 1`: the API server's client tries again |
//! | a fault of ours, a panic included | 500: the registered `failurePolicy` holds |

use std::{
    net::{IpAddr, Ipv6Addr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderValue, Request, Response, StatusCode,
        header::{self, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    },
    routing::post,
};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use prometheus_client::metrics::gauge::Gauge;
use thiserror::Error;
use tokio::{sync::Semaphore, time::timeout_at};

use super::{
    body,
    log::Sparingly,
    metrics::{Metrics, Outcome, RefusalLabels, ReviewLabels, Webhook, WebhookLabels},
    port::Peer,
    refusal::Refusal,
    review::{Answer, Review},
    shares::Shares,
};

/// Decides about reviews. The server knows nothing of pods.
pub(super) trait Engine: Send + Sync + 'static {
    /// # Errors
    ///
    /// [`EngineError`]: whose fault it is.
    fn mutate(&self, review: &Review<'_>, opted_in: OptedIn) -> Result<Answer, EngineError>;

    /// As [`Engine::mutate`], without a patch and never a denial.
    ///
    /// # Errors
    ///
    /// [`EngineError`]: whose fault it is.
    fn warn(&self, review: &Review<'_>, opted_in: OptedIn) -> Result<Answer, EngineError>;
}

/// Which entry of the registration the API server came by: each has a path of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OptedIn {
    /// By a key on the object.
    Object,
    /// By the label on its namespace, which the API server has looked at.
    Namespace,
}

impl OptedIn {
    /// For the log.
    fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Namespace => "namespace",
        }
    }
}

/// Why nothing was decided.
#[derive(Debug, Error)]
pub(super) enum EngineError {
    /// The sender's fault.
    #[error("`request.object` cannot be read: {0}")]
    Unreadable(serde_json::Error),
    /// A defect here.
    #[error("{0}")]
    Defect(String),
}

/// What all requests share.
pub(super) struct Api {
    engine: Box<dyn Engine>,
    metrics: Arc<Metrics>,
    requests: Arc<Shares>,
    bytes: Arc<Shares>,
    large: Arc<Semaphore>,
    refusals: Sparingly,
}

/// How much may be under way at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Requests.
    pub(super) requests: u64,
    /// Bytes of bodies and of what is made of them.
    pub(super) bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // One peer alone gets half of it, and one API server has 200 mutating requests under way
            // at most (`--max-mutating-requests-inflight`).
            requests: 512,
            // One request alone gets half of it, which is a pod of about 700 kB of JSON; those that
            // people have are below 100 kB.
            bytes: 64 * 1024 * 1024,
        }
    }
}

/// Bytes. What is larger is decided on a thread of its own, one after the other, so that a few
/// milliseconds of one request are never in the way of a usual one.
const LARGE: usize = 256 * 1024;

/// After which pause a sender may try again that came when there was too much at once.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The API server's time-out where it says none, and the longest that counts: who waits holds memory.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is read of a body that is refused, so that its sender has done sending and reads the answer.
/// Beyond that the connection is closed.
const DISCARD: usize = 1024 * 1024;

/// For that.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

impl Api {
    pub(super) fn new(engine: Box<dyn Engine>, limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            engine,
            metrics,
            requests: Shares::new(limits.requests),
            bytes: Shares::new(limits.bytes),
            large: Arc::new(Semaphore::new(1)),
            refusals: Sparingly::default(),
        })
    }

    /// Bytes held now, and the most ever.
    pub(super) fn bytes(&self) -> &Shares {
        &self.bytes
    }

    /// The paths of port 8443.
    pub(super) fn router(self: Arc<Self>) -> Router {
        use OptedIn::{Namespace, Object};
        use Webhook::{Mutate, Warn};
        let route = |webhook, opted_in| {
            post(move |State(api): State<Arc<Self>>, request| async move {
                api.handle(webhook, opted_in, request).await
            })
            .fallback(|State(api): State<Arc<Self>>, request| async move {
                api.refuse(Refusal::Method, request).await
            })
        };
        Router::new()
            .route("/mutate", route(Mutate, Object))
            .route("/mutate/namespace", route(Mutate, Namespace))
            .route("/warn", route(Warn, Object))
            .route("/warn/namespace", route(Warn, Namespace))
            .fallback(|State(api): State<Arc<Self>>, request| async move {
                api.refuse(Refusal::Path, request).await
            })
            .with_state(self)
    }

    async fn handle(
        self: Arc<Self>,
        webhook: Webhook,
        opted_in: OptedIn,
        request: Request<Body>,
    ) -> Response<Body> {
        let began = Instant::now();
        let peer = peer(&request);
        let in_flight = InFlight::new(&self.metrics);
        let (head, mut body) = request.into_parts();
        let turn_by = began + patience(head.uri.query());
        let answered = AssertUnwindSafe(self.answer(
            webhook,
            opted_in,
            peer,
            &head.headers,
            &mut body,
            turn_by,
        ))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(self.panicked()));
        let response = match answered {
            Ok(answer) => json(answer),
            Err(refusal) => self.refuse_body(refusal, peer, body).await,
        };
        drop(in_flight);
        self.metrics
            .seconds
            .get_or_create(&WebhookLabels { webhook })
            .observe(began.elapsed().as_secs_f64());
        response
    }

    async fn answer(
        self: &Arc<Self>,
        webhook: Webhook,
        opted_in: OptedIn,
        peer: IpAddr,
        headers: &HeaderMap,
        body: &mut Body,
        turn_by: Instant,
    ) -> Result<Vec<u8>, Refusal> {
        expect_plain_json(headers)?;
        let _slot = self.requests.take(peer, 1).map_err(|_| Refusal::Busy)?;
        let mut share = self.bytes.take(peer, 0).map_err(|_| Refusal::Busy)?;
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = body::read(body, announced, &mut share).await?;
        body::reserve(&bytes, &mut share)?;
        if bytes.len() <= LARGE {
            return self.decide(webhook, opted_in, peer, &bytes);
        }
        // Closed never: nobody closes it.
        let turn = timeout_at(turn_by.into(), self.large.clone().acquire_owned())
            .await
            .map_err(|_| Refusal::Busy)?
            .map_err(|_| Refusal::Busy)?;
        let api = self.clone();
        tokio::task::spawn_blocking(move || {
            let answer = api.decide(webhook, opted_in, peer, &bytes);
            drop((bytes, share, turn));
            answer
        })
        .await
        .unwrap_or_else(|_| Err(self.panicked()))
    }

    fn decide(
        &self,
        webhook: Webhook,
        opted_in: OptedIn,
        peer: IpAddr,
        bytes: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let began = Instant::now();
        let review = Review::parse(bytes)?;
        let answer = match webhook {
            Webhook::Mutate => self.engine.mutate(&review, opted_in),
            Webhook::Warn => self.engine.warn(&review, opted_in),
        }?;
        let out = answer
            .to_json(&review.uid)
            .map_err(|error| Refusal::Ours(error.to_string()))?;
        let outcome = match (&answer.denial, &answer.patch) {
            (Some(_), _) => Outcome::Denied,
            (None, Some(_)) => Outcome::Patched,
            (None, None) => Outcome::Allowed,
        };
        self.metrics
            .reviews
            .get_or_create(&ReviewLabels {
                webhook,
                outcome,
                reason: answer.reason,
            })
            .inc();
        // Values that somebody chose are strings: both forms of the log quote and escape them.
        tracing::info!(
            uid = &*review.uid,
            webhook = webhook.word(),
            entry = opted_in.word(),
            kind = beginning(&review.kind.kind),
            namespace = beginning(&review.namespace),
            name = beginning(&review.name),
            operation = beginning(&review.operation),
            dry_run = review.dry_run,
            outcome = outcome.word(),
            reason = answer.reason,
            warnings = answer.warnings.len(),
            denial = answer.denial.as_deref(),
            %peer,
            micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            "decided",
        );
        Ok(out)
    }

    /// The panic hook has logged where and why.
    fn panicked(&self) -> Refusal {
        self.metrics.panics.inc();
        Refusal::Ours("a defect of this server met this review; its log tells where".to_owned())
    }

    async fn refuse(self: Arc<Self>, refusal: Refusal, request: Request<Body>) -> Response<Body> {
        let peer = peer(&request);
        self.refuse_body(refusal, peer, request.into_body()).await
    }

    async fn refuse_body(&self, refusal: Refusal, peer: IpAddr, body: Body) -> Response<Body> {
        let (status, reason) = refusal.kind();
        self.metrics
            .refused
            .get_or_create(&RefusalLabels {
                reason,
                code: status.as_u16(),
            })
            .inc();
        if let Some(passed_over) = self.refusals.may_log() {
            tracing::warn!(%peer, reason, code = status.as_u16(), passed_over, error = %refusal, "refused");
        }
        let discarded = tokio::time::timeout(DISCARD_TIMEOUT, discard(body)).await;
        let mut response = Response::new(Body::from(format!("{refusal}\n")));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER.as_secs().into());
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if discarded != Ok(true) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Counts a request for as long as it is held: a connection that ends takes its request with it, at
/// whatever point it is.
struct InFlight(Gauge);

impl InFlight {
    fn new(metrics: &Metrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics.in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn peer(request: &Request<Body>) -> IpAddr {
    request
        .extensions()
        .get::<Peer>()
        .map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.0)
}

/// How long a request may have taken when a large review's turn comes. An API server waits
/// [`RETRY_AFTER`] and tries again within one and the same time-out, which it says in the query
/// (`timeout=5s`): two times of waiting and the pause between fit into that.
fn patience(query: Option<&str>) -> Duration {
    let said = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| {
            pair.strip_prefix("timeout=")?
                .strip_suffix('s')?
                .parse()
                .ok()
        })
        .map(Duration::from_secs);
    let timeout = said.unwrap_or(TIMEOUT).min(TIMEOUT);
    timeout.saturating_sub(RETRY_AFTER) / 2
}

fn expect_plain_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = media_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::MediaType);
    }
    let encoding = headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::Encoding);
    }
    Ok(())
}

/// As much of a name as a name in Kubernetes has at most: a line of the log is no place for megabytes.
fn beginning(name: &str) -> &str {
    const LONGEST: usize = 253;
    &name[..name.floor_char_boundary(LONGEST)]
}

fn json(body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Whether all of it was read.
async fn discard(mut body: Body) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, |data| data.len());
        if read > DISCARD {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_review_waits_no_longer_than_lets_its_sender_try_once_more() {
        for (query, millis) in [
            (Some("timeout=5s"), 2000),
            (Some("timeout=2s"), 500),
            (Some("dryRun=All&timeout=3s"), 1000),
            (Some("timeout=1s"), 0),
            (Some("timeout=0s"), 0),
            // Nobody may hold memory for as long as he likes, or by nonsense.
            (Some("timeout=30s"), 2000),
            (Some("timeout=18446744073709551615s"), 2000),
            (Some("timeout=1m0s"), 2000),
            (Some("timeout=-1s"), 2000),
            (Some("timeout"), 2000),
            (None, 2000),
        ] {
            assert_eq!(patience(query), Duration::from_millis(millis), "{query:?}");
        }
    }
}
