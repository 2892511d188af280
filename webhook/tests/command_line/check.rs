//! What `check` explains.

use drainhook_webhook::{Action, RejectReason, SkipReason};
use serde_json::Value;

use super::program::{POD, REFUSED, piped};

fn json(arguments: &[&str], text: &str) -> (i32, Value) {
    let run = piped(&[&["check", "--output", "json"], arguments].concat(), text);
    (run.status, serde_json::from_str(&run.out).unwrap())
}

#[test]
fn a_pod_is_explained_in_words() {
    let run = piped(&["check"], POD);
    assert_eq!(run.status, 0, "{run:?}");
    for words in [
        "stdin: document 1: pod/edge (line 1, namespace default)\n",
        "  this pod gets a drain\n",
        "  it takes part through its own annotation drainhook.io/inject\n",
        "  Envoy is container envoy: its image is Envoy's: envoyproxy/envoy:v1.36.2\n",
        "    its admin is at 127.0.0.1:9901: assumed",
        "  the sidecar is a regular container: ",
        "    + spec.containers[envoy].lifecycle: {\"preStop\":",
        "1 pod, 1 taking part, 0 faults, 0 warnings\n",
    ] {
        assert!(run.out.contains(words), "{words:?} is not in\n{}", run.out);
    }
}

#[test]
fn each_value_is_told_with_its_source() {
    let text = POD.replace("spec:", "    drainhook.io/quiet: 3s\nspec:");
    let run = piped(&["check", "--set", "drain-timeout=60s"], &text);
    let quiet = run
        .out
        .lines()
        .find(|line| line.contains("drainhook.io/quiet: 3s"))
        .unwrap();
    assert!(quiet.ends_with("(the pod)"), "{quiet}");
    let bound = run
        .out
        .lines()
        .find(|line| line.contains("drain-timeout: 60s"))
        .unwrap();
    assert!(bound.ends_with("(the installation)"), "{bound}");
    assert!(!run.out.contains("drainhook's default"));
    let all = piped(&["check", "--all"], &text);
    assert!(
        all.out.contains("drainhook.io/min-drain: 5s"),
        "{}",
        all.out
    );
}

/// The nearest source has the last word, and is the one that is named.
#[test]
fn a_value_of_the_namespace_is_told_as_such_until_the_pod_has_its_own() {
    let flags = [
        "--namespace-annotation",
        "drainhook.io/drain-timeout=90s",
        "--set",
        "drain-timeout=60s",
    ];
    let line = |arguments: &[&str], text: &str| {
        let run = piped(&[&["check"], arguments].concat(), text);
        assert_eq!(run.status, 0, "{run:?}");
        let mut lines = run
            .out
            .lines()
            .filter(|line| line.contains("drain-timeout: "));
        let line = lines.next().unwrap_or_default().trim().to_owned();
        assert_eq!(lines.next(), None, "{}", run.out);
        line
    };
    let of_namespace = "drainhook.io/drain-timeout: 90s  (the namespace)";
    assert_eq!(line(&flags, POD), of_namespace);
    // The same where the Namespace is among the manifests.
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  annotations:\n    \
                     drainhook.io/drain-timeout: 90s\n---\n";
    assert_eq!(
        line(&flags[2..], &(namespace.to_owned() + POD)),
        of_namespace
    );
    let own = POD.replace("spec:", "    drainhook.io/drain-timeout: 30s\nspec:");
    assert_eq!(
        line(&flags, &own),
        "drainhook.io/drain-timeout: 30s  (the pod)"
    );

    let (_, json) = json(&flags, POD);
    let settings = json["pods"][0]["settings"].as_array().unwrap();
    let told = settings
        .iter()
        .find(|setting| setting["key"] == "drainhook.io/drain-timeout")
        .unwrap();
    assert_eq!(told["source"], "namespace", "{told}");
}

