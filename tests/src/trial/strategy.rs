//! The three ways of ending a pod that are compared.

use std::fmt;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::pod::{Blueprint, Hook, Lifecycle, Manifest, Outside, PodSpec, Programs};
use crate::product;

/// The pause of the usual advice.
const SLEEP_SECONDS: u64 = 5;

/// A way of ending a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// As the manifest has it, which for most is without any hook.
    AsItIs {
        /// Whether Envoy has a preStop hook of its own.
        own_hook: bool,
    },
    /// The usual advice: every container sleeps for 5 s before it is told to end.
    Sleep,
    /// As `drainhook inject` patches it.
    Drainhook,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Strategy::AsItIs { own_hook: false } => "no hook",
            Strategy::AsItIs { own_hook: true } => "as it is",
            Strategy::Sleep => "preStop: sleep 5",
            Strategy::Drainhook => "drainhook",
        })
    }
}

/// A manifest made ready for one way of ending its pods.
pub struct Prepared {
    /// The way.
    pub strategy: Strategy,
    /// What its pods are.
    pub blueprint: Blueprint,
}

impl Prepared {
    /// The manifest as it is.
    ///
    /// # Errors
    /// Where it cannot be read or has no Envoy.
    pub fn as_it_is(text: &str, programs: &Programs) -> Result<Self> {
        let blueprint = blueprint(text, programs)?;
        if blueprint
            .workload
            .spec
            .all()
            .any(|container| container.is_shutdown_manager())
        {
            bail!("the manifest has been through `drainhook inject` already; give the one before");
        }
        let own_hook = blueprint
            .workload
            .spec
            .all()
            .any(|container| container.is_envoy() && container.pre_stop().is_some());
        Ok(Prepared {
            strategy: Strategy::AsItIs { own_hook },
            blueprint,
        })
    }

    /// The manifest with `preStop: {sleep: {seconds: 5}}` on every container.
    ///
    /// # Errors
    /// As [`Prepared::as_it_is`].
    pub fn sleep(text: &str, programs: &Programs) -> Result<Self> {
        let mut blueprint = blueprint(text, programs)?;
        add_sleep(&mut blueprint.workload.spec);
        Ok(Prepared {
            strategy: Strategy::Sleep,
            blueprint,
        })
    }

    /// The manifest as `drainhook inject` patches it, opted in where it is not yet.
    ///
    /// # Errors
    /// Where it cannot be patched: what `drainhook inject` says.
    pub fn drainhook(text: &str, programs: &Programs) -> Result<Self> {
        let patched = inject(&opted_in(text)?)?;
        let blueprint = blueprint(&patched, programs)?;
        if !blueprint
            .workload
            .spec
            .all()
            .any(|container| container.is_shutdown_manager())
        {
            bail!("`drainhook inject` added nothing; `drainhook check` says why");
        }
        Ok(Prepared {
            strategy: Strategy::Drainhook,
            blueprint,
        })
    }
}

fn blueprint(text: &str, programs: &Programs) -> Result<Blueprint> {
    let manifest = Manifest::parse(text)?;
    let workload = manifest.workload()?;
    let outside = Arc::new(Outside::claim()?);
    Ok(Blueprint {
        manifest,
        workload,
        programs: programs.clone(),
        outside,
    })
}

fn add_sleep(spec: &mut PodSpec) {
    for container in spec.lasting_mut() {
        let pre_stop = Some(Hook::Sleep {
            seconds: SLEEP_SECONDS,
        });
        container.lifecycle = Some(Lifecycle { pre_stop });
    }
}

/// The text itself where a pod of it says whether it wants drainhook; else the same objects with the
/// annotation, which is all that a user would add.
fn opted_in(text: &str) -> Result<String> {
    let manifest = Manifest::parse(text)?;
    if manifest
        .workload()?
        .annotations
        .contains_key("drainhook.io/inject")
    {
        return Ok(text.to_owned());
    }
    let mut objects = manifest.into_objects();
    for template in objects.iter_mut().filter_map(crate::pod::template_mut) {
        let metadata = template
            .as_object_mut()
            .map(|template| template.entry("metadata").or_insert_with(|| json!({})));
        let annotations = metadata
            .and_then(Value::as_object_mut)
            .map(|metadata| metadata.entry("annotations").or_insert_with(|| json!({})));
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.insert("drainhook.io/inject".to_owned(), json!("true"));
        }
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    Ok(serde_json::to_string_pretty(&list)?)
}

/// Sends a manifest through the product's own command.
fn inject(text: &str) -> Result<String> {
    let mut child = Command::new(product::drainhook()?)
        .args(["inject", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start drainhook inject")?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(text.as_bytes())
            .context("write to drainhook inject")?;
    }
    let output = child
        .wait_with_output()
        .context("wait for drainhook inject")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "drainhook inject refuses the manifest ({}):\n{said}",
            output.status
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_says_nothing_about_drainhook_is_opted_in() {
        let text = "kind: Pod\nspec: {containers: [{name: e, image: envoy}]}\n";
        let opted_in = Manifest::parse(&opted_in(text).unwrap()).unwrap();
        assert_eq!(
            opted_in.workload().unwrap().annotations["drainhook.io/inject"],
            "true"
        );
    }

    #[test]
    fn a_manifest_that_decided_for_itself_is_left_as_it_is() {
        let text = "kind: Pod\nmetadata: {annotations: {drainhook.io/inject: 'false'}}\n\
                    spec: {containers: [{name: e, image: envoy}]}\n";
        assert_eq!(opted_in(text).unwrap(), text);
    }
}
