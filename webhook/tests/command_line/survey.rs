//! `check --cluster` against an API server of a few lines, which has more pods than a test could create
//! in a real one, and forbids what it is told to.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::Run;

/// Pages of the list, each of as many pods as are asked for.
const PAGES: usize = 16;

/// By then whatever a look takes once is there.
const EARLY: usize = 4;

#[test]
fn however_many_pods_there_are_they_are_held_page_by_page() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let pid = Arc::new(OnceLock::new());
    let (noted, of_check) = (held.clone(), pid.clone());
    let cluster = Cluster::serve(move |path| {
        let query = path.strip_prefix("/api/v1/pods?")?;
        let mut noted = noted.lock().unwrap();
        let page = noted.len();
        assert!(query.contains("limit=250"), "{query}");
        let asked = query.contains(&format!("continue=page-{page}"));
        assert!(asked || page == 0, "{query}");
        noted.push(peak(*of_check.wait()));
        Some((200, pods(page)))
    });
    let check = cluster.check(&["--output", "json"]).spawn().unwrap();
    pid.set(check.id()).unwrap();

    let output = check.wait_with_output().unwrap();
    let held = held.lock().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["summary"]["pods"], json!(PAGES * 250));
    assert_eq!(found["summary"]["withoutDrain"], json!(PAGES));
    assert_eq!(found["pods"].as_array().unwrap().len(), PAGES);
    // A list of all would grow with each page.
    assert_eq!(held.len(), PAGES);
    assert!(held[PAGES - 1] * 2 < held[EARLY] * 3, "{held:?} kB");
}

#[test]
fn a_quota_of_the_namespace_that_would_refuse_the_sidecar_names_the_key_to_write() {
    let run = Cluster::serve(gateway_and(|path| {
        let items = match path {
            "resourcequotas" => json!([
                {"metadata": {"name": "team", "namespace": "edge"},
                 "spec": {"hard": {"limits.cpu": "4"}}},
                {"metadata": {"name": "others", "namespace": "other"},
                 "spec": {"hard": {"requests.cpu": "4"}}},
            ]),
            _ => json!([
                {"metadata": {"name": "sizes", "namespace": "edge"},
                 "spec": {"limits": [{"type": "Container", "min": {"memory": "64Mi"}}]}},
            ]),
        };
        (
            200,
            json!({"apiVersion": "v1", "metadata": {}, "items": items}),
        )
    }))
    .run(&[]);
    assert_eq!(run.status, 1, "{run:?}");
    assert_eq!(run.err, "");
    for words in [
        "  to fix: the API server would refuse the pod for its sidecar, because ResourceQuota \"team\" \
         counts limits.cpu and it has none: write drainhook.io/cpu-limit: \"50m\", on the pod or on its \
         namespace\n",
        "LimitRange \"sizes\" has a minimum of 64Mi memory",
        // A restart would only make pods that are refused.
        "\n  kubectl edit deployment/gateway -n edge\n",
        "1 pod, 1 taking part, 1 without a working drain, 0 to know\n",
    ] {
        assert!(run.out.contains(words), "{words:?} is not in\n{}", run.out);
    }
    assert!(!run.out.contains("rollout restart"), "{}", run.out);
}

#[test]
fn who_may_not_read_quotas_is_told_so_once_and_everything_else() {
    let cluster = || {
        Cluster::serve(gateway_and(|path| {
            let message = format!("{path} is forbidden: User \"dev\" cannot list resource");
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": message, "reason": "Forbidden", "code": 403});
            (403, status)
        }))
    };
    let run = cluster().run(&[]);
    assert_eq!(run.status, 1, "{run:?}");
    assert_eq!(run.err.lines().count(), 1, "{}", run.err);
    assert!(
        run.err
            .contains("LimitRanges and ResourceQuotas cannot be read"),
        "{}",
        run.err
    );
    let mend = "\n  kubectl rollout restart deployment/gateway -n edge\n";
    assert!(run.out.contains(mend), "{}", run.out);

    let run = cluster().run(&["--output", "json"]);
    let json: Value = serde_json::from_str(&run.out).unwrap();
    let remarks = json["remarks"].as_array().unwrap();
    assert_eq!(remarks.len(), 1, "{json:#}");
    assert_eq!(json["pods"][0]["state"], "missing", "{json:#}");
    assert_eq!(json["pods"][0]["look"], json!([]), "{json:#}");
}

