use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

fn connections(most: u64) -> Arc<Connections> {
    Connections::new(most, Patience::default(), Metrics::new())
}

fn is_told_to_close(seat: &Seat) -> bool {
    seat.watch.end.lock().unwrap().is_some()
}

#[test]
fn a_peer_over_its_share_loses_its_oldest_connection_that_never_asked_anything() {
    let connections = connections(8);
    let useful = connections.seat(PEER).unwrap();
    useful.watch.enter(Phase::Idle);
    useful.watch.answered();
    let first = connections.seat(PEER).unwrap();
    first.watch.enter(Phase::Idle);
    std::thread::sleep(Duration::from_millis(2));
    let second = connections.seat(PEER).unwrap();
    let third = connections.seat(PEER).unwrap();
    assert!(
        ![&useful, &first, &second, &third]
            .into_iter()
            .any(is_told_to_close)
    );

    let newest = connections.seat(PEER).unwrap();
    assert!(is_told_to_close(&first));
    assert!(
        ![&useful, &second, &third, &newest]
            .into_iter()
            .any(is_told_to_close)
    );
}

#[test]
fn nobody_else_pays_for_a_greedy_peer() {
    let connections = connections(64);
    let honest = connections.seat(OTHER).unwrap();
    let greedy: Vec<_> = (0..500).filter_map(|_| connections.seat(PEER)).collect();
    let open = greedy.iter().filter(|seat| !is_told_to_close(seat)).count();
    assert!(open <= 32, "{open}");
    assert!(!is_told_to_close(&honest));
    assert!(connections.seat(OTHER).is_some());
}

#[test]
fn a_connection_with_a_request_under_way_is_not_displaced() {
    let connections = connections(4);
    let busy: Vec<_> = (0..2).map(|_| connections.seat(PEER).unwrap()).collect();
    for seat in &busy {
        seat.watch.enter(Phase::Idle);
        seat.watch.heard();
    }
    assert!(connections.seat(PEER).is_none());
    assert!(!busy.iter().any(is_told_to_close));
}

#[test]
fn what_takes_too_long_is_ended_and_what_does_not_is_left() {
    let patience = Patience {
        handshake: Duration::ZERO,
        request: Duration::from_secs(60),
        idle: Duration::from_secs(60),
    };
    let connections = Connections::new(16, patience, Metrics::new());
    let silent = connections.seat(PEER).unwrap();
    let idle = connections.seat(PEER).unwrap();
    idle.watch.enter(Phase::Idle);
    std::thread::sleep(Duration::from_millis(5));
    connections.sweep();
    assert!(is_told_to_close(&silent));
    assert!(!is_told_to_close(&idle));
}

#[test]
fn an_address_mapped_into_ipv6_is_the_same_peer() {
    let connections = connections(4);
    let mapped = IpAddr::V6(std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
    let first = connections.seat(PEER).unwrap();
    let second = connections.seat(mapped).unwrap();
    let _third = connections.seat(PEER).unwrap();
    assert!(is_told_to_close(&first) || is_told_to_close(&second));
}

#[test]
fn a_seat_that_is_dropped_leaves_nothing() {
    let connections = connections(4);
    drop(connections.seat(PEER));
    assert_eq!(connections.count(), 0);
    assert_eq!(connections.shares.held(), 0);
}
