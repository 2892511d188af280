//! From a pod to a decision.
//!
//! The examination goes from the cheapest question to the dearest: does anybody ask, may it be
//! touched, is it done already, what is to be done, what stands against it. Faults are collected, so
//! that a person learns of all at once.

mod beside;
mod build;
mod complete;
mod tell;

use crate::annotations::PREFIX;
use crate::configuration::KubernetesVersion;
use crate::decision::{
    Action, DecideError, Decision, Fault, Origin, RejectReason, Request, SkipReason, Token,
};
use crate::draft;
use crate::envoy::Envoy;
use crate::existing::{self, Existing, Named};
use crate::foreign;
use crate::message::{distinct, fit, quoted};
use crate::pod::{List, Metadata, Pod};
use crate::settings::{self, PodAnnotations, Settings, Source};
use crate::status::Status;
use crate::uninject;

/// Decides about a pod.
///
/// # Errors
/// Only when the patch that was made is wrong: a fault of ours, and nothing that may be sent.
pub fn decide(request: &Request<'_>) -> Result<Decision, DecideError> {
    examine(request, None, &mut |_| {})
}

/// Through what a pod takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OptIn {
    Pod,
    Namespace,
}

/// Why the sidecar is a native one, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NativeBecause {
    Asked(Source),
    HasOthers,
    /// An earlier version of ours is one, and the pod runs.
    WasNative,
    Cluster(KubernetesVersion),
    ClusterUnknown,
}

/// What is seen on the way to a decision, for those who explain it.
pub(crate) enum Seen<'s> {
    OptedIn(OptIn),
    Settings(&'s Settings),
    Envoys(&'s [Envoy<'s>]),
    Native(bool, NativeBecause),
    Faults(&'s [Fault]),
    /// Warnings that ask for nothing.
    Notes(&'s [String]),
}

/// Tells what is seen to somebody who explains it.
type Observer<'o> = &'o mut dyn FnMut(Seen<'_>);

/// The list and the place in it where an earlier sidecar stood, so that an upgrade moves nothing.
type Place = (List, usize);

/// A pod that asks, with all that is known of it.
struct Case<'c> {
    request: &'c Request<'c>,
    pod: &'c Pod<'c>,
    metadata: &'c Metadata<'c>,
    opt_in: OptIn,
    settings: &'c Settings,
    faults: Vec<Fault>,
    warnings: Vec<String>,
    /// Those of the warnings that ask for nothing: what was done is what it should be.
    notes: Vec<String>,
    place: Option<Place>,
}

impl Case<'_> {
    fn fault(&mut self, reason: RejectReason, message: impl Into<String>) {
        self.faults.push(Fault::new(reason, message));
    }

    fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }

    fn note(&mut self, message: impl Into<String>) {
        let message = message.into();
        self.notes.push(message.clone());
        self.warnings.push(message);
    }
}

