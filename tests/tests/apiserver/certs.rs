//! The self-managed CA against a real API server: it rotates, it is healed, several publishers do
//! not fight, and no call of the API server fails over any of it.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use drainhook_certs::{
    ConfigurationName, Fault, Lifetimes, Publisher, PublisherOptions, Publishing, SecretName,
    SelfManagedOptions, ServerNames, Source, Status, rotation::Event, server_config,
};
use drainhook_tests::{
    cluster::{ApiServer, Version},
    process::Process,
    product,
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
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

const NAMESPACE: &str = "drainhook";
const SECRET: &str = "drainhook-ca";

/// Nothing comes due by itself: what happens is what the test does.
const QUIET: Lifetimes = Lifetimes {
    authority: Duration::from_secs(24 * 60 * 60),
    authority_rotation: Duration::from_secs(12 * 60 * 60),
    // The overlap makes them look every 200 ms.
    overlap: Duration::from_secs(2),
    leaf: Duration::from_secs(60 * 60),
    leaf_renewal: Duration::from_secs(30 * 60),
    backdate: Duration::from_secs(60),
};

/// A CA every twelve seconds and a leaf every two.
const HASTY: Lifetimes = Lifetimes {
    authority: Duration::from_secs(60),
    authority_rotation: Duration::from_secs(12),
    overlap: Duration::from_secs(3),
    leaf: Duration::from_secs(4),
    leaf_renewal: Duration::from_secs(2),
    backdate: Duration::from_secs(2),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ca_rotates_many_times_and_no_call_of_the_api_server_fails() {
    const ROTATIONS: usize = 4;
    let mut world = World::start(Version::Newest, HASTY).await;
    let publishers = world.publishers(3).await;
    world.until_called().await;

    let mut authorities = BTreeSet::new();
    let (mut calls, mut failed) = (0, Vec::new());
    while authorities.len() <= ROTATIONS {
        authorities.extend(world.current().await);
        calls += 1;
        if let Err(error) = world.create().await {
            failed.push(error.to_string());
        }
    }
    assert_eq!(failed, Vec::<String>::new(), "of {calls} calls");
    let leaves = ROTATIONS as u64 * 2;
    for replica in &world.replicas {
        let facts = replica.status.facts();
        assert!(facts.loads > leaves, "{facts:?}");
        assert_eq!(facts.faults.get(&Fault::Expired), None, "{facts:?}");
        assert!(replica.handshakes.load(Relaxed) > 0);
    }
    let count = |event| {
        let one = |publishing: &Publishing| publishing.facts().events.get(&event).copied();
        publishers.iter().filter_map(one).sum::<u64>()
    };
    assert_eq!(count(Event::Founded), 1);
    assert!(count(Event::Switched) >= ROTATIONS as u64);
    // Each step is taken by one of the three.
    assert!(count(Event::Started) <= count(Event::Switched) + 1);
    for never in [
        Event::Reopened,
        Event::RepairedBundle,
        Event::Salvaged,
        Event::Restored,
    ] {
        assert_eq!(count(never), 0, "{never:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_somebody_breaks_is_healed_without_a_restart_and_without_another_ca() {
    let mut world = World::start(Version::Newest, QUIET).await;
    let publishing = world.publishers(2).await;
    world.until_called().await;
    let before = world.current().await.unwrap();
    let served = world.loads();

    for breakage in Breakage::ALL {
        world.break_(breakage).await;
        let what = format!("{breakage:?} is healed");
        until(&what, async || world.is_well().await.then_some(()))
            .await
            .unwrap();
        // The API server learns of it a moment later.
        world.until_called().await;
        assert_eq!(
            world.current().await.as_ref(),
            Some(&before),
            "{breakage:?}: the same CA"
        );
    }
    assert_eq!(world.loads(), served, "the replicas did not even mint");
    let happened = |event| {
        publishing
            .iter()
            .any(|one: &Publishing| one.facts().events.contains_key(&event))
    };
    for event in [Event::Restored, Event::FilledBundle, Event::RepairedBundle] {
        assert!(happened(event), "{event:?}");
    }
    assert!(!happened(Event::Salvaged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_lost_while_no_publisher_runs_costs_no_call() {
    let mut world = World::start(Version::Newest, QUIET).await;
    world.publishers(1).await;
    world.until_called().await;
    let before = world.current().await.unwrap();
    world.stop_publishers().await;
    world
        .secrets()
        .delete(SECRET, &DeleteParams::default())
        .await
        .unwrap();

    let publishing = world.publishers(2).await;
    let mut failed = Vec::new();
    until(
        "another CA signs and the lost one is published still",
        async || {
            failed.extend(world.create().await.err().map(|error| error.to_string()));
            world
                .current()
                .await
                .is_some_and(|current| current != before)
                .then_some(())
        },
    )
    .await
    .unwrap();
    for _ in 0..20 {
        failed.extend(world.create().await.err().map(|error| error.to_string()));
    }
    assert_eq!(failed, Vec::<String>::new());
    let salvaged = publishing
        .iter()
        .filter(|one| one.facts().events.contains_key(&Event::Salvaged));
    assert_eq!(salvaged.count(), 1);
    assert_eq!(world.phase().await.as_deref(), Some("switched"));
    assert!(world.secret_text("previous.crt").await.contains(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_publishers_that_start_at_once_make_one_ca_and_then_leave_everything_alone() {
    let mut world = World::start(Version::Newest, QUIET).await;
    let publishing = world.publishers(8).await;
    until("all of them find everything right", async || {
        publishing.iter().all(|one| one.facts().right).then_some(())
    })
    .await
    .unwrap();
    let before = world.versions().await;
    // Each of them looks some ten times meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.versions().await, before);
    let facts: Vec<_> = publishing.iter().map(Publishing::facts).collect();
    let sum = |count: fn(&drainhook_certs::PublisherFacts) -> u64| facts.iter().map(count).sum();
    assert_eq!(
        facts
            .iter()
            .filter(|one| one.events.contains_key(&Event::Founded))
            .count(),
        1
    );
    let (secret, configurations): (u64, u64) = (
        sum(|one| one.secret_writes),
        sum(|one| one.configuration_writes),
    );
    // The CA, and that it is published; each configuration once.
    assert_eq!((secret, configurations), (2, 2));
    assert_eq!(sum(|one| one.failures), 0u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_somebody_asks_for_happens_once() {
    let mut world = World::start(Version::Newest, QUIET).await;
    world.publishers(2).await;
    world.until_called().await;
    let before = world.current().await.unwrap();
    let annotation = json!({"metadata": {"annotations": {"drainhook.io/rotate": "please"}}});
    world.merge_secret(annotation).await;
    let mut failed = Vec::new();
    until("the switch", async || {
        failed.extend(world.create().await.err().map(|error| error.to_string()));
        (world.phase().await.as_deref() == Some("switched")).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(failed, Vec::<String>::new());
    assert_ne!(world.current().await.unwrap(), before);
    assert_eq!(world.secret_text("rotate").await, "please");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_mints_on_while_the_api_server_is_away() {
    let lifetimes = Lifetimes {
        authority_rotation: Duration::from_secs(50),
        ..HASTY
    };
    let lifetimes = Lifetimes {
        authority: Duration::from_secs(600),
        ..lifetimes
    };
    let mut world = World::start(Version::Newest, lifetimes).await;
    world.publishers(1).await;
    world.until_called().await;
    world.server.control_plane().api_server().kill().unwrap();
    let before = world.loads();
    until("three leaves without an API server", async || {
        let now = world.loads();
        now.iter()
            .zip(&before)
            .all(|(now, before)| *now >= before + 3)
            .then_some(())
    })
    .await
    .unwrap();
    for replica in &world.replicas {
        let facts = replica.status.facts();
        assert!(facts.expires_in(std::time::SystemTime::now()).unwrap() > 0.0);
        assert!(replica.status.ready() && facts.standing.contains_key(&Fault::Disconnected));
        assert_eq!(facts.standing.len(), 1, "{:?}", facts.standing);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_needs_no_more_rights_than_its_own_objects_by_name() {
    for version in [Version::Newest, Version::Oldest] {
        let world = World::start_without_replicas(version).await;
        let publisher = world
            .server
            .user_with_rules("publisher", &rules(publisher_rules()))
            .await;
        let publisher = publisher.unwrap();
        let kubeconfig = world
            .server
            .kubeconfig_for("publisher", &publisher)
            .unwrap();
        let mut command = std::process::Command::new(product::drainhook().unwrap());
        command.args(["certs", "--bind", "127.0.0.1", "--plain-port", "0"]);
        command
            .env("KUBECONFIG", kubeconfig)
            .env("DRAINHOOK_NAMESPACE", NAMESPACE);
        let mut process = Process::spawn("drainhook certs", command).unwrap();
        until("every caBundle is written", async || {
            let bundles = world.bundles().await;
            let current = world.current().await?;
            bundles
                .iter()
                .all(|bundle| *bundle == current)
                .then_some(())
        })
        .await
        .unwrap();
        assert!(!process.log().contains("PRIVATE KEY"));

        let page = plain_page(&process, "/metrics").await.unwrap();
        assert!(
            page.contains("drainhook_publisher_events_total{event=\"founded\"} 1"),
            "{page}"
        );
        until("it says that it is ready", async || {
            let page = plain_page(&process, "/readyz").await.ok()?;
            page.contains("every caBundle is right").then_some(())
        })
        .await
        .unwrap();

        // The readers read, and nothing else.
        let reader = world
            .server
            .user_with_rules("reader", &rules(reader_rules()))
            .await
            .unwrap();
        let client = world.server.client_for(&reader).await.unwrap();
        let options = self_managed(QUIET);
        let Source {
            status, background, ..
        } = Source::self_managed(client.clone(), options);
        let background = tokio::spawn(background);
        status.wait_ready().await;
        background.abort();
        let secrets = Api::<Secret>::namespaced(client, NAMESPACE);
        let refused = secrets
            .delete(SECRET, &DeleteParams::default())
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("forbidden"), "{refused}");

        process.terminate().unwrap();
        let status = process.wait(Duration::from_secs(60)).await.unwrap();
        assert!(status.success(), "{status}");
    }
}

/// What the publisher may do; each verb is needed.
fn publisher_rules() -> Value {
    json!([
        // get and patch: the CA. list and watch: to be told when it is touched. create: a
        // server-side apply of what does not exist is a creation of that name.
        {
            "apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET],
            "verbs": ["get", "list", "watch", "create", "patch"],
        },
        // The same without create.
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
            "resourceNames": ["drainhook"],
            "verbs": ["get", "list", "watch", "patch"],
        },
    ])
}

fn reader_rules() -> Value {
    json!([{
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET],
        "verbs": ["list", "watch"],
    }])
}

fn rules(rules: Value) -> Vec<k8s_openapi::api::rbac::v1::PolicyRule> {
    serde_json::from_value(rules).unwrap()
}

/// Everything that somebody may do to our objects.
#[derive(Clone, Copy, Debug)]
enum Breakage {
    DeleteSecret,
    EmptySecret,
    DamageKey,
    /// With a field manager of its own, which from then on owns a key that we do not need.
    AddNext,
    EmptyOneBundle,
    ForeignBundles,
    GarbageBundle,
    DeleteConfiguration,
}

impl Breakage {
    const ALL: [Self; 8] = [
        Self::DeleteSecret,
        Self::EmptySecret,
        Self::DamageKey,
        Self::AddNext,
        Self::EmptyOneBundle,
        Self::ForeignBundles,
        Self::GarbageBundle,
        Self::DeleteConfiguration,
    ];
}

/// An API server, three serving replicas that it calls, and publishers.
struct World {
    server: ApiServer,
    lifetimes: Lifetimes,
    replicas: Vec<Replica>,
    publishers: JoinSet<()>,
    _serving: JoinSet<()>,
}

/// A webhook with a certificate of its own.
struct Replica {
    address: SocketAddr,
    status: Status,
    handshakes: Arc<AtomicUsize>,
}

impl World {
    async fn start(version: Version, lifetimes: Lifetimes) -> Self {
        let mut world = Self::start_without_replicas(version).await;
        world.lifetimes = lifetimes;
        for _ in 0..3 {
            let replica = world.replica().await;
            world.replicas.push(replica);
        }
        world.register().await;
        world
    }

    async fn start_without_replicas(version: Version) -> Self {
        let server = ApiServer::options()
            .version(version)
            .controllers(&[])
            .start()
            .await
            .unwrap();
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

    async fn replica(&mut self) -> Replica {
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
    async fn register(&self) {
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
                "timeoutSeconds": 10,
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

    async fn publishers(&mut self, count: usize) -> Vec<Publishing> {
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

    async fn stop_publishers(&mut self) {
        self.publishers.shutdown().await;
    }

    /// One call of the API server to each of the three replicas.
    async fn create(&self) -> kube::Result<ConfigMap> {
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

    async fn until_called(&self) {
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

    fn loads(&self) -> Vec<u64> {
        self.replicas
            .iter()
            .map(|replica| replica.status.facts().loads)
            .collect()
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.server.client(), NAMESPACE)
    }

    fn mutating(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.server.client())
    }

    async fn secret_text(&self, key: &str) -> String {
        let secret = self.secrets().get_opt(SECRET).await.unwrap();
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        let ByteString(bytes) = data.get(key).cloned().unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }

    /// The CA that signs, PEM.
    async fn current(&self) -> Option<String> {
        Some(self.secret_text("current.crt").await).filter(|text| !text.is_empty())
    }

    async fn phase(&self) -> Option<String> {
        Some(self.secret_text("phase").await).filter(|text| !text.is_empty())
    }

    async fn bundles(&self) -> Vec<String> {
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

    async fn is_well(&self) -> bool {
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

    async fn versions(&self) -> Vec<Option<String>> {
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

    async fn merge_secret(&self, patch: Value) {
        let params = PatchParams::default();
        self.secrets()
            .patch(SECRET, &params, &Patch::Merge(patch))
            .await
            .unwrap();
    }

    async fn break_(&self, breakage: Breakage) {
        let somebody = PatchParams::apply("somebody").force();
        let bundle_for = |names: &[&str], bundle: &str| {
            let bundle = ByteString(bundle.as_bytes().to_vec());
            let entry = |name: &&str| json!({"name": name, "clientConfig": {"caBundle": bundle}});
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": "drainhook"},
                "webhooks": names.iter().map(entry).collect::<Vec<_>>(),
            })
        };
        let bundles = async |names: &[&str], bundle: &str| {
            let patch = Patch::Apply(bundle_for(names, bundle));
            self.mutating()
                .patch("drainhook", &somebody, &patch)
                .await
                .unwrap();
        };
        let both = ["annotation.drainhook.io", "namespace.drainhook.io"];
        let foreign = self.server.authority().certificate();
        match breakage {
            Breakage::DeleteSecret => {
                self.secrets()
                    .delete(SECRET, &DeleteParams::default())
                    .await
                    .unwrap();
            }
            Breakage::EmptySecret => self.merge_secret(json!({"data": null})).await,
            Breakage::DamageKey => {
                self.merge_secret(json!({"stringData": {"current.key": "garbage"}}))
                    .await;
            }
            Breakage::AddNext => {
                let patch = json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": SECRET},
                    "data": {"next.crt": ByteString(foreign.into_bytes())},
                });
                let patch = Patch::Apply(patch);
                self.secrets()
                    .patch(SECRET, &somebody, &patch)
                    .await
                    .unwrap();
            }
            Breakage::EmptyOneBundle => {
                let patch = json!([{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]);
                let patch = Patch::<Value>::Json(serde_json::from_value(patch).unwrap());
                let params = PatchParams::default();
                self.mutating()
                    .patch("drainhook", &params, &patch)
                    .await
                    .unwrap();
            }
            Breakage::ForeignBundles => bundles(&both, &foreign).await,
            Breakage::GarbageBundle => {
                // The API server takes nothing that is no certificate, but text around one.
                let text = format!("{foreign}{}", self.current().await.unwrap());
                bundles(&both[..1], &text).await;
            }
            Breakage::DeleteConfiguration => {
                let deleted = self
                    .mutating()
                    .delete("drainhook", &DeleteParams::default())
                    .await;
                deleted.unwrap();
                self.register().await;
            }
        }
    }
}

fn secret_name() -> SecretName {
    SecretName {
        namespace: NAMESPACE.to_owned(),
        name: SECRET.to_owned(),
    }
}

fn self_managed(lifetimes: Lifetimes) -> SelfManagedOptions {
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

/// A page of the plain port that the process says it has bound.
async fn plain_page(process: &Process, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let log = process.log();
    let began = log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["plain"].as_str().map(str::to_owned)
    });
    let mut stream = TcpStream::connect(began.context("no port in the log")?).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}