#[test]
fn a_quota_among_the_manifests_that_would_refuse_the_sidecar_names_the_key_to_write() {
    let quota = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: team, namespace: {namespace}}}\n\
             spec: {{hard: {{limits.cpu: 4}}}}\n---\n"
        )
    };
    let run = piped(&["check"], &(quota("default") + POD));
    assert_eq!(run.status, 1, "{run:?}");
    let words = "  to fix: the API server would refuse the pod for its sidecar, because ResourceQuota \
                 \"team\" counts limits.cpu and it has none: write drainhook.io/cpu-limit: \"50m\"";
    assert!(run.out.contains(words), "{}", run.out);

    let met = POD.replace("spec:", "    drainhook.io/cpu-limit: 50m\nspec:");
    for input in [quota("default") + &met, quota("other") + POD] {
        let run = piped(&["check"], &input);
        assert_eq!(run.status, 0, "{run:?}");
    }
    // One that was injected already is refused just the same.
    let injected = piped(&["inject"], POD).out;
    let run = piped(&["check"], &(quota("default") + &injected));
    assert_eq!(run.status, 1, "{run:?}");
    // Where objects name no namespace, they are in the same one.
    let nameless = (quota("") + POD).replace(", namespace: }", "}");
    let run = piped(&["check", "--namespace", "edge"], &nameless);
    assert_eq!(run.status, 1, "{run:?}");
}

#[test]
fn what_is_to_be_fixed_fails_the_check() {
    let run = piped(&["check"], &format!("{POD}---\n{REFUSED}"));
    assert_eq!(run.status, 1, "{run:?}");
    assert_eq!(run.out.matches("  to fix: ").count(), 2, "{}", run.out);
    assert!(
        run.out
            .ends_with("2 pods, 2 taking part, 2 faults, 0 warnings\n"),
        "{}",
        run.out
    );
}

#[test]
fn warnings_fail_a_strict_check_only() {
    let text = POD.replace("spec:\n", "spec:\n  hostNetwork: true\n");
    let run = piped(&["check"], &text);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.out
            .contains("  warning: Envoy is reached through the node"),
        "{}",
        run.out
    );
    assert!(run.out.ends_with("0 faults, 1 warning\n"), "{}", run.out);
    assert_eq!(piped(&["check", "--strict"], &text).status, 1);
    let mended = text.replace("spec:", "    drainhook.io/min-drain: 30s\nspec:");
    assert_eq!(piped(&["check", "--strict"], &mended).status, 0);
}

/// Nobody could mend it, so that no pipeline may stop at it.
#[test]
fn what_is_as_it_should_be_passes_a_strict_check() {
    let hook = "    lifecycle: {preStop: {exec: {command: [sleep, \"5\"]}}}\n";
    for (said, text) in [
        (
            "terminationGracePeriodSeconds is raised",
            POD.replace("spec:\n", "spec:\n  terminationGracePeriodSeconds: 60\n"),
        ),
        (
            "gives way to ours",
            POD.replace("spec:", "    drainhook.io/pre-stop: replace\nspec:") + hook,
        ),
        (
            "keeps its own preStop hook",
            POD.replace("spec:", "    drainhook.io/pre-stop: keep\nspec:") + hook,
        ),
    ] {
        let run = piped(&["check", "--strict"], &text);
        assert_eq!(run.status, 0, "{run:?}");
        let line = run.out.lines().find(|line| line.contains(said)).unwrap();
        assert!(line.starts_with("  to know: "), "{line}");
        let (_, json) = json(&[], &text);
        assert_eq!(json["pods"][0]["warnings"], serde_json::json!([]), "{json}");
        assert!(json["pods"][0]["notes"][0].as_str().unwrap().contains(said));
        let injected = piped(&["inject"], &text);
        assert!(injected.err.contains(": to know: "), "{}", injected.err);
    }
}

#[test]
fn an_annotation_on_the_workload_itself_is_told() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: edge\n  annotations:\n    drainhook.io/inject: \"true\"\nspec:\n  template:\n    spec:\n      containers:\n      - {name: envoy, image: \"envoyproxy/envoy:v1\"}\n";
    let run = piped(&["check"], text);
    assert!(
        run.out.contains("its pod does not take part"),
        "{}",
        run.out
    );
    assert!(run.out.contains("on the Deployment itself"), "{}", run.out);
    assert!(
        piped(&["inject"], text)
            .err
            .contains("on the Deployment itself")
    );
}

#[test]
fn pods_that_do_not_take_part_are_silent_unless_asked_for() {
    let text = POD
        .replace("\"true\"", "\"false\"")
        .replace("drainhook.io/inject", "other");
    let run = piped(&["check"], &text);
    let (asks, sum) = run.out.split_once('\n').unwrap();
    assert!(asks.starts_with("no pod asks for a drain: "), "{asks}");
    assert_eq!(sum, "1 pod, 0 taking part, 0 faults, 0 warnings\n");
    assert!(
        piped(&["check", "--all"], &text)
            .out
            .contains("this pod does not take part")
    );
}

