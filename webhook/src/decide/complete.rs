//! An injection that is there already, met by the webhook: left as it is, but for what is missing.
//!
//! Something may be missing for three reasons: the command line, which injected it, writes no token;
//! another webhook added a container after ours had been called; or somebody removed a hook.

use serde_json::Value;

use super::{Case, Observer, Seen, beside, refuse, skip};
use crate::annotations::STATUS;
use crate::decision::{Action, DecideError, Decision, SkipReason};
use crate::draft::{Draft, pointer};
use crate::envoy::{self, Envoy};
use crate::existing::Existing;
use crate::hook::{self, HookForm};
use crate::message::fit;
use crate::pod::Container;
use crate::sidecar::{NAME, TOKEN_VARIABLE, variable};
use crate::status::Status;

pub(super) fn complete(
    mut case: Case<'_>,
    existing: &Existing<'_>,
    observe: Observer<'_>,
) -> Result<Decision, DecideError> {
    if !case.faults.is_empty() {
        return Ok(refuse(case, observe));
    }
    let (pod, metadata) = (case.pod, case.metadata);
    let findings = envoy::find(pod, metadata, case.settings);
    observe(Seen::Envoys(&findings.envoys));
    if !findings.faults.is_empty() {
        case.warnings
            .extend(findings.faults.into_iter().map(|fault| fault.message));
        return Ok(skip(SkipReason::AlreadyInjected, case.warnings));
    }
    let envoys = findings.envoys;
    let port = Some(existing.port);
    let waiting = beside::waiting(&mut case, pod, &envoys, port);
    if !case.faults.is_empty() {
        return Ok(refuse(case, observe));
    }
    let new_token = new_token(&case, existing, &envoys, &waiting);
    let form = HookForm {
        port: existing.port,
        host_network: pod.host_network,
        token: existing.token.clone().or_else(|| new_token.clone()),
    };
    let earlier = metadata.annotation(STATUS).and_then(Status::read);
    let status = earlier.clone().unwrap_or_else(Status::begin);
    let mut draft = Draft::of(case.request.pod, status);
    // A status that was begun anew after the injection knows of none of its hooks.
    let sidecar = pointer(&["spec", existing.container.list.key(), NAME]);
    let earlier = earlier.as_ref().filter(|status| status.notes(&sidecar));
    for envoy in &envoys {
        let name = (envoys.len() > 1).then_some(envoy.container.name);
        set_hook(
            &mut draft,
            earlier,
            envoy.container,
            form.shutdown(name),
            port,
        );
    }
    for container in waiting {
        set_hook(&mut draft, earlier, container, form.wait(), port);
    }
    if let Some(token) = new_token {
        let place = ["spec", existing.container.list.key(), NAME, "env"];
        draft.extend_own(&place, variable(TOKEN_VARIABLE, &token));
    }
    if draft.is_unchanged() {
        return Ok(skip(SkipReason::AlreadyInjected, case.warnings));
    }
    draft.update_status();
    let (patch, _) = draft.finish()?;
    Ok(Decision::Inject {
        action: Action::Completed,
        patch,
        warnings: fit(case.warnings),
    })
}

/// The token that the sidecar lacks. A hook of somebody else's may call the sidecar without one, be
/// it on an Envoy or on a container that gets no hook of ours, so then there is none.
fn new_token(
    case: &Case<'_>,
    existing: &Existing<'_>,
    envoys: &[Envoy<'_>],
    waiting: &[&Container<'_>],
) -> Option<String> {
    let ours = |hook: &Value| hook::is_ours(hook, Some(existing.port));
    let foreign = |container: &Container<'_>| {
        let is_it = |other: &Container<'_>| other.name == container.name;
        let Some(hook) = container.pre_stop else {
            return false;
        };
        if envoys.iter().any(|envoy| is_it(envoy.container)) {
            return !ours(hook);
        }
        // Those that wait are given the token with their hook; one that calls us of its own accord is not.
        !waiting.iter().any(|other| is_it(other)) && ours(hook)
    };
    if existing.token.is_some() || case.pod.running().any(foreign) {
        return None;
    }
    Some(case.request.token?.reveal().to_owned())
}

fn set_hook(
    draft: &mut Draft,
    earlier: Option<&Status>,
    container: &Container<'_>,
    ours: Value,
    port: Option<u16>,
) {
    let place = hook::place(container);
    match container.pre_stop {
        None => draft.set(&place, ours),
        // A wrong token or port would end the container at once: such a hook of ours is mended.
        Some(there) if hook::is_ours(there, port) && !hook::is_equivalent(there, &ours) => {
            // Where it asked the sidecar's port before there was a sidecar, it is an original.
            if earlier.is_some_and(|status| !status.notes(&pointer(&place))) {
                draft.set(&place, ours);
            } else {
                draft.replace_own(&place, ours);
            }
        }
        Some(_) => {}
    }
}
