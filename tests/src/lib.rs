//! What the tests and the demo of drainhook stand on.
//!
//! No mock stands where the real part can run: [`envoy`] finds and starts the real Envoy,
//! [`product`] builds and finds our own binaries, [`process`] sends them the signals that a kubelet
//! or a bad day would, and [`address`] keeps everybody on addresses of their own, so that any number
//! of tests can run side by side on one machine. Everything stays on the loopback interface.
//!
//! For whole rollouts [`load`] sends what mixed, correct clients send, [`pod`] runs the containers of
//! a pod specification as processes, [`kubelet`] stops them, [`endpoints`] learns of it late,
//! [`rollout`] replaces pods one by one, [`due`] judges when a drain should have ended,
//! and [`trial`] puts them together. [`cluster`] is a real Kubernetes, [`gateway`] what runs there,
//! [`creations`] are pods by the thousand, and [`stage`] is what tests on its nodes share; [`soak`] rolls there for as long as one likes, and
//! [`managers`] compares.

pub mod address;
pub mod admin_proxy;
pub mod bench;
pub mod bootstrap;
pub mod client;
pub mod cluster;
pub mod creations;
pub mod due;
pub mod endpoints;
pub mod envoy;
pub mod failure;
pub mod gateway;
pub mod helm;
pub mod installation;
pub mod interrupt;
pub mod kubelet;
pub mod load;
pub mod managers;
pub mod measured;
pub mod namespace;
pub mod pod;
pub mod process;
pub mod product;
pub mod rollout;
pub mod sidecar;
pub mod skip;
pub mod soak;
pub mod stage;
pub mod trial;
pub mod upstream;
pub mod volume;
pub mod wait;
