//! What is decided about a pod.

use std::fmt;

use json_patch::Patch;
use serde_json::Value;
use thiserror::Error;

use crate::configuration::{Configuration, Namespace};

/// What the decision is made from; nothing else has any influence on it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The pod, or a workload's pod template: `metadata` and `spec` are read.
    pub pod: &'a Value,
    /// Its namespace, where it is known.
    pub namespace: Option<&'a Namespace>,
    /// The installation and the cluster.
    pub configuration: &'a Configuration,
    /// What guards the sidecar's `/shutdown` and `/wait`; none on the command line.
    pub token: Option<&'a Token>,
    /// Who asks.
    pub origin: Origin,
}

/// Who asks for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The API server, about a pod that is being created. An injection that is already there is
    /// left as it is, but for what is missing of it.
    Admission,
    /// A person or a pipeline, about a manifest. An injection that is already there is brought to
    /// this version and these settings.
    Manifest,
}

/// The secret that the kubelet's hooks show to the sidecar.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// For dry runs, which must give the same answer each time.
    pub const DRY_RUN: &'static str = "dry-run";

    /// A token from 128 random bits, which the caller has drawn.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    /// The constant token of dry runs.
    #[must_use]
    pub fn dry_run() -> Self {
        Self(Self::DRY_RUN.to_owned())
    }

    /// The token that a pod already has.
    pub(crate) fn kept(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

/// What is to be done with a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Apply the patch. It has been applied here and gives what it should.
    Inject {
        /// What the patch is: a first injection, or less.
        action: Action,
        /// Operations `add` and `replace` (and `remove` of our own in an upgrade), with pointers
        /// relative to the pod.
        patch: Patch,
        /// What a person should know.
        warnings: Vec<String>,
    },
    /// Leave the pod as it is.
    Skip {
        /// Why.
        reason: SkipReason,
        /// What a person should know.
        warnings: Vec<String>,
    },
    /// Refuse the pod.
    Reject {
        /// The gravest of the faults, for metrics.
        reason: RejectReason,
        /// One sentence for each fault of the pod, all at once.
        messages: Vec<String>,
        /// What a person should know besides.
        warnings: Vec<String>,
    },
}

impl Decision {
    /// The result as a metric's label: `inject`, `skip` or `reject`.
    #[must_use]
    pub fn result(&self) -> &'static str {
        match self {
            Self::Inject { .. } => "inject",
            Self::Skip { .. } => "skip",
            Self::Reject { .. } => "reject",
        }
    }

    /// The reason as a metric's label, from a closed set.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Inject { action, .. } => action.label(),
            Self::Skip { reason, .. } => reason.label(),
            Self::Reject { reason, .. } => reason.label(),
        }
    }

    /// The reason in words, as the end of "this pod ...".
    #[must_use]
    pub fn in_words(&self) -> &'static str {
        match self {
            Self::Inject {
                action: Action::Injected,
                ..
            } => "gets a drain",
            Self::Inject {
                action: Action::Completed,
                ..
            } => "gets what its drain lacks",
            Self::Inject {
                action: Action::Upgraded,
                ..
            } => "has a drain, which is brought to this version and these settings",
            Self::Skip { reason, .. } => reason.in_words(),
            Self::Reject { .. } => "is refused: see what is to be fixed",
        }
    }

    /// The pod as it is after this decision about it.
    pub(crate) fn applied_to(&self, pod: &Value) -> Value {
        let mut pod = pod.clone();
        if let Self::Inject { patch, .. } = self {
            // It was applied when it was made: see [`Decision::Inject`].
            let _ = json_patch::patch(&mut pod, patch);
        }
        pod
    }

    /// What a person should know, whatever was decided.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Inject { warnings, .. }
            | Self::Skip { warnings, .. }
            | Self::Reject { warnings, .. } => warnings,
        }
    }
}

/// Declares a closed set of reasons, each with its stable label.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$reason_doc:meta])* $variant:ident = $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$reason_doc])* $variant,)+
        }

        impl $name {
            /// All of them, for metrics that start at zero.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label, which never changes.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }
        }
    };
}

labels! {
    /// What a patch does.
    Action {
        /// The pod had nothing of ours.
        Injected = "injected",
        /// Something of an earlier injection was missing.
        Completed = "completed",
        /// An earlier injection was brought to this version and these settings.
        Upgraded = "upgraded",
    }
}

