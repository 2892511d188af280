//! Clients that do not speak TLS, do it by halves, or take their time.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::stage::{Client, Server};

/// What the beginning of a client's first message looks like.
const HALF_A_HELLO: [u8; 9] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];

#[tokio::test]
async fn clients_that_misbehave_cost_nobody_else_an_answer() {
    let server = Arc::new(Server::start(&[]).await);
    let client = server.client();
    let mut kept = client.connect().await.unwrap();
    kept.ask().await.unwrap().patched().unwrap();

    let mut held = Vec::new();
    let mut closed = JoinSet::new();
    // From the honest client's own address, and from others.
    for address in [[127, 0, 0, 1], [127, 0, 4, 1], [127, 0, 4, 2]] {
        let client = client.from(address);
        for _ in 0..20 {
            for bytes in [
                b"GET /livez HTTP/1.1\r\nHost: it\r\n\r\n".as_slice(),
                b"POST /mutate HTTP/1.1\r\nContent-Length: 7\r\n\r\n{}",
                &[0xff; 64],
                &[0x16, 3, 1, 0xff, 0xff, 1],
            ] {
                closed.spawn(is_closed_after(client.clone(), bytes));
            }
            let mut half = client.connect_without_tls().await.unwrap();
            half.write_all(&HALF_A_HELLO).await.unwrap();
            held.push(half);
            held.push(client.connect_without_tls().await.unwrap());
            let mut slow = client.connect_tls().await.unwrap();
            slow.write_all(b"POST /mutate HT").await.unwrap();
            slow.flush().await.unwrap();
            closed.spawn(trickle(slow));
        }
        kept.ask().await.unwrap().patched().unwrap();
        for _ in 0..20 {
            client.ask().await.unwrap().patched().unwrap();
        }
    }
    closed.join_all().await;
    kept.ask().await.unwrap().patched().unwrap();
    let ended = |reason| {
        let server = server.clone();
        async move {
            let labels = [("reason", reason)];
            server
                .metric("drainhook_connections_ended_total", &labels)
                .await
        }
    };
    // Each of the four that is no handshake.
    assert_eq!(ended("handshake").await, 3.0 * 20.0 * 4.0);
    // The heads that did not come to their end, and those of the halves whose time is up already.
    let timeouts = ended("timeout").await;
    assert!((60.0..=180.0).contains(&timeouts), "{timeouts}");
    assert_eq!(
        server.metric("drainhook_admission_panics_total", &[]).await,
        0.0
    );
    drop(held);
}

/// Sends these bytes and reads until the server hangs up; nothing that is no alert may come.
async fn is_closed_after(client: Client, bytes: &'static [u8]) {
    let mut stream = client.connect_without_tls().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.len() < 64, "{answer:?}");
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

/// A byte of the head now and then, until the server has had enough.
async fn trickle(mut stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>) {
    while stream.write_all(b"X").await.is_ok() && stream.flush().await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
