//! What the patch makes of the goldens and the examples, given to a real API server: it takes each,
//! and what it stores still has the drain.

use std::{collections::BTreeSet, fs, path::PathBuf};

use drainhook_tests::{
    cluster::{ApiServer, Version},
    product,
    wait::until,
};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

const BOTH: [Version; 2] = [Version::Newest, Version::Oldest];

/// What a namespace needs to take pods, and quotas to be counted. No workload makes pods here, and
/// none is collected for an owner that never was.
const CONTROLLERS: &[&str] = &["serviceaccount", "root-ca-cert-publisher", "resourcequota"];

/// Goldens that an API server refuses for what their author wrote, with the versions that do and
/// their words for it.
const REFUSED: &[(&str, &[Version], &str)] = &[
    // Names everything that pods can share, at once, and a debugger that only a running pod can get.
    (
        "shared-namespaces-and-volumes",
        &BOTH,
        "ShareProcessNamespace and HostPID cannot both be enabled, \
         spec.ephemeralContainers: Forbidden: cannot be set on create",
    ),
    // Has a field that 1.30 does not know and ignores, and newer versions want filled in.
    (
        UNKNOWN_FIELDS,
        &[Version::Newest],
        "must specify restartPolicy when restart rules are used",
    ),
];

/// The golden whose author writes fields that no version knows.
const UNKNOWN_FIELDS: &str = "unknown-fields-everywhere";

/// The grace period where a pod names none, in seconds.
const DEFAULT_GRACE: u64 = 30;

