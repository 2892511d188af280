//! Which containers run Envoy, and where the admin interface of each is.

mod admin;
mod bootstrap;
mod command;

use crate::annotations::Key;
use crate::decision::{Fault, RejectReason};
use crate::foreign;
use crate::message::{list, quoted};
use crate::pod::{Container, Metadata, Pod};
use crate::settings::{Settings, Source};
use crate::value::AdminAddress;
pub(crate) use admin::AdminBecause;
use admin::AdminSearch;
use bootstrap::Bootstrap;
pub(crate) use command::Arguments;
use command::Start;

/// Prometheus' usual annotation of the port that it reads metrics from.
const SCRAPED_PORT: &str = "prometheus.io/port";

/// What may stand behind `envoy-` in the name of an image that is still Envoy itself.
const IMAGE_VARIANTS: &[&str] = &[
    "alpine",
    "amd64",
    "arm64",
    "contrib",
    "debug",
    "dev",
    "distroless",
    "fips",
    "google",
    "static",
    "ubi",
    "ubi8",
    "ubi9",
    "vrp",
];

/// An Envoy of the pod.
pub(crate) struct Envoy<'p> {
    pub(crate) container: &'p Container<'p>,
    pub(crate) because: Because,
    pub(crate) arguments: Arguments,
    pub(crate) admin: AdminAddress,
    pub(crate) admin_because: AdminBecause,
    /// Ports where the pod itself says that probes and scrapes arrive.
    pub(crate) quietened: Vec<u16>,
    /// TCP ports of listeners, where they are known.
    pub(crate) listeners: Vec<u16>,
}

/// How an Envoy was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Named(Source),
    Image,
    Command,
}

/// What was found, and what a person should know about it.
#[derive(Default)]
pub(crate) struct Findings<'p> {
    pub(crate) envoys: Vec<Envoy<'p>>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<String>,
}

/// Finds the Envoys of a pod.
pub(crate) fn find<'p>(
    pod: &'p Pod<'p>,
    metadata: &Metadata<'_>,
    settings: &Settings,
) -> Findings<'p> {
    let mut findings = Findings::default();
    let chosen = choose(pod, settings, &mut findings.faults);
    check_admin_names(&chosen, pod, settings, &mut findings.faults);
    let single = chosen.len() == 1;
    for (container, because) in chosen {
        let arguments = match Start::of(container) {
            Start::Envoy(arguments) | Start::Image(arguments) => arguments,
            Start::Other => Arguments::default(),
        };
        let (bootstrap, unreadable) = match arguments.config_yaml.as_deref().map(Bootstrap::read) {
            None => (None, None),
            Some(Ok(bootstrap)) => (Some(bootstrap), None),
            Some(Err(fault)) => (None, Some(fault)),
        };
        let search = AdminSearch {
            container,
            arguments: &arguments,
            bootstrap: bootstrap.as_ref(),
            unreadable: unreadable.as_deref(),
            settings,
            single,
        };
        match search.run(&mut findings.warnings) {
            Err(fault) => findings.faults.push(fault),
            Ok((admin, admin_because)) => findings.envoys.push(Envoy {
                container,
                because,
                quietened: quietened(container, metadata, &admin),
                listeners: bootstrap
                    .map(|bootstrap| bootstrap.ports)
                    .unwrap_or_default(),
                arguments,
                admin,
                admin_because,
            }),
        }
    }
    let told = |fault: &Fault| fault.reason == RejectReason::AdminUnknown;
    if !findings.faults.iter().any(told) {
        distinct_admins(&mut findings);
    }
    same_base_ids(&mut findings);
    findings
}

