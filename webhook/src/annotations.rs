//! The one table of annotations.
//!
//! The documentation (`docs/annotations.md`), the check of keys and values, the nearest known key in
//! a message, what `drainhook check` explains, and the sidecar's environment all come from it.

mod documentation;

pub use documentation::documentation;

use crate::value::{DrainListeners, Kind, LogLevel, Mode, PreStop, PullPolicy, Switch, WaitFor};

/// What all of our keys begin with, on pods, namespaces and their labels.
pub const PREFIX: &str = "drainhook.io/";

/// What we write ourselves: what was added, and the original of what was changed.
pub const STATUS: &str = "drainhook.io/status";

/// One annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// How the code calls it.
    pub key: Key,
    /// Its name behind [`PREFIX`].
    pub name: &'static str,
    /// What a value may be.
    pub kind: Kind,
    /// What holds where nobody says otherwise, as it would be written; `None` where it is left out.
    pub default: Option<&'static str>,
    /// What takes the default's place in the documentation, where the default is not a fixed value.
    pub otherwise: &'static str,
    /// What it is for, in a sentence or more.
    pub meaning: &'static str,
    /// The sidecar's variable that carries it.
    pub variable: Option<&'static str>,
}

/// Declares the keys and their table together, so that neither can lack one of the other's.
macro_rules! annotations {
    ($($key:ident { $name:literal, $kind:expr, $default:expr, $otherwise:literal, $variable:expr, $meaning:literal })+) => {
        /// A key of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key {
            $(#[doc = concat!("`drainhook.io/", $name, "`")] $key,)+
        }

        /// All annotations that a person may write, in the order of the documentation.
        pub static TABLE: &[Annotation] = &[
            $(Annotation {
                key: Key::$key,
                name: $name,
                kind: $kind,
                default: $default,
                otherwise: $otherwise,
                meaning: $meaning,
                variable: $variable,
            },)+
        ];
    };
}