/// Examines a pod and tells the observer what is seen.
pub(crate) fn examine(
    request: &Request<'_>,
    place: Option<Place>,
    observe: Observer<'_>,
) -> Result<Decision, DecideError> {
    let metadata = match Metadata::read(request.pod) {
        Ok(metadata) => metadata,
        Err(faults) => return Ok(malformed(faults, observe)),
    };
    let ours = PodAnnotations::of(metadata.annotations());
    if metadata.is_static() {
        let said = "this is a static pod, which the kubelet has already started: left as it is";
        let asked = (!ours.is_empty()).then(|| said.to_owned());
        return Ok(skip(SkipReason::StaticPod, asked.into_iter().collect()));
    }
    let (faults, mut warnings) = ours.faults(request.configuration.unknown_keys);
    let opt_in = match opt_in(request, &ours) {
        Ok(opt_in) => opt_in,
        Err(reason) => return Ok(not_taking_part(reason, &ours, faults, warnings, observe)),
    };
    observe(Seen::OptedIn(opt_in));
    let pod = match Pod::read(request.pod) {
        Ok(pod) => pod,
        // The pod did not ask: if it is no pod at all, the API server says so.
        Err(faults) if opt_in == OptIn::Namespace => return Ok(skip(SkipReason::Unfit, faults)),
        Err(faults) => return Ok(malformed(faults, observe)),
    };
    if let Some((reason, said)) = hands_off(&pod) {
        warnings.insert(0, said);
        warnings.extend(faults.into_iter().map(|fault| fault.message));
        return Ok(skip(reason, warnings));
    }
    let resolution = settings::resolve(&ours, request.namespace, request.configuration);
    observe(Seen::Settings(&resolution.settings));
    warnings.extend(resolution.warnings);
    let mut case = Case {
        request,
        pod: &pod,
        metadata: &metadata,
        opt_in,
        settings: &resolution.settings,
        faults: [faults, resolution.faults].concat(),
        warnings,
        notes: Vec::new(),
        place,
    };
    match existing::find(&pod) {
        None => build::build(case, observe),
        Some(Named::Other(container)) => {
            case.fault(
                RejectReason::NameTaken,
                format!(
                    "container {} has the name of drainhook's sidecar and is not it: rename it",
                    quoted(container.name)
                ),
            );
            build::build(case, observe)
        }
        Some(Named::Ours(existing)) if existing.is_hand_written() => {
            case.note("the sidecar was written by hand, with flags of its own: left as it is");
            observe(Seen::Notes(&case.notes));
            Ok(skip(SkipReason::AlreadyInjected, case.warnings))
        }
        Some(Named::Ours(existing)) => match request.origin {
            Origin::Admission => complete::complete(case, &existing, observe),
            Origin::Manifest => upgrade(request, &existing, observe),
        },
    }
}

/// Who asked, or why nobody did.
fn opt_in(request: &Request<'_>, ours: &PodAnnotations<'_>) -> Result<OptIn, SkipReason> {
    match ours.inject() {
        Some(true) => Ok(OptIn::Pod),
        Some(false) => Err(SkipReason::OptedOut),
        None if request
            .namespace
            .is_some_and(|namespace| namespace.opts_in()) =>
        {
            Ok(OptIn::Namespace)
        }
        None => Err(SkipReason::NotOptedIn),
    }
}

/// A pod that said no is never refused. One that says nothing, but has keys of ours that are wrong,
/// is: one of them may have been meant to say yes.
fn not_taking_part(
    reason: SkipReason,
    ours: &PodAnnotations<'_>,
    faults: Vec<Fault>,
    mut warnings: Vec<String>,
    observe: Observer<'_>,
) -> Decision {
    if reason == SkipReason::OptedOut {
        warnings.extend(faults.into_iter().map(|fault| fault.message));
        return skip(reason, warnings);
    }
    if !faults.is_empty() {
        return reject(&faults, warnings, observe);
    }
    if !ours.is_empty() {
        warnings.push(format!(
            "the pod has annotations of drainhook, but neither {PREFIX}inject: \"true\" nor a \
             namespace that takes part: left as it is"
        ));
    }
    skip(reason, warnings)
}

/// What is never touched, whatever it asks for.
fn hands_off(pod: &Pod<'_>) -> Option<(SkipReason, String)> {
    if pod.windows {
        let said = "this is a Windows pod, for which there is no sidecar: left as it is";
        return Some((SkipReason::Windows, said.into()));
    }
    pod.running().find_map(|container| {
        let foreign = foreign::of_container(container).filter(|found| found.is_manager())?;
        let said = format!(
            "container {} is {}'s own shutdown manager: left as it is",
            quoted(container.name),
            foreign.product()
        );
        Some((SkipReason::ForeignManager, said))
    })
}

