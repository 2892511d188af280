//! What the demo can be told: flags, or the variables that `make demo NAME=value` sets.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Rolls two Envoy pods under load in three ways, side by side, and shows what clients saw.
#[derive(Debug, Parser)]
#[command(name = "demo")]
pub(crate) struct Arguments {
    /// The manifest: a workload whose pods run Envoy, with the ConfigMaps that they mount
    #[arg(long, env = "MANIFEST", default_value = "examples/gateway.yaml")]
    pub(crate) manifest: PathBuf,

    /// How late the balancer learns that a pod terminates
    #[arg(long, env = "LEARN", default_value = "2s", value_parser = humantime::parse_duration)]
    pub(crate) learn: Duration,

    /// 1: a load balancer checks the health of every pod on the traffic port each second
    #[arg(long, env = "PROBE", default_value_t = 0)]
    pub(crate) probe: u8,

    /// How many times both pods are replaced
    #[arg(long, env = "ROUNDS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) rounds: u8,

    /// The port that takes the traffic, where it is not the first HTTP listener that a pod names
    #[arg(long, env = "TRAFFIC_PORT")]
    pub(crate) port: Option<u16>,

    /// The host that requests ask for
    #[arg(long, env = "TRAFFIC_HOST", default_value = "gateway.test")]
    pub(crate) host: String,

    /// The path that requests ask for
    #[arg(long, env = "TRAFFIC_PATH", default_value = "/")]
    pub(crate) path: String,

    /// Where the timeline and the list of failed requests are written
    #[arg(long, env = "DEMO_OUTPUT", default_value = "demo-output")]
    pub(crate) output: PathBuf,
}
