//! What runs in the test clusters' pods: the application behind Envoy, and the clients in front of it.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};
use drainhook_tests::{
    load::{Load, Mix, Target, Upstream},
    wait::until,
};
use tokio::{
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers whatever the clients ask for, until SIGTERM; then it is gone at once.
    Serve {
        /// Where to listen.
        #[arg(default_value = "0.0.0.0:8080")]
        address: SocketAddr,
    },
    /// Sends the mixed load, never retries, and says each failed request in the end; until then how
    /// many were answered, once a second. Fails where one failed.
    Send {
        /// Where to, such as the address of a Service.
        address: SocketAddr,
        /// For how long; until SIGTERM where it is not given.
        #[arg(long = "for", value_parser = humantime::parse_duration)]
        duration: Option<Duration>,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    match Arguments::parse().command {
        Command::Serve { address } => {
            let _upstream = Upstream::start(address).await?;
            terminate.recv().await;
            Ok(ExitCode::SUCCESS)
        }
        Command::Send { address, duration } => {
            // The pods are ready before every node's kube-proxy has heard of it, and until then a new
            // Service refuses connections.
            until("the address takes connections", async || {
                TcpStream::connect(address).await.ok()
            })
            .await?;
            let load = Load::start(Arc::new(address), &Target::default(), Mix::standard());
            tokio::select! {
                _ = terminate.recv() => {}
                () = sleep(duration.unwrap_or(Duration::MAX)) => {}
                () = tell(&load) => {}
            }
            let record = load.stop().await;
            let failures = record.describe_failures();
            for failure in &failures {
                println!("{failure}");
            }
            println!(
                "{} requests, {} failed",
                record.client_requests().count(),
                failures.len()
            );
            Ok(ExitCode::from(u8::from(!failures.is_empty())))
        }
    }
}

/// Says how many requests were answered, for whoever reads the log of a pod.
async fn tell(load: &Load) {
    loop {
        sleep(Duration::from_secs(1)).await;
        println!("{} answered", load.recorder().count().answered);
    }
}
