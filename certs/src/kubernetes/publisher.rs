//! The publisher: the one that writes. It keeps the CA in its Secret, rotates it, and keeps every
//! `caBundle` right.

mod ownership;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tracing::debug;

use self::ownership::{Owner, is_owned};
use super::api::{ApiError, call, patch};
use super::configurations::{self, ConfigurationName, Read};
use super::secret::{self, SecretName, Version};
use crate::authority::{Authority, IssueError};
use crate::lifetimes::Lifetimes;
use crate::provider::provider;
use crate::publishing::Publishing;
use crate::rotation::{
    Configuration, Findings, Observed, Plan, Planner, Rotation, SecretObserved, Watched,
};

/// How long to wait after a fault: twice as long each time, up to the longest. Somebody waits for
/// the healing, and three objects are no load for an API server that comes back.
const RETRY_SHORTEST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Rounds with a write or a conflict that follow each other at once. A rotation's step and all that
/// it entails take fewer; after that somebody alters each write, and haste would only load the API
/// server.
const HASTY_ROUNDS: u32 = 5;

/// How long a write has to hold before the next one may be hasty again. Whoever alters each of them need
/// not do it at once: an injector or a GitOps controller takes seconds.
const HOLDS: Duration = Duration::from_secs(60);

/// What is kept, and how.
#[derive(Clone, Debug)]
pub struct PublisherOptions {
    /// The Secret that holds the CA.
    pub secret: SecretName,
    /// Labels that the Secret gets when it is made.
    pub labels: BTreeMap<String, String>,
    /// The configurations whose `caBundle`s are kept, all entries of each.
    pub configurations: Vec<ConfigurationName>,
    /// Who signs as subject of the CA, and as field manager of what is written.
    pub organization: String,
    /// How long everything takes.
    pub lifetimes: Lifetimes,
}

/// Keeps the CA and every `caBundle`. Any number of them may run at the same time: each write is
/// made against the version that it was decided on, and whoever loses looks again.
pub struct Publisher {
    client: Client,
    options: PublisherOptions,
    planner: Planner,
    status: Publishing,
    memory: Option<Rotation>,
    watched: Watched,
    started: Instant,
}

/// A round that came to nothing.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("{object}: {error}")]
    Api { object: String, error: ApiError },
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// How long to wait until the next round, as long as there is something to do.
#[derive(Debug, Default)]
struct Pace {
    steps: u32,
    pause: Duration,
    /// When the last round with a write or a conflict was.
    stepped: Option<Instant>,
}

impl Pace {
    /// After a round with a write or a conflict.
    fn step(&mut self) -> Duration {
        self.steps = self.steps.saturating_add(1);
        self.stepped = Some(Instant::now());
        if self.steps > HASTY_ROUNDS {
            return self.longer();
        }
        self.pause = Duration::ZERO;
        self.pause
    }

    /// After a round in which nothing was to be done: faults are over, and writes hold so far.
    fn rest(&mut self, now: Instant) {
        let holds = |stepped| now.duration_since(stepped) > HOLDS;
        if self.stepped.is_none_or(holds) {
            *self = Self::default();
        } else if self.steps <= HASTY_ROUNDS {
            self.pause = Duration::ZERO;
        }
    }

    /// Twice as long as the last time.
    fn longer(&mut self) -> Duration {
        self.pause = (self.pause * 2).clamp(RETRY_SHORTEST, RETRY_LONGEST);
        self.pause
    }
}

/// What was read, and the versions that writes have to be made against.
struct Seen {
    observed: Observed,
    secret_version: Option<Version>,
    configuration_versions: Vec<Option<String>>,
    owner: Owner,
    /// Why a configuration could not be read.
    unknown: Option<RoundError>,
}

impl Publisher {
    /// A publisher, and the handle by which others see what it does.
    #[must_use]
    pub fn new(client: Client, options: PublisherOptions) -> (Self, Publishing) {
        let status = Publishing::default();
        let planner = Planner {
            organization: options.organization.clone(),
            lifetimes: options.lifetimes,
        };
        let publisher = Self {
            client,
            planner,
            status: status.clone(),
            memory: None,
            watched: Watched::default(),
            started: Instant::now(),
            options,
        };
        (publisher, status)
    }

    /// Works until it is dropped. No fault ends it, and it may be dropped at any moment: each write
    /// is one request, and what is left over is found by the next publisher.
    pub async fn run(mut self) {
        let mut changes = self.changes();
        let mut pace = Pace::default();
        loop {
            let pause = match self.round().await {
                Ok(false) => {
                    pace.rest(Instant::now());
                    // A change, or the time at which something may be due. A broken watch costs no
                    // more than that pause.
                    let tick = self.options.lifetimes.tick();
                    let _ = tokio::time::timeout(tick, changes.next()).await;
                    continue;
                }
                // One step at a time: look again at once.
                Ok(true) => pace.step(),
                Err(RoundError::Api {
                    error: ApiError::Conflict,
                    ..
                }) => {
                    self.status.conflict();
                    // So that two publishers do not collide in step.
                    pace.step().max(RETRY_SHORTEST)
                }
                Err(error) => {
                    self.status.failed(error.to_string());
                    pace.longer()
                }
            };
            tokio::time::sleep(jittered(pause)).await;
        }
    }

