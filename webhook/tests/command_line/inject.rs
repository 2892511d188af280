//! What is decided, and how it is told.

use std::fs;

use serde_json::Value;

use super::program::{POD, REFUSED, drainhook, piped};

/// As the chart renders it.
const INSTALLATION: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: drainhook-defaults
  namespace: drainhook
data:
  defaults.yaml: |
    # The installation's defaults of the annotations.
    drain-timeout: 60s
";

#[test]
fn a_pod_on_standard_input_comes_out_with_its_drain() {
    let run = piped(&["inject"], POD);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.out.contains("  - name: envoy # the proxy\n"),
        "{}",
        run.out
    );
    assert!(
        run.out.contains("- name: shutdown-manager\n"),
        "{}",
        run.out
    );
    assert_eq!(run.err, "stdin: document 1: pod/edge: injected\n");
    let back = piped(&["uninject", "-"], &run.out);
    assert_eq!((back.status, back.out.as_str()), (0, POD));
    assert_eq!(back.err, "stdin: document 1: pod/edge: taken back\n");
}

#[test]
fn injecting_twice_changes_nothing_and_says_so() {
    let once = piped(&["inject", "--quiet"], POD);
    assert_eq!(once.err, "");
    let twice = piped(&["inject"], &once.out);
    assert_eq!(twice.out, once.out);
    assert_eq!(
        twice.err,
        "stdin: document 1: pod/edge: left as it is: this pod has its drain already\n"
    );
}

/// Else a forgotten annotation would look like success.
#[test]
fn where_nobody_asks_for_a_drain_that_is_said_once_with_how_to_ask() {
    let silent = POD.replace("    drainhook.io/inject: \"true\"\n", "    note: none\n");
    let two = format!("{silent}---\n{silent}");
    let run = piped(&["inject"], &two);
    assert_eq!((run.status, run.out.as_str()), (0, two.as_str()));
    assert!(
        run.err.starts_with("drainhook: no pod asks for a drain: ")
            && run.err.contains("drainhook.io/inject: \"true\"")
            && run.err.lines().count() == 1,
        "{}",
        run.err
    );
    let check = piped(&["check"], &two);
    assert!(
        check.out.contains("no pod asks for a drain: "),
        "{}",
        check.out
    );
    let back = piped(&["uninject"], &two);
    assert!(back.err.contains("no pod has a drain"), "{}", back.err);
    assert_eq!(piped(&["inject", "--quiet"], &two).err, "");
    // One that asks is enough, and what has no pods has nobody to ask.
    let run = piped(&["inject"], &format!("{silent}---\n{POD}"));
    assert!(!run.err.contains("no pod asks"), "{}", run.err);
    let none = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    assert_eq!(piped(&["inject"], none).err, "");
}

/// Each is a whole sentence, and says a thing once.
#[test]
fn what_is_left_as_it_is_is_told_with_why() {
    let by_namespace = ["inject", "--namespace-label", "drainhook.io/inject=enabled"];
    let hook = "    lifecycle: {preStop: {exec: {command: [sleep, \"5\"]}}}\n";
    let silent = POD.replace("    drainhook.io/inject: \"true\"\n", "    note: none\n");
    let app = silent.replace("envoyproxy/envoy:v1.36.2", "app:1");
    for (text, said) in [
        (
            silent.clone() + hook,
            "this pod gets no drain: only its namespace asks, and something stands against it",
        ),
        (app, "this pod has no Envoy"),
    ] {
        let run = piped(&by_namespace, &text);
        assert_eq!((run.status, run.out.as_str()), (0, text.as_str()));
        let line = format!("stdin: document 1: pod/edge: left as it is: {said}\n");
        assert!(run.err.starts_with(&line), "{}", run.err);
        assert_eq!(run.err.matches("left as it is").count(), 1, "{}", run.err);
    }
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\nspec:\n  \
                      template:\n    spec: {containers: [{name: app, image: app}]}\n";
    let run = piped(&by_namespace, deployment);
    let line = "stdin: document 1: deployment/app: left as it is: its pod has no Envoy\n";
    assert_eq!(run.err, line);
}

