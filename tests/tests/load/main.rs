//! The load generator against its own upstream: what it sends, and what it takes for a failure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use drainhook_tests::load::Upstream;
use drainhook_tests::load::{Kind, Load, Mix, Target};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_request_is_answered_by_an_upstream_that_stays() {
    let upstream = Upstream::start("127.0.0.1:0".parse::<SocketAddr>().unwrap())
        .await
        .unwrap();
    let mix = Mix {
        idle: 1,
        endless_websocket: 1,
        ..Mix::standard()
    };
    let load = Load::start(Arc::new(upstream.address()), &Target::default(), mix);
    tokio::time::sleep(Duration::from_secs(9)).await;
    let record = load.stop().await;
    for k in Kind::CLIENTS {
        eprintln!(
            "{k} {}",
            record.client_requests().filter(|r| r.kind == k).count()
        );
    }
    eprintln!("{}", record.requests.len());
    assert_eq!(record.describe_failures(), Vec::<String>::new());
    for kind in Kind::CLIENTS {
        assert!(
            record.client_requests().any(|request| request.kind == kind),
            "no {kind}"
        );
    }
}
