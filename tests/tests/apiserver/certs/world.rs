//! An API server whose webhooks are called by URL: the library as the server uses it, and nothing of
//! drains.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result};
use bytes::Bytes;
use drainhook_certs::{
    ConfigurationName, Lifetimes, Publisher, PublisherOptions, Publishing, SecretName,
    SelfManagedOptions, ServerNames, Source, Status, server_config,
};
use drainhook_tests::{
    cluster::{ApiServer, Options, Version},
    wait::until,
};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::{ConfigMap, Secret},
    },
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{NAMESPACE, QUIET, SECRET};

/// An API server, three serving replicas that it calls, and publishers.
pub(super) struct World {
    pub(super) server: ApiServer,
    lifetimes: Lifetimes,
    pub(super) replicas: Vec<Replica>,
    publishers: JoinSet<()>,
    _serving: JoinSet<()>,
}

/// A webhook with a certificate of its own.
pub(super) struct Replica {
    pub(super) address: SocketAddr,
    pub(super) status: Status,
    pub(super) handshakes: Arc<AtomicUsize>,
}

impl World {
    pub(super) async fn start(version: Version, lifetimes: Lifetimes) -> Self {
        let mut world = Self::start_without_replicas(version).await;
        world.lifetimes = lifetimes;
        for _ in 0..3 {
            let replica = world.replica().await;
            world.replicas.push(replica);
        }
        world.register().await;
        world
    }

    pub(super) async fn start_without_replicas(version: Version) -> Self {
        let options = ApiServer::options().version(version);
        Self::start_so(options).await
    }

    /// With an API server of these options, and without controllers and replicas.
    pub(super) async fn start_so(options: Options) -> Self {
        let server = options.controllers(&[]).start().await.unwrap();
        for name in [NAMESPACE, "probes"] {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            server.apply(&namespace).await.unwrap();
        }
        let world = Self {
            server,
            lifetimes: QUIET,
            replicas: Vec::new(),
            publishers: JoinSet::new(),
            _serving: JoinSet::new(),
        };
        world.register().await;
        world
    }