labels! {
    /// Why a pod is left as it is.
    SkipReason {
        /// Neither the pod nor its namespace asked.
        NotOptedIn = "not-opted-in",
        /// The pod said no.
        OptedOut = "opted-out",
        /// All of it is there.
        AlreadyInjected = "already-injected",
        /// Somebody else's shutdown manager is there.
        ForeignManager = "foreign-manager",
        /// The namespace asked, and no Envoy was found.
        NoEnvoy = "no-envoy",
        /// The namespace asked, and several Envoys were found.
        SeveralEnvoys = "several-envoys",
        /// The namespace asked, and something in the pod stands against it.
        Unfit = "unfit",
        /// A Windows pod.
        Windows = "windows",
        /// A static pod: the kubelet has already started it.
        StaticPod = "static-pod",
        /// The pod is meant to end, and here the sidecar would keep it alive.
        MeantToEnd = "meant-to-end",
    }
}

impl SkipReason {
    /// The reason in words, as the end of "this pod ...".
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::NotOptedIn => "does not take part: neither it nor its namespace asks for a drain",
            Self::OptedOut => "does not take part: it says drainhook.io/inject: \"false\"",
            Self::AlreadyInjected => "has its drain already",
            Self::ForeignManager => "has the shutdown manager of another product",
            Self::NoEnvoy => "has no Envoy",
            Self::SeveralEnvoys => "has several Envoys, and none is named",
            Self::Unfit => {
                "gets no drain: only its namespace asks, and something stands against it"
            }
            Self::Windows => "is for Windows, where there is no sidecar",
            Self::StaticPod => "is a static pod, which the kubelet starts by itself",
            Self::MeantToEnd => "is meant to end, and here a sidecar would keep it alive",
        }
    }
}

labels! {
    /// Why a pod is refused, the gravest first.
    RejectReason {
        /// Not the form of a pod.
        Malformed = "malformed",
        /// A key under our prefix that is not known.
        UnknownAnnotation = "unknown-annotation",
        /// A value that is not allowed.
        BadValue = "bad-value",
        /// Values that cannot hold together.
        Contradiction = "contradiction",
        /// The installation chooses the image.
        ImageNotAllowed = "image-not-allowed",
        /// The cluster has no native sidecars.
        ModeNotSupported = "mode-not-supported",
        /// An annotation names a container that is not there or cannot be meant.
        UnknownContainer = "unknown-container",
        /// No container runs Envoy.
        NoEnvoy = "no-envoy",
        /// Several do, and none was named.
        SeveralEnvoys = "several-envoys",
        /// Where the admin is cannot be known.
        AdminUnknown = "admin-unknown",
        /// Envoy has a preStop hook of its own.
        PreStopHook = "pre-stop-hook",
        /// A port that the sidecar needs is taken.
        PortTaken = "port-taken",
        /// A container has the sidecar's name.
        NameTaken = "name-taken",
        /// The user that may reach the admin's socket cannot be known.
        UserUnknown = "user-unknown",
    }
}

/// One thing that is wrong with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of thing.
    pub reason: RejectReason,
    /// The thing, the value and the way out, in a sentence.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(reason: RejectReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// A fault of ours, never of the pod's author: the decision must not be sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecideError {
    /// The patch does not apply to the pod that it was made for.
    #[error("the patch does not apply: {0}")]
    DoesNotApply(String),
    /// The patch applies, and gives something else.
    #[error("the patch gives another pod than was decided")]
    GivesAnother,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn labels_are_distinct_and_fit_for_metrics() {
        let skip: BTreeSet<_> = SkipReason::ALL
            .iter()
            .map(|reason| reason.label())
            .collect();
        assert_eq!(skip.len(), SkipReason::ALL.len());
        let reject: BTreeSet<_> = RejectReason::ALL
            .iter()
            .map(|reason| reason.label())
            .collect();
        assert_eq!(reject.len(), RejectReason::ALL.len());
        for label in skip.iter().chain(&reject) {
            assert!(
                label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{label}"
            );
        }
    }

    #[test]
    fn every_decision_is_told_in_words_of_its_own() {
        let inject = Action::ALL.iter().map(|action| Decision::Inject {
            action: *action,
            patch: Patch::default(),
            warnings: Vec::new(),
        });
        let skip = SkipReason::ALL.iter().map(|reason| Decision::Skip {
            reason: *reason,
            warnings: Vec::new(),
        });
        let all: Vec<Decision> = inject.chain(skip).collect();
        let words: BTreeSet<_> = all.iter().map(Decision::in_words).collect();
        assert_eq!(words.len(), all.len());
        assert!(words.iter().all(|words| words.contains(' ')), "{words:?}");
    }

    #[test]
    fn a_token_is_not_in_debug_output() {
        let token = Token::from_random(0x1234);
        assert_eq!(token.reveal(), "00000000000000000000000000001234");
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
