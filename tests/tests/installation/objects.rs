//! All that a cluster's API holds, by name: what an installation leaves behind is the difference.

use std::collections::BTreeSet;

use crate::stage::Stage;

/// What comes and goes by itself: reports, heartbeats, and what controllers keep of what was.
const RESTLESS: [&str; 5] = [
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "componentstatuses",
    "ipaddresses.networking.k8s.io",
];

/// Every object of the cluster, as `kind/name` or `kind/name in namespace`.
pub(crate) fn all(stage: &Stage) -> BTreeSet<String> {
    let kinds = stage.kubectl("api-resources --verbs=list --output=name");
    let kinds: Vec<_> = kinds
        .lines()
        .filter(|kind| !RESTLESS.contains(kind))
        .collect();
    let listed = stage.kubectl(&format!(
        "get {} --all-namespaces --ignore-not-found --no-headers \
         --output=custom-columns=:.kind,:.metadata.name,:.metadata.namespace",
        kinds.join(",")
    ));
    let object = |line: &str| {
        let mut words = line.split_whitespace();
        let (kind, name) = (words.next()?, words.next()?);
        match words.next() {
            Some("<none>") | None => Some(format!("{kind}/{name}")),
            Some(namespace) => Some(format!("{kind}/{name} in {namespace}")),
        }
    };
    listed.lines().filter_map(object).collect()
}
