//! The sidecar `shutdown-manager`: drains the Envoy beside it.
//!
//! [`drain`] is the heart of it: a pure function that decides, without clock and without socket.
//! Around it, [`admin`] asks Envoy, [`stats`] and [`reading`] understand its answers, and a thin
//! driver connects the two. The rest serves: hooks over HTTP, one drain for each Envoy of the pod,
//! reports, metrics, signals.
//!
//! [`settings`] can be used alone, to test that a configuration is one.

pub mod admin;
pub mod drain;
pub mod exit;
pub mod listeners;
pub mod procnet;
pub mod reading;
pub mod report;
pub mod serve;
pub mod settings;
pub mod shutdown;
pub mod stats;

mod drive;
mod eyes;
mod group;
mod logging;
mod metrics;
mod signals;
mod wave;

use tracing::{error, info, warn};

use group::Group;
use settings::{Command, Settings, SettingsError};
use signals::Signals;

/// Runs the program and returns its exit code.
pub fn run(
    arguments: impl IntoIterator<Item = String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> u8 {
    let settings = match Settings::read(arguments, environment) {
        Ok(settings) => settings,
        Err(SettingsError::Told(text)) => {
            print!("{text}");
            return exit::OK;
        }
        Err(SettingsError::Faults(faults)) => {
            eprintln!("shutdown-manager: {}", faults.join("; "));
            return exit::USAGE;
        }
    };
    logging::begin(settings.log_level, settings.log_format);
    for note in &settings.notes {
        warn!("{note}");
    }
    // One thread: there is little to do, and it is done in each pod of a fleet.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(async {
            match settings.command.clone() {
                Command::Serve => serve(settings).await,
                Command::Shutdown(name) => ask(&settings, name.as_deref()).await,
            }
        }),
        Err(error) => cannot_start(&error),
    }
}

async fn serve(settings: Settings) -> u8 {
    // First of all: the first process of a container does not get a signal that it has not asked for, and
    // one that was not heard is not sent again before the grace period is over.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return cannot_start(&error),
    };
    let bound = match serve::bind(settings.bind, settings.port) {
        Ok(bound) => bound,
        Err(error) => {
            error!("{error}");
            return if error.is_in_use() {
                exit::UNAVAILABLE
            } else {
                exit::OS_ERROR
            };
        }
    };
    let listener = match tokio::net::TcpListener::from_std(bound) {
        Ok(listener) => listener,
        Err(error) => return cannot_start(&error),
    };
    if let Ok(address) = listener.local_addr() {
        let version = env!("CARGO_PKG_VERSION");
        info!(%address, version, wait_for = ?settings.plan.wait_for, "serving");
    }
    let group = Group::new(settings);
    let server = serve::server(&group, listener);
    group.look_once();
    tokio::select! {
        () = server.serve() => {}
        () = signals.time_to_leave(&group) => {}
    }
    server.answered().await;
    exit::OK
}

fn cannot_start(error: &std::io::Error) -> u8 {
    error!(%error, "cannot start");
    exit::OS_ERROR
}

async fn ask(settings: &Settings, name: Option<&str>) -> u8 {
    match shutdown::shutdown(settings, name).await {
        Ok(report) => {
            for drain in &report.drains {
                println!("{}", drain.words);
            }
            if report.is_drained() {
                exit::OK
            } else {
                exit::NOT_DRAINED
            }
        }
        Err(error) => {
            error!("{error}");
            exit::UNAVAILABLE
        }
    }
}