/// Where the service account's token is mounted into every container.
const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[tokio::test]
async fn the_real_api_server_accepts_every_output_and_stores_it_with_the_drain() {
    let mut faults = Vec::new();
    for version in BOTH {
        let server = started(version).await;
        let objects: Vec<_> = goldens("expected").into_iter().chain(examples()).collect();
        let namespaces = objects.iter().map(|(_, it)| namespace_of(it, "goldens"));
        for namespace in namespaces.collect::<BTreeSet<_>>() {
            server.namespace(namespace, &[]).await.unwrap();
        }
        for account in service_accounts(&objects) {
            server.apply(&account).await.unwrap();
        }
        let inputs = goldens("pod");
        for (name, object) in &objects {
            // Else a field that is misspelt would be left out without a word.
            let query = match version == Version::Newest && name != UNKNOWN_FIELDS {
                true => "?fieldValidation=Strict",
                false => "",
            };
            let listed = REFUSED
                .iter()
                .find(|(it, versions, _)| it == name && versions.contains(&version));
            let fault = match (create(&server, "goldens", object, query).await, listed) {
                (Ok(stored), None) => drain_lost(object, &stored),
                (Ok(_), Some(_)) => vec!["is listed as refused, and was accepted".to_owned()],
                (Err(words), Some((_, _, because))) if words.contains(because) => {
                    // The patch has no part in it: the pod is refused without it, in the same words.
                    let (_, input) = inputs.iter().find(|(it, _)| it == name).unwrap();
                    let without = create(&server, "goldens", input, query).await;
                    assert_eq!(without.unwrap_err(), words, "{name}");
                    Vec::new()
                }
                (Err(words), _) => vec![words],
            };
            let fault = fault.into_iter();
            faults.extend(fault.map(|it| format!("{} {name}: {it}", version.minor())));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn a_pod_that_meets_pod_security_restricted_meets_it_after_injection() {
    for version in BOTH {
        let server = started(version).await;
        let enforced = [("pod-security.kubernetes.io/enforce", "restricted")];
        server.namespace("restricted", &enforced).await.unwrap();
        let mut admitted = BTreeSet::new();
        let outputs = goldens("expected");
        for (name, pod) in goldens("pod") {
            let Some((_, output)) = outputs.iter().find(|(other, _)| *other == name) else {
                continue;
            };
            if create(&server, "restricted", &pod, "?dryRun=All")
                .await
                .is_ok()
            {
                let stored = create(&server, "restricted", output, "").await;
                let stored = stored.unwrap_or_else(|words| panic!("{name}: {words}"));
                assert_eq!(drain_lost(output, &stored), [""; 0], "{name}");
                admitted.insert(name);
            }
        }
        assert!(admitted.contains("restricted-namespace"), "{admitted:?}");
    }
}

#[tokio::test]
async fn a_quota_and_a_limit_range_admit_the_sidecar_with_the_annotations_for_them() {
    for version in BOTH {
        let server = started(version).await;
        server.namespace("quota", &[]).await.unwrap();
        server.namespace("range", &[]).await.unwrap();
        let hard = json!({ "limits.cpu": "1", "limits.memory": "1Gi" });
        server
            .apply(&json!({
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": { "name": "team", "namespace": "quota" },
                "spec": { "hard": hard },
            }))
            .await
            .unwrap();
        server
            .apply(&json!({
                "apiVersion": "v1",
                "kind": "LimitRange",
                "metadata": { "name": "team", "namespace": "range" },
                "spec": { "limits": [{
                    "type": "Container",
                    "min": { "cpu": "5m", "memory": "16Mi" },
                    "max": { "cpu": "500m", "memory": "256Mi" },
                }] },
            }))
            .await
            .unwrap();
        // Neither counts before the API server has seen it.
        let without = with_own_limits("envoy-alone");
        for (namespace, word) in [("quota", "limits.cpu"), ("range", "minimum memory")] {
            let what = format!("a refusal for {word} in namespace {namespace}");
            until(&what, async || {
                let words = create(&server, namespace, &without, "?dryRun=All")
                    .await
                    .err()?;
                words.contains(word).then_some(())
            })
            .await
            .unwrap();
        }
        let with = with_own_limits("resources-for-a-quota");
        for namespace in ["quota", "range"] {
            let stored = create(&server, namespace, &with, "").await;
            let stored = stored.unwrap_or_else(|words| panic!("{namespace}: {words}"));
            assert_eq!(drain_lost(&with, &stored), [""; 0], "{namespace}");
        }
    }
}

async fn started(version: Version) -> ApiServer {
    let options = ApiServer::options().version(version);
    options.controllers(CONTROLLERS).start().await.unwrap()
}

/// The pods of the goldens by name: as they come out of a decision that injects, or, from the file
/// `pod`, as they go in.
fn goldens(file: &str) -> Vec<(String, Value)> {
    let mut goldens = Vec::new();
    for directory in sorted("webhook/tests/goldens") {
        let name = directory
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let [content] = &documents(&directory.join(format!("{file}.yaml")))[..] else {
            panic!("{name}/{file}.yaml is not one document");
        };
        let mut pod = match file {
            "expected" if content["decision"] != "inject" => continue,
            "expected" => content["pod"].clone(),
            _ => content.clone(),
        };
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        if pod["metadata"]["generateName"].is_null() {
            pod["metadata"]["name"] = name.clone().into();
        }
        goldens.push((name, pod));
    }
    assert!(goldens.len() >= 60, "{} goldens", goldens.len());
    goldens
}

fn examples() -> Vec<(String, Value)> {
    let mut examples = Vec::new();
    for file in sorted("examples/injected") {
        let name = file.file_name().unwrap().to_string_lossy();
        let objects = documents(&file);
        assert!(
            objects.iter().any(|object| pod_spec(object).is_some()),
            "{name}: no pod"
        );
        examples.extend(
            objects
                .into_iter()
                .map(|it| (format!("examples/{name}"), it)),
        );
    }
    assert!(!examples.is_empty());
    examples
}

fn sorted(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(product::workspace().join(directory)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn documents(file: &PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|fault| panic!("{}: {fault}", file.display()))
}

/// The service accounts that these objects name.
fn service_accounts(objects: &[(String, Value)]) -> Vec<Value> {
    let named = |(_, object): &(String, Value)| {
        let name = pod_spec(object)?["serviceAccountName"].as_str()?;
        Some(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": name, "namespace": namespace_of(object, "goldens") },
        }))
    };
    objects.iter().filter_map(named).collect()
}

/// The namespace that an object names, or else the given one.
fn namespace_of<'a>(object: &'a Value, otherwise: &'a str) -> &'a str {
    let named = object["metadata"]["namespace"].as_str();
    named.unwrap_or(otherwise)
}

/// A golden whose own containers say what they need; the sidecar stays as it was decided.
fn with_own_limits(golden: &str) -> Value {
    let mut goldens = goldens("expected").into_iter();
    let (_, mut pod) = goldens.find(|(name, _)| name == golden).unwrap();
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        container["resources"] = json!({ "limits": { "cpu": "250m", "memory": "128Mi" } });
    }
    pod
}

/// Creates an object as it is written, and gives what is stored; where it is refused, the words.
async fn create(
    server: &ApiServer,
    namespace: &str,
    object: &Value,
    query: &str,
) -> Result<Value, String> {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, short) = version.rsplit_once('/').unwrap_or(("", version));
    let kind = GroupVersionKind::gvk(group, short, object["kind"].as_str().unwrap());
    let client = server.client();
    let (resource, _) = kube::discovery::pinned_kind(&client, &kind).await.unwrap();
    let root = if group.is_empty() { "api" } else { "apis" };
    let plural = resource.plural;
    let namespace = namespace_of(object, namespace);
    let url = format!("/{root}/{version}/namespaces/{namespace}/{plural}");
    // As bytes, so that no type of a client leaves out what it does not know.
    let request = hyper::Request::post(format!("{url}{query}"))
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    let created: Value = client.request(request).await.map_err(|it| it.to_string())?;
    if query.contains("dryRun") {
        return Ok(created);
    }
    let name = created["metadata"]["name"].as_str().unwrap();
    let request = hyper::Request::get(format!("{url}/{name}")).body(Vec::new());
    Ok(client.request(request.unwrap()).await.unwrap())
}

