//! The same gateway with each way of ending its pods, every manager as its own project deploys it.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{
    cluster::Image,
    gateway::{Gateway, Ports},
    product::workspace,
};

/// The container, as every one of them is called.
const CONTAINER: &str = "shutdown-manager";

/// Where the program is in the image.
const PROGRAM: &str = "/usr/local/bin/manager";

/// Envoy Gateway's manager knows its Envoy by these ports, and counts connections on all others.
const ENVOY_GATEWAY_PORTS: Ports = Ports {
    traffic: 8000,
    tcp: 8001,
    ready: 19003,
    admin: 19000,
    inner: (8003, 9902),
    sidecar: 19002,
};

/// A way of ending the pods of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Manager {
    /// None: SIGTERM at once.
    None,
    /// The usual advice.
    Sleep,
    /// Contour's `shutdown-manager` with its defaults.
    Contour,
    /// Envoy Gateway's with its defaults.
    EnvoyGateway,
    /// drainhook.
    Drainhook,
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Manager::None => "no hook",
            Manager::Sleep => "`preStop: sleep 5`",
            Manager::Contour => "Contour's shutdown-manager",
            Manager::EnvoyGateway => "Envoy Gateway's shutdown manager",
            Manager::Drainhook => "drainhook",
        })
    }
}

impl Manager {
    /// Its image, where it is another project's. Built from its Go module on first use.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn image(self) -> Result<Option<Image>> {
        let name = match self {
            Manager::Contour => "contour",
            Manager::EnvoyGateway => "envoy-gateway",
            Manager::None | Manager::Sleep | Manager::Drainhook => return Ok(None),
        };
        Image::manager(name, &build(name)?).map(Some)
    }

    /// The gateway that ends in this way.
    pub fn gateway(self, image: Option<&Image>) -> Gateway {
        let image = image.map(|image| image.reference().to_owned());
        match self {
            Manager::None => Gateway::new().not_annotated(),
            Manager::Sleep => Gateway::new().not_annotated().edit(|template| {
                set_hook(template, json!({ "sleep": { "seconds": 5 } }));
            }),
            Manager::Contour => Gateway::new()
                .admin_on_a_socket()
                .not_annotated()
                .edit(move |template| contour(template, image.as_deref())),
            Manager::EnvoyGateway => Gateway::new()
                .at(ENVOY_GATEWAY_PORTS)
                .not_annotated()
                .edit(move |template| envoy_gateway(template, image.as_deref())),
            Manager::Drainhook => Gateway::new(),
        }
    }
}

/// As in Contour's `examples/contour/03-envoy.yaml`: the admin interface on a socket in a volume that
/// both share, where the manager looks for it.
fn contour(template: &mut Value, image: Option<&str>) {
    let hook = json!({ "exec": { "command": [PROGRAM, "envoy", "shutdown"] } });
    add(
        template,
        json!({
            "name": CONTAINER,
            "image": image,
            "args": ["envoy", "shutdown-manager"],
            "lifecycle": { "preStop": hook },
            "volumeMounts": [{ "name": "admin", "mountPath": "/admin" }],
        }),
    );
    set_hook(
        template,
        json!({ "httpGet": { "path": "/shutdown", "port": 8090 } }),
    );
    template["spec"]["terminationGracePeriodSeconds"] = json!(300);
}

/// As Envoy Gateway deploys its proxies, Envoy's own arguments included.
fn envoy_gateway(template: &mut Value, image: Option<&str>) {
    let hook = json!({ "exec": { "command": [PROGRAM, "envoy", "shutdown"] } });
    let port = ENVOY_GATEWAY_PORTS.sidecar;
    add(
        template,
        json!({
            "name": CONTAINER,
            "image": image,
            "args": ["envoy", "shutdown-manager"],
            "lifecycle": { "preStop": hook },
            "livenessProbe": { "httpGet": { "path": "/healthz", "port": port } },
            "readinessProbe": { "httpGet": { "path": "/healthz", "port": port } },
            // Its image has this directory, in which it leaves a file.
            "volumeMounts": [{ "name": "temporary", "mountPath": "/tmp" }],
        }),
    );
    template["spec"]["volumes"] = json!([{ "name": "temporary", "emptyDir": {} }]);
    set_hook(
        template,
        json!({ "httpGet": { "path": "/shutdown/ready", "port": port } }),
    );
    if let Some(arguments) = template["spec"]["containers"][0]["args"].as_array_mut() {
        let drain = ["--drain-strategy", "immediate", "--drain-time-s", "60"];
        arguments.extend(drain.map(Value::from));
    }
    template["spec"]["terminationGracePeriodSeconds"] = json!(360);
}

fn set_hook(template: &mut Value, hook: Value) {
    template["spec"]["containers"][0]["lifecycle"] = json!({ "preStop": hook });
}

fn add(template: &mut Value, container: Value) {
    if let Some(containers) = template["spec"]["containers"].as_array_mut() {
        containers.push(container);
    }
}

fn build(name: &str) -> Result<PathBuf> {
    let script = workspace().join("tests/managers/build");
    let output = Command::new(&script)
        .arg(name)
        .stderr(Stdio::inherit())
        .output();
    let output = output.with_context(|| format!("run {}", script.display()))?;
    ensure!(
        output.status.success(),
        "{} {name}: {}",
        script.display(),
        output.status
    );
    let path = String::from_utf8(output.stdout).context("read what build printed")?;
    Ok(Path::new(path.trim()).to_owned())
}
