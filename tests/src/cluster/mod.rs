//! A real Kubernetes for the tests: an API server in seconds, nodes where there is root.
//!
//! [`ApiServer::start`] runs etcd, kube-apiserver and a few controllers on a loopback address of
//! their own; nothing needs root, and any number run side by side. With a [`Network`] (root) they
//! run in a network namespace, in which a webhook is reached as it is in a cluster: through a
//! Service, whose endpoints the API server looks up itself.
//!
//! [`Cluster::start`] adds the scheduler, all controllers, and nodes on which pods run: each with a
//! kubelet, a container runtime and a network namespace of its own.
//!
//! [`Ground`] is for tests that need nothing but a cluster: one of ours, or one that the environment
//! names.
//!
//! The programs are the released ones, built from their Go modules by `tests/cluster/build.sh`.
//! Everything ends with the value that owns it, and with the test process, however that ends.

mod access;
mod api_server;
mod audit;
mod authority;
mod control_plane;
mod cordon;
mod ground;
mod images;
mod metrics;
mod network;
mod node;
mod nodes;
mod programs;
mod registry;
mod residue;
mod service;
mod traffic;

pub use access::Access;
pub use api_server::{ApiServer, Options};
pub use audit::{AuditEvent, AuditLog};
pub use authority::{Authority, Credential, Identity};
pub use control_plane::ControlPlane;
pub use cordon::Cordon;
pub use ground::{CONTEXT, Ground, REGISTRY};
pub use images::{Image, Images, shipped_program};
pub use metrics::{Metrics, Sample};
pub use network::{Endpoint, Forward, Namespace, Network};
pub use node::Node;
pub use nodes::Cluster;
pub use programs::Version;
pub use registry::{Registry, push};
pub use traffic::Traffic;
