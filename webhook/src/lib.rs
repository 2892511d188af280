//! Decides whether a pod that runs Envoy gets a drain, and writes the patch that gives it one.
//!
//! The core is pure: [`Request`] in, [`Decision`] out, no clock, no socket, no file. The webhook's
//! server, the command line and the tests all call it.

pub mod annotations;
mod configuration;
mod decision;
pub mod manifest;
mod message;
mod quantity;
mod settings;
pub mod value;
mod yaml;

pub use configuration::{
    Configuration, DEFAULT_IMAGE, DefaultsError, InstallationDefaults, KubernetesVersion,
    NAMESPACE_LABEL, Namespace, UnknownKeys, VersionError,
};
pub use decision::{
    Action, DecideError, Decision, Fault, Origin, RejectReason, Request, SkipReason, Token,
};
pub use message::{LONGEST_WARNING, MOST_WARNINGS, fit};
pub use quantity::Quantity;
pub use settings::{GRACE_RESERVE, Settings, Source, Sourced};
