//! `drainhook inject`: gives the pods of manifests their drain.

use super::exit::{Exit, Failure};
use super::input::{InputArgs, Manifest};
use super::installation::InstallationArgs;
use super::output::OutputArgs;
use super::rewrite::{self, Done, Outcome, display};

/// Add the drain to the pods of manifests that ask for it
///
/// Reads YAML or JSON from files, directories or standard input and writes the same with the drain
/// added, as the webhook adds it at creation. Comments, order, quoting and everything else that it
/// does not change stay as they are. Doing it twice changes nothing; an injection of an older
/// version is brought to this one.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    output: OutputArgs,

    /// Say nothing on standard error but what is wrong
    #[arg(short, long)]
    quiet: bool,

    // Last: its heading holds for all that follows.
    #[command(flatten)]
    installation: InstallationArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let manifests = self.input.read()?;
        let installation = self.installation.read(&manifests)?;
        let rewrite = |manifest: &Manifest| rewrite::inject(manifest, &installation);
        rewrite_all(&manifests, rewrite, self.output, self.quiet, NOBODY_ASKS)
    }
}

/// What is said where there are pods, and nothing of any of them: silence would pass for success.
pub(super) const NOBODY_ASKS: &str = "no pod asks for a drain: write drainhook.io/inject: \"true\" into the \
     annotations of the pod template, or label the namespace";

/// Rewrites every manifest, or, where one is refused, none. Says `nothing` where there are pods, and
/// there is nothing to be said of any.
pub(super) fn rewrite_all(
    manifests: &[Manifest],
    rewrite: impl Fn(&Manifest) -> Result<rewrite::Rewritten, Failure>,
    output: OutputArgs,
    quiet: bool,
    nothing: &str,
) -> Result<Exit, Failure> {
    let mut texts = Vec::with_capacity(manifests.len());
    let mut said = Vec::new();
    let mut pods = 0;
    let mut failure = Failure {
        exit: Exit::Done,
        messages: Vec::new(),
    };
    for manifest in manifests {
        match rewrite(manifest) {
            Ok(rewritten) => {
                pods += rewritten.outcomes.len();
                said.extend(
                    rewritten
                        .outcomes
                        .iter()
                        .flat_map(|outcome| say(manifest, outcome)),
                );
                texts.push(rewritten.text);
            }
            Err(refused) => {
                failure.exit = failure.exit.max(refused.exit);
                failure.messages.extend(refused.messages);
            }
        }
    }
    if !failure.messages.is_empty() {
        failure.messages.push("nothing was written".to_owned());
        return Err(failure);
    }
    output.write(manifests, &texts)?;
    if pods > 0 && said.is_empty() {
        said.push(format!("drainhook: {nothing}"));
    }
    if !quiet {
        for line in said {
            eprintln!("{line}");
        }
    }
    Ok(Exit::Done)
}

/// What a person should know of one pod; nothing where nothing was asked.
fn say(manifest: &Manifest, outcome: &Outcome) -> Vec<String> {
    let name = display(manifest, &outcome.place);
    let done = match outcome.done {
        Done::Injected => Some("injected".to_owned()),
        Done::Completed => Some("completed".to_owned()),
        Done::Upgraded => Some("brought to this version and these settings".to_owned()),
        Done::Removed => Some("taken back".to_owned()),
        Done::Left(crate::SkipReason::NotOptedIn) | Done::Bare => None,
        Done::Left(reason) => {
            let pod = outcome.place.pod.subject();
            Some(format!("left as it is: {pod} {}", reason.in_words()))
        }
    };
    let done = done.map(|done| format!("{name}: {done}"));
    let warnings = outcome.warnings.iter().map(|said| ("warning", said));
    let notes = outcome.notes.iter().map(|said| ("to know", said));
    let said = warnings
        .chain(notes)
        .map(|(kind, said)| format!("{name}: {kind}: {said}"));
    done.into_iter().chain(said).collect()
}
