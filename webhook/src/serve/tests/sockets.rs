//! Connections: slow ones, greedy ones, and the end of the server.

use std::{net::IpAddr, sync::atomic::Ordering, time::Duration};

use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};
use tokio_rustls::client::TlsStream;

use super::{
    live::{Live, Settings, exchange, head, is_closed, request, usual_request},
    *,
};
use crate::serve::{connections::Patience, stop::Stage};

/// Of a server that ends nothing by time, however slow the machine is.
const PATIENT: Patience = Patience {
    handshake: Duration::from_secs(120),
    request: Duration::from_secs(120),
    idle: Duration::from_secs(120),
};

/// How long the phase may take that is to be ended.
const SHORT: Duration = Duration::from_millis(300);

/// More of them than any machine is too slow for; a server that answers nobody fails at the last one.
const TRIES: u32 = 100;

async fn live_with(patience: Patience) -> Live {
    let settings = Settings {
        patience,
        ..Settings::default()
    };
    Live::start(settings).await
}

/// A connection on which a usual request was answered. Where the machine was too slow for a server without
/// patience, it is tried again.
async fn answered(live: &Live) -> TlsStream<TcpStream> {
    for _ in 0..TRIES {
        let mut stream = live.connect().await;
        if let Ok(answer) = exchange(&mut stream, &usual_request()).await {
            assert!(answer.is_patched(), "{answer:?}");
            return stream;
        }
    }
    panic!("no request was answered in {TRIES} tries");
}

async fn is_left_with_nothing(live: &Live) {
    live.until(|live| live.connections.count() == 0).await;
    assert_eq!(live.api.api.bytes().held(), 0);
}

fn peer(number: u8) -> IpAddr {
    IpAddr::from([127, 0, 1, number])
}

#[tokio::test]
async fn a_connection_is_kept_for_many_reviews() {
    let live = Live::start(Settings::default()).await;
    let mut stream = live.connect().await;
    for _ in 0..50 {
        let answer = exchange(&mut stream, &usual_request()).await.unwrap();
        assert!(answer.is_patched() && !answer.says_close(), "{answer:?}");
    }
    assert_eq!(live.api.metrics.connections_accepted.get(), 1);
}

#[tokio::test]
async fn a_panic_costs_its_own_request_and_not_even_the_connection() {
    let live = Live::start_with(Box::new(Poisoned(decider())), Settings::default()).await;
    let mut poison = review("u-live", &envoy_pod());
    poison["request"]["name"] = json!("poison");
    let poison = request(&poison.to_string());
    let mut stream = live.connect().await;
    for _ in 0..3 {
        assert_eq!(exchange(&mut stream, &poison).await.unwrap().status, 500);
        let answer = exchange(&mut stream, &usual_request()).await.unwrap();
        assert!(answer.is_patched(), "{answer:?}");
    }
    assert_eq!(live.api.metrics.panics.get(), 3);
    assert_eq!(live.api.metrics.connections_accepted.get(), 1);
}

#[tokio::test]
async fn only_http_1_1_is_spoken() {
    let live = Live::start(Settings::default()).await;
    let refused = live.connect_offering(&["h2"]).await.unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut stream = live.connect_offering(offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
        let answer = exchange(&mut stream, &usual_request()).await.unwrap();
        assert!(answer.is_patched(), "{offered:?}: {answer:?}");
    }
}

#[tokio::test]
async fn silence_in_the_handshake_is_ended() {
    let live = live_with(Patience {
        handshake: SHORT,
        ..PATIENT
    })
    .await;
    let mut silent = live.connect_without_tls(peer(1)).await.unwrap();
    let mut half_a_handshake = live.connect_without_tls(peer(1)).await.unwrap();
    half_a_handshake
        .write_all(&[0x16, 3, 1, 2, 0, 1])
        .await
        .unwrap();
    assert!(is_closed(&mut silent).await);
    assert!(is_closed(&mut half_a_handshake).await);
    is_left_with_nothing(&live).await;
}

#[tokio::test]
async fn silence_between_requests_is_ended() {
    let live = live_with(Patience {
        idle: SHORT,
        ..PATIENT
    })
    .await;
    let mut idle = answered(&live).await;
    assert!(is_closed(&mut idle).await);
    is_left_with_nothing(&live).await;
    answered(&live).await;
}

