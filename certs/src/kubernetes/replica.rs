//! A serving replica: reads the Secret and mints from it. It writes nothing.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::time::{MissedTickBehavior, interval};

use super::secret::{self, SecretName};
use crate::authority::{Authority, Leaf};
use crate::handshake::{self, Expected};
use crate::lifetimes::Lifetimes;
use crate::names::ServerNames;
use crate::rotation::Rotation;
use crate::served::Served;
use crate::source::Source;
use crate::status::{Fault, Mode, Status};

/// Which Secret, and for whom to mint.
#[derive(Clone, Debug)]
pub struct SelfManagedOptions {
    /// The Secret that the publisher keeps.
    pub secret: SecretName,
    /// The names of the server.
    pub names: ServerNames,
    /// The lifetimes, as the publisher has them.
    pub lifetimes: Lifetimes,
}

pub(crate) fn source(client: Client, options: SelfManagedOptions) -> Source {
    let served = Arc::new(Served::default());
    let status = Status::new(Mode::SelfManaged);
    let mut replica = Replica::new(options, Arc::clone(&served), status.clone());
    let background = async move {
        let SecretName { namespace, name } = replica.options.secret.clone();
        let api = Api::<Secret>::namespaced(client, &namespace);
        let mut watch = std::pin::pin!(watcher::watch_object(api, &name).default_backoff());
        let mut ticks = interval(replica.options.lifetimes.tick());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                seen = watch.next() => match seen {
                    Some(Ok(secret)) => replica.see(secret.as_ref()),
                    Some(Err(error)) => replica.disconnected(&error),
                    // The stream of a watch has no end.
                    None => return std::future::pending().await,
                },
                _ = ticks.tick() => {}
            }
            replica.serve(SystemTime::now());
        }
    };
    Source {
        resolver: served,
        status,
        background: Box::pin(background),
    }
}

pub(super) struct Replica {
    options: SelfManagedOptions,
    served: Arc<Served>,
    status: Status,
    /// What the Secret said when it last was whole.
    rotation: Option<Rotation>,
    /// The CA that the leaf was minted from.
    held: Option<Authority>,
    leaf: Option<Leaf>,
}

impl Replica {
    pub(super) fn new(options: SelfManagedOptions, served: Arc<Served>, status: Status) -> Self {
        Self {
            options,
            served,
            status,
            rotation: None,
            held: None,
            leaf: None,
        }
    }

    /// The Secret was seen; none where it does not exist.
    pub(super) fn see(&mut self, seen: Option<&Secret>) {
        self.status.clear(Fault::Disconnected);
        let name = &self.options.secret;
        let Some(seen) = seen else {
            self.status.clear(Fault::Malformed);
            self.status
                .fault(Fault::NoSecret, format!("{name} does not exist"));
            return;
        };
        match secret::parts(seen).assemble() {
            Ok(rotation) => {
                self.status.clear(Fault::Malformed);
                self.status.clear(Fault::NoSecret);
                self.rotation = Some(rotation);
            }
            Err(damage) => {
                self.status.clear(Fault::NoSecret);
                self.status
                    .fault(Fault::Malformed, format!("{name}: {}", damage.join("; ")));
            }
        }
    }

    fn disconnected(&self, error: &watcher::Error) {
        let name = &self.options.secret;
        self.status.fault(
            Fault::Disconnected,
            format!("{name} cannot be watched: {error}"),
        );
    }

    /// Mints where it is time to, and looks whether clients would accept what is served.
    pub(super) fn serve(&mut self, now: SystemTime) {
        let Some(rotation) = &self.rotation else {
            return;
        };
        match rotation.choose(self.held.as_ref(), now).cloned() {
            Some(authority) => {
                self.status.clear(Fault::NoAuthority);
                if self.due(&authority, now) {
                    self.mint(authority, now);
                }
            }
            None => self.status.fault(
                Fault::NoAuthority,
                format!("{} holds no CA that is valid now", self.options.secret),
            ),
        }
        self.verify(now);
    }

    fn due(&self, authority: &Authority, now: SystemTime) -> bool {
        self.leaf.as_ref().is_none_or(|leaf| {
            let age = now.duration_since(leaf.issued).unwrap_or_default();
            leaf.authority != authority.certificate
                || age >= self.options.lifetimes.leaf_renewal
                || !leaf.validity.contains(now)
        })
    }

    fn mint(&mut self, authority: Authority, now: SystemTime) {
        match authority.mint(&self.options.names, now, &self.options.lifetimes) {
            Ok(leaf) => {
                self.status.clear(Fault::Issue);
                self.served.replace(Arc::clone(&leaf.key));
                self.status
                    .served(leaf.validity, Some(authority.certificate.validity));
                self.held = Some(authority);
                self.leaf = Some(leaf);
            }
            Err(error) => self.status.fault(Fault::Issue, error.to_string()),
        }
    }

    fn verify(&self, now: SystemTime) {
        let (Some(rotation), Some(leaf)) = (&self.rotation, &self.leaf) else {
            return;
        };
        let expiry = [Fault::Expired, Fault::NotYetValid];
        let standing = match leaf.validity.at(now) {
            crate::certificate::Standing::Valid => None,
            crate::certificate::Standing::Expired => Some(Fault::Expired),
            crate::certificate::Standing::NotYetValid => Some(Fault::NotYetValid),
        };
        for fault in expiry {
            if standing == Some(fault) {
                self.status
                    .fault(fault, "no CA to mint another certificate from".to_owned());
            } else {
                self.status.clear(fault);
            }
        }
        let expected = Expected::Chain {
            bundle: &rotation.published,
            name: self.options.names.first(),
        };
        match handshake::verify(Arc::clone(&self.served) as _, expected, now) {
            Ok(()) => self.status.verified(),
            Err(error) => self.status.fault(Fault::Unverified, error.to_string()),
        }
    }
}