/// The containers that run Envoy: those that were named, else those that look like it.
fn choose<'p>(
    pod: &'p Pod<'p>,
    settings: &Settings,
    faults: &mut Vec<Fault>,
) -> Vec<(&'p Container<'p>, Because)> {
    if let Some(names) = &settings.envoy {
        let named = names.value.iter().map(|name| (name, pod.container(name)));
        if names.source == Source::Pod {
            return named
                .filter_map(|(name, container)| match fit(name, container, pod) {
                    Ok(container) => Some((container, Because::Named(Source::Pod))),
                    Err(fault) => {
                        faults.push(fault);
                        None
                    }
                })
                .collect();
        }
        // A namespace's or installation's names are for the pods that have such containers.
        let present: Vec<_> = named
            .filter_map(|(name, container)| fit(name, container, pod).ok())
            .map(|container| (container, Because::Named(names.source)))
            .collect();
        if !present.is_empty() {
            return present;
        }
    }
    let found: Vec<_> = pod
        .running()
        .filter(|container| foreign::of_container(container).is_none())
        .filter_map(|container| Some((container, looks_like_envoy(container)?)))
        .collect();
    match found.as_slice() {
        [_] => return found,
        [] => faults.push(Fault::new(RejectReason::NoEnvoy, none_found(pod))),
        several => {
            let names: Vec<&str> = several
                .iter()
                .map(|(container, _)| container.name)
                .collect();
            faults.push(Fault::new(
                RejectReason::SeveralEnvoys,
                format!(
                    "the containers {} run Envoy: name those that drain, {}: \"{}\"",
                    list(&names),
                    Key::Envoy.full(),
                    crate::message::printable(&names.join(","))
                ),
            ));
        }
    }
    Vec::new()
}

fn none_found(pod: &Pod<'_>) -> String {
    let proxies: Vec<String> = pod
        .running()
        .filter_map(|container| {
            let product = foreign::of_container(container)?.product();
            Some(format!(
                "; {} is {product}'s own and drains by itself",
                quoted(container.name)
            ))
        })
        .collect();
    let names: Vec<&str> = pod.running().map(|container| container.name).collect();
    let one = if proxies.is_empty() { "one" } else { "another" };
    format!(
        "no container runs Envoy by its image or command (the pod has {}){}: if {one} does, name it, {}: \
         \"NAME\"",
        list(&names),
        proxies.concat(),
        Key::Envoy.full()
    )
}

/// Whether a named container can be an Envoy that drains.
fn fit<'p>(
    name: &str,
    container: Option<&'p Container<'p>>,
    pod: &Pod<'_>,
) -> Result<&'p Container<'p>, Fault> {
    let key = Key::Envoy.full();
    match container {
        Some(container) if container.is_running() => Ok(container),
        Some(_) => Err(Fault::new(
            RejectReason::UnknownContainer,
            format!(
                "{key}: {} is an init container that ends before the pod serves",
                quoted(name)
            ),
        )),
        None => {
            let names: Vec<&str> = pod.running().map(|container| container.name).collect();
            Err(Fault::new(
                RejectReason::UnknownContainer,
                format!(
                    "{key}: there is no container {} (the pod has {})",
                    quoted(name),
                    list(&names)
                ),
            ))
        }
    }
}

/// Why a container looks like Envoy, if it does.
fn looks_like_envoy(container: &Container<'_>) -> Option<Because> {
    match Start::of(container) {
        Start::Envoy(arguments) | Start::Image(arguments) if arguments.only_validates => None,
        Start::Envoy(_) => Some(Because::Command),
        Start::Image(_) | Start::Other => is_envoy_image(container.image).then_some(Because::Image),
    }
}

/// Whether an image is Envoy by its name: `envoyproxy/envoy:v1.36.0`, `envoy-distroless`,
/// `team/edge-envoy@sha256:...`; not what belongs to Envoy, such as `envoy-gateway`.
fn is_envoy_image(image: &str) -> bool {
    let mut words = foreign::image_name(image)
        .split(['-', '_', '.'])
        .rev()
        .peekable();
    while words
        .next_if(|word| IMAGE_VARIANTS.contains(word))
        .is_some()
    {}
    words.next() == Some("envoy")
}

