//! An installation of the webhook in a test's cluster, as the chart has it: its objects are rendered
//! by Helm and applied, and each replica is a process that runs with the flags of the rendered
//! Deployment and the rights of the rendered roles, at an address of its own.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    cluster::{ApiServer, Endpoint, Forward, Network},
    process::Process,
    product,
    wait::until,
};

/// The namespace, the release's name, and so the name of the Service and of the configurations.
pub const NAME: &str = "drainhook";

/// What `helm template` makes of the chart with these values (`key=value`, as `--set` takes them).
///
/// # Errors
/// When Helm cannot be built, or the chart does not render.
pub fn render(values: &[&str]) -> Result<Vec<Value>> {
    let mut helm = Command::new(helm()?);
    helm.arg("template")
        .arg(NAME)
        .arg(product::workspace().join("manifests/chart"));
    helm.args(["--namespace", NAME]);
    for value in values {
        helm.args(["--set", value]);
    }
    let output = helm.output().context("run helm")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm template: {said}");
    let text = String::from_utf8(output.stdout).context("helm wrote something else than text")?;
    Ok(serde_saphyr::from_multiple(&text)?)
}

/// Helm, built on first use.
///
/// # Errors
/// When it cannot be built.
pub fn helm() -> Result<PathBuf> {
    let output = Command::new(product::workspace().join("tests/tools/build"))
        .arg("helm")
        .output()
        .context("run tests/tools/build")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tests/tools/build helm: {said}");
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim(),
    ))
}

/// An installation with its certificate from files, which the cluster's own authority has signed.
pub struct Installation<'a> {
    server: &'a ApiServer,
    network: &'a Network,
    objects: Vec<Value>,
    directory: PathBuf,
    kubeconfig: PathBuf,
    started: usize,
}

/// A replica of the server: a process at an address of its own.
#[derive(Debug)]
pub struct Replica {
    /// Its process.
    pub process: Process,
    endpoint: Endpoint,
    health: SocketAddr,
    _forward: Forward,
}

/// The kinds that need nothing but an API server. Pods never run there, so Deployments, and what
/// belongs to them, would only stand in the way.
const APPLIED: [&str; 9] = [
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
];

impl<'a> Installation<'a> {
    /// Applies the chart with these values besides `certificates.mode=files`. No replica runs yet.
    ///
    /// # Errors
    /// When the chart does not render or the API server refuses an object.
    pub async fn apply(
        server: &'a ApiServer,
        network: &'a Network,
        values: &[&str],
    ) -> Result<Self> {
        server.namespace(NAME, &[]).await?;
        let mut objects = render(&[&["certificates.mode=files"], values].concat())?;
        let bundle = BASE64.encode(server.authority().certificate());
        for webhook in objects.iter_mut().flat_map(webhooks) {
            webhook["clientConfig"]["caBundle"] = json!(bundle);
        }
        for object in &objects {
            if APPLIED.iter().any(|kind| object["kind"] == *kind) {
                server.apply(object).await?;
            }
        }
        let directory = server.subdirectory(NAME)?;
        let service = format!("{NAME}.{NAME}.svc");
        let identity = server.authority().server(&[&service], &[])?;
        write(&directory.join("tls/tls.crt"), &identity.certificate)?;
        write(&directory.join("tls/tls.key"), &identity.key)?;
        let account = server.service_account(NAME, NAME).await?;
        let kubeconfig = server.kubeconfig_for("serve", &account)?;
        let installation = Self {
            server,
            network,
            objects,
            directory,
            kubeconfig,
            started: 0,
        };
        installation.set_defaults("")?;
        Ok(installation)
    }

    /// Writes the file of the installation's defaults.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_defaults(&self, yaml: &str) -> Result<()> {
        write(&self.directory.join("defaults/defaults.yaml"), yaml)
    }

    /// Starts one more replica and waits until it is ready. It is no endpoint of the Service yet.
    ///
    /// # Errors
    /// When it does not start, or does not become ready.
    pub async fn replica(&mut self) -> Result<Replica> {
        self.started += 1;
        let endpoint = self.network.attach()?;
        let mut command = endpoint.namespace().command(product::drainhook()?);
        command
            .args(self.arguments()?)
            .env("KUBECONFIG", &self.kubeconfig);
        let name = format!("drainhook-{}", self.started);
        let log = self.directory.join(format!("{name}.log"));
        let process = Process::spawn_tethered(&name, &command, &log)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let health = listener.local_addr()?;
        let forward = self
            .network
            .forward(listener, SocketAddr::new(endpoint.address(), 8080))?;
        let replica = Replica {
            process,
            endpoint,
            health,
            _forward: forward,
        };
        let ready = async || {
            replica
                .get("/readyz")
                .await
                .ok()
                .filter(|page| page.starts_with("HTTP/1.1 200"))
        };
        until("a ready replica", ready)
            .await
            .with_context(|| replica.process.log_tail())?;
        Ok(replica)
    }

    /// Makes these replicas the endpoints of the Service, and no others.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn publish(&self, replicas: &[&Replica]) -> Result<()> {
        let addresses: Vec<_> = replicas.iter().map(|replica| replica.address()).collect();
        self.server
            .publish_service(NAME, NAME, 8443, &addresses)
            .await
    }

    /// The flags of the rendered Deployment, with the files where they are here.
    fn arguments(&self) -> Result<Vec<String>> {
        let deployment = self
            .objects
            .iter()
            .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == NAME);
        let arguments = deployment
            .and_then(|it| it["spec"]["template"]["spec"]["containers"][0]["args"].as_array())
            .context("the chart has no Deployment of the server")?;
        let here = self.directory.display().to_string();
        let written = |argument: &Value| {
            argument
                .as_str()
                .map(|text| text.replace("/etc/drainhook", &here))
        };
        arguments
            .iter()
            .map(|argument| written(argument).context("a flag is no text"))
            .collect()
    }
}

impl Replica {
    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.endpoint.address()
    }

    /// Its network.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What its plain port answers to a path, head and all.
    ///
    /// # Errors
    /// When it does not answer within two seconds.
    pub async fn get(&self, path: &str) -> Result<String> {
        let asked = async {
            let mut stream = TcpStream::connect(self.health).await?;
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        tokio::time::timeout(Duration::from_secs(2), asked).await?
    }

    /// How many of its log's lines tell of a decision and satisfy `matches`.
    pub fn decisions(&self, matches: impl Fn(&Value) -> bool) -> usize {
        let lines = self.process.log();
        let parsed = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed
            .filter(|line| line["message"] == "decided" && matches(line))
            .count()
    }
}

fn webhooks(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    object
        .get_mut("webhooks")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

fn write(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().context("a file in a directory")?;
    fs::create_dir_all(directory)?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
