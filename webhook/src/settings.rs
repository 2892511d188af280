//! From annotations to settings: pod before namespace before installation before what is built in.
//!
//! A pod answers for its own annotations alone. A bad value of the namespace is passed over with a
//! warning; the installation's were checked when they were read.

mod layers;
mod written;

use std::time::Duration;

use serde::Serialize;

use layers::Layers;
pub(crate) use written::PodAnnotations;
use written::unknown_key;

use crate::annotations::{self, Key, PREFIX, TABLE};
use crate::configuration::{Configuration, InstallationDefaults, Namespace};
use crate::decision::{Fault, RejectReason};
use crate::message::quoted;
use crate::quantity::Quantity;
use crate::value::{
    self, Admin, DrainListeners, LogLevel, Mode, PreStop, PullPolicy, WaitContainers, WaitFor,
};

/// The grace period is the drain's upper bound and this: for the report, the answer to the hooks,
/// and Envoy's own end after SIGTERM.
pub const GRACE_RESERVE: Duration = Duration::from_secs(5);

/// Who said what a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An annotation of the pod.
    Pod,
    /// An annotation of its namespace.
    Namespace,
    /// The installation's defaults.
    Installation,
    /// Nobody: what drainhook does without being told.
    BuiltIn,
}

/// A value and who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    /// What holds.
    pub value: T,
    /// Who said so.
    pub source: Source,
}

/// All settings of a pod. The documentation of each is its row in [`TABLE`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Settings {
    pub envoy: Option<Sourced<Vec<String>>>,
    pub admin: Option<Sourced<Admin>>,
    pub wait_for: Sourced<WaitFor>,
    pub drain_timeout: Sourced<Duration>,
    pub drain_delay: Sourced<Duration>,
    pub min_drain: Sourced<Duration>,
    pub quiet: Sourced<Duration>,
    pub idle_quiet: Sourced<Duration>,
    pub arrivals_timeout: Sourced<Duration>,
    pub drain_listeners: Sourced<DrainListeners>,
    pub upgrade_timeout: Option<Sourced<Duration>>,
    pub check_delay: Sourced<Duration>,
    pub check_interval: Sourced<Duration>,
    pub min_open_connections: Sourced<u32>,
    pub exclude_listeners: Option<Sourced<Vec<String>>>,
    pub wait_containers: Sourced<WaitContainers>,
    pub pre_stop: Sourced<PreStop>,
    pub mode: Sourced<Mode>,
    pub port: Sourced<u16>,
    pub image: Sourced<String>,
    pub image_pull_policy: Option<Sourced<PullPolicy>>,
    pub image_pull_secrets: Option<Sourced<Vec<String>>>,
    pub cpu_request: Sourced<Quantity>,
    pub cpu_limit: Option<Sourced<Quantity>>,
    pub memory_request: Sourced<Quantity>,
    pub memory_limit: Sourced<Quantity>,
    pub run_as_user: Option<Sourced<u32>>,
    pub log_level: Sourced<LogLevel>,
}

/// Settings, and what is to be told about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolution {
    pub(crate) settings: Settings,
    /// What stands on the pod and is wrong.
    pub(crate) faults: Vec<Fault>,
    /// What stands elsewhere and is wrong.
    pub(crate) warnings: Vec<String>,
}

/// What is wrong between the installation's defaults, taken with what is built in.
pub(crate) fn contradictions(defaults: &InstallationDefaults) -> Vec<String> {
    let configuration = Configuration {
        defaults: defaults.clone(),
        ..Configuration::default()
    };
    let pod = PodAnnotations::default();
    let layers = Layers {
        pod: &pod,
        namespace: None,
        defaults: Some(&configuration.defaults),
    };
    let settings = layers.settings(&mut Vec::new());
    let of = |group: Group| group.contradiction(&settings);
    Group::ALL.into_iter().filter_map(of).collect()
}