/// Names in the pod's own `admin` must be those of its Envoys.
fn check_admin_names(
    chosen: &[(&Container<'_>, Because)],
    pod: &Pod<'_>,
    settings: &Settings,
    faults: &mut Vec<Fault>,
) {
    let Some(admin) = settings
        .admin
        .as_ref()
        .filter(|admin| admin.source == Source::Pod)
    else {
        return;
    };
    let key = Key::Admin.full();
    for (name, _) in &admin.value.named {
        if !chosen.iter().any(|(container, _)| container.name == name) && !chosen.is_empty() {
            let what = match pod.container(name) {
                Some(_) => "is not one of the Envoys",
                None => "is not a container of this pod",
            };
            let said = format!("{key}: {} {what}", quoted(name));
            faults.push(Fault::new(RejectReason::UnknownContainer, said));
        }
    }
    if chosen.len() > 1 && admin.value.only.is_some() {
        let names: Vec<String> = chosen
            .iter()
            .map(|(container, _)| format!("{}=ADDRESS", container.name))
            .collect();
        let said = format!(
            "{key}: one address for several Envoys: write one for each, {key}: \"{}\"",
            crate::message::printable(&names.join(","))
        );
        faults.push(Fault::new(RejectReason::AdminUnknown, said));
    }
}

/// The ports of Envoy's own probes and of Prometheus, but for the admin's, which never counts.
fn quietened(container: &Container<'_>, metadata: &Metadata<'_>, admin: &AdminAddress) -> Vec<u16> {
    let scraped = metadata
        .annotation(SCRAPED_PORT)
        .and_then(|port| port.trim().parse().ok());
    let mut ports: Vec<u16> = container
        .probes
        .iter()
        .filter_map(|probe| probe.port)
        .chain(scraped)
        .collect();
    ports.retain(|port| *port != 0);
    if let AdminAddress::Tcp(address) = admin {
        ports.retain(|port| *port != address.port());
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Two Envoys of one pod cannot have the same admin.
fn distinct_admins(findings: &mut Findings<'_>) {
    for (index, envoy) in findings.envoys.iter().enumerate() {
        if let Some(earlier) = findings.envoys[..index]
            .iter()
            .find(|one| one.admin == envoy.admin)
        {
            let said = format!(
                "Envoys {} and {} have the same admin {}: write one for each, {}: \"{}=ADDRESS,\
                 {}=ADDRESS\"",
                quoted(earlier.container.name),
                quoted(envoy.container.name),
                envoy.admin,
                Key::Admin.full(),
                crate::message::printable(earlier.container.name),
                crate::message::printable(envoy.container.name),
            );
            findings
                .faults
                .push(Fault::new(RejectReason::AdminUnknown, said));
        }
    }
}

/// Two Envoys with hot restart and one base id end the first of them: worth a word, as both share
/// the pod's network.
fn same_base_ids(findings: &mut Findings<'_>) {
    let sharing = |envoy: &&Envoy<'_>| !envoy.arguments.any_base_id;
    let sharing: Vec<_> = findings.envoys.iter().filter(sharing).collect();
    for (index, envoy) in sharing.iter().enumerate() {
        let id = |envoy: &Envoy<'_>| envoy.arguments.base_id.clone().unwrap_or("0".into());
        if let Some(earlier) = sharing[..index]
            .iter()
            .find(|earlier| id(earlier) == id(envoy))
        {
            findings.warnings.push(format!(
                "Envoys {} and {} have the same --base-id {}: give each its own, or \
                 --disable-hot-restart",
                quoted(earlier.container.name),
                quoted(envoy.container.name),
                crate::message::printable(&id(envoy)),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_envoy_are_known_by_name() {
        for image in [
            "envoy",
            "envoyproxy/envoy:v1.36.2",
            "docker.io/envoyproxy/envoy:distroless-v1.36.2",
            "envoyproxy/envoy-contrib-debug:v1.36",
            "registry.example:5000/mirror/envoy-distroless@sha256:0123",
            "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.29",
            "team/edge_envoy:1",
        ] {
            assert!(is_envoy_image(image), "{image}");
        }
    }

    #[test]
    fn what_only_belongs_to_envoy_is_not_envoy() {
        for image in [
            "",
            "envoyproxy/gateway:v1.5",
            "envoyproxy/envoy-gateway:v1",
            "envoyproxy/ratelimit:latest",
            "team/envoy-control-plane:1",
            "docker.io/istio/proxyv2:1.27",
            "envoy.example.org/app:1",
            "envoy/app:envoy",
        ] {
            assert!(!is_envoy_image(image), "{image}");
        }
    }
}
