//! The command line inside of other people's tools: Helm 3, Helm 4, kustomize, and Kubernetes' own
//! reader of YAML; and the chart's values, as Helm takes them. The tools are Go modules, built once by `tests/tools/build`.

// In tests a panic is how a test fails.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod chart;
mod helm;
mod kustomize;
mod tool;
mod yaml;
