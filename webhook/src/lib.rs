//! Decides whether a pod that runs Envoy gets a drain, and writes the patch that gives it one.
//!
//! The core is pure: [`Request`] in, [`Decision`] out, no clock, no socket, no file. The webhook's
//! server, the command line and the tests all call it.

pub mod annotations;
mod authority;
pub mod cli;
mod configuration;
mod decide;
mod decision;
mod draft;
mod envoy;
mod existing;
mod explain;
mod foreign;
mod hook;
mod inspect;
mod limits;
pub mod manifest;
mod message;
mod pod;
pub mod publish;
mod quantity;
pub mod serve;
mod settings;
mod sidecar;
mod status;
mod uninject;
pub mod value;
mod warn;
mod workload;
mod yaml;

pub use authority::AuthorityArgs;
pub use configuration::{
    Configuration, DEFAULT_IMAGE, DefaultsError, InstallationDefaults, KubernetesVersion,
    NAMESPACE_LABEL, Namespace, UnknownKeys, VersionError,
};
pub use decide::decide;
pub use decision::{
    Action, DecideError, Decision, Fault, Origin, RejectReason, Request, SkipReason, Token,
};
pub use explain::{Change, Explanation, FoundEnvoy, Operation, Setting, SidecarKind, explain};
pub use inspect::injection_faults;
pub use message::{LONGEST_WARNING, MOST_WARNINGS, fit};
pub use quantity::Quantity;
pub use settings::{GRACE_RESERVE, Settings, Source, Sourced};
pub use status::{Changed, Status};
pub use uninject::{Removal, UninjectError, uninject};
pub use warn::warn;
pub use workload::{pod_of, pod_pointer};
