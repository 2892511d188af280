//! Puts the parts together, runs them, and ends them in order.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use drainhook_certs::{
    ClientAuthority, FilesOptions, LOOK_INTERVAL, NameError, SelfManagedOptions, ServerNames,
    Source, provider, server_config,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

use super::{
    Certs, Choice, ClusterUse, ServeArgs, UnknownKeysArg,
    api::Api,
    cluster::Cluster,
    connections::{Connections, Patience},
    defaults::DefaultsFile,
    engine::Decider,
    error::{NoCluster, ServeError, system},
    health::Health,
    metrics::Metrics,
    port::Port,
    process,
    stop::{Farewell, Signals, Stage, Stop},
};
use crate::UnknownKeys;

/// What the chart and the manifests call the Service.
const USUAL_SERVICE: &str = "drainhook";

/// Threads that answer requests. One is enough for thousands of reviews in a second; more than a few
/// only cost memory.
const MOST_WORKERS: usize = 4;

/// How much longer to serve on where the end comes from within. The kubelet was not told, and a pod that
/// was not deleted stays in the Service until two probes, 2 s apart, have found it not ready.
const UNANNOUNCED: Duration = Duration::from_secs(5);

/// Threads for what blocks: the files that are looked at, and one large review after the other.
const MOST_BLOCKING: usize = 8;

/// Serves until a signal asks for the end.
///
/// # Errors
///
/// [`ServeError`] where it cannot begin, or was cut off.
pub(super) fn run(args: ServeArgs) -> Result<(), ServeError> {
    process::start_log(args.log_format, &args.log_level)?;
    drainhook_certs::install();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(MOST_WORKERS))
        .max_blocking_threads(MOST_BLOCKING)
        .enable_all()
        .build()
        .map_err(system("start threads"))?;
    let result = runtime.block_on(serve(args));
    // What still blocks (a look at a file) must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn serve(args: ServeArgs) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(system("listen for signals"))?;
    let listener = bind(args.bind, args.port).await?;
    let plain_listener = bind(args.bind, args.plain_port).await?;
    let metrics = Metrics::new();
    // All that should never end before the server does.
    let mut parts = JoinSet::new();

    let client = match (client(args.cluster).await, args.certs) {
        // Reviews can be answered without, and no later attempt would find more. Any other fault is of a
        // cluster that was meant to be asked.
        (Err(ServeError::NoAccount(reason)), Certs::Files) => {
            tracing::error!(%reason, "inside of a pod, and without its ServiceAccount");
            Err(reason.into())
        }
        (client, _) => client?,
    };
    let cluster = Cluster::new(args.kubernetes_version, metrics.clone());
    let source = match (args.certs, &client) {
        (Certs::Files, _) => Source::files(files(&args)?),
        (Certs::SelfManaged, Err(reason)) => {
            return Err(ServeError::SelfManagedWithoutCluster(reason.clone()));
        }
        (Certs::SelfManaged, Ok(client)) => Source::self_managed(client.clone(), own(&args)?),
    };
    match client {
        Ok(client) => {
            let ask_version = args.kubernetes_version.is_none();
            parts.spawn(cluster.clone().watch(client, ask_version));
        }
        Err(reason) => {
            tracing::warn!(%reason, "no cluster is asked: namespaces' defaults are off");
            cluster.switch_off(reason);
        }
    }
    let clients = args.client_ca.clone().map(|path| {
        let names = args.client_name.clone();
        ClientAuthority::from_file(path, names, LOOK_INTERVAL, source.status.clone())
    });
    let verifier = clients.as_ref().map(|clients| clients.verifier.clone());
    let tls = Arc::new(server_config(source.resolver, verifier)?);
    parts.spawn(source.background);
    if let Some(clients) = clients {
        parts.spawn(clients.background);
    }
    let defaults = args
        .defaults
        .clone()
        .map(|path| DefaultsFile::open(path, metrics.clone()));
    if let Some(defaults) = &defaults {
        parts.spawn(defaults.clone().watch());
    }

    let decider = Decider {
        defaults: defaults.clone(),
        cluster: cluster.clone(),
        image_choice: args.image_choice == Choice::Allow,
        unknown_keys: match args.unknown_keys {
            UnknownKeysArg::Deny => UnknownKeys::Deny,
            UnknownKeysArg::Warn => UnknownKeys::Warn,
        },
        random: provider().secure_random,
    };
    let api = Api::new(Box::new(decider), args.limits(), metrics.clone());
    let (stop, stopping) = Stop::new();
    let health = Arc::new(Health {
        certificates: source.status,
        cluster,
        defaults,
        stopping: stopping.clone(),
        api: api.clone(),
        metrics: metrics.clone(),
        began: Instant::now(),
    });
    let farewell = Farewell {
        leave: args.stop_delay,
        close: args.stop_timeout,
    };
    let port = Port {
        name: "tls",
        listener,
        tls: Some(tls),
        connections: Connections::new(args.max_connections, Patience::default(), metrics.clone()),
        router: api.router(),
        stopping: stopping.clone(),
        close_within: farewell.close,
    };
    let plain = process::plain_port(plain_listener, health.router(), stopping);
    tracing::info!(
        tls = %local(&port.listener),
        plain = %local(&plain.listener),
        version = env!("CARGO_PKG_VERSION"),
        "serving",
    );
    let served = serve_port(port, &mut parts);
    serve_port(plain, &mut parts);

    let asked = asked_to_end(signals.next(), &mut parts).await;
    let leave = leaving(farewell.leave, &asked);
    match &asked {
        Ok(signal) => {
            tracing::info!(signal, leaving_for = ?leave, "asked to end: not ready, serving on");
        }
        Err(error) => tracing::error!(%error, leaving_for = ?leave, "not ready, serving on"),
    }
    let ending = async {
        stop.enter(Stage::Leaving);
        tokio::time::sleep(leave).await;
        stop.enter(Stage::Closing);
        // Where the port itself has ended, so have its connections. The plain one is not waited for:
        // whoever asks for metrics or health has nothing to lose.
        served.await.unwrap_or_default()
    };
    tokio::select! {
        cut = ending => {
            tracing::info!(connections_cut = cut, "ended");
            asked.map(drop)
        }
        signal = asked_again(&asked, async || signals.next().await) => {
            tracing::warn!(signal, "a second signal: ended at once");
            Err(ServeError::Aborted)
        }
    }
}

