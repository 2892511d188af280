//! Certificates from files, swapped under open connections as the kubelet does it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use drainhook_tests::{
    cluster::{Authority, Identity},
    wait::until,
};
use rcgen::{CertificateParams, KeyPair};
use tokio::task::JoinSet;

use crate::stage::{Client, NAME, Server, command};

/// Each takes as long as the server takes to look.
const SWAPS: usize = 6;

#[tokio::test]
async fn certificates_are_swapped_under_load_and_no_request_fails() {
    let mut server = Server::start(&[]).await;
    let next = Authority::generate("next").unwrap();
    let both = format!("{}{}", server.authority.certificate(), next.certificate());
    let client = server.client_trusting(&both);
    let done = Arc::new(AtomicBool::new(false));
    let seen = Seen::default();
    let mut asking = JoinSet::new();
    for number in 0..8 {
        let keeps = number % 2 == 0;
        asking.spawn(ask(client.clone(), keeps, seen.clone(), done.clone()));
    }
    let mut served = BTreeSet::new();
    served.insert(client.connect().await.unwrap().certificate);
    for swap in 0..SWAPS {
        let authority = if swap % 2 == 0 {
            &next
        } else {
            &server.authority
        };
        let identity = authority.server(&[NAME], &[]).unwrap();
        server.certify(&identity);
        until("the new certificate", async || {
            let certificate = client.connect().await.ok()?.certificate;
            served.insert(certificate).then_some(())
        })
        .await
        .unwrap();
        let what = "new connections of others that meet it";
        until(what, async || {
            (*seen.lock().unwrap() == served).then_some(())
        })
        .await
        .unwrap();
    }
    done.store(true, Relaxed);
    for asked in asking.join_all().await {
        asked.unwrap();
    }
    assert_eq!(served.len(), SWAPS + 1);
    let kept = [("result", "kept")];
    assert_eq!(
        server.metric("drainhook_certificate_reloads", &kept).await,
        0.0
    );
}

/// The certificates that somebody has met who asks.
type Seen = Arc<Mutex<BTreeSet<Vec<u8>>>>;

/// Asks on one connection that is never given up, or on a new one each time, until it is told to
/// stop, and once more.
async fn ask(client: Client, keeps: bool, seen: Seen, done: Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut connection = client.connect().await?;
    loop {
        let last = done.load(Relaxed);
        if !keeps {
            connection = client.connect().await?;
        }
        connection.ask().await?.patched()?;
        seen.lock().unwrap().insert(connection.certificate.clone());
        if last {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_certificate_for_another_service_does_not_become_ready() {
    let flags = ["--service=hook", "--namespace=gateways"];
    let mut server = Server::launch(command(), &flags).await;
    server.until_page("/readyz", "HTTP/1.1 503").await;
    let page = server.page("/readyz").await.unwrap();
    assert!(
        page.contains("[-] certificate: ") && page.contains("hook.gateways.svc"),
        "{page}"
    );
    let right = server.authority.server(&["hook.gateways.svc"], &[]);
    let Identity { certificate, key } = right.unwrap();
    let published = server.authority.certificate();
    let mounted = [
        ("tls.crt", &*certificate),
        ("tls.key", &*key),
        ("ca.crt", &*published),
    ];
    server.certificates.swap(&mounted).unwrap();
    server.until_page("/readyz", "HTTP/1.1 200").await;
    for (metric, label, count) in [
        (
            "drainhook_certificate_faults",
            ("reason", "unverified"),
            1.0,
        ),
        // Nothing was wrong with the pair itself.
        ("drainhook_certificate_reloads", ("result", "kept"), 0.0),
    ] {
        assert_eq!(server.metric(metric, &[label]).await, count, "{metric}");
    }
}

#[tokio::test]
async fn a_faulty_pair_changes_nothing_and_is_told_in_log_metric_and_readiness() {
    let mut server = Server::start(&[]).await;
    let client = server.client();
    let first = client.connect().await.unwrap().certificate;
    let [one, other] = [(), ()].map(|()| server.authority.server(&[NAME], &[]).unwrap());
    let expired = expired();
    let half = |text: &str| text[..text.len() / 2].to_owned();
    for (number, (certificate, key, says)) in [
        (one.certificate.clone(), other.key.clone(), "key_mismatch"),
        (half(&one.certificate), one.key.clone(), "tls.crt"),
        (one.certificate.clone(), half(&one.key), "tls.key"),
        (String::new(), String::new(), "tls."),
        (expired.certificate, expired.key, "expired"),
    ]
    .into_iter()
    .enumerate()
    {
        server
            .certificates
            .swap(&[("tls.crt", &certificate), ("tls.key", &key)])
            .unwrap();
        let faults = number as f64 + 1.0;
        until(says, async || {
            let labels = [("result", "kept")];
            let kept = server
                .metric("drainhook_certificate_reloads", &labels)
                .await;
            (kept >= faults).then_some(())
        })
        .await
        .unwrap();
        let page = server.page("/readyz?verbose").await.unwrap();
        assert!(
            page.starts_with("HTTP/1.1 200") && page.contains(says),
            "{says}: {page}"
        );
        let log = server.process.log();
        assert!(
            log.contains(says) && !log.contains("PRIVATE KEY"),
            "{says}: {log}"
        );
        let mut connection = client.connect().await.unwrap();
        assert_eq!(connection.certificate, first, "{says}");
        connection.ask().await.unwrap().patched().unwrap();
    }
    server.certify(&one);
    until("the good pair", async || {
        let certificate = client.connect().await.ok()?.certificate;
        (certificate != first).then_some(())
    })
    .await
    .unwrap();
}

/// A certificate of a while ago.
fn expired() -> Identity {
    let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate().unwrap();
    Identity {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}
