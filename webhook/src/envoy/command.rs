//! The command line of an Envoy, as far as a manifest shows it.

mod script;
#[cfg(test)]
mod tests;
mod variables;

use std::borrow::Cow;

use self::script::Commands;
use self::variables::Variables;
use crate::pod::Container;

/// Programs that start what stands behind them.
const LAUNCHERS: &[&str] = &[
    "catatonit",
    "docker-entrypoint.sh",
    "dumb-init",
    "env",
    "exec",
    "nice",
    "setpriv",
    "su-exec",
    "tini",
];

/// Shells that take a script by `-c`.
const SHELLS: &[&str] = &["ash", "bash", "busybox", "dash", "sh"];

/// Bytes. Linux starts no command with a longer argument (`MAX_ARG_STRLEN`), so nothing is made of one.
const LONGEST_WORD: usize = 128 * 1024;

/// What Envoy was told on its command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) config_path: Option<String>,
    pub(crate) config_yaml: Option<String>,
    pub(crate) admin_address_path: Option<String>,
    /// `--drain-time-s`, in seconds.
    pub(crate) drain_time: Option<u64>,
    pub(crate) drain_strategy: Option<String>,
    pub(crate) base_id: Option<String>,
    /// Whether two of them may share a base id: no hot restart, or an id of its own each time.
    pub(crate) any_base_id: bool,
    /// `--mode validate`: reads its configuration and ends.
    pub(crate) only_validates: bool,
}

/// How a container starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// By a command that runs Envoy with these arguments.
    Envoy(Arguments),
    /// By whatever the image says, with these arguments if the image is Envoy's.
    Image(Arguments),
    /// By something else.
    Other,
}

impl Start {
    pub(crate) fn of(container: &Container<'_>) -> Self {
        let mut variables = Variables::of(container);
        let args = variables.expand_all(&container.args);
        if !container.command.is_empty() {
            let mut words = variables.expand_all(&container.command);
            words.extend(args);
            return behind_launchers(&words).map_or(Self::Other, Self::Envoy);
        }
        match args.as_slice() {
            [] => Self::Image(Arguments::default()),
            // As the entry point of Envoy's image has it: what begins with a dash is Envoy's.
            [first, ..] if first.starts_with('-') => Self::Image(Arguments::read(&args)),
            [first, second, ..] if is_envoy(first) && second.starts_with('-') => {
                Self::Envoy(Arguments::read(&args[1..]))
            }
            words => match behind_launchers(words) {
                Some(arguments) if !is_envoy(&words[0]) => Self::Envoy(arguments),
                _ => Self::Other,
            },
        }
    }
}

impl Arguments {
    fn read(words: &[Cow<'_, str>]) -> Self {
        let mut arguments = Self::default();
        let mut words = words.iter().map(|word| &**word);
        while let Some(word) = words.next() {
            let (flag, attached) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value)),
                _ => (word, None),
            };
            let mut value = || attached.or_else(|| words.next()).map(str::to_owned);
            match flag {
                "-c" | "--config-path" => arguments.config_path = value(),
                "--config-yaml" => arguments.config_yaml = value(),
                "--admin-address-path" => arguments.admin_address_path = value(),
                "--drain-time-s" => arguments.drain_time = value().and_then(|v| v.parse().ok()),
                "--drain-strategy" => arguments.drain_strategy = value(),
                "--base-id" => arguments.base_id = value(),
                "--use-dynamic-base-id" | "--disable-hot-restart" => arguments.any_base_id = true,
                "--mode" => arguments.only_validates = value().as_deref() == Some("validate"),
                _ => {}
            }
        }
        arguments
    }
}

/// The arguments behind the word `envoy`, where that is what the words run.
fn behind_launchers(mut words: &[Cow<'_, str>]) -> Option<Arguments> {
    loop {
        let (first, rest) = words.split_first()?;
        let first = base_name(first);
        if first == "envoy" {
            return Some(Arguments::read(rest));
        }
        if SHELLS.contains(&first) {
            let flag = rest
                .iter()
                .position(|word| word.starts_with('-') && word.ends_with('c'))?;
            return in_script(rest.get(flag + 1)?);
        }
        if !LAUNCHERS.contains(&first) {
            return None;
        }
        // What stands between are the launcher's own flags, users and variables.
        let next = rest.iter().position(|word| {
            let name = base_name(word);
            name == "envoy" || SHELLS.contains(&name) || LAUNCHERS.contains(&name)
        })?;
        words = &rest[next..];
    }
}

/// The arguments of Envoy in a shell's script, where the script runs one.
fn in_script(script: &str) -> Option<Arguments> {
    if script.len() > LONGEST_WORD {
        return None;
    }
    Commands::of(script).find_map(|command| {
        // `A=b exec envoy -c x`: what stands before are variables and launchers.
        let start = command.iter().position(|word| !is_assignment(word))?;
        behind_launchers(&command[start..])
    })
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

fn is_envoy(word: &str) -> bool {
    base_name(word) == "envoy"
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}
