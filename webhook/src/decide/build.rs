//! A first injection: everything that is added and changed.

use serde_json::{Value, json};

use super::{Case, NativeBecause, Observer, Seen, beside, refuse, skip, tell};
use crate::annotations::Key;
use crate::configuration::KubernetesVersion;
use crate::decision::{Action, DecideError, Decision, Origin, RejectReason, SkipReason};
use crate::draft::{Draft, Position};
use crate::envoy::{self, Envoy};
use crate::hook::{self, HookForm};
use crate::message::{fit, quoted};
use crate::pod::{Container, DEFAULT_GRACE, List, Pod};
use crate::settings::{Settings, Source};
use crate::sidecar::{self, Blueprint, Identity};
use crate::status::Status;
use crate::value::{LOWEST_PORT, Mode, PreStop};

/// Everything that is to be done.
struct Plan<'p> {
    /// Containers with their new hooks.
    hooks: Vec<(&'p Container<'p>, Value)>,
    sidecar: Value,
    list: List,
    position: Position,
}

pub(super) fn build(mut case: Case<'_>, observe: Observer<'_>) -> Result<Decision, DecideError> {
    let (pod, settings) = (case.pod, case.settings);
    let findings = envoy::find(pod, case.metadata, settings);
    observe(Seen::Envoys(&findings.envoys));
    case.faults.extend(findings.faults);
    case.warnings.extend(findings.warnings);
    let envoys = findings.envoys;
    let (native, because) = native(&mut case);
    observe(Seen::Native(native, because));
    let plan = plan(&mut case, &envoys, native);
    observe(Seen::Notes(&case.notes));
    let Some(plan) = plan.filter(|_| case.faults.is_empty()) else {
        return Ok(refuse(case, observe));
    };
    if pod.is_meant_to_end() && !native {
        let said = format!(
            "the pod is meant to end, and a sidecar that is not native would keep it alive: left as \
             it is; {}",
            way_to_native(&case)
        );
        case.warn(said);
        return Ok(skip(SkipReason::MeantToEnd, case.warnings));
    }
    tell::tell(&mut case, &envoys);
    observe(Seen::Notes(&case.notes));
    let mut draft = Draft::of(case.request.pod, Status::begin());
    for (container, hook) in plan.hooks {
        draft.set(&hook::place(container), hook);
    }
    raise_grace(&mut draft, pod, settings.grace_period());
    add_pull_secrets(&mut draft, pod, settings);
    draft.insert(&["spec", plan.list.key()], plan.sidecar, plan.position);
    draft.write_status();
    let (patch, _) = draft.finish()?;
    Ok(Decision::Inject {
        action: Action::Injected,
        patch,
        warnings: fit(case.warnings),
    })
}

/// Whether the sidecar is a native one.
fn native(case: &mut Case<'_>) -> (bool, NativeBecause) {
    let Settings { mode, .. } = case.settings;
    let cluster = case.request.configuration.kubernetes;
    let has_others = case.pod.containers.iter().any(Container::is_native_sidecar);
    let too_old = cluster
        .filter(|version| *version < KubernetesVersion::FIRST_WITH_NATIVE_SIDECARS && !has_others);
    match (mode.value, too_old) {
        (Mode::Native, Some(version)) => {
            let said = format!(
                "{}: \"native\" needs Kubernetes {}, and this cluster is {version}",
                Key::Mode.full(),
                KubernetesVersion::FIRST_WITH_NATIVE_SIDECARS
            );
            if mode.source == Source::Pod {
                let without = match case.pod.is_meant_to_end() {
                    true => "; without it, a pod that is meant to end gets no drain",
                    false => "; without it, the sidecar is a regular container",
                };
                case.fault(RejectReason::ModeNotSupported, said + without);
            } else {
                case.warn(said + "; passed over");
            }
            (false, NativeBecause::Cluster(version))
        }
        (Mode::Native, None) => (true, NativeBecause::Asked(mode.source)),
        (Mode::Container, _) => (false, NativeBecause::Asked(mode.source)),
        (Mode::Auto, _) if has_others => (true, NativeBecause::HasOthers),
        (Mode::Auto, _) => match cluster {
            Some(version) => (
                version >= KubernetesVersion::NATIVE_SIDECARS_EVERYWHERE,
                NativeBecause::Cluster(version),
            ),
            None if matches!(case.place, Some((List::Init, _))) => (true, NativeBecause::WasNative),
            None => (false, NativeBecause::ClusterUnknown),
        },
    }
}

/// How a pod that is meant to end comes by the only kind of sidecar that ends with it.
fn way_to_native(case: &Case<'_>) -> String {
    let first = KubernetesVersion::FIRST_WITH_NATIVE_SIDECARS;
    let write = format!(
        "write {}: \"native\" if every kubelet is {first} or later",
        Key::Mode.full()
    );
    match case.request.configuration.kubernetes {
        Some(version) if version < first => {
            format!("native sidecars need Kubernetes {first}, and this cluster is {version}")
        }
        Some(_) => write,
        // A mode that was chosen holds for every version.
        None if case.request.origin == Origin::Manifest
            && case.settings.mode.value == Mode::Auto =>
        {
            format!("{write}, or say which Kubernetes it is for, --kubernetes-version 1.32")
        }
        None => write,
    }
}