/// Resolves all settings. Faults of single values of the pod are not repeated here: see
/// [`PodAnnotations::faults`].
pub(crate) fn resolve(
    pod: &PodAnnotations<'_>,
    namespace: Option<&Namespace>,
    configuration: &Configuration,
) -> Resolution {
    let mut warnings = Vec::new();
    let mut faults = Vec::new();
    if let Some(namespace) = namespace {
        warnings.extend(unknown_namespace_keys(namespace));
    }
    let all = Layers {
        pod,
        namespace,
        defaults: Some(&configuration.defaults),
    };
    let mut settings = all.settings(&mut warnings);
    // Only what the pod itself says may deny it: the defaults of others give way one by one.
    let without_namespace = Layers {
        namespace: None,
        ..all
    };
    let pod_alone = Layers {
        namespace: None,
        defaults: None,
        ..all
    };
    for group in Group::ALL {
        let Some(said) = group.contradiction(&settings) else {
            continue;
        };
        let others = [without_namespace, pod_alone].map(|layers| layers.settings(&mut Vec::new()));
        let mut others = others.into_iter();
        match others.find(|other| group.contradiction(other).is_none()) {
            Some(other) => {
                warnings.push(format!("defaults passed over, because with them {said}"));
                group.take(&mut settings, other);
            }
            None => faults.push(Fault::new(RejectReason::Contradiction, said)),
        }
    }
    choose_image(
        &mut settings,
        &all,
        configuration,
        &mut faults,
        &mut warnings,
    );
    Resolution {
        settings,
        faults,
        warnings,
    }
}

fn unknown_namespace_keys(namespace: &Namespace) -> Vec<String> {
    let unknown = |key: &&String| {
        key.strip_prefix(PREFIX)
            .is_some_and(|name| annotations::find(name).is_none())
    };
    namespace
        .annotations
        .keys()
        .filter(unknown)
        .map(|key| {
            format!(
                "namespace {}: {}",
                namespace.name,
                unknown_key(&key[PREFIX.len()..])
            )
        })
        .collect()
}

/// Settings that are right one by one and may be wrong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Drain,
    Cpu,
    Memory,
}

impl Group {
    const ALL: [Self; 3] = [Self::Drain, Self::Cpu, Self::Memory];

    fn contradiction(self, settings: &Settings) -> Option<String> {
        let over = |what: &str, request: &Quantity, limit: Option<&Quantity>| {
            let limit = limit.filter(|limit| request.exceeds(limit))?;
            Some(format!(
                "{what}-request {request} is more than {what}-limit {limit}: lower the request or \
                 raise the limit"
            ))
        };
        match self {
            Self::Drain => over_full(settings),
            Self::Cpu => {
                let limit = settings.cpu_limit.as_ref().map(|limit| &limit.value);
                over("cpu", &settings.cpu_request.value, limit)
            }
            Self::Memory => {
                let limit = &settings.memory_limit.value;
                over("memory", &settings.memory_request.value, Some(limit))
            }
        }
    }

    /// Takes over what [`Group::contradiction`] looks at.
    fn take(self, settings: &mut Settings, other: Settings) {
        match self {
            Self::Drain => {
                settings.drain_timeout = other.drain_timeout;
                settings.drain_delay = other.drain_delay;
                settings.min_drain = other.min_drain;
                settings.wait_for = other.wait_for;
                settings.check_delay = other.check_delay;
            }
            Self::Cpu => {
                settings.cpu_request = other.cpu_request;
                settings.cpu_limit = other.cpu_limit;
            }
            Self::Memory => {
                settings.memory_request = other.memory_request;
                settings.memory_limit = other.memory_limit;
            }
        }
    }
}

/// A drain whose bound would be reached before it could begin to look.
fn over_full(settings: &Settings) -> Option<String> {
    let (delay, bound) = (settings.drain_delay.value, settings.drain_timeout.value);
    let (name, floor) = match settings.wait_for.value {
        WaitFor::Quiet => ("min-drain", settings.min_drain.value),
        WaitFor::Connections => ("check-delay", settings.check_delay.value),
    };
    (delay + floor >= bound).then(|| {
        format!(
            "drain-delay {} and {name} {} fill drain-timeout {}: make drain-timeout longer",
            value::duration_text(delay),
            value::duration_text(floor),
            value::duration_text(bound),
        )
    })
}

/// An image that a pod or a namespace chose is taken only where the installation allows it.
fn choose_image(
    settings: &mut Settings,
    layers: &Layers<'_>,
    configuration: &Configuration,
    faults: &mut Vec<Fault>,
    warnings: &mut Vec<String>,
) {
    if configuration.image_choice {
        return;
    }
    let said = |owner: &str| {
        format!(
            "{owner}drainhook.io/image: {} is not taken: this installation lets nobody choose the \
             sidecar's image",
            quoted(&settings.image.value)
        )
    };
    match settings.image.source {
        Source::Pod => faults.push(Fault::new(RejectReason::ImageNotAllowed, said(""))),
        Source::Namespace => warnings.push(said("namespace: ")),
        Source::Installation | Source::BuiltIn => return,
    }
    let own = Layers {
        pod: &PodAnnotations::default(),
        namespace: None,
        ..*layers
    };
    settings.image = own.settings(&mut Vec::new()).image;
}

