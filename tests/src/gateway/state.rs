//! What can be told of a gateway's pod from the API.

use k8s_openapi::api::core::v1::{Container, Pod};

/// Whether a pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .filter_map(|status| status.conditions.as_ref());
    let mut ready = conditions
        .flatten()
        .filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "True")
}

/// Whether a pod has the drain: one sidecar, and a hook that asks it for the drain.
pub fn has_drain(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let all = || {
        let init = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(init)
    };
    let sidecars = all().filter(|container| container.name == "shutdown-manager");
    sidecars.count() == 1 && all().any(asks_for_the_drain)
}

fn asks_for_the_drain(container: &Container) -> bool {
    let hook = || container.lifecycle.as_ref()?.pre_stop.as_ref();
    let path = || hook()?.http_get.as_ref()?.path.as_deref();
    path().is_some_and(|path| path.starts_with("/shutdown"))
}
