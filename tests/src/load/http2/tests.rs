use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::{Recorder, Target};
use super::*;

/// Many at a time, so that a GOAWAY finds some in every state.
const CLIENTS: usize = 32;
const REQUESTS: usize = 600;

/// After so many answers a server sends its connection away.
const ANSWERS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_that_meets_a_goaway_is_answered_or_goes_elsewhere() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let servers = tokio::spawn(async move {
        let mut servers = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            servers.spawn(serve(stream));
        }
    });
    let (_going_on, stopped) = watch::channel(false);
    let recorder = Recorder::new();
    let client = Arc::new(Http2::new(Surroundings {
        balancer: Arc::new(address),
        target: Arc::new(Target::default()),
        recorder: Arc::clone(&recorder),
        stopped,
    }));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = Arc::clone(&client);
        clients.spawn(async move {
            for _ in 0..REQUESTS {
                client.send(Kind::Http2, Ask::Quick).await;
            }
        });
    }
    clients.join_all().await;
    servers.abort();
    let record = recorder.record();
    assert_eq!(record.describe_failures(), Vec::<String>::new());
    assert_eq!(record.requests.len(), CLIENTS * REQUESTS);
    assert!(record.arrivals.len() > 100, "{}", record.arrivals.len());
}

/// What Envoy does when it is told to drain, frame by frame (RFC 9113): with some answer a GOAWAY that
/// refuses no stream, and whatever comes is answered still. No library says when it sends which.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    /// `:status: 200` in the static table.
    const OK: [u8; 1] = [0x88];
    const ACK: u8 = 1;
    const END_STREAM_AND_HEADERS: u8 = 5;

    let mut preface = [0; PREFACE];
    stream.read_exact(&mut preface).await?;
    stream.write_all(&frame(SETTINGS, 0, [0; 4], &[])).await?;
    let mut answered = 0;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await?;
        let answer = match kind {
            HEADERS => {
                answered += 1;
                let mut answer = frame(HEADERS, END_STREAM_AND_HEADERS, id, &OK);
                if answered == ANSWERS {
                    // The highest stream that there may be, and no error.
                    let last = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
                    answer.extend(frame(GOAWAY, 0, [0; 4], &last));
                }
                answer
            }
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, id, &[]),
            PING if flags & ACK == 0 => frame(PING, ACK, id, &payload),
            _ => continue,
        };
        stream.write_all(&answer).await?;
    }
}

fn frame(kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream);
    frame.extend(payload);
    frame
}
