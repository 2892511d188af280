//! A cluster leaves no process, mount, interface, cgroup or file behind, whichever way it ends.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use drainhook_tests::{
    cluster::{Network, Version},
    wait::until,
};
use rustix::process::{Pid, Signal, kill_process};

#[tokio::test]
async fn a_cluster_that_is_stopped_leaves_nothing_behind() {
    leaves_nothing_behind_after(Signal::INT).await;
}

#[tokio::test]
async fn a_cluster_that_is_killed_leaves_nothing_behind() {
    leaves_nothing_behind_after(Signal::KILL).await;
}

async fn leaves_nothing_behind_after(signal: Signal) {
    if !Network::available() {
        return;
    }
    let interfaces = interfaces();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
    let mut cluster = command
        .args(["--nodes", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(cluster.stdout.take().unwrap()).lines();
    let kubeconfig = lines.by_ref().map(Result::unwrap);
    let kubeconfig = kubeconfig.filter_map(|line| {
        line.strip_prefix("export KUBECONFIG=")
            .map(ToOwned::to_owned)
    });
    let kubeconfig = kubeconfig
        .take(1)
        .last()
        .expect("the cluster says where it is");
    run_a_pod(&kubeconfig);
    let directory = Path::new(&kubeconfig).parent().unwrap().to_owned();
    let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
    let found = traces(&name);
    for kind in ["process", "cgroup", "mount in"] {
        assert!(
            found.iter().any(|trace| trace.starts_with(kind)),
            "no {kind}: {found:#?}"
        );
    }

    let pid = Pid::from_raw(cluster.id().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
    cluster.wait().unwrap();
    let mut left = Vec::new();
    let gone = until("no trace of the cluster", async || {
        left = traces(&name);
        left.extend(self::interfaces().difference(&interfaces).cloned());
        left.extend(directory.exists().then(|| directory.display().to_string()));
        left.is_empty().then_some(())
    });
    let gone = gone.await;
    assert!(gone.is_ok(), "{left:#?}");
}

fn run_a_pod(kubeconfig: &str) {
    let [kubectl] = Version::Newest.programs(["kubectl"]).unwrap();
    for arguments in [
        "run idle --image=drainhook.test/busybox:1 --image-pull-policy=Never",
        "wait pod/idle --for=condition=Ready --timeout=180s",
    ] {
        let mut command = Command::new(&kubectl);
        command
            .env("KUBECONFIG", kubeconfig)
            .args(arguments.split(' '));
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// What carries the cluster's name: processes by their arguments, environment or cgroup; mounts as
/// any process sees them; cgroups.
fn traces(name: &str) -> Vec<String> {
    let mut traces = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let path = process.path();
        let holds = |file| {
            // A process that is just ending has none of these.
            let content = fs::read(path.join(file)).unwrap_or_default();
            String::from_utf8_lossy(&content).contains(name)
        };
        let number = process.file_name().into_string().unwrap();
        if !number.bytes().all(|byte| byte.is_ascii_digit())
            || number == std::process::id().to_string()
        {
            continue;
        }
        if ["cmdline", "environ", "cgroup"].into_iter().any(holds) {
            traces.push(format!("process {number}"));
        }
        if holds("mountinfo") {
            traces.push(format!("mount in {number}"));
        }
    }
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let cgroups = hierarchies.map(|hierarchy| hierarchy.path().join(name));
    let cgroups = cgroups.chain([Path::new("/sys/fs/cgroup").join(name)]);
    let cgroups = cgroups.filter(|path| path.exists());
    traces.extend(cgroups.map(|path| format!("cgroup {}", path.display())));
    traces
}

fn interfaces() -> BTreeSet<String> {
    let all = fs::read_dir("/sys/class/net").unwrap().flatten();
    all.map(|interface| format!("interface {}", interface.file_name().display()))
        .collect()
}
