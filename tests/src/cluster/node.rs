//! A node: a real kubelet with its container runtime, in namespaces of its own.

use std::{
    ffi::OsStr,
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    Authority, Credential, Endpoint, Image, Namespace, api_server::PORT, residue::Residue,
};
use crate::process::Process;

/// A running node. Dropping it is a power cut.
#[derive(Debug)]
pub struct Node {
    name: String,
    process: Process,
    endpoint: Endpoint,
    directory: PathBuf,
}

/// What the nodes of a cluster have in common.
pub(super) struct Plan<'a> {
    pub(super) directory: &'a Residue,
    pub(super) authority: &'a Authority,
    pub(super) api_server: IpAddr,
    pub(super) programs: &'a Programs,
    /// The image that holds a pod's namespaces.
    pub(super) sandbox: &'a Image,
}

/// The programs of a node.
pub(super) struct Programs {
    pub(super) kubelet: PathBuf,
    pub(super) kube_proxy: PathBuf,
}

impl Node {
    /// Starts node `number`, from 1 on. It is not ready yet.
    pub(super) fn start(plan: &Plan<'_>, number: u8, endpoint: Endpoint) -> Result<Self> {
        let name = node_name(number);
        let directory = plan.directory.path().join(&name);
        fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
        Configuration {
            plan,
            name: &name,
            number,
            address: endpoint.address(),
            directory: &directory,
        }
        .write()?;
        for cluster in plan.directory.cgroups() {
            let cgroup = cluster.join(&name);
            fs::create_dir_all(&cgroup).with_context(|| format!("make {}", cgroup.display()))?;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/node.sh");
        let mut command = endpoint.namespace().command("unshare");
        command
            .args([
                "--fork",
                "--pid",
                "--mount",
                "--mount-proc",
                "--kill-child",
                "--",
            ])
            .arg(script)
            .arg(&directory);
        let process = Process::spawn_tethered(&name, &command, &directory.join("node.log"))?;
        Ok(Self {
            name,
            process,
            endpoint,
            directory,
        })
    }

    /// Its name, as `kubectl get nodes` says it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address: that of pods on the host network, too.
    pub fn address(&self) -> IpAddr {
        self.endpoint.address()
    }

    /// Its network namespace, in which Services are reached as from any process on a node.
    pub fn namespace(&self) -> &Namespace {
        self.endpoint.namespace()
    }

    /// Its cable.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A command that runs on the node: it sees its processes, mounts and network.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let pid = self.process.pid();
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.namespace().path()))
            .arg(format!("--mount=/proc/{pid}/ns/mnt"))
            // The process itself stays outside of the PID namespace that it made.
            .arg(format!("--pid=/proc/{pid}/ns/pid_for_children"))
            .arg("--")
            .arg(program);
        command
    }

    /// How a person gets a shell on the node.
    pub fn shell(&self) -> String {
        let pid = self.process.pid();
        format!(
            "nsenter --net=/proc/{pid}/ns/net --mount=/proc/{pid}/ns/mnt \
             --pid=/proc/{pid}/ns/pid_for_children"
        )
    }

    /// Puts an image into the node's container runtime.
    ///
    /// # Errors
    /// When the runtime refuses it.
    pub fn import(&self, image: &Image) -> Result<()> {
        let mut ctr = self.command("ctr");
        ctr.args(["--namespace", "k8s.io", "images", "import"])
            .arg(image.archive());
        let output = ctr.output().context("run ctr")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "import {image:?} on {}: {said}",
            self.name
        );
        Ok(())
    }

    /// Lets it pull images called `HOST/...` from a registry at this address, without TLS. The container
    /// runtime looks at each pull.
    pub(super) fn mirror(&self, host: &str, address: SocketAddr) -> Result<()> {
        let place = self.directory.join("registries").join(host);
        fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
        let hosts =
            format!("[host.\"http://{address}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        let path = place.join("hosts.toml");
        fs::write(&path, hosts).with_context(|| format!("write {}", path.display()))
    }

    /// What one of its parts (`containerd`, `kubelet`, `kube-proxy`) has logged.
    pub fn log(&self, part: &str) -> String {
        let path = self.directory.join("log").join(format!("{part}.log"));
        fs::read(path).map_or_else(
            |_| String::new(),
            |log| String::from_utf8_lossy(&log).into_owned(),
        )
    }

    /// Fails where the node has ended, with the end of its log.
    pub(super) fn check(&mut self) -> Result<()> {
        let ended = self.process.exited()?;
        ensure!(ended.is_none(), "it ended\n{}", self.log_tail());
        Ok(())
    }

    /// The last lines of all its logs.
    pub(super) fn log_tail(&self) -> String {
        let mut tail = self.process.log_tail();
        for part in ["containerd", "kubelet", "kube-proxy"] {
            let log = self.log(part);
            let lines: Vec<_> = log.lines().rev().take(30).collect();
            tail.push_str(&format!("--- {part} of {}:\n", self.name));
            for line in lines.iter().rev() {
                tail.push_str(&format!("    {line}\n"));
            }
        }
        tail
    }
}

