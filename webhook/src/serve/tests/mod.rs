//! The server as a whole: its router without a socket, and its ports on loopback.

mod answers;
mod exchanges;
mod hostile;
mod live;
mod memory;
mod sockets;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode, header},
};
use http_body_util::BodyExt as _;
use rustls::crypto::{GetRandomFailed, SecureRandom};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{
    api::{Api, Engine, EngineError, Limits, OptedIn},
    cluster::Cluster,
    engine::Decider,
    metrics::Metrics,
    review::{Answer, Review},
};
use crate::UnknownKeys;

/// The answer to a request that went through the router.
#[derive(Debug)]
struct Answered {
    status: StatusCode,
    headers: header::HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    async fn read(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Self {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The `response` of a well-formed review for `uid`.
    fn review(&self, uid: &str) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
        let review: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(review["kind"], "AdmissionReview");
        let response = review["response"].clone();
        assert_eq!(response["uid"], uid);
        assert!(response["allowed"].is_boolean());
        response
    }

    /// The patch of a review, decoded.
    fn patch(&self, uid: &str) -> json_patch::Patch {
        use base64::Engine as _;
        let response = self.review(uid);
        assert_eq!(response["patchType"], "JSONPatch");
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(response["patch"].as_str().unwrap())
            .unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

/// The real decision, on a cluster that nothing is known of.
fn decider() -> Decider {
    let metrics = Metrics::new();
    Decider {
        defaults: None,
        cluster: Cluster::new("1.33".parse().ok(), metrics),
        image_choice: false,
        unknown_keys: UnknownKeys::Deny,
        random: &Sevens,
    }
}

/// As random as a test likes it.
#[derive(Debug)]
struct Sevens;

impl SecureRandom for Sevens {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        buffer.fill(0x77);
        Ok(())
    }
}

/// Panics when it sees a pod called `poison`.
struct Poisoned(Decider);

impl Engine for Poisoned {
    fn mutate(&self, review: &Review<'_>, opted_in: OptedIn) -> Result<Answer, EngineError> {
        assert_ne!(review.name, "poison", "a defect that a test put here");
        self.0.mutate(review, opted_in)
    }

    fn warn(&self, review: &Review<'_>, opted_in: OptedIn) -> Result<Answer, EngineError> {
        self.0.warn(review, opted_in)
    }
}

struct TestApi {
    api: Arc<Api>,
    metrics: Arc<Metrics>,
    router: Router,
}

impl TestApi {
    fn new() -> Self {
        Self::with(Box::new(decider()), Limits::default())
    }

    fn with(engine: Box<dyn Engine>, limits: Limits) -> Self {
        let metrics = Metrics::new();
        let api = Api::new(engine, limits, metrics.clone());
        Self {
            router: api.clone().router(),
            api,
            metrics,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answered {
        Answered::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Answered {
        self.send(post(path, body)).await
    }
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .unwrap()
}

/// A pod that asked for the drain.
fn envoy_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "edge-5d4f8c7b9-",
            "annotations": {"drainhook.io/inject": "true"},
        },
        "spec": {
            "containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}],
            "terminationGracePeriodSeconds": 30,
        },
    })
}

/// The review of its creation.
fn review(uid: &str, pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "gateways",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}
