//! The processes of a control plane and how they are told to work together.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Command,
};

use anyhow::{Result, bail};
use rcgen::KeyPair;
use serde_json::json;

use super::{
    AuditLog, Authority, Credential, Network,
    api_server::{Options, PORT},
    network::Namespace,
    residue::Residue,
};
use crate::process::Process;

/// Where Services get their addresses from; the first is the API server's own.
const SERVICES: &str = "10.96.0.0/16";
const API_SERVER_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The audit log's file name.
const AUDIT_LOG: &str = "audit.log";

/// Which requests are written to the audit log: all but the reads of Kubernetes' own parts, and
/// their heartbeats, which would bury the rest.
const AUDIT_POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]
    verbs: [get, list, watch]
  - level: None
    userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
    verbs: [get, list, watch]
  - level: None
    resources: [{ group: coordination.k8s.io }, { group: events.k8s.io }, { group: "", resources: [events] }]
  - level: None
    nonResourceURLs: ["*"]
  - level: Metadata
"#;

/// etcd, kube-apiserver, kube-controller-manager and, where pods are to run, kube-scheduler.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they are to end.
    scheduler: Option<Process>,
    controllers: Option<Process>,
    api_server: Process,
    etcd: Process,
    authority: Authority,
    address: Address,
    audit: AuditLog,
}

/// Where a control plane is reached, by its own parts and from the test.
#[derive(Clone, Debug)]
pub(super) struct Address {
    inner: Ipv4Addr,
    outer: Ipv4Addr,
    etcd: Ipv4Addr,
    namespace: Option<Namespace>,
}

impl Address {
    /// On an address of the loopback interface, the same for everybody.
    pub(super) fn loopback(ip: Ipv4Addr) -> Self {
        Self {
            inner: ip,
            outer: ip,
            etcd: ip,
            namespace: None,
        }
    }

    /// In a network, and by a forwarder from outside.
    pub(super) fn forwarded(outer: Ipv4Addr, network: &Network) -> Self {
        Self {
            inner: network.gateway(),
            outer,
            etcd: Ipv4Addr::LOCALHOST,
            namespace: Some(network.namespace().clone()),
        }
    }

    fn command(&self, program: &Path) -> Command {
        match &self.namespace {
            Some(namespace) => namespace.command(program),
            None => Command::new(program),
        }
    }
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver; they are not ready yet.
    pub(super) async fn start(
        directory: &Residue,
        address: Address,
        options: &Options,
    ) -> Result<Self> {
        let version = options.version;
        let programs =
            tokio::task::spawn_blocking(move || version.programs(["etcd", "kube-apiserver"]));
        let [etcd, api_server] = programs.await??;
        let authority = Authority::generate("drainhook tests")?;
        let plan = Plan {
            directory,
            address: &address,
            authority: &authority,
            options,
        };
        let etcd = plan.etcd(&etcd)?;
        let api_server = plan.api_server(&api_server)?;
        let audit = AuditLog::at(directory.path().join(AUDIT_LOG));
        Ok(Self {
            scheduler: None,
            controllers: None,
            api_server,
            etcd,
            authority,
            address,
            audit,
        })
    }

    /// Starts what asks the API server, which is ready: kube-controller-manager waits ten seconds for one that is
    /// not, and ends.
    pub(super) async fn start_controllers(
        &mut self,
        directory: &Residue,
        options: &Options,
    ) -> Result<()> {
        let plan = Plan {
            directory,
            address: &self.address,
            authority: &self.authority,
            options,
        };
        let version = options.version;
        let program = async |name| {
            let programs = tokio::task::spawn_blocking(move || version.programs([name]));
            let [program] = programs.await??;
            anyhow::Ok(program)
        };
        if let names @ [_, ..] = options.controllers.as_slice() {
            let program = program("kube-controller-manager").await?;
            self.controllers = Some(plan.controllers(&program, &names.join(","))?);
        }
        if options.scheduler {
            let program = program("kube-scheduler").await?;
            self.scheduler = Some(plan.scheduler(&program)?);
        }
        Ok(())
    }