/// The name of a node.
pub(super) fn node_name(number: u8) -> String {
    format!("node-{number}")
}

/// The addresses of the pods of a node.
pub(super) fn pod_subnet(number: u8) -> String {
    format!("10.244.{number}.0/24")
}

/// The files from which a node's parts are started.
struct Configuration<'a> {
    plan: &'a Plan<'a>,
    name: &'a str,
    number: u8,
    address: IpAddr,
    directory: &'a Path,
}

impl Configuration<'_> {
    fn write(&self) -> Result<()> {
        let identity = self.plan.authority.server(&[self.name], &[self.address])?;
        self.file("name", self.name)?;
        self.file("address", self.address.to_string())?;
        self.file("ca.crt", self.plan.authority.certificate())?;
        self.file("kubelet.crt", identity.certificate)?;
        self.file("kubelet.key", identity.key)?;
        // Nobody out there is to be asked for names.
        self.file("resolv.conf", "")?;
        self.file("containerd.toml", self.containerd())?;
        self.file("kubelet.yaml", self.kubelet().to_string())?;
        self.file("kube-proxy.yaml", self.kube_proxy().to_string())?;
        let user = format!("system:node:{}", self.name);
        self.file(
            "kubeconfig-kubelet",
            self.kubeconfig(&user, Some("system:nodes"))?,
        )?;
        self.file(
            "kubeconfig-kube-proxy",
            self.kubeconfig("system:kube-proxy", None)?,
        )?;
        fs::create_dir(self.directory.join("cni")).context("make a directory")?;
        self.file("cni/10-pods.conflist", self.pod_network().to_string())?;
        let link = |target: &Path, name| symlink(target, self.directory.join(name));
        link(&self.plan.programs.kubelet, "kubelet").context("link the kubelet")?;
        link(&self.plan.programs.kube_proxy, "kube-proxy").context("link kube-proxy")?;
        link(self.plan.sandbox.archive(), "sandbox.tar").context("link the sandbox's image")
    }

    fn containerd(&self) -> String {
        let directory = self.directory.display();
        let plugins = ["/usr/lib/cni", "/opt/cni/bin"];
        let plugins = plugins
            .into_iter()
            .find(|path| Path::new(path).join("ptp").exists());
        let plugins = plugins.unwrap_or("/opt/cni/bin");
        let sandbox = self.plan.sandbox.reference();
        format!(
            r#"version = 2
root = "{directory}/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox}"
  # In a container the OOM score cannot be lowered, and runc fails without a word about it.
  restrict_oom_score_adj = true
  # Profiles belong to the whole machine.
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{directory}/registries"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{directory}/cni"
"#
        )
    }

    /// Each pod gets a cable of its own to the node, and every packet of a pod is routed by it. With
    /// a bridge the answer of a pod to its neighbour would go past the node's address translation,
    /// unless a kernel module is there.
    fn pod_network(&self) -> Value {
        json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": false,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": "/run/cni",
                        "ranges": [[{ "subnet": pod_subnet(self.number) }]],
                        "routes": [{ "dst": "0.0.0.0/0" }],
                    },
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        })
    }

    fn kubelet(&self) -> Value {
        let file = |name: &str| self.directory.join(name).display().to_string();
        let cluster = self.plan.directory.path().file_name().unwrap_or_default();
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": false },
                "x509": { "clientCAFile": file("ca.crt") },
            },
            "authorization": { "mode": "AlwaysAllow" },
            "tlsCertFile": file("kubelet.crt"),
            "tlsPrivateKeyFile": file("kubelet.key"),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}/{}", cluster.to_string_lossy(), self.name),
            "failCgroupV1": false,
            "failSwapOn": false,
            "enforceNodeAllocatable": ["pods"],
            "resolvConf": file("resolv.conf"),
            "podLogsDir": file("log/pods"),
            "volumePluginDir": file("kubelet-data/volume-plugins"),
            "serializeImagePulls": false,
            // Once an image was pulled from a registry, the kubelet would pull it again under each other name,
            // and those of imported images lead nowhere.
            "imagePullCredentialsVerificationPolicy": "NeverVerify",
            // A full disk or a small memory is the machine's, not the tests' concern.
            "evictionHard": {
                "memory.available": "32Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,
        })
    }

    fn kube_proxy(&self) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": "10.244.0.0/16",
            "clientConnection": {
                "kubeconfig": self.directory.join("kubeconfig-kube-proxy").display().to_string(),
            },
            // These are the machine's, not the namespace's.
            "conntrack": { "maxPerCore": 0, "min": 0 },
        })
    }

    fn kubeconfig(&self, user: &str, group: Option<&str>) -> Result<String> {
        let url = format!("https://{}:{PORT}", self.plan.api_server);
        let identity = self.plan.authority.user(user, group)?;
        Ok(self
            .plan
            .authority
            .kubeconfig(&url, &Credential::Certificate(identity)))
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    }
}