    pub(super) async fn replica(&mut self) -> Replica {
        let options = self_managed(self.lifetimes);
        let Source {
            resolver,
            status,
            background,
        } = Source::self_managed(self.server.client(), options);
        self._serving.spawn(background);
        let acceptor = TlsAcceptor::from(Arc::new(server_config(resolver, None).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handshakes = Arc::new(AtomicUsize::new(0));
        let counted = handshakes.clone();
        self._serving.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, counted) = (acceptor.clone(), counted.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await?;
                    counted.fetch_add(1, Relaxed);
                    let stream = TokioIo::new(stream);
                    anyhow::Ok(
                        http1::Builder::new()
                            .serve_connection(stream, service_fn(allow))
                            .await?,
                    )
                });
            }
        });
        Replica {
            address,
            status,
            handshakes,
        }
    }

    /// Both kinds of configuration, without a caBundle as in the manifests.
    pub(super) async fn register(&self) {
        let entry = |index: usize, name: &str| {
            let replica = self.replicas.get(index);
            let port = replica.map_or(9, |replica| replica.address.port());
            json!({
                "name": name,
                "clientConfig": {"url": format!("https://localhost:{port}/mutate")},
                "rules": [{
                    "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                    "resources": ["configmaps"],
                }],
                "objectSelector": {"matchLabels": {"probe": "yes"}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 30,
            })
        };
        for (kind, webhooks) in [
            (
                "MutatingWebhookConfiguration",
                vec![
                    entry(0, "annotation.drainhook.io"),
                    entry(1, "namespace.drainhook.io"),
                ],
            ),
            (
                "ValidatingWebhookConfiguration",
                vec![entry(2, "warn.drainhook.io")],
            ),
        ] {
            let configuration = json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": "drainhook"},
                "webhooks": webhooks,
            });
            self.server.apply(&configuration).await.unwrap();
        }
    }

    pub(super) async fn publishers(&mut self, count: usize) -> Vec<Publishing> {
        let options = PublisherOptions {
            secret: secret_name(),
            labels: Default::default(),
            configurations: vec![
                ConfigurationName::Mutating("drainhook".to_owned()),
                ConfigurationName::Validating("drainhook".to_owned()),
            ],
            organization: "drainhook".to_owned(),
            lifetimes: self.lifetimes,
        };
        let mut all = Vec::new();
        for _ in 0..count {
            let (publisher, publishing) = Publisher::new(self.server.client(), options.clone());
            self.publishers.spawn(publisher.run());
            all.push(publishing);
        }
        all
    }

    pub(super) async fn stop_publishers(&mut self) {
        self.publishers.shutdown().await;
    }

    /// One call of the API server to each of the three replicas.
    pub(super) async fn create(&self) -> kube::Result<ConfigMap> {
        let probe = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"generateName": "probe-", "labels": {"probe": "yes"}},
        });
        let probes = Api::<ConfigMap>::namespaced(self.server.client(), "probes");
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        probes
            .create(&dry, &serde_json::from_value(probe).unwrap())
            .await
    }

    pub(super) async fn until_called(&self) {
        for replica in &self.replicas {
            replica.status.wait_ready().await;
        }
        // An API server learns of a configuration later than it stores it, and until then goes by
        // the old one: a success may still be one of the old.
        let mut in_a_row = 0;
        until("calls of the API server that succeed", async || {
            in_a_row = match self.create().await {
                Ok(_) => in_a_row + 1,
                Err(_) => 0,
            };
            (in_a_row == 10).then_some(())
        })
        .await
        .unwrap();
    }

    pub(super) fn loads(&self) -> Vec<u64> {
        self.replicas
            .iter()
            .map(|replica| replica.status.facts().loads)
            .collect()
    }

    pub(super) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.server.client(), NAMESPACE)
    }

    pub(super) fn mutating(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.server.client())
    }

    pub(super) async fn secret_text(&self, key: &str) -> String {
        let secret = self.secrets().get_opt(SECRET).await.unwrap();
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        let ByteString(bytes) = data.get(key).cloned().unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }

    /// The CA that signs, PEM.
    pub(super) async fn current(&self) -> Option<String> {
        Some(self.secret_text("current.crt").await).filter(|text| !text.is_empty())
    }

    pub(super) async fn phase(&self) -> Option<String> {
        Some(self.secret_text("phase").await).filter(|text| !text.is_empty())
    }

    pub(super) async fn bundles(&self) -> Vec<String> {
        let text = |config: k8s_openapi::api::admissionregistration::v1::WebhookClientConfig| {
            String::from_utf8(config.ca_bundle.unwrap_or_default().0).unwrap_or_default()
        };
        let mutating = self.mutating().get_opt("drainhook").await.unwrap();
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.server.client());
        let validating = validating.get_opt("drainhook").await.unwrap();
        let mutating = mutating.and_then(|one| one.webhooks).into_iter().flatten();
        let validating = validating
            .and_then(|one| one.webhooks)
            .into_iter()
            .flatten();
        let mutating = mutating.map(|webhook| text(webhook.client_config));
        mutating
            .chain(validating.map(|webhook| text(webhook.client_config)))
            .collect()
    }

    pub(super) async fn is_well(&self) -> bool {
        let (bundles, phase) = (self.bundles().await, self.phase().await);
        let (current, next) = (self.current().await, self.secret_text("next.crt").await);
        phase.as_deref() == Some("steady")
            && next.is_empty()
            && bundles.len() == 3
            && bundles
                .iter()
                .all(|bundle| Some(bundle) == current.as_ref())
            && self
                .secret_text("current.key")
                .await
                .starts_with("-----BEGIN PRIVATE KEY")
    }

    pub(super) async fn versions(&self) -> Vec<Option<String>> {
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.server.client());
        vec![
            self.secrets().get(SECRET).await.unwrap().resource_version(),
            self.mutating()
                .get("drainhook")
                .await
                .unwrap()
                .resource_version(),
            validating
                .get("drainhook")
                .await
                .unwrap()
                .resource_version(),
        ]
    }

    pub(super) async fn merge_secret(&self, patch: Value) {
        let params = PatchParams::default();
        self.secrets()
            .patch(SECRET, &params, &Patch::Merge(patch))
            .await
            .unwrap();
    }
}

fn secret_name() -> SecretName {
    SecretName {
        namespace: NAMESPACE.to_owned(),
        name: SECRET.to_owned(),
    }
}

pub(super) fn self_managed(lifetimes: Lifetimes) -> SelfManagedOptions {
    let names = ServerNames::new(["localhost".to_owned()]).unwrap();
    SelfManagedOptions {
        secret: secret_name(),
        names,
        lifetimes,
    }
}

/// Allows whatever it is shown, and ends the connection: the next call shakes hands again.
async fn allow(request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).context("read the review")?;
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true},
    });
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("connection", "close");
    Ok(response.body(Full::from(answer.to_string()))?)
}
