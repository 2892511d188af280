//! Other people's proxies and shutdown managers: recognised, left alone, and said.

use crate::pod::Container;

/// The admin port of the Envoy that Istio's agent runs.
pub(crate) const ISTIO_ADMIN_PORT: u16 = 15_000;

/// Something of another product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// Contour's shutdown manager (`contour envoy shutdown-manager`).
    ContourManager,
    /// Envoy Gateway's (`envoy-gateway envoy shutdown-manager`).
    EnvoyGatewayManager,
    /// MARIN3R's (`marin3r shutdown-manager`, container `envoy-shtdn-mgr`).
    Marin3rManager,
    /// An Envoy that Istio's agent runs and drains.
    IstioProxy,
    /// Linkerd's proxy, which is not Envoy.
    LinkerdProxy,
    /// An Envoy that Kuma's `kuma-dp` runs and drains.
    KumaSidecar,
    /// An Envoy that Consul's dataplane runs and drains.
    ConsulDataplane,
}

impl Foreign {
    /// The product's name.
    pub(crate) fn product(self) -> &'static str {
        match self {
            Self::ContourManager => "Contour",
            Self::EnvoyGatewayManager => "Envoy Gateway",
            Self::Marin3rManager => "MARIN3R",
            Self::IstioProxy => "Istio",
            Self::LinkerdProxy => "Linkerd",
            Self::KumaSidecar => "Kuma",
            Self::ConsulDataplane => "Consul",
        }
    }

    /// Whether it drains an Envoy that is not its own.
    pub(crate) fn is_manager(self) -> bool {
        matches!(
            self,
            Self::ContourManager | Self::EnvoyGatewayManager | Self::Marin3rManager
        )
    }

    /// The annotation by which its proxy lets a port through, where it takes over all ports of the
    /// pod: the kubelet's calls must reach the sidecar as they are.
    pub(crate) fn pass_annotation(self) -> Option<&'static str> {
        match self {
            Self::IstioProxy => Some("traffic.sidecar.istio.io/excludeInboundPorts"),
            Self::LinkerdProxy => Some("config.linkerd.io/skip-inbound-ports"),
            Self::KumaSidecar => Some("traffic.kuma.io/exclude-inbound-ports"),
            Self::ConsulDataplane => {
                Some("consul.hashicorp.com/transparent-proxy-exclude-inbound-ports")
            }
            Self::ContourManager | Self::EnvoyGatewayManager | Self::Marin3rManager => None,
        }
    }
}

/// What a container is, where it is another product's.
pub(crate) fn of_container(container: &Container<'_>) -> Option<Foreign> {
    let words = || container.command.iter().chain(&container.args).copied();
    let program = words()
        .next()
        .and_then(|word| word.rsplit('/').next())
        .unwrap_or_default();
    let image = image_name(container.image);
    if words().any(|word| word == "shutdown-manager") {
        if program == "contour" || image == "contour" {
            return Some(Foreign::ContourManager);
        }
        if program == "envoy-gateway" || image == "gateway" || image == "envoy-gateway" {
            return Some(Foreign::EnvoyGatewayManager);
        }
        if image.contains("marin3r") || program == "marin3r" || container.name == "envoy-shtdn-mgr"
        {
            return Some(Foreign::Marin3rManager);
        }
    }
    match (container.name, image) {
        ("istio-proxy", _) | (_, "proxyv2") => Some(Foreign::IstioProxy),
        ("linkerd-proxy", _) => Some(Foreign::LinkerdProxy),
        ("kuma-sidecar", _) | (_, "kuma-dp") => Some(Foreign::KumaSidecar),
        ("consul-dataplane", _) | (_, "consul-dataplane") => Some(Foreign::ConsulDataplane),
        _ => None,
    }
}

/// The last part of an image's repository, without tag and digest.
pub(crate) fn image_name(image: &str) -> &str {
    let repository = image.split('@').next().unwrap_or(image);
    let last = repository.rsplit('/').next().unwrap_or(repository);
    last.split(':').next().unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::Pod;

    fn found(name: &str, image: &str, words: &[&str]) -> Option<Foreign> {
        let container = json!({"name": name, "image": image, "command": words});
        let pod = json!({"spec": {"containers": [container]}});
        let pod = Pod::read(&pod).unwrap_or_else(|faults| panic!("{faults:?}"));
        of_container(&pod.containers[0])
    }

    #[test]
    fn a_manager_is_known_by_its_program_or_its_image_or_its_name() {
        use Foreign::{ContourManager, EnvoyGatewayManager, Marin3rManager};
        let manages = |name, image, program| found(name, image, &[program, "shutdown-manager"]);
        for (name, image, program, product) in [
            ("m", "mirror/other:1", "/bin/contour", ContourManager),
            (
                "m",
                "ghcr.io/projectcontour/contour:v1.33.8",
                "/run",
                ContourManager,
            ),
            ("m", "mirror/other:1", "envoy-gateway", EnvoyGatewayManager),
            (
                "m",
                "envoyproxy/gateway:v1.5.0",
                "/run",
                EnvoyGatewayManager,
            ),
            ("m", "mirror/envoy-gateway", "/run", EnvoyGatewayManager),
            ("m", "quay.io/3scale/marin3r:v0.13", "/run", Marin3rManager),
            ("m", "mirror/other:1", "/usr/bin/marin3r", Marin3rManager),
            ("envoy-shtdn-mgr", "mirror/other:1", "/run", Marin3rManager),
        ] {
            let what = format!("{name} {image} {program}");
            assert_eq!(manages(name, image, program), Some(product), "{what}");
            assert_eq!(found(name, image, &[program, "serve"]), None, "{what}");
        }
        assert_eq!(manages("m", "mirror/other:1", "/run"), None);
    }

    #[test]
    fn a_meshs_proxy_is_known_by_its_name_or_its_image() {
        use Foreign::{ConsulDataplane, IstioProxy, KumaSidecar, LinkerdProxy};
        for (name, image, product) in [
            ("istio-proxy", "mirror/other:1", Some(IstioProxy)),
            ("p", "docker.io/istio/proxyv2:1.29.0", Some(IstioProxy)),
            ("linkerd-proxy", "mirror/other:1", Some(LinkerdProxy)),
            ("kuma-sidecar", "mirror/other:1", Some(KumaSidecar)),
            ("p", "kumahq/kuma-dp@sha256:abc", Some(KumaSidecar)),
            ("consul-dataplane", "mirror/other:1", Some(ConsulDataplane)),
            ("p", "hashicorp/consul-dataplane:1.9", Some(ConsulDataplane)),
            ("p", "mirror/other:1", None),
        ] {
            assert_eq!(found(name, image, &[]), product, "{name} {image}");
        }
    }
}
