//! What every test here begins with: a cluster with our images on its nodes, and nothing installed.

use std::{
    env,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use drainhook_tests::{
    cluster::{Access, AuditLog, Cluster, Ground, Image, Images},
    failure::{self, Description},
    gateway::{Gateway, LoadPod, Workload},
    helm::Release,
    installation::NAME,
    product::{self, workspace},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

/// Where the gateways of the tests are; "restricted" is enforced here, too.
pub(crate) const GATEWAYS: &str = "gateways";

const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

const NODES: u8 = 2;

/// It ends with the test process.
static SHARED: Mutex<Option<Shared>> = Mutex::const_new(None);

struct Shared {
    ground: Ground,
    webhook: Image,
    images: Images,
}

/// The cluster, for one test at a time.
pub(crate) struct Stage {
    pub(crate) access: Access,
    pub(crate) release: Release,
    pub(crate) webhook: Image,
    pub(crate) images: Images,
    turn: MutexGuard<'static, Option<Shared>>,
}

impl Stage {
    /// Waits for the test's turn and takes away what somebody may have left. Nothing where there is no
    /// cluster to be had.
    pub(crate) async fn enter() -> Option<Self> {
        failure::keep_words();
        Self::prepare().await.unwrap()
    }

    async fn prepare() -> Result<Option<Self>> {
        let mut turn = SHARED.lock().await;
        if turn.is_none() {
            let Some(ground) = Ground::find(NODES).await? else {
                return Ok(None);
            };
            expect_nothing_of_ours(&ground.access().await?)?;
            let build = || anyhow::Ok((Image::webhook()?, Images::build()?));
            let (webhook, images) = tokio::task::spawn_blocking(build).await??;
            *turn = Some(Shared {
                webhook: ground.provide(&webhook)?,
                images: ground.provide_all(&images)?,
                ground,
            });
        }
        let shared = turn.as_ref().context("no cluster")?;
        let access = shared.ground.access().await?;
        let stage = Self {
            release: Release::new(&access, NAME)?,
            webhook: shared.webhook.clone(),
            images: shared.images.clone(),
            access,
            turn,
        };
        stage.clear()?;
        Ok(Some(stage))
    }

    /// The values that every installation here has: the images that are on the nodes, and calls that are not
    /// given up while a machine stands still for a moment.
    pub(crate) fn values(&self, more: &[&str]) -> Vec<String> {
        let images = Release::images(&self.webhook, &self.images.sidecar);
        let more = [&["webhook.timeoutSeconds=30"], more].concat();
        let more = more.iter().map(ToString::to_string);
        images.into_iter().chain(more).collect()
    }

    /// The namespace of an installation, in which Pod Security "restricted" is enforced, and the
    /// gateways' one likewise.
    pub(crate) async fn namespaces(&self) {
        self.access.namespace(NAME, &[RESTRICTED]).await.unwrap();
        self.gateways_namespace().await;
    }

    /// That of the gateways alone.
    pub(crate) async fn gateways_namespace(&self) {
        self.access
            .namespace(GATEWAYS, &[RESTRICTED])
            .await
            .unwrap();
    }

    /// A pod that asks for a drain gets it, now or within the moment in which the API server hears of what was
    /// installed: that all is ready is known to Helm earlier.
    pub(crate) fn verified(&self) {
        let verify = self.drainhook(&["verify", "--namespace", GATEWAYS, "--wait", "60s"]);
        assert_eq!(verify.status, 0, "{verify:?}");
    }

    /// A gateway that opts in, with so many replicas. It is not deployed yet.
    pub(crate) fn gateway(&self, replicas: u32) -> Workload<'_> {
        let gateway = Gateway::new().beside_its_application().restricted();
        let gateway = gateway.replicas(replicas);
        Workload::new(&self.access, GATEWAYS, &self.images, gateway)
    }

    /// Deploys the gateway and puts the mixed load on it.
    pub(crate) async fn load(&self, gateway: &Workload<'_>) -> LoadPod {
        let address = gateway.deploy().await.unwrap();
        LoadPod::start(&self.access, GATEWAYS, &self.images.tools, address)
            .await
            .unwrap()
    }

    /// The replicas of the webhook.
    pub(crate) async fn replicas(&self) -> Vec<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.access.client(), NAME);
        let server = ListParams::default().labels("app.kubernetes.io/component=server");
        pods.list(&server).await.unwrap().items
    }

    /// The node of each of them.
    pub(crate) async fn nodes_of_replicas(&self) -> Vec<String> {
        let pods = self.replicas().await;
        pods.into_iter()
            .filter_map(|pod| pod.spec?.node_name)
            .collect()
    }

    /// Our own cluster, where it is one.
    pub(crate) fn own(&self) -> Option<&Cluster> {
        self.turn.as_ref()?.ground.own()
    }

    /// The API server's audit log, where the cluster is one of our own.
    pub(crate) fn audit(&self) -> Option<AuditLog> {
        Some(self.own()?.audit().clone())
    }

    /// Runs kubectl, its arguments parted by spaces, and returns what it said.
    pub(crate) fn kubectl(&self, arguments: &str) -> String {
        self.ask(arguments).unwrap()
    }

    pub(crate) fn ask(&self, arguments: &str) -> Result<String> {
        ask(&self.access, arguments)
    }

    /// Runs a command line of the shell's, with the kubectl of the tests and our own command line, on the
    /// cluster of the tests.
    pub(crate) fn shell(&self, line: &str) {
        let kubectl = self.access.kubectl().unwrap();
        let drainhook = product::drainhook().unwrap();
        let mut places = Vec::new();
        for program in [Path::new(kubectl.get_program()), drainhook] {
            places.push(program.parent().unwrap().to_owned());
        }
        let usual = env::var_os("PATH").unwrap_or_default();
        places.extend(env::split_paths(&usual));
        let path = env::join_paths(places).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env("PATH", path);
        let output = shell
            .env("KUBECONFIG", self.access.kubeconfig())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
    }

    /// Runs `drainhook check --cluster` and these arguments more.
    pub(crate) fn check(&self, more: &[&str]) -> Said {
        self.drainhook(&[&["check", "--cluster"], more].concat())
    }

    /// Runs the command line of drainhook.
    pub(crate) fn drainhook(&self, arguments: &[&str]) -> Said {
        let mut drainhook = Command::new(product::drainhook().unwrap());
        drainhook
            .args(arguments)
            .env("KUBECONFIG", self.access.kubeconfig());
        let output = drainhook.output().unwrap();
        Said {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Creates a pod like the gateway's, with these annotations, and returns what kubectl has said
    /// besides: warnings, or the refusal.
    pub(crate) fn create_pod(&self, name: &str, annotations: &Value) -> String {
        let template = &self.gateway(1).deployment()["spec"]["template"];
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": GATEWAYS, "annotations": annotations },
            "spec": template["spec"],
        });
        let (_, said) = self.send("create --filename=-", &pod.to_string());
        said
    }

    /// Runs kubectl on what it reads from its standard input, and returns whether it was content, and what it
    /// has said besides.
    pub(crate) fn send(&self, arguments: &str, input: &str) -> (bool, String) {
        let mut kubectl = self.access.kubectl().unwrap();
        let kubectl = kubectl.args(arguments.split(' ')).stdin(Stdio::piped());
        let kubectl = kubectl.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut kubectl = kubectl.spawn().unwrap();
        let mut stdin = kubectl.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = kubectl.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), said)
    }

    /// Leaves the cluster as it was, for the next test.
    pub(crate) fn leave(self) {
        self.clear().unwrap();
    }

    /// Takes away what any test here may have made, and returns when it is gone.
    fn clear(&self) -> Result<()> {
        self.release
            .run(&["uninstall", NAME, "--ignore-not-found"])?;
        let manifest = workspace().join("manifests/install.yaml");
        self.ask(&format!(
            "delete --ignore-not-found --wait=false --filename={}",
            manifest.display()
        ))?;
        for namespace in [GATEWAYS, NAME] {
            // Nothing makes pods anew while its own deletion waits for them. They serve nobody any more,
            // so they are not given their minutes; and where pods are left, the namespace's controller
            // looks again only after half of their grace period.
            self.ask(&format!(
                "delete deployments,replicasets --all --cascade=foreground --wait=false -n {namespace}"
            ))?;
            self.ask(&format!(
                "delete pods --all --grace-period=1 -n {namespace}"
            ))?;
        }
        self.ask(&format!(
            "delete namespace {GATEWAYS} {NAME} --ignore-not-found --timeout=180s"
        ))?;
        Ok(())
    }

    /// What goes on in the cluster, which tells why a test has failed.
    fn describe(&self) -> Result<()> {
        let mut description = Description::default();
        for arguments in [
            "logs -n drainhook -l app.kubernetes.io/name=drainhook --prefix --tail=300",
            "get events -A --sort-by=.lastTimestamp",
            "get pods -A -o wide",
        ] {
            let said = self.ask(arguments);
            let said = said.unwrap_or_else(|error| format!("{error:#}"));
            description.add(&format!("kubectl {arguments}"), said);
        }
        description.show()
    }
}

/// What `drainhook` has said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    #[expect(dead_code, reason = "shown where a test fails")]
    err: String,
}

/// A test that failed leaves what went on there, and the cluster as it was: it may be somebody's. Why it
/// failed is said last.
impl Drop for Stage {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for done in [self.describe(), self.clear()] {
            if let Err(error) = done {
                eprintln!("{error:#}");
            }
        }
        failure::repeat();
    }
}

/// Somebody's installation must not be taken for what an earlier test has left.
fn expect_nothing_of_ours(access: &Access) -> Result<()> {
    let namespaces = format!("get namespaces {GATEWAYS} {NAME} --ignore-not-found -o name");
    let there = ask(access, &namespaces)?;
    ensure!(
        there.trim().is_empty(),
        "the cluster has {}: these tests would delete it. Delete it yourself, or name another cluster",
        there.trim().replace('\n', " and ")
    );
    Ok(())
}

fn ask(access: &Access, arguments: &str) -> Result<String> {
    let mut kubectl = access.kubectl()?;
    let output = kubectl.args(arguments.split(' ')).output();
    let output = output.context("run kubectl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {arguments}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