/// Serves a port, and watches over its connections. What comes back is how many were cut off, once it was
/// asked to close; nothing comes where it panicked.
fn serve_port(port: Port, parts: &mut JoinSet<()>) -> oneshot::Receiver<usize> {
    let (ended, cut) = oneshot::channel();
    parts.spawn(port.connections.clone().watch());
    parts.spawn(async move {
        // Of the plain port nobody wants to know.
        let _ = ended.send(port.serve().await);
    });
    cut
}

/// Waits for a signal, or for the first of the parts that should never end.
async fn asked_to_end(
    signal: impl Future<Output = &'static str>,
    parts: &mut JoinSet<()>,
) -> Result<&'static str, ServeError> {
    tokio::select! {
        signal = signal => Ok(signal),
        Some(ended) = parts.join_next() => Err(ServeError::PartEnded(match ended {
            Ok(()) => "it returned".to_owned(),
            // Where it panicked stands in the log, by the panic hook.
            Err(error) => error.to_string(),
        })),
    }
}

/// How long to serve on before the port closes.
fn leaving<T>(usual: Duration, asked: &Result<T, ServeError>) -> Duration {
    match asked {
        Ok(_) => usual,
        Err(_) => usual + UNANNOUNCED,
    }
}

/// Waits for the signal that asks to hurry. Where no signal has begun the end, the first one asks for what
/// is under way already: the pod is deleted or its node drained.
async fn asked_again<T>(
    asked: &Result<T, ServeError>,
    mut signal: impl AsyncFnMut() -> &'static str,
) -> &'static str {
    if asked.is_err() {
        let signal = signal().await;
        tracing::info!(signal, "asked to end, which is under way");
    }
    signal().await
}

/// Both families on one socket, and the older one alone where there is no other.
pub(crate) async fn bind(address: IpAddr, port: u16) -> Result<TcpListener, ServeError> {
    let first = SocketAddr::new(address, port);
    let bound = match TcpListener::bind(first).await {
        Err(error) if address.is_unspecified() && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    };
    bound.map_err(system(&format!("listen on {first}")))
}