    /// Looks once and writes what is due. Whether anything was written.
    async fn round(&mut self) -> Result<bool, RoundError> {
        let seen = self.look().await.inspect_err(|_| self.status.blind())?;
        let now = whole_millis(SystemTime::now());
        let rotation = seen.observed.rotation();
        let right = rotation
            .as_ref()
            .and_then(|one| seen.observed.right(&one.bundle()));
        self.status.looked(right, self.missing(&seen.observed));
        let watched = self
            .watched
            .see(rotation.as_ref(), right, self.started.elapsed());
        let findings = Findings {
            memory: self.memory.as_ref(),
            watched,
            now,
        };
        let (organization, lifetimes) = (&self.options.organization, &self.options.lifetimes);
        let mint = || Authority::issue(organization, now, lifetimes);
        let plan = match (&seen.owner, &seen.secret_version) {
            (Owner::Nobody, None) => Plan::default(),
            _ => self.planner.plan(&seen.observed, findings, mint)?,
        };
        self.write(&seen, &plan).await?;
        self.status
            .done(&plan.events, plan.bundles.len(), plan.secret.is_some());
        let wrote = plan.secret.is_some() || !plan.bundles.is_empty();
        self.memory = plan.secret.or(rotation).or(self.memory.take());
        if let Some(rotation) = &self.memory {
            self.status.stands(rotation, right == Some(true) && !wrote);
        }
        match seen.unknown {
            // What could be read was kept right; what could not is tried again sooner.
            Some(error) if !wrote => Err(error),
            _ => Ok(wrote),
        }
    }

    /// Reads everything, the Secret last: what is decided from it must not be older than the
    /// configurations that it is compared with, or a publisher that fell behind would undo what
    /// another one has published.
    async fn look(&self) -> Result<Seen, RoundError> {
        let mut configurations = Vec::new();
        let mut configuration_versions = Vec::new();
        let mut unknown = None;
        let mut owner = None;
        for name in &self.options.configurations {
            let read = match configurations::read(&self.client, name).await {
                Ok(read) => read,
                Err(error) => {
                    unknown = Some(RoundError::Api {
                        object: name.to_string(),
                        error,
                    });
                    Read::only(Configuration::Unknown)
                }
            };
            if owner.is_none() {
                owner = read.uid.as_deref().map(|uid| name.owner(uid));
            }
            configurations.push(read.configuration);
            configuration_versions.push(read.version);
        }
        let missing = |configuration: &Configuration| *configuration == Configuration::Missing;
        let nobody = !configurations.is_empty() && configurations.iter().all(missing);
        let read = call("get", self.secrets().get_opt(&self.options.secret.name)).await;
        let read = read.map_err(|error| self.about_secret(error))?;
        let owner = match (&read, owner) {
            _ if nobody => Owner::Nobody,
            (Some(secret), Some(owner)) if self.is_ours(secret) && !is_owned(secret, &owner) => {
                Owner::Due(owner)
            }
            // It gets one when it is made. Without labels nobody would know it for ours afterwards,
            // and give it another when the registration is another.
            (None, Some(owner)) if !self.options.labels.is_empty() => Owner::Due(owner),
            _ => Owner::Right,
        };
        let (secret, secret_version) = match read {
            Some(secret) => {
                let (parts, request) = (secret::parts(&secret), secret::request(&secret));
                let parts = Box::new(parts);
                (
                    SecretObserved::Present { parts, request },
                    Version::of(&secret),
                )
            }
            None => (SecretObserved::Absent, None),
        };
        let observed = Observed {
            secret,
            configurations,
        };
        Ok(Seen {
            observed,
            secret_version,
            configuration_versions,
            owner,
            unknown,
        })
    }

