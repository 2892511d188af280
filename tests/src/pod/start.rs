//! Starting a container: its volumes, its environment, its command line.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::container::{Container, Running};
use super::envoy_config::{self, Surroundings};
use super::spec::{self, Container as ContainerSpec};
use super::translate::Translation;
use super::{Blueprint, Programs, volumes};
use crate::process::Process;

/// Options of Envoy that are about sharing memory with a former or another Envoy of the same
/// machine. In a container they concern that container alone, here they would concern all pods.
const HOT_RESTART: [&str; 2] = ["--base-id", "--restart-epoch"];

/// A pod that is being started.
pub(super) struct Starting<'a> {
    pub(super) blueprint: &'a Blueprint,
    pub(super) name: &'a str,
    pub(super) address: Ipv4Addr,
    pub(super) root: &'a Path,
}

impl Starting<'_> {
    /// Starts a container, and adds what its Envoy listens on and calls to `surroundings`.
    pub(super) fn run(
        &self,
        spec: &ContainerSpec,
        sidecar: bool,
        surroundings: &mut Surroundings,
    ) -> Result<Container> {
        let Blueprint {
            manifest, workload, ..
        } = self.blueprint;
        let mut mounted = volumes::mount(manifest, &workload.spec, spec, self.root)?;
        let termination_message = self.root.join(format!("{}.termination", spec.name));
        fs::write(&termination_message, "").context("make the termination message")?;
        let path = spec
            .termination_message_path
            .as_deref()
            .unwrap_or("/dev/termination-log");
        mounted
            .paths
            .push((path.to_owned(), termination_message.clone()));

        let translation = Translation::new(self.address, mounted.paths);
        let environment = self.environment(spec, &translation)?;
        let mut container = Container {
            spec: spec.clone(),
            sidecar,
            translation,
            environment,
            termination_message,
            running: Running::Played(Vec::new()),
        };
        let outside = self.blueprint.outside.ip();
        for file in &mounted.files {
            translate_file(file, &container.translation, outside, surroundings)?;
        }
        if let Some(command) = self.command(&container, outside, surroundings)? {
            let name = format!("{}/{}", self.name, spec.name);
            container.running = Running::Process(Process::spawn(&name, command)?);
        }
        Ok(container)
    }

    /// What runs this container; none where it is played.
    fn command(
        &self,
        container: &Container,
        outside: IpAddr,
        surroundings: &mut Surroundings,
    ) -> Result<Option<Command>> {
        let spec = &container.spec;
        let given = spec.command.iter().chain(&spec.args);
        let given = given.map(|argument| expand(argument, &container.environment));
        if spec.is_shutdown_manager() {
            let arguments = given.skip(spec.command.len());
            let program = self
                .blueprint
                .programs
                .shutdown_manager
                .display()
                .to_string();
            let line: Vec<_> = std::iter::once(program).chain(arguments).collect();
            return container.command(&line).map(Some);
        }
        if !spec.is_envoy() {
            return Ok(None);
        }
        let arguments: Vec<_> = given.collect();
        // The image's entry point takes `envoy ...` as well as the arguments alone.
        let arguments = match arguments.split_first() {
            Some((first, rest)) if spec::file_name(first) == "envoy" => rest,
            Some((first, _)) if !first.starts_with('-') => {
                // A script that starts Envoy in its end; it finds Envoy in PATH.
                return container.command(&arguments).map(Some);
            }
            _ => &arguments,
        };
        let program = self.blueprint.programs.envoy.path().display().to_string();
        let mut line = vec![program, "--disable-hot-restart".to_owned()];
        line.extend(envoy_arguments(
            arguments,
            &container.translation,
            outside,
            surroundings,
        )?);
        container.command(&line).map(Some)
    }

    /// Variables of the container, as the kubelet would set them.
    fn environment(
        &self,
        spec: &ContainerSpec,
        translation: &Translation,
    ) -> Result<Vec<(String, String)>> {
        let mut environment = vec![
            ("PATH".to_owned(), self.path()),
            ("HOME".to_owned(), self.root.display().to_string()),
            ("HOSTNAME".to_owned(), self.name.to_owned()),
        ];
        for variable in &spec.env {
            let value = match &variable.value_from {
                Some(source) => self.value_from(source).with_context(|| {
                    format!("cannot tell the value of the variable {}", variable.name)
                })?,
                None => expand(variable.value.as_deref().unwrap_or_default(), &environment),
            };
            environment.push((variable.name.clone(), translation.text(&value)));
        }
        if spec.is_shutdown_manager() {
            // All addresses of its network namespace are one address here, and the file that the
            // container runtime would mount has another path.
            let mut set = |name: &str, value: String| {
                if !environment.iter().any(|(other, _)| other == name) {
                    environment.push((name.to_owned(), value));
                }
            };
            set("SHUTDOWN_MANAGER_BIND", self.address.to_string());
            let log = translation.text(
                spec.termination_message_path
                    .as_deref()
                    .unwrap_or("/dev/termination-log"),
            );
            set("SHUTDOWN_MANAGER_TERMINATION_LOG", log);
        }
        Ok(environment)
    }

    /// Envoy's and the sidecar's folders before those of the system.
    fn path(&self) -> String {
        let Programs {
            envoy,
            shutdown_manager,
        } = &self.blueprint.programs;
        let own = [envoy.path(), shutdown_manager.as_path()].map(Path::parent);
        let own: Vec<_> = own
            .into_iter()
            .flatten()
            .map(|folder| folder.display().to_string())
            .collect();
        format!("{}:/usr/local/bin:/usr/bin:/bin", own.join(":"))
    }

    fn value_from(&self, source: &Value) -> Result<String> {
        let text = |pointer: &str| source.pointer(pointer).and_then(Value::as_str);
        if let Some(field) = text("/fieldRef/fieldPath") {
            return Ok(match field {
                "metadata.name" => self.name.to_owned(),
                "metadata.namespace" => "default".to_owned(),
                "status.podIP" | "status.hostIP" => self.address.to_string(),
                "spec.nodeName" => "node".to_owned(),
                "metadata.uid" => "00000000-0000-4000-8000-000000000000".to_owned(),
                "spec.serviceAccountName" => "default".to_owned(),
                other => bail!("the field {other} is not known here"),
            });
        }
        for (kind, pointer) in [
            ("ConfigMap", "/configMapKeyRef"),
            ("Secret", "/secretKeyRef"),
        ] {
            if let Some(name) = text(&format!("{pointer}/name")) {
                let key = text(&format!("{pointer}/key")).unwrap_or_default();
                let entries = self.blueprint.manifest.entries(kind, name);
                let entry = entries
                    .into_iter()
                    .flatten()
                    .find(|(entry, _)| entry == key);
                return entry
                    .map(|(_, value)| value)
                    .with_context(|| format!("the manifest has no {kind} {name} with {key}"));
            }
        }
        if source.get("resourceFieldRef").is_some() {
            // Without a container runtime there is no limit; the machine's own is what counts.
            return Ok("0".to_owned());
        }
        bail!("{source} is not known here")
    }
}