/// The cluster's client, or why there is none.
pub(crate) async fn client(
    wanted: ClusterUse,
) -> Result<Result<kube::Client, NoCluster>, ServeError> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if wanted == ClusterUse::Off {
        return Ok(Err("--cluster off".into()));
    }
    if !is_set("KUBERNETES_SERVICE_HOST") && !is_set("KUBECONFIG") {
        return Ok(Err("neither inside of a pod nor with KUBECONFIG set".into()));
    }
    let config = kube::Config::infer().await.map_err(|error| {
        let reason = error.to_string();
        match is_set("KUBECONFIG") {
            true => ServeError::Cluster(reason),
            false => ServeError::NoAccount(reason),
        }
    })?;
    let client = kube::Client::try_from(config);
    Ok(Ok(
        client.map_err(|error| ServeError::Cluster(error.to_string()))?
    ))
}

fn files(args: &ServeArgs) -> Result<FilesOptions, ServeError> {
    // clap has made sure of both.
    let mut options = FilesOptions::new(
        args.cert.clone().unwrap_or_default(),
        args.key.clone().unwrap_or_default(),
    );
    // Who is called by a URL of his own says no Service.
    let service = args.service.as_deref();
    options.names = service.map(|service| names(args, service)).transpose()?;
    Ok(options)
}

fn own(args: &ServeArgs) -> Result<SelfManagedOptions, ServeError> {
    Ok(SelfManagedOptions {
        secret: args.authority.secret(),
        names: names(args, args.service.as_deref().unwrap_or(USUAL_SERVICE))?,
        lifetimes: args.authority.lifetimes()?,
    })
}

fn names(args: &ServeArgs, service: &str) -> Result<ServerNames, NameError> {
    ServerNames::service(service, &args.authority.namespace, &args.cluster_domain)
}

pub(crate) fn local(listener: &TcpListener) -> String {
    listener
        .local_addr()
        .map_or_else(|error| error.to_string(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_or_returns_ends_the_server_with_the_status_of_a_defect() {
        for part in [
            tokio::spawn(async { panic!("a defect that a test put here") }),
            tokio::spawn(ready(())),
        ] {
            let mut parts = JoinSet::new();
            parts.spawn(pending());
            parts.spawn(async { part.await.unwrap() });
            let error = asked_to_end(pending(), &mut parts).await.unwrap_err();
            assert_eq!(error.exit_status(), 70, "{error}");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_served_no_more_ends_the_server() {
        let (stop, stopping) = Stop::new();
        let listener = bind(Ipv4Addr::LOCALHOST.into(), 0).await.unwrap();
        let mut parts = JoinSet::new();
        let port = process::plain_port(listener, axum::Router::new(), stopping);
        let cut = serve_port(port, &mut parts);
        // A port closes where nobody is left to say when: the quietest way to lose one.
        drop(stop);
        let error = asked_to_end(pending(), &mut parts).await.unwrap_err();
        assert_eq!(error.exit_status(), 70, "{error}");
        assert_eq!(cut.await, Ok(0));
    }

    #[tokio::test]
    async fn after_a_part_has_ended_the_first_signal_cuts_nothing_short() {
        for (asked, hurries) in [
            (Ok("SIGTERM"), "SIGINT"),
            (Err(ServeError::PartEnded("it returned".into())), "SIGTERM"),
        ] {
            let mut signals = ["SIGINT", "SIGTERM"].into_iter();
            let next = async || signals.next().unwrap();
            assert_eq!(asked_again(&asked, next).await, hurries, "{asked:?}");
        }
    }

    #[test]
    fn an_end_that_the_kubelet_was_not_told_of_leaves_it_the_time_to_find_out() {
        let usual = Duration::from_secs(5);
        assert_eq!(leaving(usual, &Ok("SIGTERM")), usual);
        let ended = Err::<(), _>(ServeError::PartEnded("it returned".into()));
        assert_eq!(leaving(usual, &ended), Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_signal_ends_the_server_as_it_should() {
        let mut parts = JoinSet::new();
        parts.spawn(pending());
        let asked = asked_to_end(ready("SIGTERM"), &mut parts).await;
        assert_eq!(asked.unwrap(), "SIGTERM");
    }
}
