//! A replica over many rotations of CA and leaf, with clients that hold connections and clients that come
//! late: API servers that go by a bundle as old as the overlap allows. The time is the tests' own.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::replica::{Replica, SelfManagedOptions};
use super::secret::{self, SecretName};
use crate::authority::Authority;
use crate::certificate::Certificate;
use crate::handshake::Moment;
use crate::lifetimes::Lifetimes;
use crate::names::ServerNames;
use crate::provider::provider;
use crate::rotation::{Configuration, Entry, Findings, Observed, Planner, SecretObserved, Watched};
use crate::served::{Served, server_config};
use crate::status::{Fault, Mode, Status};

const LIFETIMES: Lifetimes = Lifetimes {
    authority: Duration::from_secs(30),
    authority_rotation: Duration::from_secs(5),
    overlap: Duration::from_secs(1),
    leaf: Duration::from_secs(2),
    leaf_renewal: Duration::from_secs(1),
    backdate: Duration::from_secs(1),
};

/// From one look of publisher, replica and clients to the next.
const STEP: Duration = Duration::from_millis(100);

/// A publisher whose API server is a variable.
struct Writer {
    planner: Planner,
    watched: Watched,
    began: SystemTime,
    secret: Option<Secret>,
    bundle: Vec<Certificate>,
}

impl Writer {
    fn new(lifetimes: Lifetimes, began: SystemTime) -> Self {
        let planner = Planner {
            organization: "drainhook".to_owned(),
            lifetimes,
        };
        Self {
            planner,
            watched: Watched::default(),
            began,
            secret: None,
            bundle: Vec::new(),
        }
    }

    fn round(&mut self, now: SystemTime) {
        let entry = Entry {
            name: "one".to_owned(),
            bundle: self.bundle.clone(),
            garbage: false,
        };
        let parts = self.secret.as_ref().map(secret::parts).unwrap_or_default();
        let observed = Observed {
            secret: SecretObserved::Present {
                parts: Box::new(parts),
                request: None,
            },
            configurations: vec![Configuration::Found(vec![entry])],
        };
        let rotation = observed.rotation();
        let right = rotation
            .as_ref()
            .and_then(|one| observed.right(&one.bundle()));
        let elapsed = now.duration_since(self.began).unwrap();
        let watched = self.watched.see(rotation.as_ref(), right, elapsed);
        let findings = Findings {
            memory: None,
            watched,
            now,
        };
        let lifetimes = self.planner.lifetimes;
        let mint = || Ok::<_, Infallible>(Authority::issue("drainhook", now, &lifetimes).unwrap());
        let Ok(plan) = self.planner.plan(&observed, findings, mint);
        if let Some(write) = plan.bundles.into_iter().next() {
            self.bundle = write.bundle;
        }
        if let Some(rotation) = plan.secret {
            let metadata = ObjectMeta {
                uid: Some("u".to_owned()),
                resource_version: Some("1".to_owned()),
                ..Default::default()
            };
            let seen = Secret {
                metadata,
                ..Default::default()
            };
            let version = secret::Version::of(&seen).unwrap();
            let applied = secret::applied(&name(), &version, &rotation);
            self.secret = Some(serde_json::from_value(applied).unwrap());
        }
    }
}

fn name() -> SecretName {
    SecretName {
        namespace: "gateways".to_owned(),
        name: "drainhook-ca".to_owned(),
    }
}

async fn connect(
    address: std::net::SocketAddr,
    bundle: &[Certificate],
    now: SystemTime,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in bundle {
        roots.add(certificate.der.clone()).unwrap();
    }
    let config = ClientConfig::builder_with_details(provider(), Arc::new(Moment(now)))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("drainhook.gateways.svc").unwrap();
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    echo(&mut stream).await?;
    Ok(stream)
}

