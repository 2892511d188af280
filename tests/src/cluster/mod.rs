//! A real Kubernetes for the tests: an API server in seconds, a node where there is root.
//!
//! [`ApiServer::start`] runs etcd, kube-apiserver and a few controllers on a loopback address of
//! their own; nothing needs root, and any number run side by side. With a [`Network`] (root) they
//! run in a network namespace, in which a webhook is reached as it is in a cluster: through a
//! Service, whose endpoints the API server looks up itself.
//!
//! The programs are the released ones, built from their Go modules by `tests/cluster/build.sh`.
//! Everything ends with the value that owns it, and with the test process, however that ends.

mod api_server;
mod audit;
mod authority;
mod control_plane;
mod metrics;
mod network;
mod programs;
mod residue;
mod service;

pub use api_server::{ApiServer, Options};
pub use audit::{AuditEvent, AuditLog};
pub use authority::{Authority, Credential, Identity};
pub use control_plane::ControlPlane;
pub use metrics::{Metrics, Sample};
pub use network::{Endpoint, Namespace, Network};
pub use programs::Version;
