//! Starts a cluster to play with, and stops it without a trace at Ctrl-C: `make cluster`.

use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use drainhook_tests::{
    cluster::{ApiServer, Cluster, Image, Images, Node, REGISTRY},
    interrupt::or_interrupted,
};

/// A real Kubernetes in namespaces of its own.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many nodes; with 0 an API server alone, which needs no root.
    #[arg(long, env = "NODES", default_value_t = 1)]
    nodes: u8,

    /// Put the images on the nodes that the tests of an installation and the chart need: ours, the
    /// real Envoy and the load's.
    #[arg(long, env = "IMAGES")]
    images: bool,

    /// Start a registry that the nodes pull from, with which tests push their images themselves.
    #[arg(long, env = "REGISTRY")]
    registry: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    or_interrupted(run(&arguments)).await
}

async fn run(arguments: &Arguments) -> Result<()> {
    let begun = Instant::now();
    let (kubeconfig, cluster, shells) = match arguments.nodes {
        0 => {
            let server = ApiServer::start().await?;
            (
                server.kubeconfig().to_owned(),
                (Some(server), None),
                Vec::new(),
            )
        }
        nodes => {
            let cluster = Cluster::start(nodes).await?;
            let shells = cluster.nodes().iter().map(Node::shell).collect();
            (
                cluster.kubeconfig().to_owned(),
                (None, Some(cluster)),
                shells,
            )
        }
    };
    if let (true, (_, Some(cluster))) = (arguments.images, &cluster) {
        for image in tokio::task::spawn_blocking(images).await?? {
            cluster.import(&image)?;
            println!("# on every node: {}", image.reference());
        }
    }
    let registry = match (arguments.registry, &cluster) {
        (true, (_, Some(cluster))) => Some(cluster.registry().await?),
        _ => None,
    };
    println!(
        "# ready after {:.1} s; Ctrl-C stops it",
        begun.elapsed().as_secs_f32()
    );
    println!("export KUBECONFIG={}", kubeconfig.display());
    if let Some(registry) = &registry {
        println!("export {REGISTRY}={}/tests", registry.host());
    }
    for (number, shell) in shells.iter().enumerate() {
        println!("# a shell on node-{}: {shell}", number + 1);
    }
    std::future::pending().await
}

fn images() -> Result<Vec<Image>> {
    let images = Images::build()?;
    let all = images.all().into_iter().cloned();
    Ok(all.chain([Image::webhook()?]).collect())
}
