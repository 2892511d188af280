//! Bootstrap configurations for Envoy, of the shapes that gateways have.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The extensions of Envoy that are used here, by the type under which their configuration goes.
mod extension {
    pub(super) const HTTP_MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.\
                                           http_connection_manager.v3.HttpConnectionManager";
    pub(super) const ROUTER: &str =
        "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    pub(super) const TCP_PROXY: &str =
        "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    pub(super) const HTTP_OPTIONS: &str =
        "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    pub(super) const RAW_BUFFER: &str =
        "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    pub(super) const INTERNAL_UPSTREAM: &str = "type.googleapis.com/envoy.extensions.\
                                                transport_sockets.internal_upstream.v3.\
                                                InternalUpstreamTransport";
    pub(super) const QUIC: &str =
        "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport";
}

/// A bootstrap configuration in the making.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    value: Value,
}

impl Bootstrap {
    /// One without an admin interface, listeners or clusters.
    pub fn new() -> Self {
        Self {
            value: json!({ "static_resources": { "listeners": [], "clusters": [] } }),
        }
    }

    /// The admin interface at an address.
    #[must_use]
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.value["admin"] = json!({ "address": socket_address(address) });
        self
    }

    /// The admin interface at a unix socket.
    #[must_use]
    pub fn admin_socket(mut self, path: &Path) -> Self {
        self.value["admin"] = json!({ "address": { "pipe": { "path": path } } });
        self
    }

    /// One more listener.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.push("listeners", listener.value);
        self
    }

    /// A cluster with one endpoint. It is spoken to in the protocol of the request.
    #[must_use]
    pub fn cluster(mut self, name: &str, endpoint: SocketAddr) -> Self {
        let cluster = json!({
            "name": name,
            "type": "STATIC",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": extension::HTTP_OPTIONS,
                    "use_downstream_protocol_config": { "http2_protocol_options": {} },
                }
            },
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [
                    { "lb_endpoints": [ { "endpoint": { "address": socket_address(endpoint) } } ] }
                ],
            },
        });
        self.push("clusters", cluster);
        self
    }

    /// A cluster whose endpoint is the internal listener of the same name.
    #[must_use]
    pub fn internal_cluster(mut self, name: &str) -> Self {
        let address = json!({ "envoy_internal_address": { "server_listener_name": name } });
        let raw = json!({
            "name": "envoy.transport_sockets.raw_buffer",
            "typed_config": { "@type": extension::RAW_BUFFER },
        });
        let cluster = json!({
            "name": name,
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [ { "lb_endpoints": [ { "endpoint": { "address": address } } ] } ],
            },
            "transport_socket": {
                "name": "envoy.transport_sockets.internal_upstream",
                "typed_config": {
                    "@type": extension::INTERNAL_UPSTREAM,
                    "transport_socket": raw,
                },
            },
        });
        self.push("clusters", cluster);
        self
    }

    /// Sets a top-level field, such as `stats_config`.
    #[must_use]
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.value[name] = value;
        self
    }

    /// Listeners come from a control plane at this address. Without an answer from it, Envoy has its
    /// admin interface and waits for them for ever.
    #[must_use]
    pub fn listeners_from(self, control_plane: SocketAddr) -> Self {
        let service = json!({ "envoy_grpc": { "cluster_name": "control-plane" } });
        let resources = json!({
            "lds_config": {
                "resource_api_version": "V3",
                "initial_fetch_timeout": "0s",
                "api_config_source": {
                    "api_type": "GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [service],
                },
            },
        });
        self.cluster("control-plane", control_plane)
            .field("dynamic_resources", resources)
            .field("node", json!({ "id": "test", "cluster": "test" }))
    }

    /// The configuration, as Envoy reads it.
    pub fn value(&self) -> Value {
        self.value.clone()
    }

    fn push(&mut self, kind: &str, value: Value) {
        if let Some(resources) = self.value["static_resources"][kind].as_array_mut() {
            resources.push(value);
        }
    }
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self::new()
    }
}

/// A listener in the making.
#[derive(Debug, Clone)]
pub struct Listener {
    value: Value,
}

impl Listener {
    /// HTTP/1.1 and HTTP/2 without TLS, to a cluster; websockets too, and `CONNECT` to the cluster
    /// `tunnel`. Its statistics are under `http.NAME`.
    pub fn http(name: &str, address: SocketAddr, cluster: &str) -> Self {
        let filters = json!([http_manager(name, "AUTO", cluster)]);
        Self::new(
            name,
            socket_address(address),
            json!([{ "filters": filters }]),
        )
    }