/// Brings an earlier injection to this version and these settings: takes it back and does it anew,
/// and gives what is different then.
fn upgrade(
    request: &Request<'_>,
    existing: &Existing<'_>,
    observe: Observer<'_>,
) -> Result<Decision, DecideError> {
    let Ok(Some(removal)) = uninject::take_back(request.pod) else {
        // What was found can be taken back; if not, it is left alone.
        return Ok(skip(SkipReason::AlreadyInjected, Vec::new()));
    };
    let kept = existing.token.as_deref().map(Token::kept);
    let token = kept.as_ref().or(request.token);
    let bare = Request {
        pod: &removal.pod,
        token,
        ..*request
    };
    let place = (existing.container.list, existing.container.index);
    let (patch, warnings) = match examine(&bare, Some(place), observe)? {
        Decision::Inject {
            patch, warnings, ..
        } => (patch, [removal.warnings, warnings].concat()),
        other => return Ok(other),
    };
    let mut target = removal.pod.clone();
    json_patch::patch(&mut target, &patch)
        .map_err(|fault| DecideError::DoesNotApply(fault.to_string()))?;
    // How the manifest was written is nothing that an upgrade changes.
    if let (Some(earlier), Some(mut status)) = (Status::of(request.pod), Status::of(&target)) {
        status.source = earlier.source;
        status.write_to(&mut target);
    }
    if target == *request.pod {
        return Ok(skip(SkipReason::AlreadyInjected, warnings));
    }
    let patch = json_patch::diff(request.pod, &target);
    draft::verify(request.pod, &patch, &target)?;
    Ok(Decision::Inject {
        action: Action::Upgraded,
        patch,
        warnings: fit(warnings),
    })
}

fn skip(reason: SkipReason, warnings: Vec<String>) -> Decision {
    Decision::Skip {
        reason,
        warnings: fit(warnings),
    }
}

fn malformed(faults: Vec<String>, observe: Observer<'_>) -> Decision {
    let faults: Vec<Fault> = faults
        .into_iter()
        .map(|fault| Fault::new(RejectReason::Malformed, fault))
        .collect();
    reject(&faults, Vec::new(), observe)
}

fn reject(faults: &[Fault], warnings: Vec<String>, observe: Observer<'_>) -> Decision {
    observe(Seen::Faults(faults));
    let reason = faults
        .iter()
        .map(|fault| fault.reason)
        .min()
        .unwrap_or(RejectReason::Malformed);
    Decision::Reject {
        reason,
        messages: distinct(faults.iter().map(|fault| &fault.message)),
        warnings: fit(warnings),
    }
}

/// What stands against the injection: the pod is refused for what it says itself. Where only its
/// namespace asked, what it is made of is no fault: it is left as it is.
fn refuse(case: Case<'_>, observe: Observer<'_>) -> Decision {
    let Case {
        faults,
        mut warnings,
        opt_in,
        ..
    } = case;
    let own_words = |fault: &Fault| {
        use RejectReason::{
            BadValue, Contradiction, ImageNotAllowed, ModeNotSupported, UnknownAnnotation,
            UnknownContainer,
        };
        matches!(
            fault.reason,
            UnknownAnnotation
                | BadValue
                | Contradiction
                | ImageNotAllowed
                | ModeNotSupported
                | UnknownContainer
        )
    };
    if opt_in == OptIn::Pod || faults.iter().any(own_words) {
        return reject(&faults, warnings, observe);
    }
    observe(Seen::Faults(&faults));
    let has = |reason: RejectReason| faults.iter().any(|fault| fault.reason == reason);
    if has(RejectReason::NoEnvoy) {
        // Most pods of a namespace that takes part have no Envoy: nothing to speak of.
        return skip(SkipReason::NoEnvoy, warnings);
    }
    let reason = if has(RejectReason::SeveralEnvoys) {
        SkipReason::SeveralEnvoys
    } else {
        SkipReason::Unfit
    };
    warnings.extend(faults.into_iter().map(|fault| fault.message));
    skip(reason, warnings)
}