annotations! {
    Inject { "inject", Kind::Word(Switch::WORDS), None, "", None,
        "`true`: the pod gets the drain. `false`: it does not, although its namespace has the label \
         `drainhook.io/inject` with the value `enabled` or `true`." }
    Envoy { "envoy", Kind::Names, None, "found", None,
        "The containers that run Envoy. Without it they are found by image or command. Where none or \
         several are found, a pod that itself asked for the drain is refused, and one whose \
         namespace asked is left as it is." }
    Admin { "admin", Kind::Admin, None, "found, else `127.0.0.1:9901`", Some("SHUTDOWN_MANAGER_ADMIN"),
        "Where Envoy's admin interface listens: on the loopback interface, or a unix socket in a \
         volume that Envoy mounts. Found in `--config-yaml`, in a container port called `admin`, or \
         in a probe of `/server_info`. Where it cannot be known the pod is refused." }
    WaitFor { "wait-for", Kind::Word(WaitFor::WORDS), Some("quiet"), "", Some("SHUTDOWN_MANAGER_WAIT_FOR"),
        "What the drain waits for. `quiet`: nothing new arrives and nothing is in flight. \
         `connections`: the classic loop, until few enough connections are open." }
    DrainTimeout { "drain-timeout", Kind::LongDuration, Some("300s"), "", Some("SHUTDOWN_MANAGER_DRAIN_TIMEOUT"),
        "The longest that a drain may take, with `drain-delay` and `min-drain` inside it. The pod's \
         grace period is raised to this and 5 s; a longer one stays." }
    DrainDelay { "drain-delay", Kind::Duration, Some("0s"), "", Some("SHUTDOWN_MANAGER_DRAIN_DELAY"),
        "How long to wait before Envoy is told to drain." }
    MinDrain { "min-drain", Kind::Duration, Some("5s"), "", Some("SHUTDOWN_MANAGER_MIN_DRAIN"),
        "The shortest that a drain takes: until everybody who sends has learnt that the pod goes. \
         Behind a cloud load balancer that knows the nodes, its deregistration time." }
    Quiet { "quiet", Kind::Duration, Some("2s"), "", Some("SHUTDOWN_MANAGER_QUIET"),
        "How long no new connection may have arrived." }
    IdleQuiet { "idle-quiet", Kind::Duration, Some("1s"), "", Some("SHUTDOWN_MANAGER_IDLE_QUIET"),
        "How long no request may have arrived on the connections that are still open." }
    ArrivalsTimeout { "arrivals-timeout", Kind::Duration, Some("60s"), "", Some("SHUTDOWN_MANAGER_ARRIVALS_TIMEOUT"),
        "So long after `min-drain`, new connections no longer hold the drain up: a load balancer's \
         health checks may go on for ever." }
    DrainListeners { "drain-listeners", Kind::Word(DrainListeners::WORDS), Some("auto"), "", Some("SHUTDOWN_MANAGER_DRAIN_LISTENERS"),
        "Whether Envoy is also sent `drain_listeners?graceful&skip_exit`. `auto`: where a listener \
         needs it, because a failed health check does not drain it." }
    UpgradeTimeout { "upgrade-timeout", Kind::Duration, None, "`drain-timeout`", Some("SHUTDOWN_MANAGER_UPGRADE_TIMEOUT"),
        "How long websockets, CONNECT tunnels and TCP connections alone may hold the end up." }
    CheckDelay { "check-delay", Kind::Duration, Some("60s"), "", Some("SHUTDOWN_MANAGER_CHECK_DELAY"),
        "`wait-for: connections` only: how long to wait before the connections are counted." }
    CheckInterval { "check-interval", Kind::LongDuration, Some("5s"), "", Some("SHUTDOWN_MANAGER_CHECK_INTERVAL"),
        "`wait-for: connections` only: how often they are counted." }
    MinOpenConnections { "min-open-connections", Kind::Count, Some("0"), "", Some("SHUTDOWN_MANAGER_MIN_OPEN_CONNECTIONS"),
        "`wait-for: connections` only: with so many or fewer the drain is done." }
    ExcludeListeners { "exclude-listeners", Kind::Listeners, None, "none", Some("SHUTDOWN_MANAGER_EXCLUDE_LISTENERS"),
        "Listeners that do not count at all. The ports of Envoy's own probes and of \
         `prometheus.io/port` need not be named: what arrives there does not hold the quiet time up." }
    WaitContainers { "wait-containers", Kind::WaitContainers, Some("all"), "", None,
        "The containers beside Envoy that must outlive the drain, because Envoy sends to them. They \
         get a preStop hook that waits for it. `all`: each that has no preStop hook of its own." }
    PreStop { "pre-stop", Kind::Word(PreStop::WORDS), Some("reject"), "", None,
        "What becomes of a preStop hook that Envoy already has. `reject`: the pod is refused. \
         `keep`: the hook stays, and must itself call `/shutdown` of the sidecar, which then asks \
         for no token. `replace`: ours takes its place." }
    Mode { "mode", Kind::Word(Mode::WORDS), Some("auto"), "", None,
        "`native`: the sidecar is an init container with `restartPolicy: Always`, which outlives all \
         others; every kubelet must be 1.29 or later. `container`: one of the containers. `auto`: \
         native from Kubernetes 1.32 on, where every kubelet is new enough." }
    Port { "port", Kind::Port, Some("8090"), "", Some("SHUTDOWN_MANAGER_PORT"),
        "The sidecar's port." }
    Image { "image", Kind::Image, None, "the installation's", None,
        "The sidecar's image. Pods and namespaces may choose it only where the installation allows \
         it." }
    ImagePullPolicy { "image-pull-policy", Kind::Word(PullPolicy::WORDS), None, "Kubernetes' own", None,
        "When the sidecar's image is pulled." }
    ImagePullSecrets { "image-pull-secrets", Kind::Secrets, None, "none", None,
        "Secrets for pulling it, added to those of the pod." }
    CpuRequest { "cpu-request", Kind::Quantity, Some("5m"), "", None,
        "CPU that the sidecar asks for. Where the pod is of the Guaranteed class: `50m`, and the \
         limit with it. Left out where the pod has resources of its own (`spec.resources`)." }
    CpuLimit { "cpu-limit", Kind::Quantity, None, "none", None,
        "CPU that the sidecar may use. Without need set none: it slows the drain's polls. A \
         ResourceQuota on `limits.cpu` needs it." }
    MemoryRequest { "memory-request", Kind::Quantity, Some("8Mi"), "", None,
        "Memory that the sidecar asks for. Where the pod is of the Guaranteed class: the limit. Left \
         out where the pod has `spec.resources`." }
    MemoryLimit { "memory-limit", Kind::Quantity, Some("32Mi"), "", None,
        "Memory that the sidecar may use. Left out where the pod has `spec.resources`." }
    RunAsUser { "run-as-user", Kind::User, None, "Envoy's, the pod's, or `65532`", None,
        "The sidecar's user id. Without it: Envoy's where the admin is a socket, since Envoy makes \
         it for its own user; else the pod's unless that is 0; else 65532. On OpenShift none, so \
         that the namespace's range holds." }
    LogLevel { "log-level", Kind::Word(LogLevel::WORDS), Some("info"), "", Some("SHUTDOWN_MANAGER_LOG_LEVEL"),
        "How much the sidecar tells." }
}

