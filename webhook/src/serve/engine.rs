//! The decisions behind `/mutate` and `/warn`: gathers what the pure core wants to know, and says
//! what it decided in the words of an admission review.

use std::sync::Arc;

use rustls::crypto::SecureRandom;
use serde_json::Value;

use super::{
    api::{Engine, EngineError, OptedIn},
    cluster::Cluster,
    defaults::DefaultsFile,
    review::{Answer, Kind, Review},
};
use crate::{
    Configuration, Decision, InstallationDefaults, NAMESPACE_LABEL, Namespace, Origin, Request,
    Token, UnknownKeys, decide, fit, warn,
};

/// Decides with the installation's defaults and what is known of the cluster.
#[derive(Debug)]
pub(super) struct Decider {
    pub(super) defaults: Option<Arc<DefaultsFile>>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) image_choice: bool,
    pub(super) unknown_keys: UnknownKeys,
    pub(super) random: &'static dyn SecureRandom,
}

/// Reviews that nobody should have sent here: the registration asks for other things. They are
/// allowed as they are.
const NOT_OURS: &str = "not-ours";

impl Engine for Decider {
    fn mutate(&self, review: &Review<'_>, opted_in: OptedIn) -> Result<Answer, EngineError> {
        let is_pod = review.kind.group.is_empty() && review.kind.kind == "Pod";
        let object = review
            .object
            .filter(|_| is_pod && review.operation == "CREATE");
        let Some(object) = object else {
            return Ok(Answer {
                reason: NOT_OURS,
                ..Answer::default()
            });
        };
        let pod: Value = serde_json::from_str(object.get()).map_err(EngineError::Unreadable)?;
        let token = self.token(review.dry_run)?;
        let (configuration, mut warnings) = self.configuration();
        let namespace = self.namespace(review, opted_in);
        let decision = decide(&Request {
            pod: &pod,
            namespace: namespace.as_deref(),
            configuration: &configuration,
            token: Some(&token),
            origin: Origin::Admission,
        })
        .map_err(|error| EngineError::Defect(error.to_string()))?;
        let reason = decision.reason();
        warnings.extend_from_slice(decision.warnings());
        let warnings = fit(warnings);
        Ok(match decision {
            Decision::Inject { patch, .. } => Answer {
                patch: Some(patch),
                warnings,
                reason,
                denial: None,
            },
            Decision::Skip { .. } => Answer {
                warnings,
                reason,
                ..Answer::default()
            },
            Decision::Reject { messages, .. } => Answer {
                denial: Some(messages.join("; ")),
                warnings,
                reason,
                patch: None,
            },
        })
    }

    fn warn(&self, review: &Review<'_>, opted_in: OptedIn) -> Result<Answer, EngineError> {
        let Some(object) = review.object.filter(|_| has_template(&review.kind)) else {
            return Ok(Answer {
                reason: NOT_OURS,
                ..Answer::default()
            });
        };
        let workload: Value =
            serde_json::from_str(object.get()).map_err(EngineError::Unreadable)?;
        let (configuration, mut warnings) = self.configuration();
        let namespace = self.namespace(review, opted_in);
        let about_pods = warn(&workload, namespace.as_deref(), &configuration);
        let reason = if about_pods.is_empty() {
            "nothing-to-say"
        } else {
            "warned"
        };
        warnings.extend(about_pods);
        Ok(Answer {
            warnings: fit(warnings),
            reason,
            ..Answer::default()
        })
    }
}

impl Decider {
    /// What the installation says, and what is to be said about that.
    fn configuration(&self) -> (Configuration, Vec<String>) {
        let mut configuration = Configuration {
            kubernetes: self.cluster.version(),
            image_choice: self.image_choice,
            unknown_keys: self.unknown_keys,
            ..Configuration::default()
        };
        let mut warnings = Vec::new();
        if let Some(file) = &self.defaults {
            let state = file.state();
            configuration.defaults = InstallationDefaults::clone(&state.defaults);
            if state.fault.is_some() {
                warnings.push(
                    "drainhook: the installation's defaults are faulty, the last good ones are \
                     used; the webhook's log tells what is wrong"
                        .to_owned(),
                );
            }
        }
        (configuration, warnings)
    }

    /// The namespace as far as it is known. Where the API server came by the namespace's entry, it has
    /// seen the label, which the watch here may not have brought yet.
    fn namespace(&self, review: &Review<'_>, opted_in: OptedIn) -> Option<Arc<Namespace>> {
        let known = self.cluster.namespace(&review.namespace);
        if opted_in == OptedIn::Object || known.as_ref().is_some_and(|known| known.opts_in()) {
            return known;
        }
        let mut namespace = match known {
            Some(known) => Namespace::clone(&known),
            None => Namespace {
                name: review.namespace.to_string(),
                ..Namespace::default()
            },
        };
        namespace
            .labels
            .insert(NAMESPACE_LABEL.to_owned(), "enabled".to_owned());
        Some(Arc::new(namespace))
    }

    fn token(&self, dry_run: bool) -> Result<Token, EngineError> {
        if dry_run {
            return Ok(Token::dry_run());
        }
        let mut bits = [0; 16];
        self.random
            .fill(&mut bits)
            .map_err(|_| EngineError::Defect("the system has no random bits".to_owned()))?;
        Ok(Token::from_random(u128::from_ne_bytes(bits)))
    }
}

/// Whether pods are made from it.
fn has_template(kind: &Kind<'_>) -> bool {
    matches!(
        (kind.group.as_ref(), kind.kind.as_ref()),
        (
            "apps",
            "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet"
        ) | ("batch", "Job" | "CronJob")
    )
}