    async fn write(&self, seen: &Seen, plan: &Plan) -> Result<(), RoundError> {
        for write in &plan.bundles {
            let name = &self.options.configurations[write.configuration];
            let version = seen.configuration_versions[write.configuration].as_deref();
            let manager = &self.options.organization;
            configurations::write(&self.client, manager, name, version.unwrap_or(""), write)
                .await
                .map_err(|error| RoundError::Api {
                    object: name.to_string(),
                    error,
                })?;
        }
        if let Some(rotation) = &plan.secret {
            let owner = match &seen.owner {
                Owner::Due(owner) => Some(owner),
                Owner::Right | Owner::Nobody => None,
            };
            self.write_secret(seen.secret_version.as_ref(), owner, rotation)
                .await
                .map_err(|error| self.about_secret(error))?;
        } else if let (Owner::Due(owner), Some(version)) = (&seen.owner, &seen.secret_version) {
            match self.own_secret(version, owner).await {
                Ok(()) => self.status.tied(Ok(())),
                Err(ApiError::Conflict) => return Err(self.about_secret(ApiError::Conflict)),
                // Where the plugin OwnerReferencesPermissionEnforcement is on, as in OpenShift, a
                // reference may be changed only by who may delete the object. Certificates and
                // bundles do not need it: it must not keep the publisher from being ready.
                Err(error) => {
                    let error = self.about_secret(error);
                    self.status
                        .tied(Err(format!("no owner reference: {error}")));
                }
            }
        } else if matches!(seen.owner, Owner::Right) {
            self.status.tied(Ok(()));
        }
        Ok(())
    }

    /// Writes the Secret, if it still is as it was seen.
    ///
    /// A Secret that does not exist has no version to write against, and of two publishers that
    /// apply it the second would replace the first one's CA. So it is made empty at first, by
    /// another field manager, which is the same whoever does it; then it has a version.
    async fn write_secret(
        &self,
        version: Option<&Version>,
        owner: Option<&Value>,
        rotation: &Rotation,
    ) -> Result<(), ApiError> {
        let name = &self.options.secret;
        let manager = &self.options.organization;
        let version = match version {
            Some(version) => version.clone(),
            None => {
                let made = match self.make_secret(owner).await {
                    // Whether the owner may be named here is a matter of admission: that it may not
                    // be is no reason to have no CA. The next round tries it again, and warns.
                    Err(error) if owner.is_some() && error.is_forbidden() => {
                        self.make_secret(None).await?
                    }
                    made => made?,
                };
                if made.data.as_ref().is_some_and(|data| !data.is_empty()) {
                    return Err(ApiError::Conflict);
                }
                Version::of(&made).ok_or(ApiError::Conflict)?
            }
        };
        let applied = secret::applied(name, &version, rotation);
        patch(&self.secrets(), manager, &name.name, &applied)
            .await
            .map(drop)
    }

    async fn make_secret(&self, owner: Option<&Value>) -> Result<Secret, ApiError> {
        let SecretName { namespace, name } = &self.options.secret;
        let manager = format!("{}-create", self.options.organization);
        let mut empty = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"namespace": namespace, "name": name, "labels": self.options.labels},
        });
        if let Some(owner) = owner {
            empty["metadata"]["ownerReferences"] = json!([owner]);
        }
        patch(&self.secrets(), &manager, name, &empty).await
    }

    fn missing(&self, observed: &Observed) -> Vec<String> {
        let names = self
            .options
            .configurations
            .iter()
            .zip(&observed.configurations);
        names
            .filter(|(_, configuration)| **configuration == Configuration::Missing)
            .map(|(name, _)| name.to_string())
            .collect()
    }

    /// Something happens to one of the objects. Only that it does: they are read anew then.
    fn changes(&self) -> SelectAll<BoxStream<'static, ()>> {
        let mut changes = SelectAll::new();
        changes.push(watched(self.secrets(), &self.options.secret.name));
        for name in &self.options.configurations {
            changes.push(match name {
                ConfigurationName::Mutating(name) => watched(
                    Api::<MutatingWebhookConfiguration>::all(self.client.clone()),
                    name,
                ),
                ConfigurationName::Validating(name) => watched(
                    Api::<ValidatingWebhookConfiguration>::all(self.client.clone()),
                    name,
                ),
            });
        }
        changes
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.options.secret.namespace)
    }

    fn about_secret(&self, error: ApiError) -> RoundError {
        RoundError::Api {
            object: self.options.secret.to_string(),
            error,
        }
    }
}

fn watched<K>(api: Api<K>, name: &str) -> BoxStream<'static, ()>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher::watch_object(api, name)
        .default_backoff()
        .inspect_err(|error| debug!(%error, "a watch broke; it is taken up again"))
        .filter_map(|seen| std::future::ready(seen.ok().map(drop)))
        .boxed()
}

/// The Secret keeps milliseconds; what is compared with it has no more.
fn whole_millis(moment: SystemTime) -> SystemTime {
    let since = moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let surplus = Duration::from_nanos(u64::from(since.subsec_nanos() % 1_000_000));
    moment.checked_sub(surplus).unwrap_or(moment)
}

/// Between half and all of `pause`.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without random bytes it is a pause all the same.
    let _ = provider().secure_random.fill(&mut byte);
    pause / 2 + pause * u32::from(byte[0]) / 512
}