    /// Bytes, to a cluster.
    pub fn tcp(name: &str, address: SocketAddr, cluster: &str) -> Self {
        Self::new(name, socket_address(address), tcp_chain(name, cluster))
    }

    /// Bytes that come from a listener of the same Envoy, through a [`Bootstrap::internal_cluster`].
    pub fn internal(name: &str, cluster: &str) -> Self {
        let value = json!({
            "name": name,
            "internal_listener": {},
            "filter_chains": tcp_chain(name, cluster),
        });
        Self { value }
    }

    /// HTTP/3, to a cluster.
    pub fn http3(name: &str, address: SocketAddr, cluster: &str, identity: &Identity) -> Self {
        let certificate = json!({
            "certificate_chain": { "inline_string": identity.certificate },
            "private_key": { "inline_string": identity.key },
        });
        let chain = json!([{
            "filters": [http_manager(name, "HTTP3", cluster)],
            "transport_socket": {
                "name": "envoy.transport_sockets.quic",
                "typed_config": {
                    "@type": extension::QUIC,
                    "downstream_tls_context": {
                        "common_tls_context": { "tls_certificates": [certificate] }
                    },
                },
            },
        }]);
        let mut at = socket_address(address);
        at["socket_address"]["protocol"] = json!("UDP");
        let quic = json!({ "quic_options": {} });
        Self::new(name, at, chain).field("udp_listener_config", quic)
    }

    /// Listens at a second address too.
    #[must_use]
    pub fn also_at(self, address: SocketAddr) -> Self {
        let second = json!([{ "address": socket_address(address) }]);
        self.field("additional_addresses", second)
    }

    /// Drains only when it is changed or removed (`drain_type: MODIFY_ONLY`): a failed health check
    /// says nothing to its clients.
    #[must_use]
    pub fn modify_only(self) -> Self {
        self.field("drain_type", json!("MODIFY_ONLY"))
    }

    /// Names its statistics, `listener.PREFIX`, which are called by its address otherwise.
    #[must_use]
    pub fn stat_prefix(self, prefix: &str) -> Self {
        self.field("stat_prefix", json!(prefix))
    }

    /// Puts its HTTP statistics under another name than its own, `http.PREFIX`.
    #[must_use]
    pub fn http_stat_prefix(mut self, prefix: &str) -> Self {
        let filter = &mut self.value["filter_chains"][0]["filters"][0];
        filter["typed_config"]["stat_prefix"] = json!(prefix);
        self
    }

    /// Sets a field of the listener.
    #[must_use]
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.value[name] = value;
        self
    }

    fn new(name: &str, address: Value, filter_chains: Value) -> Self {
        let value = json!({ "name": name, "address": address, "filter_chains": filter_chains });
        Self { value }
    }
}

/// A certificate that signs itself, and its key, as PEM: what a listener with TLS needs.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Identity {
    /// Makes one for a name.
    ///
    /// # Errors
    /// When the name is none.
    pub fn new(name: &str) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()])
            .with_context(|| format!("make a certificate for {name}"))?;
        Ok(Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        })
    }
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}

fn tcp_chain(name: &str, cluster: &str) -> Value {
    let proxy = json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": extension::TCP_PROXY,
            "stat_prefix": name,
            "cluster": cluster,
        },
    });
    json!([ { "filters": [proxy] } ])
}

fn http_manager(name: &str, codec: &str, cluster: &str) -> Value {
    // A request may take as long as the test wants: Envoy's default would end it after 15 s.
    let to_cluster = json!({ "cluster": cluster, "timeout": "0s" });
    let to_tunnel = json!({
        "cluster": "tunnel",
        "timeout": "0s",
        "upgrade_configs": [ { "upgrade_type": "CONNECT", "connect_config": {} } ],
    });
    let mut config = json!({
        "@type": extension::HTTP_MANAGER,
        "stat_prefix": name,
        "codec_type": codec,
        "stream_idle_timeout": "0s",
        "upgrade_configs": [ { "upgrade_type": "websocket" }, { "upgrade_type": "CONNECT" } ],
        "http2_protocol_options": { "allow_connect": true },
        "route_config": {
            "virtual_hosts": [ {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    { "match": { "connect_matcher": {} }, "route": to_tunnel },
                    { "match": { "prefix": "/" }, "route": to_cluster },
                ],
            } ],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": { "@type": extension::ROUTER },
            },
        ],
    });
    if codec == "HTTP3" {
        config["http3_protocol_options"] = json!({});
    }
    json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": config })
}