impl Settings {
    /// What the pod has said in vain: keys of the other way to wait. Defaults are for both.
    pub(crate) fn in_vain(&self) -> Vec<String> {
        let other_way: &[Key] = match self.wait_for.value {
            WaitFor::Quiet => &[Key::CheckDelay, Key::CheckInterval],
            WaitFor::Connections => &[
                Key::MinDrain,
                Key::Quiet,
                Key::IdleQuiet,
                Key::ArrivalsTimeout,
                Key::UpgradeTimeout,
            ],
        };
        let said = |key: &&Key| matches!(self.shown(**key), Some((_, Source::Pod)));
        other_way
            .iter()
            .filter(said)
            .map(|key| key.full())
            .collect()
    }

    /// The grace period that a drain of this length needs, in seconds.
    #[must_use]
    pub fn grace_period(&self) -> i64 {
        let needed = self.drain_timeout.value + GRACE_RESERVE;
        let seconds = needed.as_secs() + u64::from(needed.subsec_nanos() > 0);
        // Bounded by the longest duration that can be written.
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    /// The text and source of a key's value, in the one form that the sidecar gets and `check`
    /// prints; `None` where it has none.
    #[must_use]
    pub fn shown(&self, key: Key) -> Option<(String, Source)> {
        fn some<T>(sourced: &Sourced<T>, text: impl Fn(&T) -> String) -> Option<(String, Source)> {
            Some((text(&sourced.value), sourced.source))
        }
        fn maybe<T>(
            sourced: &Option<Sourced<T>>,
            text: impl Fn(&T) -> String,
        ) -> Option<(String, Source)> {
            some(sourced.as_ref()?, text)
        }
        let time = |duration: &Duration| value::duration_text(*duration);
        let joined = |items: &Vec<String>| items.join(",");
        match key {
            Key::Inject => None,
            Key::Envoy => maybe(&self.envoy, joined),
            Key::Admin => maybe(&self.admin, Admin::to_string),
            Key::WaitFor => some(&self.wait_for, |word| word.as_str().into()),
            Key::DrainTimeout => some(&self.drain_timeout, time),
            Key::DrainDelay => some(&self.drain_delay, time),
            Key::MinDrain => some(&self.min_drain, time),
            Key::Quiet => some(&self.quiet, time),
            Key::IdleQuiet => some(&self.idle_quiet, time),
            Key::ArrivalsTimeout => some(&self.arrivals_timeout, time),
            Key::DrainListeners => some(&self.drain_listeners, |word| word.as_str().into()),
            Key::UpgradeTimeout => maybe(&self.upgrade_timeout, time),
            Key::CheckDelay => some(&self.check_delay, time),
            Key::CheckInterval => some(&self.check_interval, time),
            Key::MinOpenConnections => some(&self.min_open_connections, u32::to_string),
            Key::ExcludeListeners => maybe(&self.exclude_listeners, joined),
            Key::WaitContainers => some(&self.wait_containers, WaitContainers::to_string),
            Key::PreStop => some(&self.pre_stop, |word| word.as_str().into()),
            Key::Mode => some(&self.mode, |word| word.as_str().into()),
            Key::Port => some(&self.port, u16::to_string),
            Key::Image => some(&self.image, String::clone),
            Key::ImagePullPolicy => maybe(&self.image_pull_policy, |word| word.as_str().into()),
            Key::ImagePullSecrets => maybe(&self.image_pull_secrets, joined),
            Key::CpuRequest => some(&self.cpu_request, Quantity::to_string),
            Key::CpuLimit => maybe(&self.cpu_limit, Quantity::to_string),
            Key::MemoryRequest => some(&self.memory_request, Quantity::to_string),
            Key::MemoryLimit => some(&self.memory_limit, Quantity::to_string),
            Key::RunAsUser => maybe(&self.run_as_user, u32::to_string),
            Key::LogLevel => some(&self.log_level, |word| word.as_str().into()),
        }
    }

    /// The sidecar's variables that carry settings: those that differ from its own default, and
    /// the drain's upper bound, which the grace period was made from.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        TABLE
            .iter()
            .filter(|row| !matches!(row.key, Key::Admin | Key::Port))
            .filter_map(|row| {
                let variable = row.variable?;
                let (text, _) = self.shown(row.key)?;
                let told = row.key == Key::DrainTimeout || row.default != Some(text.as_str());
                told.then_some((variable, text))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
