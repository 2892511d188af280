//! How it begins and how it ends.

use std::{
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use drainhook_tests::{process::Process, wait::until};
use http_body_util::{
    BodyExt,
    channel::{Channel, Sender},
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::stage::{Answer, Client, REVIEW, Server, command};

/// For what takes a moment on an idle machine.
const BOUND: Duration = Duration::from_secs(120);

#[tokio::test]
async fn it_serves_without_any_cluster_and_says_what_is_off() {
    let server = Server::start(&[]).await;
    server.client().ask().await.unwrap().patched().unwrap();
    let reason = "neither inside of a pod nor with KUBECONFIG set";
    let page = server.page("/readyz?verbose").await.unwrap();
    assert!(
        page.contains(&format!("[+] namespaces: off: {reason}")),
        "{page}"
    );
    let log = server.process.log();
    let told = log
        .lines()
        .find(|line| line.contains("no cluster is asked"));
    assert!(told.is_some_and(|line| line.contains(reason)), "{log}");

    let server = Server::start(&["--cluster=off"]).await;
    server
        .until_page("/readyz?verbose", "off: --cluster off")
        .await;
}

#[tokio::test]
async fn a_pod_without_a_token_serves_with_certificates_from_files() {
    let server = Server::start_without_token(&[]).await;
    server.client().ask().await.unwrap().patched().unwrap();
    let page = server.page("/readyz?verbose").await.unwrap();
    assert!(page.contains("[+] namespaces: off: "), "{page}");
    let log = server.process.log();
    assert!(log.contains("no cluster is asked"), "{log}");
    assert!(log.contains("without its ServiceAccount"), "{log}");
}

#[tokio::test]
async fn a_cluster_that_was_named_and_cannot_be_asked_is_not_done_without() {
    let mut command = command();
    command.env("KUBECONFIG", "/nonexistent/kubeconfig").args([
        "--certs=files",
        "--cert=/nonexistent",
        "--key=/nonexistent",
    ]);
    let mut process = Process::spawn("drainhook serve", command).unwrap();
    let status = process.wait(BOUND).await.unwrap();
    let said = process.log();
    assert_eq!(status.code(), Some(69), "{said}");
    assert!(said.contains("/nonexistent/kubeconfig"), "{said}");
}

#[tokio::test]
async fn a_ca_of_its_own_without_a_cluster_is_a_wrong_flag() {
    let mut process = Process::spawn("drainhook serve", command()).unwrap();
    let status = process.wait(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(64));
    let said = process.log();
    assert!(said.contains("--certs self needs the cluster"), "{said}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&["--stop-delay=1h"]).await;
    server.process.terminate().unwrap();
    server.until_page("/readyz", "HTTP/1.1 503").await;
    let answer = server.client().ask().await.unwrap().patched().unwrap();
    assert!(answer.is_last);
    assert!(server.process.exited().unwrap().is_none(), "it serves on");
    server.process.terminate().unwrap();
    let status = server.process.wait(BOUND).await.unwrap();
    assert_eq!(status.code(), Some(1), "it is not as it should be");
    let log = server.process.log();
    assert!(log.contains("a second signal"), "{log}");
}

#[tokio::test]
async fn a_stop_loses_no_admission() {
    // Long enough for one more connection, however busy the machine is.
    let mut server = Server::start(&["--stop-delay=10s"]).await;
    let client = server.client();
    let told = Arc::new(AtomicBool::new(false));
    let mut asking = JoinSet::new();
    for number in 0..12 {
        asking.spawn(ask_until_gone(
            client.clone(),
            number % 3 == 0,
            told.clone(),
        ));
    }
    until("a thousand decisions", async || {
        let decided = server
            .metric("drainhook_admission_reviews_total", &[])
            .await;
        (decided > 1000.0).then_some(())
    })
    .await
    .unwrap();

    told.store(true, Relaxed);
    server.process.terminate().unwrap();
    server.until_page("/readyz", "HTTP/1.1 503").await;
    // One that is still under way when the port is closed: the last of many that are sent by halves.
    let mut under_way = Half::begin(&client).await.unwrap();
    loop {
        // Its head shall have been read, or the connection is one that nobody uses.
        sleep(Duration::from_millis(250)).await;
        match Half::begin(&client).await {
            Err(error) if is_closed_port(&error) => break,
            next => {
                std::mem::replace(&mut under_way, next.unwrap())
                    .finish()
                    .await
            }
        }
    }
    under_way.finish().await;

    let mut after = 0;
    for answered in asking.join_all().await {
        let (before, last) = answered.unwrap();
        assert!(before > 0);
        after += last;
    }
    assert!(after > 0, "answers that were the last of their connections");
    let status = server.process.wait(BOUND).await.unwrap();
    let log = server.process.log();
    assert!(
        status.success() && log.contains("\"connections_cut\":0"),
        "{log}"
    );
}

/// A review of which the server has the first half.
struct Half {
    rest: Sender<Bytes, anyhow::Error>,
    answer: JoinHandle<anyhow::Result<Answer>>,
}

impl Half {
    async fn begin(client: &Client) -> anyhow::Result<Self> {
        let mut connection = client.connect().await?;
        let (mut rest, body) = Channel::new(1);
        rest.send_data(REVIEW[..REVIEW.len() / 2].into()).await?;
        let answer = tokio::spawn(async move { connection.send(body.boxed()).await });
        Ok(Self { rest, answer })
    }

    /// The server is on its way to its end: nothing more may come on this connection.
    async fn finish(mut self) {
        let end = REVIEW[REVIEW.len() / 2..].into();
        self.rest.send_data(end).await.unwrap();
        drop(self.rest);
        let answer = self.answer.await.unwrap().unwrap().patched().unwrap();
        assert!(answer.is_last);
    }
}

/// As the API server does: a connection is kept until an answer says otherwise, or used once. Returns
/// how many answers there were, and how many of them were the last of their connections. It ends with
/// the first connection that finds the port closed, which may be once the server was told to stop.
async fn ask_until_gone(
    client: Client,
    once: bool,
    told: Arc<AtomicBool>,
) -> anyhow::Result<(u64, u64)> {
    let (mut answers, mut last) = (0, 0);
    loop {
        let mut connection = match client.connect().await {
            Err(error) if told.load(Relaxed) && is_closed_port(&error) => break,
            connected => connected?,
        };
        loop {
            let answer = connection.ask().await?.patched()?;
            answers += 1;
            last += u64::from(answer.is_last);
            if once || answer.is_last {
                break;
            }
        }
    }
    Ok((answers, last))
}

/// Nobody listens any more, or nobody took what was still in the listener's queue.
fn is_closed_port(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(
        kind,
        Some(ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
    )
}

/// A pod whose decision panics is not known, so the panic itself is tested where a double can be put in;
/// what can be shown here is that nothing of the process is left behind by whatever comes in.
#[tokio::test]
async fn whatever_is_posted_the_process_goes_on() {
    let server = Arc::new(Server::start(&[]).await);
    let client = server.client();
    let mut connection = client.connect().await.unwrap();
    for body in ["", "{", "[]", "null", "{\"kind\":\"AdmissionReview\"}"] {
        let answer = connection.send(crate::stage::whole(body)).await.unwrap();
        assert_eq!(answer.status, 400, "{body}");
        connection.ask().await.unwrap().patched().unwrap();
    }
    assert_eq!(
        server.metric("drainhook_admission_panics_total", &[]).await,
        0.0
    );
}
