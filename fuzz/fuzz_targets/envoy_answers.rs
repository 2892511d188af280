//! What Envoy's admin interface, or whoever sits on its port, answers to the sidecar.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use shutdown_manager::admin::ServerInfo;
use shutdown_manager::listeners::{Listener, ListenerRef, Rules};
use shutdown_manager::reading::Layout;
use shutdown_manager::stats::{read_counters, read_gauges, read_prefixes};

/// The first byte says in what pieces the answer comes, which must not matter.
fn alike<T: PartialEq + Debug>(input: &[u8], read: impl Fn(&[&[u8]]) -> T) -> T {
    let (size, body) = input.split_first().map_or((1, input), |(first, rest)| {
        (usize::from(*first).max(1), rest)
    });
    let whole = read(&[body]);
    let pieces: Vec<&[u8]> = body.chunks(size).collect();
    assert_eq!(whole, read(&pieces));
    whole
}

fuzz_target!(|input: &[u8]| {
    let _ = alike(input, |pieces| ServerInfo::read(pieces.iter().copied()));
    let gauges = alike(input, |pieces| read_gauges(pieces.iter().copied()));
    let counters = alike(input, |pieces| read_counters(pieces.iter().copied()));
    let prefixes = alike(input, |pieces| read_prefixes(pieces.iter().copied()));
    let listeners = alike(input, |pieces| {
        Listener::read_config_dump(pieces.iter().copied())
    });

    let exclude = vec![ListenerRef::new("8443"), ListenerRef::new("a")];
    let mut layout = Layout::new(Rules::new(exclude, vec![ListenerRef::new("b")]));
    layout.rules.learn(listeners.unwrap_or_default());
    layout.learn(prefixes.unwrap_or_default());
    if let Ok(gauges) = gauges {
        let open = layout.open(&gauges);
        let rows = layout.breakdown(&gauges);
        // What is open is open somewhere.
        assert!(
            open.connections == 0 || !rows.listeners.is_empty(),
            "{open:?}"
        );
        assert!(open.requests == 0 || !rows.http.is_empty(), "{open:?}");
    }
    if let Ok(counters) = counters {
        let _ = layout.arrived(&counters);
    }
});
