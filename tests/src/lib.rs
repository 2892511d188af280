//! What the tests and the demo of drainhook stand on.
//!
//! No mock stands where the real part can run: [`envoy`] finds and starts the real Envoy,
//! [`product`] builds and finds our own binaries, [`process`] sends them the signals that a kubelet
//! or a bad day would, and [`address`] keeps everybody on addresses of their own, so that any number
//! of tests can run side by side on one machine. Everything stays on the loopback interface.

pub mod address;
pub mod admin_proxy;
pub mod bootstrap;
pub mod client;
pub mod envoy;
pub mod namespace;
pub mod process;
pub mod product;
pub mod sidecar;
pub mod upstream;