#[tokio::test]
async fn silence_in_a_head_and_in_a_body_is_ended() {
    let live = live_with(Patience {
        request: SHORT,
        ..PATIENT
    })
    .await;
    let half_a_body = format!("{}{{\"a\":", head(1000));
    for half in ["POST /mutate HTTP/1.1\r\nHost: a\r\n", &half_a_body] {
        let mut stream = live.connect().await;
        stream.write_all(half.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        assert!(is_closed(&mut stream).await, "{half}");
    }
    is_left_with_nothing(&live).await;
    answered(&live).await;
}

#[tokio::test]
async fn a_head_that_trickles_is_not_kept_alive_by_its_trickle() {
    let live = live_with(Patience {
        request: SHORT,
        ..PATIENT
    })
    .await;
    let mut stream = live.connect().await;
    stream
        .write_all(b"POST /mutate HTTP/1.1\r\n")
        .await
        .unwrap();
    let mut sent = 0;
    while stream.write_all(b"X: y\r\n").await.is_ok() && stream.flush().await.is_ok() {
        sent += 1;
        assert!(sent < 1000, "the server goes on reading");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_head_without_an_end_is_not_read_on_and_on() {
    let live = Live::start(Settings::default()).await;
    let mut stream = live.connect().await;
    stream
        .write_all(b"POST /mutate HTTP/1.1\r\nX: ")
        .await
        .unwrap();
    // Far more than the buffers of both sockets hold: it is taken only by a server that reads it.
    let much = 256;
    let piece = vec![b'y'; 1 << 20];
    let mut taken = 0;
    while taken < much && stream.write_all(&piece).await.is_ok() {
        taken += 1;
    }
    assert!(taken < much, "{taken} MiB of a head were read");
    live.until(|live| live.connections.count() == 0).await;
    assert!(live.ask().await.is_patched());
}

#[tokio::test]
async fn a_head_that_is_too_long_is_told_so() {
    let live = Live::start(Settings::default()).await;
    let mut stream = live.connect().await;
    let begun = b"POST /mutate HTTP/1.1\r\nX: ";
    // The bound to the byte, so that the server closes with nothing unread and its answer arrives.
    let mut head = begun.to_vec();
    head.resize(16 * 1024, b'y');
    let answer = exchange(&mut stream, &head).await.unwrap();
    assert_eq!(answer.status, 431);
    assert!(is_closed(&mut stream).await);
    assert!(live.ask().await.is_patched());
}

#[tokio::test]
async fn a_peer_that_holds_all_it_can_get_keeps_nobody_else_out() {
    let settings = Settings {
        connections: 64,
        ..Settings::default()
    };
    let live = Live::start(settings).await;
    let mut greedy = Vec::new();
    for number in 1..=5 {
        for _ in 0..64 {
            greedy.push(live.connect_without_tls(peer(number)).await.unwrap());
        }
    }
    for _ in 0..20 {
        assert!(live.ask().await.is_patched());
    }
    live.until(|live| live.connections.count() <= 64).await;
}

#[tokio::test]
async fn a_peer_over_its_share_still_gets_its_newest_connection() {
    let settings = Settings {
        connections: 16,
        ..Settings::default()
    };
    let live = Live::start(settings).await;
    let mut useful = live.connect().await;
    assert!(
        exchange(&mut useful, &usual_request())
            .await
            .unwrap()
            .is_patched()
    );
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(
            live.connect_without_tls(IpAddr::from([127, 0, 0, 1]))
                .await
                .unwrap(),
        );
    }
    assert!(
        live.ask().await.is_patched(),
        "a new connection of the same peer"
    );
    let answer = exchange(&mut useful, &usual_request()).await.unwrap();
    assert!(
        answer.is_patched(),
        "the one that was of use is the last to go"
    );
}

/// Counts what is held, not what the system shows: the allocator's habits are not ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_the_largest_bodies_stays_within_the_budget_and_keeps_nobody_out() {
    let bytes = 64 << 20;
    let limits = Limits {
        bytes,
        ..Limits::default()
    };
    let live = Arc::new(
        Live::start(Settings {
            limits,
            patience: PATIENT,
            ..Settings::default()
        })
        .await,
    );
    let mut flood = JoinSet::new();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for number in 0..40 {
        let live = live.clone();
        let done = done.clone();
        flood.spawn(async move {
            let usual = review("u-live", &envoy_pod()).to_string();
            let body = format!("{usual}{}", " ".repeat(7 * 1024 * 1024 - usual.len()));
            let request = request(&body);
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let Ok(mut stream) = live.connect_from(peer(number % 4)).await else {
                    continue;
                };
                if let Ok(answer) = exchange(&mut stream, &request).await {
                    answers.push(answer.status);
                }
            }
            answers
        });
    }
    live.until(|live| live.api.api.bytes().most_ever_held() > bytes / 4)
        .await;
    for _ in 0..50 {
        let answer = live.ask().await;
        assert!(answer.is_patched(), "{answer:?}");
    }
    done.store(true, Ordering::Relaxed);
    let answers = flood.join_all().await.concat();
    assert!(
        answers
            .iter()
            .all(|status| [200, 408, 429].contains(status)),
        "{answers:?}"
    );
    assert!(live.api.api.bytes().most_ever_held() <= bytes);
    live.until(|live| live.api.api.bytes().held() == 0).await;
}