#[test]
fn tokens_that_differ_fail_the_check() {
    let injected = piped(&["inject", "-q"], POD).out;
    let guarded = injected
        .replace(
            "    - name: SHUTDOWN_MANAGER_PORT\n",
            "    - name: SHUTDOWN_MANAGER_TOKEN\n      value: theirs\n    - name: SHUTDOWN_MANAGER_PORT\n",
        )
        .replace(
            "          path: /shutdown\n",
            "          path: /shutdown\n          httpHeaders:\n          - {name: x-drainhook-token, value: ours}\n",
        );
    assert_ne!(guarded, injected);
    let run = piped(&["check"], &guarded);
    assert_eq!(run.status, 1, "{}", run.out);
    assert!(run.out.contains("  broken: "), "{}", run.out);
    let same = guarded.replace("theirs", "ours");
    assert_eq!(piped(&["check"], &same).status, 0);
}

#[test]
fn programs_read_the_same_as_json() {
    let (status, json) = json(&["--strict"], &format!("{POD}---\n{REFUSED}"));
    assert_eq!(status, 1);
    assert_eq!(
        json["summary"],
        serde_json::json!({
            "pods": 2, "takingPart": 2, "faults": 2, "warnings": 0,
        })
    );
    let pod = &json["pods"][0];
    for (key, value) in [
        ("file", "stdin"),
        ("kind", "Pod"),
        ("name", "edge"),
        ("namespace", "default"),
        ("pointer", ""),
        ("result", "inject"),
        ("reason", "injected"),
        ("optedInThrough", "pod"),
    ] {
        assert_eq!(pod[key], value, "{key}");
    }
    assert_eq!(pod["document"], 1);
    assert_eq!(pod["envoys"][0]["container"], "envoy");
    assert_eq!(json["pods"][1]["line"], 12);
    assert_eq!(json["pods"][1]["faults"].as_array().unwrap().len(), 2);
}

/// Whoever reads it with jq need not ask whether a member is there: lists are empty, and what does not
/// apply is null.
#[test]
fn every_pod_has_the_same_members_for_programs_whatever_became_of_it() {
    let silent = POD.replace("    drainhook.io/inject: \"true\"\n", "    note: none\n");
    let broken = piped(&["inject", "-q"], POD)
        .out
        .replace("port: 8090\n          path: /shutdown", "port: 8091");
    let text = [POD, REFUSED, &silent, &broken].join("---\n");
    let (status, json) = json(&["--kubernetes-version", "1.36"], &text);
    assert_eq!(status, 1);
    let pods = json["pods"].as_array().unwrap();
    assert_eq!(pods.len(), 4);
    let members = |value: &Value| -> Vec<String> {
        let members = value.as_object().unwrap().keys();
        members.cloned().collect()
    };
    for pod in pods {
        assert_eq!(members(pod), members(&pods[0]), "{pod:#}");
        for list in [
            "envoys",
            "settings",
            "changes",
            "faults",
            "injectionFaults",
            "warnings",
            "notes",
        ] {
            assert!(pod[list].is_array(), "{list}: {pod:#}");
        }
    }
    assert_eq!(pods[2]["optedInThrough"], Value::Null);
    assert_eq!(pods[2]["sidecar"], Value::Null);

    // What is prose has a word beside it that never changes.
    let pod = &pods[0];
    let envoy = &pod["envoys"][0];
    assert_eq!(envoy["foundBy"], "image");
    assert_eq!(envoy["adminFoundBy"], "assumed");
    assert_eq!(envoy["drainStrategy"], Value::Null);
    assert_eq!(pod["sidecar"]["native"], true);
    assert_eq!(pod["sidecar"]["chosenBy"], "cluster-version");
    for change in pod["changes"].as_array().unwrap() {
        assert_eq!(members(change), members(&pod["changes"][0]), "{change:#}");
        assert_eq!(change["operation"], "add", "{change:#}");
        assert_eq!(change["before"], Value::Null, "{change:#}");
    }
    assert_eq!(pod["changes"][0]["pointer"], "/spec/containers/0/lifecycle");
}