#[test]
fn other_settings_bring_an_injection_up_to_date_without_a_trace_of_the_older() {
    let old = piped(&["inject", "-q", "--image", "old:1"], POD);
    assert!(old.out.contains("image: old:1"), "{}", old.out);
    let new = piped(
        &["inject", "--set", "image=new:2", "--set", "quiet=3s"],
        &old.out,
    );
    assert_eq!(
        new.out,
        piped(
            &["inject", "--set", "image=new:2", "--set", "quiet=3s"],
            POD
        )
        .out
    );
    assert!(new.err.contains("brought to this version"), "{}", new.err);
}

#[test]
fn an_older_version_is_brought_to_this_one() {
    let new = piped(&["inject", "-q"], POD).out;
    let version = env!("CARGO_PKG_VERSION");
    let old = new
        .replace(
            &format!("shutdown-manager:v{version}"),
            "shutdown-manager:v0.0.1",
        )
        .replace(
            &format!("\"version\":\"{version}\""),
            "\"version\":\"0.0.1\"",
        );
    assert_ne!(old, new);
    assert_eq!(piped(&["inject", "-q"], &old).out, new);
}

#[test]
fn what_a_person_changed_since_stays_when_it_is_taken_back() {
    let injected = piped(&["inject", "-q"], POD).out;
    let touched = injected
        .replace(
            "terminationGracePeriodSeconds: 305",
            "terminationGracePeriodSeconds: 600",
        )
        .replace("    image: envoyproxy", "    # mine\n    image: envoyproxy");
    let back = piped(&["uninject"], &touched);
    let expected = POD.replace("    image: envoyproxy", "    # mine\n    image: envoyproxy")
        + "  terminationGracePeriodSeconds: 600\n";
    assert_eq!(back.out, expected);
    assert!(
        back.err.contains("terminationGracePeriodSeconds"),
        "{}",
        back.err
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_nothing_is_written() {
    let text = format!(
        "{POD}---\n{REFUSED}---\n{}",
        REFUSED.replace("wrong", "too")
    );
    let run = piped(&["inject"], &text);
    assert_eq!((run.status, run.out.as_str()), (1, ""));
    let lines: Vec<_> = run.err.lines().collect();
    assert_eq!(lines.len(), 5, "{}", run.err);
    assert!(
        lines[0].starts_with("drainhook: stdin: document 2: pod/wrong: "),
        "{}",
        lines[0]
    );
    assert!(
        lines[2].starts_with("drainhook: stdin: document 3: pod/too: "),
        "{}",
        lines[2]
    );
    assert!(
        run.err.contains("did you mean drainhook.io/quiet?"),
        "{}",
        run.err
    );
    assert_eq!(lines[4], "drainhook: nothing was written");
}

#[test]
fn what_is_no_yaml_is_told_with_document_and_line() {
    let run = piped(&["inject"], "a: 1\n---\nb: [\n---\nc: 1\nc: 2\n");
    assert_eq!((run.status, run.out.as_str()), (1, ""));
    assert!(run.err.contains("stdin: document 2, line "), "{}", run.err);
    assert!(
        run.err
            .contains("stdin: document 3, line 6: the key \"c\" stands twice"),
        "{}",
        run.err
    );
}

#[test]
fn a_template_is_recognised() {
    let run = piped(&["inject"], "metadata:\n  name: {{ .Release.Name }}\n");
    assert_eq!(run.status, 1);
    assert!(run.err.contains("post-renderer"), "{}", run.err);
}

#[test]
fn an_alias_in_the_way_is_named() {
    let text = POD.replace(
        "  containers:\n  - name",
        "  containers:\n  - &envoy\n    name",
    ) + "x: *envoy\n";
    let run = piped(&["inject"], &text);
    assert_eq!((run.status, run.out.as_str()), (1, ""));
    assert!(
        run.err
            .contains("line 9: /spec/containers/0 has an anchor (`&...`) that an alias repeats"),
        "{}",
        run.err
    );
}

#[test]
fn namespaces_are_found_among_the_manifests_or_told_by_flags() {
    let quiet = POD.replace("  annotations:\n    drainhook.io/inject: \"true\"\n", "");
    assert_eq!(piped(&["inject"], &quiet).out, quiet);
    let flags = [
        "inject",
        "--namespace-label",
        "drainhook.io/inject=enabled",
        "--namespace-annotation",
        "drainhook.io/drain-timeout=60s",
    ];
    let injected = piped(&flags, &quiet).out;
    assert!(
        injected.contains("terminationGracePeriodSeconds: 65"),
        "{injected}"
    );
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: edge\n  labels:\n    drainhook.io/inject: enabled\n";
    let both = format!("{namespace}---\n{quiet}");
    assert_eq!(piped(&["inject"], &both).out, both);
    let run = piped(&["inject", "--namespace", "edge"], &both);
    assert!(run.out.contains("shutdown-manager"), "{}", run.out);
}

#[test]
fn native_sidecars_are_for_the_clusters_that_have_them() {
    let run = piped(&["inject", "--kubernetes-version", "1.33"], POD);
    assert!(run.out.contains("restartPolicy: Always"), "{}", run.out);
    assert_eq!(piped(&["uninject"], &run.out).out, POD);
    assert!(!piped(&["inject"], POD).out.contains("restartPolicy"));
}

#[test]
fn the_installations_defaults_come_from_its_file_and_flags_go_before() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("defaults.yaml");
    fs::write(&file, "image: file:1\ndrain-timeout: 60s\n").unwrap();
    let file = file.to_str().unwrap();
    let run = piped(&["inject", "--defaults", file, "--image", "flag:1"], POD);
    assert!(run.out.contains("image: flag:1"), "{run:?}");
    assert!(
        run.out.contains("terminationGracePeriodSeconds: 65"),
        "{run:?}"
    );
    let run = piped(&["inject", "--set", "prot=1", "--set", "quiet=soon"], POD);
    assert_eq!(run.status, 64);
    assert_eq!(run.err.lines().count(), 2, "{}", run.err);
    assert!(run.err.contains("did you mean port?"), "{}", run.err);
}

#[test]
fn the_installations_defaults_come_from_its_config_map_in_a_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("install.yaml");
    fs::write(&file, INSTALLATION).unwrap();
    let run = piped(&["inject", "--defaults", file.to_str().unwrap()], POD);
    assert!(
        run.out.contains("terminationGracePeriodSeconds: 65"),
        "{run:?}"
    );
    fs::write(&file, INSTALLATION.replace("defaults.yaml", "other.yaml")).unwrap();
    let run = piped(&["inject", "--defaults", file.to_str().unwrap()], POD);
    assert_eq!(run.status, 64, "{run:?}");
    assert!(
        run.err.contains("none of its ConfigMaps has the key"),
        "{run:?}"
    );
}