/// A Deployment's pod that asks for a drain and has none; of quotas and ranges what `limits` says.
fn gateway_and(
    limits: impl Fn(&str) -> (u16, Value) + Send + 'static,
) -> impl Fn(&str) -> Option<(u16, Value)> + Send + 'static {
    let owner = |version: &str, kind: &str, name: &str| json!([{"apiVersion": version, "kind": kind, "name": name, "controller": true}]);
    move |path| {
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        let object = match path.strip_prefix("/api/v1/") {
            Some(kind @ ("resourcequotas" | "limitranges")) => return Some(limits(kind)),
            Some("pods") => {
                let mut list = pods(PAGES - 1);
                list["items"].as_array_mut().unwrap().truncate(1);
                list["items"][0]["metadata"]["ownerReferences"] =
                    owner("apps/v1", "ReplicaSet", "gateway-1");
                list
            }
            _ if path.ends_with("/replicasets/gateway-1") => json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": "gateway-1", "ownerReferences": owner("apps/v1", "Deployment", "gateway")},
                "spec": {"template": {}},
            }),
            _ => return None,
        };
        Some((200, object))
    }
}

/// An API server.
struct Cluster {
    kubeconfig: PathBuf,
    _directory: TempDir,
}

impl Cluster {
    /// With this answer to each path, status and body; without one it has nothing of what is asked for.
    fn serve(answer: impl Fn(&str) -> Option<(u16, Value)> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: 'http://{}'}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n\
             users: [{{name: it, user: {{}}}}]\n",
            listener.local_addr().unwrap()
        );
        fs::write(&kubeconfig, text).unwrap();
        // It ends with the process of the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(&stream, &answer);
            }
        });
        Self {
            kubeconfig,
            _directory: directory,
        }
    }

    fn check(&self, more: &[&str]) -> Command {
        let mut check = Command::new(env!("CARGO_BIN_EXE_drainhook"));
        check
            .args(["check", "--cluster", "--kubeconfig"])
            .arg(&self.kubeconfig)
            .args(more)
            .stdout(Stdio::piped());
        check
    }

    fn run(&self, more: &[&str]) -> Run {
        let output = self.check(more).output().unwrap();
        Run {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Answers one request.
fn serve(mut stream: &TcpStream, answer: &impl Fn(&str) -> Option<(u16, Value)>) {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let request = lines.next().unwrap();
    assert!(lines.any(|line| line.is_empty()));
    let path = request.strip_prefix("GET ").unwrap();
    let path = path.strip_suffix(" HTTP/1.1").unwrap();
    let (status, body) = answer(path).unwrap_or_else(|| (200, usual(path)));
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} it\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
}

/// A version, and lists with nothing in them.
fn usual(path: &str) -> Value {
    if path == "/version" {
        return json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
        });
    }
    assert!(path.contains('?'), "{path} is no list");
    json!({"apiVersion": "v1", "metadata": {}, "items": []})
}

/// A page of pods of a usual size, of which the first asks for a drain and has none.
fn pods(page: usize) -> Value {
    let pod = |index: usize| {
        let annotations = match index {
            0 => json!({"drainhook.io/inject": "true"}),
            _ => json!({"note": "x".repeat(4_000)}),
        };
        json!({
            "metadata": {"name": format!("pod-{page}-{index}"), "namespace": "edge", "annotations": annotations},
            "spec": {"containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}]},
            "status": {"phase": "Running"},
        })
    };
    let next = page + 1;
    let token = if next < PAGES {
        format!("page-{next}")
    } else {
        String::new()
    };
    json!({
        "apiVersion": "v1",
        "kind": "PodList",
        "metadata": {"continue": token},
        "items": (0..250).map(pod).collect::<Vec<_>>(),
    })
}

/// The most memory that a process has held so far, in kB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}
