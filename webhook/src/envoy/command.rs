//! The command line of an Envoy, as far as a manifest shows it.

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
        let expanded = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| expand(word, container)).collect()
        };
        let args = expanded(&container.args);
        if !container.command.is_empty() {
            let mut words = expanded(&container.command);
            words.extend(args);
            return match behind_launchers(&words) {
                Some(arguments) => Self::Envoy(Arguments::read(&arguments)),
                None => Self::Other,
            };
        }
        match args.as_slice() {
            [] => Self::Image(Arguments::default()),
            // As the entry point of Envoy's image has it: what begins with a dash is Envoy's.
            [first, ..] if first.starts_with('-') => Self::Image(Arguments::read(&args)),
            [first, second, ..] if is_envoy(first) && second.starts_with('-') => {
                Self::Envoy(Arguments::read(&args[1..]))
            }
            words => match behind_launchers(words) {
                Some(arguments) if !is_envoy(&words[0]) => Self::Envoy(Arguments::read(&arguments)),
                _ => Self::Other,
            },
        }
    }
}

impl Arguments {
    fn read(words: &[String]) -> Self {
        let mut arguments = Self::default();
        let mut words = words.iter().map(String::as_str);
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
fn behind_launchers(words: &[String]) -> Option<Vec<String>> {
    let first = base_name(words.first()?);
    if first == "envoy" {
        return Some(words[1..].to_vec());
    }
    if SHELLS.contains(&first) {
        let flag = words
            .iter()
            .position(|word| word.starts_with('-') && word.ends_with('c'))?;
        return in_script(words.get(flag + 1)?);
    }
    if LAUNCHERS.contains(&first) {
        // What stands between are the launcher's own flags, users and variables.
        let next = words.iter().skip(1).position(|word| {
            let name = base_name(word);
            name == "envoy" || SHELLS.contains(&name) || LAUNCHERS.contains(&name)
        })?;
        return behind_launchers(&words[next + 1..]);
    }
    None
}

/// The arguments of Envoy in a shell's script, where the script runs one.
fn in_script(script: &str) -> Option<Vec<String>> {
    for command in commands(script) {
        // `A=b exec envoy -c x`: what stands before are variables and launchers.
        let start = command.iter().position(|word| !is_assignment(word))?;
        if let Some(arguments) = behind_launchers(&command[start..]) {
            return Some(arguments);
        }
    }
    None
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

/// The simple commands of a script with their words: quoting is taken off, nothing is expanded.
/// Enough of POSIX's "Token Recognition" to find a program and its arguments.
fn commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut characters = script.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                // A continued line.
                Some('\n') | None => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            '\'' => {
                let quoted = word.get_or_insert_default();
                quoted.extend(characters.by_ref().take_while(|next| *next != '\''));
            }
            '"' => double_quoted(&mut characters, word.get_or_insert_default()),
            '#' if word.is_none() => while characters.next_if(|next| *next != '\n').is_some() {},
            ' ' | '\t' => end_word(&mut commands, &mut word),
            '\n' | ';' | '&' | '|' | '(' | ')' | '{' | '}' if !in_parameter(&word) => {
                end_word(&mut commands, &mut word);
                commands.push(Vec::new());
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    end_word(&mut commands, &mut word);
    commands.retain(|command| !command.is_empty());
    commands
}

/// Whether the word is inside of `${...}`, whose braces are its own.
fn in_parameter(word: &Option<String>) -> bool {
    let Some(word) = word else { return false };
    word.ends_with('$')
        || word
            .rfind("${")
            .is_some_and(|open| !word[open..].contains('}'))
}

fn double_quoted(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut String) {
    while let Some(character) = characters.next() {
        match character {
            '"' => return,
            '\\' => match characters.next() {
                Some('\n') | None => {}
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
            },
            other => word.push(other),
        }
    }
}

fn end_word(commands: &mut [Vec<String>], word: &mut Option<String>) {
    let (Some(command), Some(word)) = (commands.last_mut(), word.take()) else {
        return;
    };
    // Words of the shell's grammar that a command may stand behind.
    if !(command.is_empty() && ["then", "do", "else", "if", "while", "!"].contains(&word.as_str()))
    {
        command.push(word);
    }
}

/// Expands `$(NAME)` from the container's literal variables, as the kubelet does; what cannot be
/// known stays. `$$` is an escaped `$`.
fn expand(text: &str, container: &Container<'_>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let reference = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        let known = reference.and_then(|(name, after)| Some((container.variable(name)?, after)));
        match known {
            Some((value, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            None => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::Pod;

    fn start(container: Value) -> Start {
        let mut container = container;
        container["name"] = json!("envoy");
        let pod = json!({"spec": {"containers": [container]}});
        let pod = Pod::read(&pod).unwrap_or_else(|faults| panic!("{faults:?}"));
        Start::of(&pod.containers[0])
    }

    fn config(path: &str) -> Arguments {
        Arguments {
            config_path: Some(path.into()),
            ..Arguments::default()
        }
    }

    #[test]
    fn envoy_is_found_behind_what_starts_it() {
        for command in [
            json!(["envoy", "-c", "/e.yaml"]),
            json!(["/usr/local/bin/envoy", "--config-path", "/e.yaml"]),
            json!(["/usr/bin/tini", "--", "envoy", "-c", "/e.yaml"]),
            json!([
                "dumb-init",
                "/docker-entrypoint.sh",
                "envoy",
                "-c",
                "/e.yaml"
            ]),
            json!([
                "su-exec",
                "envoy:envoy",
                "/usr/local/bin/envoy",
                "-c",
                "/e.yaml"
            ]),
            json!(["/bin/sh", "-c", "exec envoy -c /e.yaml"]),
            json!([
                "sh",
                "-ec",
                "cp -r /etc/envoy /tmp\nA=b exec /opt/envoy \\\n  -c '/e.yaml'"
            ]),
            json!(["bash", "-c", "if true; then envoy -c \"/e.yaml\"; fi"]),
            json!([
                "sh",
                "-c",
                "sed s/a/${B}/ x > /e.yaml && envoy -c /e.yaml & wait"
            ]),
        ] {
            let found = start(json!({"command": command.clone()}));
            assert_eq!(found, Start::Envoy(config("/e.yaml")), "{command}");
        }
    }

    #[test]
    fn what_only_speaks_of_envoy_does_not_run_it() {
        for container in [
            json!({"command": ["/bin/contour"], "args": ["envoy", "shutdown-manager"]}),
            json!({"args": ["envoy", "shutdown-manager"]}),
            json!({"command": ["sh", "-c", "mkdir -p /etc/envoy && ls /etc/envoy -l"]}),
            json!({"command": ["cp", "-r", "/etc/envoy", "/tmp"]}),
            json!({"command": ["sh", "-c"]}),
            json!({"command": ["tini"]}),
        ] {
            assert_eq!(start(container.clone()), Start::Other, "{container}");
        }
    }

    #[test]
    fn without_a_command_the_image_starts_it() {
        assert_eq!(start(json!({})), Start::Image(Arguments::default()));
        assert_eq!(
            start(json!({"args": ["-c", "/e.yaml"]})),
            Start::Image(config("/e.yaml"))
        );
        let by_name = json!({"args": ["envoy", "-c", "/e.yaml"]});
        assert_eq!(start(by_name), Start::Envoy(config("/e.yaml")));
    }

    #[test]
    fn flags_take_their_value_behind_a_blank_or_an_equals_sign() {
        let args = json!([
            "--drain-time-s",
            "30",
            "--drain-strategy=immediate",
            "--base-id",
            "2",
            "--admin-address-path=/tmp/admin",
            "--disable-hot-restart",
            "--mode",
            "validate",
        ]);
        let Start::Image(arguments) = start(json!({"args": args})) else {
            panic!("not the image")
        };
        assert_eq!(arguments.drain_time, Some(30));
        assert_eq!(arguments.drain_strategy.as_deref(), Some("immediate"));
        assert_eq!(arguments.base_id.as_deref(), Some("2"));
        assert_eq!(arguments.admin_address_path.as_deref(), Some("/tmp/admin"));
        assert!(arguments.any_base_id && arguments.only_validates);
    }

    #[test]
    fn variables_are_expanded_as_the_kubelet_does() {
        let container = json!({
            "args": ["--config-yaml", "port: $(PORT) $(POD_IP) $$(PORT) $ $(PORT"],
            "env": [
                {"name": "PORT", "value": "9901"},
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
        });
        let Start::Image(arguments) = start(container) else {
            panic!("not the image")
        };
        let expected = "port: 9901 $(POD_IP) $(PORT) $ $(PORT";
        assert_eq!(arguments.config_yaml.as_deref(), Some(expected));
    }

    #[test]
    fn quotes_keep_line_breaks_in_a_word() {
        let script = "exec envoy --config-yaml 'admin:\n  a: \"b\"; c' -c /e.yaml # envoy -c /no";
        let Start::Envoy(arguments) = start(json!({"command": ["sh", "-c", script]})) else {
            panic!("not found")
        };
        assert_eq!(
            arguments.config_yaml.as_deref(),
            Some("admin:\n  a: \"b\"; c")
        );
        assert_eq!(arguments.config_path.as_deref(), Some("/e.yaml"));
    }
}