/// The spec of the pods that an object is or makes.
fn pod_spec(object: &Value) -> Option<&Value> {
    object.pointer(match object["kind"].as_str()? {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    })
}

/// What of the drain is not stored as it was written.
fn drain_lost(written: &Value, stored: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let (Some(written), Some(stored)) = (pod_spec(written), pod_spec(stored)) else {
        return faults;
    };
    let key = "terminationGracePeriodSeconds";
    let grace = written[key].as_u64().unwrap_or(DEFAULT_GRACE);
    differences(key, &json!(grace), &stored[key], &mut faults);
    let mut sidecars = 0;
    for list in ["initContainers", "containers"] {
        for container in written[list].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap();
            let mut kept = stored[list].as_array().into_iter().flatten();
            let Some(kept) = kept.find(|it| it["name"] == name) else {
                faults.push(format!("{list} has no {name}"));
                continue;
            };
            if name == "shutdown-manager" {
                sidecars += 1;
                let kept = without_token_mount(kept);
                differences(name, container, &kept, &mut faults);
                continue;
            }
            for part in [
                "/lifecycle/preStop",
                "/livenessProbe/terminationGracePeriodSeconds",
                "/startupProbe/terminationGracePeriodSeconds",
            ] {
                let [was, is] = [container, kept].map(|it| it.pointer(part));
                let [was, is] = [was, is].map(|it| it.unwrap_or(&Value::Null));
                differences(&format!("{name}{part}"), was, is, &mut faults);
            }
        }
    }
    if sidecars != 1 {
        faults.push(format!("{sidecars} sidecars are written"));
    }
    faults
}

/// A container without what admission mounts into every one.
fn without_token_mount(container: &Value) -> Value {
    let mut container = container.clone();
    if let Some(Value::Array(mounts)) = container.get_mut("volumeMounts") {
        mounts.retain(|mount| mount["mountPath"] != TOKEN_MOUNT);
        if mounts.is_empty() {
            container.as_object_mut().unwrap().remove("volumeMounts");
        }
    }
    container
}

/// Where `stored` is other than `written`, apart from what the API server fills in.
fn differences(place: &str, written: &Value, stored: &Value, faults: &mut Vec<String>) {
    match (written, stored) {
        (Value::Object(was), Value::Object(is)) => {
            for (key, value) in was {
                let stored = is.get(key).unwrap_or(&Value::Null);
                differences(&format!("{place}/{key}"), value, stored, faults);
            }
            let added = is.iter().filter(|(key, _)| !was.contains_key(*key));
            let added = added.filter(|(key, value)| !is_defaulted(key, value));
            faults.extend(added.map(|(key, value)| format!("{place}/{key} is added: {value}")));
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            for (number, (was, is)) in was.iter().zip(is).enumerate() {
                differences(&format!("{place}/{number}"), was, is, faults);
            }
        }
        _ if written == stored => {}
        _ => faults.push(format!("{place} was {written}, is stored as {stored}")),
    }
}

/// Whether the API server fills this in where an author says nothing.
fn is_defaulted(key: &str, value: &Value) -> bool {
    match key {
        // On the node's network it is the same as the container's port.
        "hostPort" => true,
        "imagePullPolicy" => value == "IfNotPresent",
        "protocol" => value == "TCP",
        "resources" => *value == json!({}),
        "scheme" => value == "HTTP",
        "successThreshold" => *value == json!(1),
        "terminationMessagePath" => value == "/dev/termination-log",
        "terminationMessagePolicy" => value == "File",
        _ => false,
    }
}