#[test]
fn the_installations_config_map_may_be_among_the_manifests_if_it_is_named() {
    let both = format!("{INSTALLATION}---\n{POD}");
    let raised = "terminationGracePeriodSeconds: 65";
    // Not unless it is asked for: whose installation it is, nobody can tell from here.
    assert!(!piped(&["inject"], &both).out.contains(raised));
    for name in ["drainhook-defaults", "drainhook/drainhook-defaults"] {
        let run = piped(&["inject", "--defaults-from", name], &both);
        assert!(run.out.contains(raised), "{run:?}");
        assert!(run.out.starts_with(INSTALLATION), "{run:?}");
    }
    for (name, text, said) in [
        ("drainhook", &both, "there is drainhook/drainhook-defaults"),
        ("drainhook-defaults", &POD.to_owned(), "no such ConfigMap"),
        (
            "drainhook-defaults",
            &format!(
                "{both}---\n{}",
                INSTALLATION.replace("namespace: drainhook", "namespace: other")
            ),
            "means each of drainhook/drainhook-defaults, other/drainhook-defaults",
        ),
        (
            "drainhook-defaults",
            &both.replace("drain-timeout", "drain-timeuot"),
            "defaults.yaml: \"drain-timeuot\" is not a key of drainhook: did you mean",
        ),
    ] {
        let run = piped(&["inject", "--defaults-from", name], text);
        assert_eq!(run.status, 64, "{run:?}");
        assert!(run.err.contains(said), "{run:?}");
    }
}