    /// etcd: pause it, and the API server's requests hang.
    pub fn etcd(&mut self) -> &mut Process {
        &mut self.etcd
    }

    /// kube-apiserver.
    pub fn api_server(&mut self) -> &mut Process {
        &mut self.api_server
    }

    /// kube-controller-manager, where it runs.
    pub fn controllers(&mut self) -> Option<&mut Process> {
        self.controllers.as_mut()
    }

    /// A credential with all rights, which no RBAC object can take away.
    pub(super) fn administrator(&self) -> Result<Credential> {
        let identity = self
            .authority
            .user("administrator", Some("system:masters"))?;
        Ok(Credential::Certificate(identity))
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// The API server's URL for this process.
    pub(super) fn url(&self) -> String {
        format!("https://{}:{PORT}", self.address.outer)
    }

    /// Its URL for processes in the network, where there is one.
    pub(super) fn inner_url(&self) -> String {
        format!("https://{}:{PORT}", self.address.inner)
    }

    /// Fails where a process has ended, with the end of its log.
    pub(super) fn check(&mut self) -> Result<()> {
        for process in self.processes() {
            if let Some(status) = process.exited()? {
                bail!("it ended with {status}\n{}", process.log_tail());
            }
        }
        Ok(())
    }

    pub(super) fn log_tails(&mut self) -> String {
        self.processes().map(|process| process.log_tail()).collect()
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        [&mut self.etcd, &mut self.api_server]
            .into_iter()
            .chain(self.controllers.as_mut())
            .chain(self.scheduler.as_mut())
    }
}

/// What the processes are made from.
struct Plan<'a> {
    directory: &'a Residue,
    address: &'a Address,
    authority: &'a Authority,
    options: &'a Options,
}

