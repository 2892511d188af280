//! `drainhook check`: what would happen to the pods of manifests, and why; with `--cluster`, how those
//! of a cluster stand.

mod report;

use serde::Serialize;

use super::completions::print;
use super::diff::ColourArgs;
use super::exit::{Exit, Failure};
use super::input::{InputArgs, Manifest};
use super::installation::{Installation, InstallationArgs};
use super::rewrite::{Place, display, misplaced, places, pod_value};
use super::survey::{AccessArgs, Survey};
use crate::{Explanation, Origin, Request, explain};
use report::Report;

/// Explain what the drain of each pod is, or why it has none
///
/// Says through what a pod takes part, which container is Envoy and why, what would be added and
/// changed, where each value comes from, and what is to be fixed. Nothing is written, and no cluster is
/// asked but with `--cluster`: that one lists the pods of a cluster that take part and have no working
/// drain, say since they were made while the webhook was down, with the command that mends each.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    input: InputArgs,

    /// Look at the pods of a cluster instead of manifests, in all namespaces or the one that
    /// `--namespace` names
    ///
    /// How drainhook is installed is not read from the cluster; the options below say it. Its defaults:
    /// `kubectl get configmap drainhook-defaults -n drainhook -o yaml | drainhook check --cluster
    /// --defaults /dev/stdin`. Say --image-choice and --unknown-keys as the installation has them.
    #[arg(long, conflicts_with_all = ["files", "filenames", "defaults_from"])]
    #[arg(conflicts_with_all = ["namespace_label", "namespace_annotation"])]
    cluster: bool,

    /// How the result is written
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,

    /// Warnings are faults too; what is only to know is none
    #[arg(long)]
    strict: bool,

    /// Show pods that do not take part as well, and values that nobody has set
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    colour: ColourArgs,

    #[command(flatten)]
    access: AccessArgs,

    // Last: its heading holds for all that follows.
    #[command(flatten)]
    installation: InstallationArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

const EXIT_HELP: &str = "\
Exit status:
  0   every pod that takes part gets its drain; with --cluster: has one that works
  1   a pod is refused, has none, or its injection is broken; with --strict also: there are warnings
  64, 66, 69, 70: as everywhere (see `drainhook --help`)";

/// One pod, explained.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    file: String,
    /// The document's number in the file, from 1.
    document: usize,
    /// The line of the file where the document begins, from 1.
    line: usize,
    kind: String,
    name: String,
    namespace: String,
    /// Where the pod is in the document.
    pointer: String,
    #[serde(flatten)]
    explanation: Explanation,
    #[serde(skip)]
    title: String,
    /// What a sentence about it begins with.
    #[serde(skip)]
    subject: &'static str,
}

/// What all pods come to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    pods: usize,
    taking_part: usize,
    faults: usize,
    warnings: usize,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        if self.cluster {
            return self.survey()?.run();
        }
        if self.access.is_said() {
            let message = "--kubeconfig and --context say which cluster: with --cluster only";
            return Err(Failure::new(Exit::Usage, message));
        }
        let manifests = self.input.read()?;
        let installation = self.installation.read(&manifests)?;
        let mut pods = Vec::new();
        for manifest in &manifests {
            for place in places(&manifest.documents) {
                pods.push(check(manifest, place, &installation)?);
            }
        }
        let summary = Summary::of(&pods);
        let text = match self.output {
            Format::Text => Report::new(self.all, self.colour.on()).text(&pods, summary),
            Format::Json => {
                let json = serde_json::json!({"pods": pods, "summary": summary});
                format!("{json:#}\n")
            }
        };
        print(text.as_bytes())?;
        let failed = summary.faults > 0 || (self.strict && summary.warnings > 0);
        Ok(if failed { Exit::Refused } else { Exit::Done })
    }
}

impl Args {
    fn survey(&self) -> Result<Survey<'_>, Failure> {
        Ok(Survey {
            access: &self.access,
            configuration: self.installation.read(&[])?.configuration,
            namespace: self.installation.namespace(),
            json: self.output == Format::Json,
            strict: self.strict,
            colour: self.colour.on(),
        })
    }
}

fn check(
    manifest: &Manifest,
    place: Place,
    installation: &Installation,
) -> Result<Checked, Failure> {
    let namespace = installation.namespace_of(&place.pod);
    let request = Request {
        pod: pod_value(&manifest.documents, &place),
        namespace: Some(&namespace),
        configuration: &installation.configuration,
        token: None,
        origin: Origin::Manifest,
    };
    let title = display(manifest, &place);
    let (decision, mut explanation) = explain(&request)
        .map_err(|error| Failure::new(Exit::Software, format!("{title}: {error}")))?;
    let limits = installation.limits_of(&namespace.name);
    explanation
        .faults
        .extend(limits.faults(&decision.applied_to(request.pod)));
    explanation
        .warnings
        .extend(misplaced(&manifest.documents, &place));
    let document = &manifest.documents[place.document];
    Ok(Checked {
        file: manifest.name.clone(),
        document: document.number,
        line: document.line,
        subject: place.pod.subject(),
        kind: place.pod.kind,
        name: place.pod.name,
        namespace: namespace.name,
        pointer: place.pod.pointer,
        explanation,
        title,
    })
}

impl Summary {
    fn of(pods: &[Checked]) -> Self {
        let explained = || pods.iter().map(|pod| &pod.explanation);
        Self {
            pods: pods.len(),
            taking_part: explained()
                .filter(|pod| pod.opted_in_through.is_some())
                .count(),
            faults: explained()
                .map(|pod| pod.faults.len() + pod.injection_faults.len())
                .sum(),
            warnings: explained().map(|pod| pod.warnings.len()).sum(),
        }
    }
}
