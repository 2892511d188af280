//! A first injection: everything that is added and changed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Case, NativeBecause, Observer, Seen, beside, refuse, skip};
use crate::annotations::Key;
use crate::configuration::KubernetesVersion;
use crate::decision::{Action, DecideError, Decision, RejectReason, SkipReason};
use crate::draft::{Draft, Position};
use crate::envoy::{self, Envoy};
use crate::foreign;
use crate::hook::{self, HookForm};
use crate::message::{fit, quoted};
use crate::pod::{Container, DEFAULT_GRACE, List, Pod};
use crate::settings::{Settings, Source, Sourced};
use crate::sidecar::{self, Blueprint, Identity};
use crate::status::Status;
use crate::value::{DrainListeners, LOWEST_PORT, Mode, PreStop, WaitFor, duration_text};

/// Envoy's own `--drain-time-s` where its command line has none.
const USUAL_DRAIN_TIME: u64 = 600;

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
        case.warn(
            "the pod is meant to end, and a sidecar that is not native would keep it alive: left \
             as it is; native sidecars need Kubernetes 1.29",
        );
        return Ok(skip(SkipReason::MeantToEnd, case.warnings));
    }
    tell(&mut case, &envoys);
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
                case.fault(RejectReason::ModeNotSupported, said);
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

/// Tells what a person should know about an injection that goes ahead.
fn tell(case: &mut Case<'_>, envoys: &[Envoy<'_>]) {
    let (pod, settings) = (case.pod, case.settings);
    let needed = settings.grace_period();
    if let Some(old) = pod.grace.filter(|old| *old < needed) {
        case.note(format!(
            "terminationGracePeriodSeconds is raised from {old} to {needed}: drain-timeout {} and \
             5 s; set drainhook.io/drain-timeout for less",
            duration_text(settings.drain_timeout.value)
        ));
    }
    let on_host = |container: &Container<'_>| container.ports.iter().any(|port| port.on_host);
    let exposed = pod.host_network || envoys.iter().any(|envoy| on_host(envoy.container));
    if exposed && settings.min_drain.source == Source::BuiltIn {
        case.warn(format!(
            "Envoy is reached through the node: behind a cloud load balancer set {} to its \
             deregistration time, {} may be too short",
            Key::MinDrain.full(),
            duration_text(settings.min_drain.value)
        ));
    }
    tell_of_settings(case);
    tell_of_meshes(case);
    for envoy in envoys {
        let drain_time = envoy.arguments.drain_time.unwrap_or(USUAL_DRAIN_TIME);
        let told = settings.drain_listeners.value == DrainListeners::Always;
        if told && Duration::from_secs(drain_time) < settings.drain_timeout.value {
            case.warn(format!(
                "Envoy {} closes websockets in the last third of its --drain-time-s {drain_time}, \
                 which is shorter than drain-timeout: make it longer",
                quoted(envoy.container.name)
            ));
        }
    }
}

/// Settings that do less than whoever wrote them may think.
fn tell_of_settings(case: &mut Case<'_>) {
    let settings = case.settings;
    let in_vain = settings.in_vain();
    if !in_vain.is_empty() {
        let has = if in_vain.len() == 1 { "has" } else { "have" };
        case.warn(format!(
            "{} {has} no effect with {}: \"{}\"",
            in_vain.join(", "),
            Key::WaitFor.full(),
            settings.wait_for.value.as_str()
        ));
    }
    let bound = settings.drain_timeout.value;
    let longer = |wanted: &&Sourced<Duration>| wanted.value > bound && wanted.source == Source::Pod;
    let quiet = settings.wait_for.value == WaitFor::Quiet;
    if let Some(wanted) = settings.upgrade_timeout.as_ref().filter(longer)
        && quiet
    {
        case.warn(format!(
            "{} {} is longer than drain-timeout {}, which ends the drain before: make drain-timeout \
             longer",
            Key::UpgradeTimeout.full(),
            duration_text(wanted.value),
            duration_text(bound)
        ));
    }
}

/// A mesh's proxy takes over the pod's ports; the kubelet's calls must pass it by.
fn tell_of_meshes(case: &mut Case<'_>) {
    let port = case.settings.port.value;
    if case.pod.host_network {
        return;
    }
    for container in case.pod.running() {
        let Some(foreign) = foreign::of_container(container) else {
            continue;
        };
        let Some(key) = foreign.pass_annotation() else {
            continue;
        };
        let listed = case.metadata.annotation(key).unwrap_or_default();
        if names_port(listed, port) {
            continue;
        }
        let way_out = if listed.trim().is_empty() {
            format!("{key}: \"{port}\"")
        } else {
            format!("add {port} to {key}")
        };
        case.warn(format!(
            "{}'s proxy {} is not ours and drains by itself; let the kubelet reach the sidecar \
             past it: {way_out}",
            foreign.product(),
            quoted(container.name),
        ));
    }
}

/// Whether a list of ports and ranges of ports, as `25,8000-8090`, has this one.
fn names_port(listed: &str, port: u16) -> bool {
    listed.split(',').any(|item| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let number = |text: &str| text.trim().parse::<u16>().ok();
        number(first).is_some_and(|first| first <= port)
            && number(last).is_some_and(|last| port <= last)
    })
}

fn tell_root(case: &mut Case<'_>, identity: &Identity) {
    if identity.is_root() {
        case.warn(
            "the sidecar runs as root, as Envoy does: Pod Security \"restricted\" is not met; run \
             Envoy as another user",
        );
    }
}
