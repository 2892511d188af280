//! An installation of the webhook in a test's cluster, as the chart has it: its objects are rendered
//! by Helm and applied, and each replica is a process that runs with the flags of the rendered
//! Deployment and the rights of the rendered roles, at an address of its own.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    cluster::{ApiServer, Endpoint, Forward, Identity, Metrics, Network},
    process::Process,
    product,
    volume::Volume,
    wait::{until, within},
};

/// The namespace, the release's name, and so the name of the Service and of the configurations.
pub const NAME: &str = "drainhook";

/// The name by which the API server calls.
pub const SERVICE: &str = "drainhook.drainhook.svc";

/// What `helm template` makes of the chart with these values (`key=value`, as `--set` takes them), object by
/// object.
///
/// # Errors
/// As [`rendered`].
pub fn render(values: &[&str]) -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_multiple(&rendered(values)?)?)
}

/// The same as the text that it is.
///
/// # Errors
/// When Helm cannot be built, or the chart does not render.
pub fn rendered(values: &[&str]) -> Result<String> {
    let mut helm = Command::new(helm()?);
    helm.arg("template")
        .arg(NAME)
        .arg(product::workspace().join("manifests/chart"));
    helm.args(["--namespace", NAME, "--skip-tests"]);
    for value in values {
        helm.args(["--set", value]);
    }
    let output = helm.output().context("run helm")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm template: {said}");
    String::from_utf8(output.stdout).context("helm wrote something else than text")
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

/// An installation: with its certificate from files, which the cluster's own authority has signed, or
/// with a CA of its own, where the values say `certificates.mode=self`.
pub struct Installation<'a> {
    server: &'a ApiServer,
    network: &'a Network,
    objects: Vec<Value>,
    directory: PathBuf,
    /// The mounted certificate; none where it has a CA of its own.
    mounted: Option<Volume>,
    started: usize,
}

/// A replica of the server, or of the publisher: a process at an address of its own.
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
    /// Applies the chart with these values, and with `certificates.mode=files` where they do not say
    /// otherwise. No replica runs yet.
    ///
    /// # Errors
    /// When the chart does not render or the API server refuses an object.
    pub async fn apply(
        server: &'a ApiServer,
        network: &'a Network,
        values: &[&str],
    ) -> Result<Self> {
        server.namespace(NAME, &[]).await?;
        let own_authority = values.contains(&"certificates.mode=self");
        let mode: &[&str] = match own_authority {
            true => &[],
            false => &["certificates.mode=files"],
        };
        let mut installation = Self {
            server,
            network,
            objects: render(&[mode, values].concat())?,
            directory: server.subdirectory(NAME)?,
            mounted: None,
            started: 0,
        };
        if !own_authority {
            let authority = server.authority();
            installation.certify(&authority.server(&[SERVICE], &[])?)?;
            installation.set_bundle(&authority.certificate());
        }
        for object in &installation.objects {
            if APPLIED.iter().any(|kind| object["kind"] == *kind) {
                server.apply(object).await?;
            }
        }
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

    /// Puts another certificate into the place of the mounted one, as the kubelet does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn certify(&mut self, identity: &Identity) -> Result<()> {
        let Identity { certificate, key } = identity;
        self.set_certificate(certificate, key)
    }

    /// The same with whatever contents.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_certificate(&mut self, certificate: &str, key: &str) -> Result<()> {
        let files = [("tls.crt", certificate), ("tls.key", key)];
        match &mut self.mounted {
            Some(volume) => volume.swap(&files)?,
            None => {
                let place = self.directory.join("tls");
                self.mounted = Some(Volume::mount(place, &files)?);
            }
        }
        Ok(())
    }

    /// Writes the CAs whose clients may call (PEM): what `certificates.clientCAConfigMap` mounts.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_client_authority(&self, authorities: &str) -> Result<()> {
        write(&self.directory.join("client-ca/ca.crt"), authorities)
    }

    /// Lets the API server trust these authorities (PEM), in every webhook of every configuration.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn trust(&mut self, authorities: &str) -> Result<()> {
        self.set_bundle(authorities);
        self.register().await
    }

    /// Lets the API server wait so many seconds for an answer, in every webhook of every configuration.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn set_time_out(&mut self, seconds: u32) -> Result<()> {
        for webhook in self.objects.iter_mut().flat_map(webhooks) {
            webhook["timeoutSeconds"] = json!(seconds);
        }
        self.register().await
    }

    /// Starts one more replica and waits until it is ready. It is no endpoint of the Service yet.
    ///
    /// # Errors
    /// When it does not start, or does not become ready.
    pub async fn replica(&mut self) -> Result<Replica> {
        self.start(NAME).await
    }

    /// Starts one more publisher of the installation's own CA and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start, or does not become ready.
    pub async fn publisher(&mut self) -> Result<Replica> {
        self.start(&format!("{NAME}-certs")).await
    }

    /// Starts a replica of this Deployment, with its flags and as its account, and waits until it is
    /// ready.
    async fn start(&mut self, deployment: &str) -> Result<Replica> {
        self.started += 1;
        let account = self.server.service_account(NAME, deployment).await?;
        let kubeconfig = self.server.kubeconfig_for(deployment, &account)?;
        let endpoint = self.network.attach()?;
        let mut command = endpoint.namespace().command(product::drainhook()?);
        command
            .args(self.arguments(deployment)?)
            .env("KUBECONFIG", kubeconfig);
        let name = format!("{deployment}-{}", self.started);
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

    async fn register(&self) -> Result<()> {
        for object in &self.objects {
            if object.get("webhooks").is_some() {
                self.server.apply(object).await?;
            }
        }
        Ok(())
    }

    fn set_bundle(&mut self, authorities: &str) {
        let bundle = BASE64.encode(authorities);
        for webhook in self.objects.iter_mut().flat_map(webhooks) {
            webhook["clientConfig"]["caBundle"] = json!(bundle);
        }
    }

    /// The flags of a rendered Deployment, with the files where they are here.
    fn arguments(&self, deployment: &str) -> Result<Vec<String>> {
        let found = self.objects.iter().find(|object| {
            object["kind"] == "Deployment" && object["metadata"]["name"] == deployment
        });
        let arguments = found
            .and_then(|it| it["spec"]["template"]["spec"]["containers"][0]["args"].as_array())
            .with_context(|| format!("the chart has no Deployment {deployment}"))?;
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
    /// When it cannot be reached, or does not answer.
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
        within("an answer of the replica", asked).await?
    }

    /// One of its metrics, all samples of that name whose labels include these together.
    ///
    /// # Errors
    /// As [`Replica::get`].
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        Ok(Metrics::parse(&self.get("/metrics").await?).sum(name, labels))
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
