//! The chart's schema: Helm refuses what is wrong, by its name, before anything reaches a cluster.

use std::fs;
use std::path::Path;
use std::process::Command;

use drainhook_tests::product;
use drainhook_webhook::annotations::TABLE;
use serde_json::Value;

use super::tool::{command, tool};

/// A value, as `--set-json` takes it, and what Helm says of it.
const WRONG: [(&str, &str); 24] = [
    (
        "replicas=3",
        "at '': additional properties 'replicas' not allowed",
    ),
    (
        "server.replcas=3",
        "at '/server': additional properties 'replcas' not allowed",
    ),
    ("server.replicas=0", "at '/server/replicas': "),
    (r#"server.plainPort="8080""#, "at '/server/plainPort': "),
    ("server.port=70000", "at '/server/port': "),
    ("server.hostNetwork=1", "at '/server/hostNetwork': "),
    (
        "server.stopDelaySeconds=-1",
        "at '/server/stopDelaySeconds': ",
    ),
    (
        "server.limits.bodyMemory=1",
        "at '/server/limits/bodyMemory': ",
    ),
    (r#"server.log.format="xml""#, "at '/server/log/format': "),
    (
        r#"webhook.failurePolicy="Deny""#,
        "at '/webhook/failurePolicy': ",
    ),
    (
        "webhook.timeoutSeconds=31",
        "at '/webhook/timeoutSeconds': ",
    ),
    (r#"guard.action="deny""#, "at '/guard/action': "),
    (r#"certificates.mode="auto""#, "at '/certificates/mode': "),
    (
        r#"certificates.lifetimes={"leaf-life": "1d", "leaf-lifetime": "1 day"}"#,
        "at '/certificates/lifetimes': additional properties 'leaf-life' not allowed",
    ),
    (
        r#"certificates.lifetimes.ca-overlap="soon""#,
        "at '/certificates/lifetimes/ca-overlap': ",
    ),
    (
        r#"certificates.certManager.duration="90d""#,
        "at '/certificates/certManager/duration': ",
    ),
    (r#"image.digest="sha256:1234""#, "at '/image/digest': "),
    (r#"image.pullPolicy="always""#, "at '/image/pullPolicy': "),
    (
        r#"imagePullSecrets=["secret"]"#,
        "at '/imagePullSecrets/0': ",
    ),
    (r#"imageChoice="yes""#, "at '/imageChoice': "),
    (
        r#"monitoring.kind="ServiceMonitor""#,
        "at '/monitoring/kind': ",
    ),
    (r#"priorityClassQuota="yes""#, "at '/priorityClassQuota': "),
    (
        r#"podDisruptionBudget.minAvailable="one""#,
        "at '/podDisruptionBudget/minAvailable': ",
    ),
    (
        r#"defaults={"min-drian": "5s"}"#,
        "at '/defaults': additional properties 'min-drian' not allowed",
    ),
];

#[test]
fn helm_refuses_all_wrong_values_together_and_names_each() {
    for helm in ["helm", "helm3"] {
        let Some(helm) = tool(helm) else { return };
        let home = tempfile::tempdir().unwrap();
        let mut template = template(&helm, home.path());
        for (value, _) in WRONG {
            template.args(["--set-json", value]);
        }
        let output = template.output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        for (value, fault) in WRONG {
            assert!(said.contains(fault), "{value} is taken:\n{said}");
        }
    }
}

// Who takes part is not for the installation to say.
#[test]
fn an_installation_may_have_a_default_of_every_annotation_but_the_one_that_asks_for_the_drain() {
    let schema = product::workspace().join("manifests/chart/values.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let defaults = &schema["properties"]["defaults"];
    assert_eq!(defaults["additionalProperties"], false);
    let mut taken: Vec<_> = defaults["properties"].as_object().unwrap().keys().collect();
    let known = TABLE.iter().filter(|annotation| annotation.has_defaults());
    let mut known: Vec<_> = known.map(|annotation| annotation.name).collect();
    known.sort_unstable();
    taken.sort_unstable();
    assert!(!known.contains(&"inject"));
    assert_eq!(taken, known);
}

/// Arguments, something of what is rendered, and whether it is there.
const WHERE_NEEDED: [(&[&str], &str, bool); 11] = [
    (&[], "kind: ResourceQuota", false),
    (GKE, "kind: ResourceQuota", true),
    (GKE, r#"values: ["system-cluster-critical"]"#, true),
    (
        &[GKE[0], "--set=priorityClassQuota=never"],
        "kind: ResourceQuota",
        false,
    ),
    (
        &["--set=priorityClassQuota=always"],
        "kind: ResourceQuota",
        true,
    ),
    (&[], "      - delete\n", false),
    (
        &["--api-versions=security.openshift.io/v1"],
        "      - delete\n",
        true,
    ),
    (&[], "kind: PodDisruptionBudget", true),
    (
        &["--set=server.replicas=1"],
        "kind: PodDisruptionBudget",
        false,
    ),
    (&[], "maxUnavailable: 0\n      maxSurge: 1\n", true),
    (
        &["--set=server.hostNetwork=true"],
        "maxUnavailable: 1\n      maxSurge: 0\n",
        true,
    ),
];

const GKE: &[&str] = &["--kube-version=v1.34.1-gke.1829001"];

#[test]
fn what_only_some_clusters_need_is_made_there_alone() {
    let Some(helm) = tool("helm") else { return };
    let home = tempfile::tempdir().unwrap();
    for (arguments, part, is_there) in WHERE_NEEDED {
        let output = template(&helm, home.path())
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        let rendered = String::from_utf8(output.stdout).unwrap();
        assert_eq!(rendered.contains(part), is_there, "{arguments:?}: {part}");
    }
}

fn template(helm: &Path, home: &Path) -> Command {
    let manifests = product::workspace().join("manifests");
    let mut template = command(helm, &manifests, home);
    template.args(["template", "drainhook", "chart"]);
    template
}