#[tokio::test]
async fn on_leaving_each_answer_is_the_last_of_its_connection_and_new_ones_are_served() {
    let live = Live::start(Settings::default()).await;
    let mut old = live.connect().await;
    assert!(
        !exchange(&mut old, &usual_request())
            .await
            .unwrap()
            .says_close()
    );
    live.stop.enter(Stage::Leaving);
    let answer = exchange(&mut old, &usual_request()).await.unwrap();
    assert!(answer.is_patched() && answer.says_close(), "{answer:?}");
    assert!(is_closed(&mut old).await);
    let answer = live.ask().await;
    assert!(answer.is_patched() && answer.says_close(), "{answer:?}");
}

#[tokio::test]
async fn a_stop_under_load_loses_no_request() {
    let live = Arc::new(Live::start(Settings::default()).await);
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        let live = live.clone();
        clients.spawn(async move {
            let mut answered = 0;
            // As the API server does: the connection is kept until an answer says otherwise, and
            // a new one is made as long as the port takes any.
            while let Ok(mut stream) = live.connect_from(IpAddr::from([127, 0, 0, 1])).await {
                loop {
                    let answer = exchange(&mut stream, &usual_request()).await.unwrap();
                    assert!(answer.is_patched(), "{answer:?}");
                    answered += 1;
                    if answer.says_close() {
                        break;
                    }
                }
                if live.task.is_finished() {
                    break;
                }
            }
            answered
        });
    }
    live.until(|live| live.api.metrics.connections_accepted.get() >= 16)
        .await;
    live.until(|live| live.api.metrics.page().contains("patched"))
        .await;
    live.stop.enter(Stage::Leaving);
    let accepted = live.api.metrics.connections_accepted.get();
    live.until(|live| live.api.metrics.connections_accepted.get() > accepted + 32)
        .await;
    live.stop.enter(Stage::Closing);
    let answered: u32 = clients.join_all().await.into_iter().sum();
    assert!(answered > 32, "{answered}");
    live.until(|live| live.task.is_finished()).await;
    assert_eq!(live.connections.count(), 0);
}

#[tokio::test]
async fn at_the_end_a_request_under_way_is_answered_and_an_idle_connection_closed() {
    let live = Live::start(Settings::default()).await;
    let mut idle = live.connect().await;
    exchange(&mut idle, &usual_request()).await.unwrap();
    let whole = usual_request();
    let (first, rest) = whole.split_at(whole.len() - 10);
    let mut under_way = live.connect().await;
    under_way.write_all(first).await.unwrap();
    under_way.flush().await.unwrap();
    live.until(|live| live.api.metrics.in_flight.get() == 1)
        .await;
    live.stop.enter(Stage::Closing);
    let answer = exchange(&mut under_way, rest).await.unwrap();
    assert!(answer.is_patched() && answer.says_close(), "{answer:?}");
    assert!(is_closed(&mut idle).await);
    assert_eq!(live.task.await.unwrap(), 0, "nothing was cut off");
}

#[tokio::test]
async fn at_the_end_a_request_of_which_half_the_head_has_come_is_answered() {
    let live = Live::start(Settings::default()).await;
    let mut kept = live.connect().await;
    exchange(&mut kept, &usual_request()).await.unwrap();
    let whole = usual_request();
    let (first, rest) = whole.split_at(20);
    kept.write_all(first).await.unwrap();
    kept.flush().await.unwrap();
    live.until(|live| live.connections.asking() == 1).await;
    live.stop.enter(Stage::Closing);
    live.until_port_closed().await;
    let answer = exchange(&mut kept, rest).await.unwrap();
    assert!(answer.is_patched() && answer.says_close(), "{answer:?}");
    assert!(is_closed(&mut kept).await);
    assert_eq!(live.task.await.unwrap(), 0, "nothing was cut off");
}

#[tokio::test]
async fn at_the_end_who_asked_a_moment_ago_may_ask_once_more() {
    let live = Live::start(Settings::default()).await;
    let mut stream = live.connect().await;
    exchange(&mut stream, &usual_request()).await.unwrap();
    live.stop.enter(Stage::Closing);
    live.until_port_closed().await;
    let answer = exchange(&mut stream, &usual_request()).await.unwrap();
    assert!(answer.is_patched() && answer.says_close(), "{answer:?}");
    assert!(is_closed(&mut stream).await);
    assert_eq!(live.task.await.unwrap(), 0, "nothing was cut off");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_in_the_end() {
    let close_within = Duration::from_millis(100);
    let live = Live::start(Settings {
        close_within,
        ..Settings::default()
    })
    .await;
    let mut under_way = live.connect().await;
    under_way.write_all(head(1000).as_bytes()).await.unwrap();
    under_way.flush().await.unwrap();
    live.until(|live| live.api.metrics.in_flight.get() == 1)
        .await;
    live.stop.enter(Stage::Closing);
    assert_eq!(live.task.await.unwrap(), 1);
    assert_eq!(live.api.metrics.in_flight.get(), 0, "it is counted no more");
}