/// Kubernetes' `$(NAME)`; `$$(NAME)` stands for itself, and so does what is not set.
fn expand(text: &str, environment: &[(String, String)]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            result.push('$');
            rest = after;
            continue;
        }
        let name = rest
            .strip_prefix("$(")
            .and_then(|after| after.split_once(')'));
        let value = name.and_then(|(name, after)| {
            let (_, value) = environment.iter().rev().find(|(other, _)| other == name)?;
            Some((value, after))
        });
        match value {
            Some((value, after)) => {
                result.push_str(value);
                rest = after;
            }
            None => {
                result.push('$');
                rest = &rest[1..];
            }
        }
    }
    result.push_str(rest);
    result
}

/// Envoy's arguments: configuration on the command line translated, hot restart left out.
fn envoy_arguments(
    given: &[String],
    translation: &Translation,
    outside: IpAddr,
    surroundings: &mut Surroundings,
) -> Result<Vec<String>> {
    let mut line = Vec::new();
    let mut given = given.iter();
    while let Some(argument) = given.next() {
        let (option, mut value) = match argument.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        if option == "--use-dynamic-base-id" || option == "--disable-hot-restart" {
            continue;
        }
        if HOT_RESTART.contains(&option) {
            if value.is_none() {
                given.next();
            }
            continue;
        }
        if option == "--config-yaml" {
            value = value.or_else(|| given.next().cloned());
            let text = value.context("--config-yaml without a value")?;
            let mut config: Value =
                serde_saphyr::from_str(&text).context("--config-yaml is not YAML")?;
            surroundings.merge(envoy_config::translate(&mut config, translation, outside));
            line.extend(["--config-yaml".to_owned(), config.to_string()]);
            continue;
        }
        line.push(argument.clone());
    }
    Ok(line)
}

/// Translates one file of a ConfigMap. A configuration of Envoy is written as JSON, which is YAML.
fn translate_file(
    path: &Path,
    translation: &Translation,
    outside: IpAddr,
    surroundings: &mut Surroundings,
) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let config = serde_saphyr::from_str::<Value>(&text)
        .ok()
        .filter(envoy_config::is_envoy_config);
    let text = match config {
        Some(mut config) => {
            surroundings.merge(envoy_config::translate(&mut config, translation, outside));
            serde_json::to_string_pretty(&config)?
        }
        None => translation.paths(&text),
    };
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_as_kubernetes_does_it() {
        let environment = vec![
            ("A".to_owned(), "1".to_owned()),
            ("A".to_owned(), "2".to_owned()),
        ];
        let expand = |text| super::expand(text, &environment);
        assert_eq!(expand("x$(A)y"), "x2y");
        assert_eq!(expand("$$(A) $(B) $A $"), "$(A) $(B) $A $");
    }

    #[test]
    fn hot_restart_is_left_out_and_the_rest_kept() {
        let translation = Translation::new(Ipv4Addr::new(127, 1, 2, 1), Vec::new());
        let given = [
            "--base-id",
            "3",
            "-c",
            "x.yaml",
            "--restart-epoch=1",
            "--use-dynamic-base-id",
        ];
        let mut surroundings = Surroundings::default();
        let line = envoy_arguments(
            &given.map(str::to_owned),
            &translation,
            IpAddr::from([127, 1, 255, 1]),
            &mut surroundings,
        )
        .unwrap();
        assert_eq!(line, ["-c", "x.yaml"]);
    }
}
