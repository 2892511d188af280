//! A webhook of a few lines, which stamps what it is shown: it shows how the API server calls.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use drainhook_tests::cluster::{Authority, Identity};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A mutating webhook that answers every review with one annotation.
#[derive(Clone)]
pub(crate) struct Stamp {
    identity: Identity,
    clients: Option<String>,
    patch: Option<Value>,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// One call that it got.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// HTTP's version, as in `HTTP/1.1`.
    pub(crate) http: String,
    /// Whether the caller showed a certificate that verifies.
    pub(crate) certified: bool,
    /// The request's operation, as in `CREATE`.
    pub(crate) operation: String,
    /// The whole review.
    pub(crate) review: Value,
}

impl Stamp {
    /// For a server of this name and address.
    pub(crate) fn new(authority: &Authority, name: &str, address: IpAddr) -> Result<Self> {
        Ok(Self {
            identity: authority.server(&[name], &[address])?,
            clients: None,
            patch: None,
            calls: Arc::default(),
        })
    }

    /// Refuses whoever shows no certificate of this authority.
    pub(crate) fn with_client_authority(mut self, authority: &Authority) -> Self {
        self.clients = Some(authority.certificate());
        self
    }

    /// Answers with this patch instead.
    pub(crate) fn with_patch(mut self, patch: Value) -> Self {
        self.patch = Some(patch);
        self
    }

    /// What has called so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Serves until the task is dropped.
    pub(crate) async fn serve(self, listener: TcpListener) -> Result<()> {
        let acceptor = TlsAcceptor::from(Arc::new(self.tls()?));
        loop {
            let (stream, _) = listener.accept().await?;
            let (acceptor, stamp) = (acceptor.clone(), self.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await?;
                let certified = stream.get_ref().1.peer_certificates().is_some();
                let service = service_fn(|request| stamp.answer(request, certified));
                anyhow::Ok(
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await?,
                )
            });
        }
    }

    /// A registration of it for pods, under the failure policy `Fail`; `client` says how it is
    /// reached.
    pub(crate) fn registration(authority: &Authority, client: Value) -> Value {
        let mut client = client;
        client["caBundle"] = base64(&authority.certificate()).into();
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": "stamp" },
            "webhooks": [{
                "name": "stamp.drainhook.io",
                "clientConfig": client,
                "rules": [{
                    "operations": ["CREATE"],
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "resources": ["pods"],
                }],
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 5,
            }],
        })
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        certified: bool,
    ) -> Result<Response<Full<Bytes>>> {
        let http = format!("{:?}", request.version());
        let body = request.into_body().collect().await?.to_bytes();
        let review: Value = serde_json::from_slice(&body).context("read the review")?;
        let operation = review["request"]["operation"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.calls.lock().unwrap().push(Call {
            http,
            certified,
            operation,
            review: review.clone(),
        });
        let path = match review["request"]["object"]["metadata"]["annotations"].is_object() {
            true => "/metadata/annotations/stamped",
            false => "/metadata/annotations",
        };
        let value = match path {
            "/metadata/annotations" => json!({ "stamped": "yes" }),
            _ => json!("yes"),
        };
        let stamped = json!([{ "op": "add", "path": path, "value": value }]);
        let patch = self.patch.clone().unwrap_or(stamped);
        let answer = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {
                "uid": review["request"]["uid"],
                "allowed": true,
                "patchType": "JSONPatch",
                "patch": base64(&patch.to_string()),
            },
        });
        let body = Full::from(answer.to_string());
        Ok(Response::builder()
            .header("content-type", "application/json")
            .body(body)?)
    }

    fn tls(&self) -> Result<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let config = match &self.clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                config.with_client_cert_verifier(verifier.build()?)
            }
        };
        let certificate = CertificateDer::from_pem_slice(self.identity.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(self.identity.key.as_bytes())?;
        Ok(config.with_single_cert(vec![certificate], key)?)
    }
}

/// Where a replica listens in its namespace.
pub(crate) fn replica(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 8443)
}

pub(crate) fn base64(text: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}