impl Key {
    /// The row of this key.
    #[must_use]
    pub fn annotation(self) -> &'static Annotation {
        &TABLE[self as usize]
    }

    /// The key as it stands in a manifest.
    #[must_use]
    pub fn full(self) -> String {
        format!("{PREFIX}{}", self.annotation().name)
    }
}

impl Annotation {
    /// Whether a namespace or the installation may set a default for it.
    #[must_use]
    pub fn has_defaults(&self) -> bool {
        self.key != Key::Inject
    }
}

/// The annotation of this name (without prefix).
#[must_use]
pub fn find(name: &str) -> Option<&'static Annotation> {
    TABLE.iter().find(|annotation| annotation.name == name)
}

/// Characters. Kubernetes has no longer names under a prefix, and what is compared letter by letter
/// with every name of the table must be short.
const LONGEST_NAME: usize = 63;

/// The known name that somebody probably meant.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let meant = name.to_ascii_lowercase().replace('_', "-");
    TABLE
        .iter()
        .map(|annotation| {
            (
                strsim::damerau_levenshtein(annotation.name, &meant),
                annotation.name,
            )
        })
        // One slip in three letters is a slip; more is another word.
        .filter(|(distance, known)| *distance <= known.len().max(meant.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_finds_its_own_row() {
        for annotation in TABLE {
            assert_eq!(annotation.key.annotation(), annotation);
            assert_eq!(find(annotation.name), Some(annotation));
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for annotation in TABLE {
            if let Some(default) = annotation.default {
                assert_eq!(
                    annotation.kind.check(default),
                    Ok(()),
                    "{}",
                    annotation.name
                );
            }
        }
    }

    #[test]
    fn a_variable_is_named_after_its_annotation() {
        for annotation in TABLE {
            let name = annotation.name.to_ascii_uppercase().replace('-', "_");
            if let Some(variable) = annotation.variable {
                assert_eq!(variable, format!("SHUTDOWN_MANAGER_{name}"));
            }
        }
    }

    #[test]
    fn a_misspelt_key_finds_the_one_that_was_meant() {
        for (written, meant) in [
            ("injct", "inject"),
            ("Inject", "inject"),
            ("min_drain", "min-drain"),
            ("drain-time", "drain-timeout"),
            ("prestop", "pre-stop"),
            ("memory-limits", "memory-limit"),
        ] {
            assert_eq!(nearest(written), Some(meant), "{written}");
        }
    }

    #[test]
    fn a_word_that_is_near_nothing_has_no_suggestion() {
        assert_eq!(nearest("telemetry"), None);
        assert_eq!(nearest(""), None);
    }
}
