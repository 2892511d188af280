//! `drainhook verify`: does the webhook of a cluster work, now, all the way?
//!
//! A pod that asks for a drain is given to the API server as a dry run: whatever stands between it and
//! the webhook (registration, Service, network policies, certificates) takes part, and no pod is made.

use std::time::{Duration, Instant};

use kube::Api;
use kube::Client;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::completions::print;
use super::exit::{Exit, Failure};
use super::survey::{AccessArgs, in_full};
use crate::injection_faults;
use crate::sidecar::NAME;

/// What the pod of the dry run is called. Roles can allow this name alone, as it is applied and not
/// posted.
const POD: &str = "drainhook-verify";

/// How often is asked while it is waited. The API server hears of a configuration and of endpoints
/// within a moment, so this is soon enough for people and rare enough for an API server.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Ask a cluster whether a pod that asks for a drain would get it
///
/// A pod with Envoy is created as a dry run: the API server asks the webhook as it does for every
/// pod, and nothing is made. Needs the right to create and patch pods in the namespace.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_HELP)]
pub(super) struct Args {
    /// The namespace in which the pod would be: one that the webhook looks at, so not its own
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,

    /// Ask again for so long until it would, such as 30s: right after an installation the API server
    /// may not have heard yet of the webhook and of its endpoints
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    wait: Duration,

    #[command(flatten)]
    access: AccessArgs,
}

const EXIT_HELP: &str = "\
Exit status:
  0   it would
  1   it would not, or the pod is refused
  64, 69, 70: as everywhere (see `drainhook --help`)";

impl Args {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Software, format!("start a runtime: {error}")))?;
        let said = runtime.block_on(self.ask_until_well())?;
        print(said.as_bytes())
    }

    /// The verdict, or the last failure once it was waited for long enough.
    async fn ask_until_well(&self) -> Result<String, Failure> {
        let client = self.access.client().await?;
        let asked = Instant::now();
        loop {
            let pod = self.ask(client.clone()).await;
            let said = pod.and_then(|pod| verdict(&pod, &self.namespace));
            if said.is_ok() || asked.elapsed() + ASK_EVERY > self.wait {
                return said;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn ask(&self, client: Client) -> Result<Value, Failure> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        let pods: Api<DynamicObject> = Api::namespaced_with(client, &self.namespace, &resource);
        let parameters = PatchParams {
            dry_run: true,
            ..PatchParams::apply("drainhook-verify").force()
        };
        let pod = pod(&self.namespace);
        match pods.patch(POD, &parameters, &Patch::Apply(&pod)).await {
            Ok(made) => Ok(json!(made)),
            Err(kube::Error::Api(status)) => Err(Failure::new(
                Exit::Refused,
                format!("the API server refuses the pod: {}", status.message),
            )),
            Err(error) => Err(Failure::new(
                Exit::Unavailable,
                format!("the cluster does not answer: {}", in_full(&error)),
            )),
        }
    }
}

/// An Envoy that asks for its drain, and that no policy of a usual cluster minds.
fn pod(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": POD,
            "namespace": namespace,
            // What an installation takes for usual in its own gateways is not what this pod is.
            "annotations": {
                "drainhook.io/inject": "true",
                "drainhook.io/envoy": "envoy",
                "drainhook.io/admin": "127.0.0.1:9901",
            },
        },
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65_532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "envoy",
                "image": "envoyproxy/envoy:v1.36.2",
                "resources": {
                    "requests": { "cpu": "10m", "memory": "32Mi" },
                    "limits": { "cpu": "100m", "memory": "64Mi" },
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    })
}

fn verdict(pod: &Value, namespace: &str) -> Result<String, Failure> {
    let lists = ["containers", "initContainers"];
    let mut containers = lists
        .iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten();
    let Some(sidecar) = containers.find(|container| container["name"] == NAME) else {
        let message = format!(
            "a pod that asks for a drain in namespace {namespace} comes out without one: the webhook \
             was not reached, or does not look at this namespace. Are its pods ready, and has each \
             entry of its MutatingWebhookConfiguration a caBundle? The API server's log says what a \
             call has failed of"
        );
        return Err(Failure::new(Exit::Refused, message));
    };
    let faults = injection_faults(pod);
    if !faults.is_empty() {
        return Err(Failure {
            exit: Exit::Refused,
            messages: faults,
        });
    }
    let image = sidecar["image"].as_str().unwrap_or_default();
    Ok(format!(
        "a pod that asks for a drain in namespace {namespace} gets it: container {NAME}, image {image}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Configuration, Decision, Origin, Request, Token, decide};

    /// What the webhook makes of the pod.
    fn injected() -> Value {
        let mut pod = pod("edge");
        let request = Request {
            pod: &pod,
            namespace: None,
            configuration: &Configuration::default(),
            token: Some(&Token::dry_run()),
            origin: Origin::Admission,
        };
        let Decision::Inject {
            patch, warnings, ..
        } = decide(&request).unwrap()
        else {
            panic!("no injection");
        };
        assert_eq!(warnings, [""; 0]);
        json_patch::patch(&mut pod, &patch).unwrap();
        pod
    }

    #[test]
    fn a_pod_that_came_back_with_its_drain_is_well() {
        let said = verdict(&injected(), "edge").unwrap();
        assert!(said.contains("in namespace edge gets it"), "{said}");
    }

    #[test]
    fn what_an_installation_takes_for_usual_does_not_refuse_the_pod() {
        let defaults = "admin: unix:///run/envoy/admin.sock\nenvoy: proxy\n";
        let configuration = Configuration {
            defaults: crate::InstallationDefaults::parse(defaults).unwrap(),
            ..Configuration::default()
        };
        let pod = pod("edge");
        let request = Request {
            pod: &pod,
            namespace: None,
            configuration: &configuration,
            token: Some(&Token::dry_run()),
            origin: Origin::Admission,
        };
        let decision = decide(&request).unwrap();
        assert!(matches!(decision, Decision::Inject { .. }), "{decision:?}");
    }

    #[test]
    fn one_that_came_back_as_it_was_is_not() {
        let failure = verdict(&pod("edge"), "edge").unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(
            failure.messages[0].contains("comes out without one"),
            "{failure:?}"
        );
    }

    #[test]
    fn neither_is_one_whose_parts_do_not_fit() {
        let mut pod = injected();
        let hook = "/spec/containers/0/lifecycle/preStop/httpGet/port";
        *pod.pointer_mut(hook).unwrap() = json!(1);
        assert_eq!(verdict(&pod, "edge").unwrap_err().exit, Exit::Refused);
    }
}