#[test]
fn a_namespace_among_the_manifests_opts_in_and_sets_defaults() {
    let quiet = POD.replace("  annotations:\n    drainhook.io/inject: \"true\"\n", "");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels:\n    drainhook.io/inject: enabled\n  annotations:\n    drainhook.io/drain-timeout: 90s\n";
    let run = piped(&["inject"], &format!("{quiet}---\n{namespace}"));
    assert!(
        run.out.contains("terminationGracePeriodSeconds: 95"),
        "{run:?}"
    );
    let both = format!("{INSTALLATION}---\n{namespace}---\n{quiet}");
    let run = piped(&["inject", "--defaults-from", "drainhook-defaults"], &both);
    assert!(
        run.out.contains("terminationGracePeriodSeconds: 95"),
        "{run:?}"
    );
}

/// Whoever writes one by hand has no Deployment that would make it.
#[test]
fn the_template_of_a_replica_set_gets_the_drain_and_gives_it_back() {
    let text = "\
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: edge}
spec:
  replicas: 2 # one of each zone
  selector: {matchLabels: {app: edge}}
  template:
    metadata:
      labels: {app: edge}
      annotations: {drainhook.io/inject: \"true\"}
    spec:
      containers:
      - name: envoy
        image: envoyproxy/envoy:v1.36.2
";
    let run = piped(&["inject"], text);
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!(run.err, "stdin: document 1: replicaset/edge: injected\n");
    let set: Value = serde_saphyr::from_str(&run.out).unwrap();
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][1]["name"], "shutdown-manager", "{set}");
    let hook = &pod["containers"][0]["lifecycle"]["preStop"]["httpGet"];
    assert_eq!(hook["path"], "/shutdown", "{set}");
    assert_eq!(pod["terminationGracePeriodSeconds"], 305, "{set}");
    // Nothing but the template is touched.
    assert!(
        run.out
            .starts_with(text.split("  template:").next().unwrap())
    );
    assert_eq!(piped(&["uninject"], &run.out).out, text);
}

#[test]
fn what_is_wrong_with_the_pods_of_others_stops_nobody() {
    let others = "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations: [odd]\nspec: {}\n";
    let both = format!(
        "{POD}---\n{}",
        others.replace("  annotations: [odd]\n", "  name: c\n")
    );
    let run = piped(&["inject"], &both);
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!(piped(&["uninject"], &run.out).out, both);
    assert_eq!(piped(&["uninject"], others).out, others);
    let broken = others.replace("{}", "{containers: [{name: shutdown-manager}]}");
    assert_eq!(piped(&["uninject"], &broken).status, 1);
}

#[test]
fn a_resource_list_is_configured_by_its_function() {
    let list = format!(
        "apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nfunctionConfig:\n  apiVersion: v1\n  kind: ConfigMap\n  data:\n    image: function:1\n    kubernetes-version: \"1.33\"\nitems:\n- {}",
        POD.trim_end().replace('\n', "\n  ")
    );
    let run = piped(&["inject"], &list);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.out.contains("image: function:1"), "{}", run.out);
    assert!(run.out.contains("  initContainers:"), "{}", run.out);
    let wrong = list.replace("1.33", "new");
    assert_eq!(piped(&["inject"], &wrong).status, 64);
}

#[test]
fn json_stays_json() {
    let json = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": {"drainhook.io/inject": "true"}}, "spec": {"containers": [{"name": "envoy", "image": "envoyproxy/envoy:v1"}]}}"#;
    let run = piped(&["inject"], json);
    let value: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(value["spec"]["containers"][1]["name"], "shutdown-manager");
    assert_eq!(piped(&["uninject"], &run.out).out, json);
}

#[test]
fn a_wrong_command_line_is_64_and_help_is_not() {
    for arguments in [
        vec!["inject", "--no-such"],
        vec!["inject", "--kubernetes-version", "new"],
        vec!["inject", "--in-place", "--diff"],
        vec!["inject", "--in-place"],
        vec!["no-such"],
        vec![],
    ] {
        assert_eq!(drainhook(&arguments).status, 64, "{arguments:?}");
    }
    for arguments in [
        ["inject", "--help"],
        ["check", "-h"],
        ["--version", "--help"],
    ] {
        assert_eq!(drainhook(&arguments).status, 0, "{arguments:?}");
    }
}
