//! `drainhook check --cluster`: the pods of a cluster that take part and have no working drain.
//!
//! A webhook that was down, a hook that shows a wrong token, a sidecar that does not start: nobody
//! notices any of these before the next rollout. What is listed here is read, never changed.

mod access;
mod image;
mod judge;
mod mend;
mod read;
mod report;

use serde::Serialize;
use serde_json::Value;

pub(super) use access::{AccessArgs, in_full};

use super::completions::print;
use super::exit::{Exit, Failure};
use crate::Configuration;
use judge::{Again, Conditions, State, Verdict};
use mend::{Owner, Patient};
use read::Maker;

/// How the pods are looked at and shown.
#[derive(Clone, Debug)]
pub(super) struct Survey<'a> {
    /// Which cluster.
    pub(super) access: &'a AccessArgs,
    /// How the installation is; of the Kubernetes version, what the cluster says where nothing was.
    pub(super) configuration: Configuration,
    /// Only this namespace.
    pub(super) namespace: Option<&'a str>,
    /// For programs.
    pub(super) json: bool,
    /// What is only to know is a fault too.
    pub(super) strict: bool,
    /// With colours.
    pub(super) colour: bool,
}

/// A pod that takes part, and what is to be said of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    namespace: String,
    name: String,
    #[serde(flatten)]
    verdict: Verdict,
    /// What made it, where that is known.
    owner: Option<Owner>,
    /// The command that makes it anew, with its drain, where there is one.
    mend: Option<String>,
    /// The commands that say why its sidecar does not run, where it does not.
    look: Vec<String>,
}

/// What all pods come to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// Pods that are there and not about to go.
    pods: usize,
    taking_part: usize,
    without_drain: usize,
    to_know: usize,
    /// Of which nothing could be said.
    not_judged: usize,
}

impl Survey<'_> {
    /// Asks the cluster, and says what was found.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used, or the cluster does not answer what is needed.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Software, format!("start a runtime: {error}")))?;
        let (findings, summary, remarks) = runtime.block_on(self.look())?;
        for remark in &remarks {
            eprintln!("drainhook: {remark}");
        }
        let text = if self.json {
            let commands = mend::commands(&findings);
            let json = serde_json::json!({
                "pods": findings, "mend": commands, "summary": summary, "remarks": remarks,
            });
            format!("{json:#}\n")
        } else {
            report::text(&findings, summary, self.colour)
        };
        print(text.as_bytes())?;
        let unsound = summary.without_drain + summary.not_judged > 0;
        let failed = unsound || (self.strict && summary.to_know > 0);
        Ok(if failed { Exit::Refused } else { Exit::Done })
    }

    async fn look(&self) -> Result<(Vec<Finding>, Summary, Vec<String>), Failure> {
        let client = self.access.client().await?;
        let mut cluster = read::Cluster::read(client, self.namespace).await;
        let configuration = Configuration {
            kubernetes: self.configuration.kubernetes.or(cluster.version),
            ..self.configuration.clone()
        };
        let mut summary = Summary::default();
        let mut symptoms = Vec::new();
        // The API server keeps what it pages through for some minutes only, so all pages are read before
        // anything else is asked.
        let mut pages = cluster.pods(self.namespace);
        while let Some(page) = pages.next().await? {
            for pod in page {
                summary.pods += 1;
                let namespace = cluster.namespace_of(&pod);
                let conditions = Conditions {
                    namespace: &namespace,
                    limits: cluster.limits_of(&namespace.name),
                    configuration: &configuration,
                };
                if let Some(verdict) = judge::judge(&pod, conditions) {
                    summary.taking_part += 1;
                    symptoms.extend(Symptom::of(&pod, verdict, conditions));
                }
            }
        }
        let mut findings = Vec::new();
        for symptom in symptoms {
            let maker = match &symptom.owner {
                Some(owner) => Some(cluster.maker(&symptom.namespace, owner.clone()).await),
                None => None,
            };
            let finding = symptom.finding(maker);
            summary.count(finding.verdict.state);
            findings.push(finding);
        }
        findings.retain(|finding| finding.verdict.state != State::Fine);
        Ok((findings, summary, cluster.remarks))
    }
}

impl Summary {
    fn count(&mut self, state: State) {
        match state {
            State::Fine => {}
            State::Missing | State::Broken | State::Stopped | State::Refused => {
                self.without_drain += 1;
            }
            State::Incomplete | State::Outdated | State::RefusedAnew => self.to_know += 1,
            State::Unjudged => self.not_judged += 1,
        }
    }
}

/// What is kept of a pod that something may be said of.
struct Symptom {
    namespace: String,
    name: String,
    verdict: Verdict,
    /// The controller that it names.
    owner: Option<Owner>,
    again: Again,
}

impl Symptom {
    /// Nothing of a pod that has its drain, and would get it again.
    fn of(pod: &Value, verdict: Verdict, conditions: Conditions<'_>) -> Option<Self> {
        let is_sound = verdict.state == State::Fine;
        if is_sound && conditions.limits.is_empty() {
            return None;
        }
        let again = Again::of(pod, conditions);
        if is_sound && again.refused.is_empty() && again.refused_as_it_is.is_empty() {
            return None;
        }
        let (namespace, name) = read::name(pod);
        Some(Self {
            namespace,
            name,
            verdict,
            owner: Owner::of(pod),
            again,
        })
    }

    /// With what helps, now that it is known what makes the pod.
    fn finding(self, maker: Option<Maker>) -> Finding {
        let Self {
            namespace,
            name,
            mut verdict,
            again,
            ..
        } = self;
        let refused = match &maker {
            Some(maker) if maker.in_template => again.refused_as_it_is,
            Some(_) => again.refused,
            // Nobody makes it again but whoever follows the advice given here.
            None if verdict.state == State::Fine => Vec::new(),
            None => again.refused,
        };
        if !refused.is_empty() {
            verdict.refused_anew(&refused);
        }
        let patient = Patient {
            namespace: &namespace,
            name: &name,
            maker: maker.as_ref(),
            state: verdict.state,
            begins_anew: again.begins_anew,
            is_admitted: refused.is_empty(),
        };
        let (mend, look) = (patient.command(), patient.looks());
        let help = patient.advice(mend.is_some() || !look.is_empty());
        verdict.messages.extend(help.map(str::to_owned));
        Finding {
            mend,
            look,
            namespace,
            name,
            verdict,
            owner: maker.map(|maker| maker.owner),
        }
    }
}