/// Everything that is to be done; `None` where faults stand against it.
fn plan<'c>(case: &mut Case<'c>, envoys: &[Envoy<'c>], native: bool) -> Option<Plan<'c>> {
    let (pod, settings) = (case.pod, case.settings);
    let port = settings.port.value;
    if let Some(owner) = sidecar::port_owner(pod, envoys, port) {
        case.fault(
            RejectReason::PortTaken,
            format!(
                "port {port} of the sidecar is taken, {owner}: choose another, {}: \"{}\"",
                Key::Port.full(),
                free_port(pod, envoys, port)
            ),
        );
    }
    let own_hooks = envoy_hooks(case, envoys);
    let waiting = beside::waiting(case, pod, envoys, Some(port));
    let mounts = sidecar::socket_mounts(envoys)
        .map_err(|faults| case.faults.extend(faults))
        .ok();
    let identity = sidecar::identity(pod, envoys, settings, case.request.namespace)
        .map_err(|fault| case.faults.push(fault))
        .ok();
    let (mounts, identity) = (mounts?, identity?);
    tell_root(case, &identity);
    // A hook that somebody else wrote has no token to show.
    let token = case
        .request
        .token
        .filter(|_| own_hooks.len() == envoys.len());
    let form = HookForm {
        port,
        host_network: pod.host_network,
        token: token.map(|token| token.reveal().to_owned()),
    };
    let mut hooks = Vec::with_capacity(own_hooks.len() + waiting.len());
    for container in own_hooks {
        let name = (envoys.len() > 1).then_some(container.name);
        hooks.push((container, form.shutdown(name)));
    }
    hooks.extend(
        waiting
            .into_iter()
            .map(|container| (container, form.wait())),
    );
    let (list, position) = sidecar::home(envoys, native);
    let position = match case.place {
        Some((earlier, index)) if earlier == list => Position::At(index),
        _ => position,
    };
    let blueprint = Blueprint {
        pod,
        envoys,
        settings,
        identity,
        mounts,
        hooks: &form,
        native,
    };
    Some(Plan {
        sidecar: blueprint.container(),
        hooks,
        list,
        position,
    })
}

/// The Envoys that get our hook; what becomes of hooks that are there is said.
fn envoy_hooks<'c>(case: &mut Case<'_>, envoys: &[Envoy<'c>]) -> Vec<&'c Container<'c>> {
    let key = Key::PreStop.full();
    let port = case.settings.port.value;
    let mut ours = Vec::with_capacity(envoys.len());
    for container in envoys.iter().map(|envoy| envoy.container) {
        // One that asks the sidecar already is as good as ours.
        let asks_us = container
            .pre_stop
            .is_some_and(|hook| hook::is_ours(hook, Some(port)));
        let Some(kind) = container.pre_stop_kind().filter(|_| !asks_us) else {
            ours.push(container);
            continue;
        };
        let name = quoted(container.name);
        match case.settings.pre_stop.value {
            PreStop::Reject => case.fault(
                RejectReason::PreStopHook,
                format!(
                    "Envoy {name} has a preStop hook of its own ({kind}): write {key}: \"replace\" \
                     to have drainhook's in its place, or \"keep\" if it calls /shutdown itself"
                ),
            ),
            PreStop::Keep => case.note(format!(
                "Envoy {name} keeps its own preStop hook ({kind}): it must call \
                 http://127.0.0.1:{}/shutdown and wait for the answer",
                case.settings.port.value
            )),
            PreStop::Replace => {
                case.note(format!(
                    "the preStop hook ({kind}) of Envoy {name} gives way to ours"
                ));
                ours.push(container);
            }
        }
    }
    ours
}

fn tell_root(case: &mut Case<'_>, identity: &Identity) {
    if identity.is_root() {
        case.warn(
            "the sidecar runs as root, as Envoy does: Pod Security \"restricted\" is not met; run \
             Envoy as another user",
        );
    }
}

/// The next port that nobody in the pod has.
fn free_port(pod: &Pod<'_>, envoys: &[Envoy<'_>], taken: u16) -> u16 {
    let after = (taken..u16::MAX).skip(1);
    let mut candidates = after.chain(LOWEST_PORT..taken);
    candidates
        .find(|port| sidecar::port_owner(pod, envoys, *port).is_none())
        .unwrap_or(taken)
}

/// Raises the pod's grace period, and gives its old one to the probes that kill: a container that
/// hangs must not stay for as long as a drain may take.
fn raise_grace(draft: &mut Draft, pod: &Pod<'_>, needed: i64) {
    let old = pod.grace.unwrap_or(DEFAULT_GRACE);
    if old >= needed {
        return;
    }
    draft.set_plain(&["spec", GRACE], json!(needed));
    for container in pod.running() {
        let probes = container
            .probes
            .iter()
            .filter(|probe| probe.kind.kills() && !probe.has_grace);
        for probe in probes {
            let place = [
                "spec",
                container.list.key(),
                container.name,
                probe.kind.key(),
                GRACE,
            ];
            // A probe's own must be at least a second.
            draft.set_plain(&place, json!(old.max(1)));
        }
    }
}

const GRACE: &str = "terminationGracePeriodSeconds";

fn add_pull_secrets(draft: &mut Draft, pod: &Pod<'_>, settings: &Settings) {
    let Some(secrets) = &settings.image_pull_secrets else {
        return;
    };
    for name in secrets
        .value
        .iter()
        .filter(|name| !pod.pull_secrets.contains(&name.as_str()))
    {
        draft.insert(
            &["spec", "imagePullSecrets"],
            json!({"name": name}),
            Position::Last,
        );
    }
}
