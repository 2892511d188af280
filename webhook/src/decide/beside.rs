//! The containers beside Envoy that must outlive the drain, because Envoy sends to them.

use super::Case;
use crate::annotations::Key;
use crate::decision::RejectReason;
use crate::envoy::Envoy;
use crate::message::{list, quoted};
use crate::pod::{Container, List, Pod};
use crate::settings::Source;
use crate::sidecar::NAME;
use crate::value::WaitContainers;

/// The containers that shall wait for the drain, and have no other hook.
pub(super) fn waiting<'p>(
    case: &mut Case<'_>,
    pod: &'p Pod<'p>,
    envoys: &[Envoy<'_>],
    sidecar_port: Option<u16>,
) -> Vec<&'p Container<'p>> {
    let chosen = match &case.settings.wait_containers.value {
        WaitContainers::None => return Vec::new(),
        // Native sidecars get their SIGTERM after all of these ended: they need no hook.
        WaitContainers::All => pod
            .containers
            .iter()
            .filter(|container| container.list == List::Main && !is_other(container, envoys))
            .collect(),
        WaitContainers::Named(names) => named(case, pod, envoys, names),
    };
    let ours = |container: &Container<'_>| {
        let hook = container.pre_stop;
        hook.is_none_or(|hook| crate::hook::is_ours(hook, sidecar_port))
    };
    let (waiting, kept): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|one| ours(one));
    if !kept.is_empty() {
        let names: Vec<&str> = kept.iter().map(|container| container.name).collect();
        case.warn(format!(
            "preStop hooks are kept as they are: {} may end before Envoy has drained",
            list(&names)
        ));
    }
    waiting
}

fn is_other(container: &Container<'_>, envoys: &[Envoy<'_>]) -> bool {
    container.name == NAME
        || envoys
            .iter()
            .any(|envoy| envoy.container.name == container.name)
}

fn named<'p>(
    case: &mut Case<'_>,
    pod: &'p Pod<'p>,
    envoys: &[Envoy<'_>],
    names: &[String],
) -> Vec<&'p Container<'p>> {
    let key = Key::WaitContainers.full();
    let mut chosen = Vec::new();
    for name in names {
        let fault = match pod.container(name) {
            None => "is not a container of this pod",
            Some(container) if !container.is_running() => {
                "is an init container that ends before the pod serves"
            }
            Some(container) if is_other(container, envoys) => "drains, and cannot wait for itself",
            Some(container) => {
                chosen.push(container);
                continue;
            }
        };
        // What a namespace or the installation names is for the pods that have it.
        if case.settings.wait_containers.source == Source::Pod {
            let said = format!("{key}: {} {fault}", quoted(name));
            case.fault(RejectReason::UnknownContainer, said);
        }
    }
    chosen
}
