//! `check --cluster` against an API server of a few lines, which has more pods than a test could create
//! in a real one.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

/// Pages of the list, each of as many pods as are asked for.
const PAGES: usize = 16;

/// By then whatever a look takes once is there.
const EARLY: usize = 4;

#[test]
fn however_many_pods_there_are_they_are_held_page_by_page() {
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
    let check = Command::new(env!("CARGO_BIN_EXE_drainhook"))
        .args(["check", "--cluster", "--output", "json", "--kubeconfig"])
        .arg(&kubeconfig)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = check.id();
    let held = Arc::new(Mutex::new(Vec::new()));
    let noted = held.clone();
    // It ends with the process of the test.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let page = noted.lock().unwrap().len();
            if answer(&stream, page) {
                noted.lock().unwrap().push(peak(pid));
            }
        }
    });

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

/// Answers one request; whether it asked for a page of pods.
fn answer(mut stream: &TcpStream, page: usize) -> bool {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let request = lines.next().unwrap();
    assert!(lines.any(|line| line.is_empty()));
    let asks_for_pods = request.starts_with("GET /api/v1/pods?");
    let body = if asks_for_pods {
        assert!(request.contains("limit=250"), "{request}");
        let asked = request.contains(&format!("continue=page-{page}"));
        assert!(asked || page == 0, "{request}");
        pods(page)
    } else if request.starts_with("GET /api/v1/namespaces?") {
        json!({"apiVersion": "v1", "kind": "NamespaceList", "metadata": {}, "items": []})
    } else {
        assert!(request.starts_with("GET /version "), "{request}");
        json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
        })
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    asks_for_pods
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