async fn echo(stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    stream.write_all(b"?").await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_rotation_closes_a_connection_or_refuses_one_that_knows_only_what_is_an_overlap_old() {
    const ROTATIONS: usize = 3;
    let served = Arc::new(Served::default());
    let status = Status::new(Mode::SelfManaged);
    let names = ServerNames::service("drainhook", "gateways", "cluster.local").unwrap();
    let options = SelfManagedOptions {
        secret: name(),
        names,
        lifetimes: LIFETIMES,
    };
    let mut replica = Replica::new(options, Arc::clone(&served), status.clone());
    let mut now = SystemTime::now();
    let mut writer = Writer::new(LIFETIMES, now);
    while writer.bundle.is_empty() {
        writer.round(now);
    }
    writer.round(now);
    replica.see(writer.secret.as_ref());
    replica.serve(now);
    assert!(status.ready());

    let acceptor = TlsAcceptor::from(Arc::new(server_config(served, None).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                loop {
                    let byte = stream.read_u8().await?;
                    stream.write_all(&[byte]).await?;
                }
                #[allow(unreachable_code)]
                Ok::<_, std::io::Error>(())
            });
        }
    });

    // What was published, and when: late clients go by the oldest that is allowed.
    let mut history = VecDeque::from([(now, writer.bundle.clone())]);
    let mut held = Vec::new();
    let (mut authorities, mut leaves) = (BTreeSet::new(), BTreeSet::new());
    let mut connections = 0;
    while authorities.len() <= ROTATIONS {
        now += STEP;
        writer.round(now);
        replica.see(writer.secret.as_ref());
        replica.serve(now);
        history.push_back((now, writer.bundle.clone()));
        let just_allowed = now - LIFETIMES.overlap * 9 / 10;
        while history.len() > 1 && history[1].0 <= just_allowed {
            history.pop_front();
        }

        for bundle in [&history[0].1, &writer.bundle] {
            let stream = connect(address, bundle, now)
                .await
                .expect("a connection is never refused");
            connections += 1;
            let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            if leaves.insert(leaf) {
                held.push(stream);
            }
        }
        for stream in &mut held {
            echo(stream).await.expect("a connection is never closed");
        }
        authorities.insert(
            secret::parts(writer.secret.as_ref().unwrap())
                .assemble()
                .unwrap()
                .current
                .unwrap()
                .certificate
                .der
                .to_vec(),
        );
    }
    assert!(leaves.len() > 2 * ROTATIONS, "{} leaves", leaves.len());
    assert_eq!(status.facts().loads, leaves.len() as u64);
    assert!(connections > 4 * leaves.len(), "{connections} connections");
    assert_eq!(status.facts().faults.get(&Fault::Unverified), None);
}

#[tokio::test]
async fn a_replica_keeps_what_it_has_when_the_secret_goes_or_breaks() {
    let status = Status::new(Mode::SelfManaged);
    let names = ServerNames::service("drainhook", "gateways", "cluster.local").unwrap();
    let options = SelfManagedOptions {
        secret: name(),
        names,
        lifetimes: Lifetimes::default(),
    };
    let served = Arc::new(Served::default());
    let mut replica = Replica::new(options, Arc::clone(&served), status.clone());
    let now = SystemTime::now();

    replica.see(None);
    replica.serve(now);
    assert!(served.current().is_none());
    assert_eq!(standing(&status), [Fault::NoSecret]);

    let mut writer = Writer::new(Lifetimes::default(), now);
    writer.round(now);
    replica.see(writer.secret.as_ref());
    replica.serve(now);
    let first = served.current().expect("it serves at once");
    assert!(!status.ready(), "but nothing is published yet");
    assert_eq!(standing(&status), [Fault::Unverified]);
    writer.round(now);
    writer.round(now);
    replica.see(writer.secret.as_ref());
    replica.serve(now);
    assert!(status.ready() && standing(&status).is_empty());

    let mut broken = writer.secret.clone().unwrap();
    broken.data.as_mut().unwrap().remove("current.key");
    for (seen, fault) in [(None, Fault::NoSecret), (Some(&broken), Fault::Malformed)] {
        replica.see(seen);
        replica.serve(now);
        assert!(Arc::ptr_eq(&served.current().unwrap(), &first));
        assert_eq!(standing(&status), [fault]);
    }
    // It mints on from what it knows.
    let later = Lifetimes::default().leaf_renewal;
    replica.serve(now + later);
    assert!(!Arc::ptr_eq(&served.current().unwrap(), &first));
    assert_eq!(status.facts().loads, 2);
    replica.see(writer.secret.as_ref());
    replica.serve(now);
    assert!(standing(&status).is_empty());
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_costs_a_leaf_each_time_and_nothing_else() {
    let status = Status::new(Mode::SelfManaged);
    let names = ServerNames::service("drainhook", "gateways", "cluster.local").unwrap();
    let options = SelfManagedOptions {
        secret: name(),
        names,
        lifetimes: Lifetimes::default(),
    };
    let mut replica = Replica::new(options, Arc::default(), status.clone());
    let now = SystemTime::now();
    let mut writer = Writer::new(Lifetimes::default(), now);
    (0..3).for_each(|_| writer.round(now));
    replica.see(writer.secret.as_ref());
    let hour = Duration::from_secs(60 * 60);
    // Ten hours ahead a leaf is old. Back again, that one is not valid yet.
    let hops = [
        (now, 1),
        (now + 10 * hour, 2),
        (now, 3),
        (now - 10 * hour, 4),
        (now, 5),
    ];
    for (moment, loads) in hops {
        replica.serve(moment);
        assert_eq!(status.facts().loads, loads);
        assert_eq!(standing(&status), []);
    }
    // Years away nothing can be minted; what is served stays.
    for far in [now + 9000 * hour, now - 9000 * hour] {
        replica.serve(far);
        assert_eq!(status.facts().loads, 5);
        assert!(standing(&status).contains(&Fault::NoAuthority));
    }
    replica.serve(now);
    assert_eq!(standing(&status), []);
    assert_eq!(status.facts().loads, 5);
}

fn standing(status: &Status) -> Vec<Fault> {
    status.facts().standing.into_keys().collect()
}