/// Members and words that never change stand in the guide, as code.
#[test]
fn what_programs_read_is_documented() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operate.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let is_told = |word: &str| {
        let told = guide.contains(&format!("`{word}`"));
        assert!(told, "{word} is not in docs/operate.md");
    };
    let (_, json) = json(&[], &format!("{POD}---\n{REFUSED}"));
    for member in members_in(&json) {
        is_told(&member);
    }
    let skip = SkipReason::ALL.iter().map(|reason| reason.label());
    let reject = RejectReason::ALL.iter().map(|reason| reason.label());
    let inject = Action::ALL.iter().map(|action| action.label());
    skip.chain(reject).chain(inject).for_each(is_told);
}

/// The names of all members, but for what stands in the pod itself.
fn members_in(value: &Value) -> Vec<String> {
    let mut names = Vec::new();
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                names.push(name.clone());
                if !["before", "after"].contains(&name.as_str()) {
                    names.extend(members_in(value));
                }
            }
        }
        Value::Array(items) => names.extend(items.iter().flat_map(members_in)),
        _ => {}
    }
    names
}

#[test]
fn colour_is_for_those_who_ask() {
    assert!(!piped(&["check"], POD).out.contains('\x1b'));
    assert!(
        piped(&["check", "--color", "always"], POD)
            .out
            .contains("\x1b[32mgets a drain\x1b[0m")
    );
    assert!(
        !piped(&["check", "--colour", "never"], POD)
            .out
            .contains('\x1b')
    );
}

#[test]
fn which_cluster_is_only_said_where_one_is_asked() {
    let run = piped(&["check", "--context", "production"], POD);
    assert_eq!(run.status, 64, "{run:?}");
    assert!(run.err.contains("with --cluster only"), "{run:?}");
}

#[test]
fn a_cluster_is_not_looked_at_together_with_files() {
    let run = piped(&["check", "--cluster", "-f", "gateway.yaml"], "");
    assert_eq!(run.status, 64, "{run:?}");
}

#[test]
fn what_is_said_of_the_installation_holds_for_a_cluster_too() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig").display().to_string();
    let cluster = ["check", "--cluster", "--kubeconfig", &kubeconfig];
    // The defaults are read before a cluster is asked, and a pipe will do.
    let piped_in = [&cluster[..], &["--defaults", "/dev/stdin"]].concat();
    let map = |text: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  defaults.yaml: |\n    {text}\n")
    };
    let run = piped(&piped_in, &map("drain-timeout: soon"));
    assert_eq!(run.status, 64, "{run:?}");
    assert!(run.err.contains("drain-timeout"), "{run:?}");
    let run = piped(&piped_in, &map("drain-timeout: 60s"));
    assert!(run.err.contains("no cluster to ask"), "{run:?}");
    // What is for manifests only is not dropped in silence.
    for said in [
        ["--defaults-from", "drainhook-defaults"],
        ["--namespace-label", "drainhook.io/inject=enabled"],
        ["--namespace-annotation", "drainhook.io/port=8090"],
    ] {
        let run = piped(&[&cluster[..], &said].concat(), "");
        assert_eq!(run.status, 64, "{run:?}");
        assert!(run.err.contains("cannot be used with"), "{run:?}");
    }
}

#[test]
fn a_context_that_is_not_there_is_named_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, "apiVersion: v1\nkind: Config\n").unwrap();
    let kubeconfig = kubeconfig.display().to_string();
    for command in [&["check", "--cluster"][..], &["verify"]] {
        let arguments = [
            command,
            &["--kubeconfig", &kubeconfig, "--context", "staging"],
        ]
        .concat();
        let run = piped(&arguments, "");
        assert_eq!(run.status, 64, "{run:?}");
        assert!(
            run.err.contains("staging") && run.err.contains("--context"),
            "{run:?}"
        );
    }
}

#[test]
fn a_cluster_that_does_not_answer_is_asked_again_for_as_long_as_was_said() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    // A port that is taken, so that nobody else gets it, and at which nobody listens.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
         clusters: [{{name: it, cluster: {{server: '{server}'}}}}]\n\
         contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n\
         users: [{{name: it, user: {{}}}}]\n"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let kubeconfig = kubeconfig.display().to_string();
    let asked = std::time::Instant::now();
    let run = piped(&["verify", "--kubeconfig", &kubeconfig, "--wait", "2s"], "");
    assert_eq!(run.status, 69, "{run:?}");
    assert!(run.err.contains("does not answer"), "{run:?}");
    assert!(asked.elapsed() >= std::time::Duration::from_secs(1));
}
