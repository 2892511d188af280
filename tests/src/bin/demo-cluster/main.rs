//! `make demo-cluster`: the demo on a real Kubernetes. Three gateways, one without a hook, one with a
//! sleep and one with drainhook, are rolled under load one after the other, with pods, logs and Events
//! to look at meanwhile.

mod roll;

use std::{cell::Cell, io::IsTerminal};

use anyhow::{Result, ensure};
use clap::Parser;
use drainhook_tests::{
    cluster::{Cluster, Image, Images},
    helm::Release,
    installation::NAME,
    interrupt::or_interrupted,
};
use roll::{Kind, Rolled};

/// Rolls three gateways under load on a real node.
#[derive(Debug, Parser)]
struct Arguments {
    /// Keep the cluster until Ctrl-C, or end with the last rollout; without either it is kept where
    /// somebody looks at a terminal
    #[arg(long, env = "KEEP")]
    keep: Option<bool>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // Kept also past Ctrl-C, by which whoever looks around ends it.
    let lost = Cell::new(0);
    or_interrupted(run(&arguments, &lost)).await?;
    ensure!(
        lost.get() == 0,
        "drainhook lost {} requests, which it never should: please report it",
        lost.get()
    );
    Ok(())
}

async fn run(arguments: &Arguments, lost: &Cell<usize>) -> Result<()> {
    println!("starting a node, and building what it runs (once) ...");
    let cluster = Cluster::start(1).await?;
    let build = || anyhow::Ok((Image::webhook()?, Images::build()?));
    let (webhook, images) = tokio::task::spawn_blocking(build).await??;
    for image in images.all().into_iter().chain([&webhook]) {
        cluster.import(image)?;
    }
    println!("installing the chart ...\n");
    let release = Release::new(&cluster, NAME)?;
    cluster.namespace(NAME, &[]).await?;
    release.install(&Release::images(&webhook, &images.sidecar))?;
    look(&cluster);
    let mut all = Vec::new();
    for kind in Kind::ALL {
        println!("rolling two Envoys under load: {} ...", kind.in_words());
        let rolled = roll::roll(&cluster, kind, &images).await?;
        println!("  {rolled}");
        lost.set(lost.get() + rolled.lost());
        all.push(rolled);
    }
    println!("\n{}", Rolled::table(&all));
    if arguments.keep.unwrap_or(std::io::stdout().is_terminal()) {
        println!(
            "the cluster stays until Ctrl-C, with the gateway in namespace {} to roll yourself:\n\n  \
             kubectl rollout restart deployment/gateway -n {0}\n",
            Kind::Drainhook.namespace()
        );
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// How to look at it from another terminal.
fn look(cluster: &Cluster) {
    let last = Kind::Drainhook.namespace();
    println!(
        "to look at it from another terminal:

  export KUBECONFIG={}
  kubectl get pods --all-namespaces --watch
  kubectl get events --all-namespaces --watch
  kubectl logs --namespace {last} --selector app=gateway --container shutdown-manager --follow
  kubectl get pods --namespace {last} --output yaml
  kubectl logs --namespace {NAME} deployment/{NAME} --follow
",
        cluster.kubeconfig().display()
    );
}