impl Plan<'_> {
    fn etcd(&self, program: &Path) -> Result<Process> {
        let client = format!("http://{}:2379", self.address.etcd);
        let peer = format!("http://{}:2380", self.address.etcd);
        let mut command = self.address.command(program);
        command
            .arg(format!(
                "--data-dir={}",
                self.directory.path().join("etcd").display()
            ))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            // Nobody needs the data after a crash, and the machine's disk is shared.
            .args(["--unsafe-no-fsync", "--log-level=warn"]);
        self.spawn("etcd", command)
    }

    fn api_server(&self, program: &Path) -> Result<Process> {
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let addresses = [self.address.inner, self.address.outer, API_SERVER_SERVICE];
        let serving = self.authority.server(&names, &addresses.map(IpAddr::V4))?;
        let kubelet_client = self
            .authority
            .user("kube-apiserver", Some("system:masters"))?;
        let tokens = KeyPair::generate()?;
        let file = |name, content: &str| {
            self.directory
                .file(name, content)
                .map(|path| path.display().to_string())
        };
        let (certificate, key) = (
            file("serving.crt", &serving.certificate)?,
            file("serving.key", &serving.key)?,
        );
        let (client_certificate, client_key) = (
            file("kubelet-client.crt", &kubelet_client.certificate)?,
            file("kubelet-client.key", &kubelet_client.key)?,
        );
        let authority = file("ca.crt", &self.authority.certificate())?;
        let token_key = file("tokens.key", &tokens.serialize_pem())?;
        let token_public = file("tokens.pub", &tokens.public_key_pem())?;
        let policy = file("audit-policy.yaml", AUDIT_POLICY)?;
        let audit = self.directory.path().join(AUDIT_LOG);

        let mut command = self.address.command(program);
        command
            .arg(format!("--etcd-servers=http://{}:2379", self.address.etcd))
            .arg(format!("--bind-address={}", self.address.inner))
            .arg(format!("--advertise-address={}", self.address.inner))
            .arg(format!("--secure-port={PORT}"))
            .arg(format!("--tls-cert-file={certificate}"))
            .arg(format!("--tls-private-key-file={key}"))
            .arg(format!("--client-ca-file={authority}"))
            .arg(format!("--kubelet-client-certificate={client_certificate}"))
            .arg(format!("--kubelet-client-key={client_key}"))
            // The default is the node's name, which nobody resolves.
            .arg("--kubelet-preferred-address-types=InternalIP")
            .arg("--authorization-mode=Node,RBAC")
            .arg("--allow-privileged")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-signing-key-file={token_key}"))
            .arg(format!("--service-account-key-file={token_public}"))
            .arg(format!("--service-cluster-ip-range={SERVICES}"))
            .arg(format!("--audit-policy-file={policy}"))
            .arg(format!("--audit-log-path={}", audit.display()))
            // As with the default mode, but a test need not wait for a batch to fill.
            .arg("--audit-log-mode=blocking");
        match self.address.namespace {
            // Webhooks are dialled at their endpoints, without a kube-proxy to route for us.
            Some(_) => command.arg("--enable-aggregator-routing=true"),
            // An endpoint may not be a loopback address.
            None => command.arg("--endpoint-reconciler-type=none"),
        };
        if let Some(name) = &self.options.webhook_client {
            command.arg(format!(
                "--admission-control-config-file={}",
                self.admission(name)?
            ));
        }
        command.args(&self.options.arguments);
        self.spawn("kube-apiserver", command)
    }

    /// The admission configuration in which the API server shows a certificate to webhooks.
    fn admission(&self, name: &str) -> Result<String> {
        let identity = self.authority.user(name, None)?;
        let certificate = self
            .directory
            .file("webhook-client.crt", &identity.certificate)?;
        let key = self.directory.file("webhook-client.key", &identity.key)?;
        let users = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "users": [{
                "name": "*",
                "user": { "client-certificate": certificate, "client-key": key },
            }],
        });
        let users = self.directory.file("webhook-users", users.to_string())?;
        let plugin = |name| {
            json!({
                "name": name,
                "configuration": {
                    "apiVersion": "apiserver.config.k8s.io/v1",
                    "kind": "WebhookAdmissionConfiguration",
                    "kubeConfigFile": users,
                },
            })
        };
        let configuration = json!({
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AdmissionConfiguration",
            "plugins": [plugin("MutatingAdmissionWebhook"), plugin("ValidatingAdmissionWebhook")],
        });
        let path = self
            .directory
            .file("admission.json", configuration.to_string())?;
        Ok(path.display().to_string())
    }

    fn controllers(&self, program: &Path, names: &str) -> Result<Process> {
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        let kubeconfig = self.kubeconfig("kube-controller-manager")?;
        let mut command = self.address.command(program);
        command
            .arg(format!("--kubeconfig={kubeconfig}"))
            .arg(format!("--controllers={names}"))
            .arg(format!(
                "--service-account-private-key-file={}",
                file("tokens.key")
            ))
            .arg(format!("--root-ca-file={}", file("ca.crt")))
            // Pods are made by the controllers' own service accounts, as on any cluster.
            .arg("--use-service-account-credentials")
            .args(["--leader-elect=false", "--secure-port=0"])
            // A test that makes thousands of pods waits for the webhook, not for these limits.
            .args(["--kube-api-qps=500", "--kube-api-burst=1000"]);
        self.spawn("kube-controller-manager", command)
    }

    fn scheduler(&self, program: &Path) -> Result<Process> {
        let kubeconfig = self.kubeconfig("kube-scheduler")?;
        let mut command = self.address.command(program);
        command
            .arg(format!("--kubeconfig={kubeconfig}"))
            .args(["--leader-elect=false", "--secure-port=0"]);
        self.spawn("kube-scheduler", command)
    }

    fn kubeconfig(&self, component: &str) -> Result<String> {
        let identity = self.authority.user(&format!("system:{component}"), None)?;
        let url = format!("https://{}:{PORT}", self.address.inner);
        let config = self
            .authority
            .kubeconfig(&url, &Credential::Certificate(identity));
        let path = self
            .directory
            .file(&format!("kubeconfig-{component}"), config)?;
        Ok(path.display().to_string())
    }

    fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        let log = self.directory.path().join(format!("{name}.log"));
        Process::spawn_tethered(name, &command, &log)
    }
}
