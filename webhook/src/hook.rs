//! preStop hooks: ours, and what is done about those that are there.

use serde_json::{Value, json};

use crate::pod::Container;

/// The header in which a hook shows the token.
const TOKEN_HEADER: &str = "x-drainhook-token";

/// What the hooks of a pod have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookForm {
    pub(crate) port: u16,
    pub(crate) host_network: bool,
    pub(crate) token: Option<String>,
}

impl HookForm {
    /// Envoy's own hook: starts its drain and blocks to the end of it. With several Envoys the
    /// path says which.
    pub(crate) fn shutdown(&self, name: Option<&str>) -> Value {
        match name {
            Some(name) => self.to(&format!("/shutdown/{name}")),
            None => self.to("/shutdown"),
        }
    }

    /// The hook of a container beside Envoy: joins a drain and never starts one.
    pub(crate) fn wait(&self) -> Value {
        self.to("/wait")
    }

    fn to(&self, path: &str) -> Value {
        let mut get = serde_json::Map::new();
        if self.host_network {
            // The kubelet would ask the node's address, where the sidecar does not listen.
            get.insert("host".into(), json!("127.0.0.1"));
        }
        get.insert("path".into(), json!(path));
        get.insert("port".into(), json!(self.port));
        if let Some(token) = &self.token {
            get.insert(
                "httpHeaders".into(),
                json!([{"name": TOKEN_HEADER, "value": token}]),
            );
        }
        json!({"httpGet": get})
    }
}

/// Whether a hook is one of ours: it carries the token, or goes to the sidecar that is there.
pub(crate) fn is_ours(hook: &Value, sidecar_port: Option<u16>) -> bool {
    let Some(get) = hook.get("httpGet") else {
        return false;
    };
    let path = get.get("path").and_then(Value::as_str).unwrap_or_default();
    let asks_sidecar = path == "/wait" || path == "/shutdown" || path.starts_with("/shutdown/");
    let to_sidecar = sidecar_port.is_some_and(|port| get.get("port") == Some(&json!(port)));
    asks_sidecar && (to_sidecar || token(hook).is_some())
}

/// Whether a hook that is there does what the one that we would write does. Defaults that the API
/// server fills in (`scheme`) do not matter.
pub(crate) fn is_equivalent(hook: &Value, ours: &Value) -> bool {
    let parts = |hook: &Value| {
        let get = hook.get("httpGet");
        ["host", "path", "port"].map(|key| get.and_then(|get| get.get(key)).cloned())
    };
    parts(hook) == parts(ours) && token(hook) == token(ours)
}

/// The token that a hook shows.
pub(crate) fn token(hook: &Value) -> Option<&str> {
    let headers = hook.get("httpGet")?.get("httpHeaders")?.as_array()?;
    let named = |header: &&Value| {
        header["name"]
            .as_str()
            .is_some_and(|name| name.eq_ignore_ascii_case(TOKEN_HEADER))
    };
    headers.iter().find(named)?.get("value")?.as_str()
}

/// Where a container's hook stands.
pub(crate) fn place<'p>(container: &Container<'p>) -> [&'p str; 5] {
    [
        "spec",
        container.list.key(),
        container.name,
        "lifecycle",
        "preStop",
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(host_network: bool, token: Option<&str>) -> HookForm {
        HookForm {
            port: 8090,
            host_network,
            token: token.map(str::to_owned),
        }
    }

    #[test]
    fn a_hook_is_a_call_of_the_kubelet_to_the_pod() {
        assert_eq!(
            form(false, None).shutdown(None),
            json!({"httpGet": {"path": "/shutdown", "port": 8090}})
        );
        assert_eq!(
            form(true, Some("t")).shutdown(Some("edge")),
            json!({"httpGet": {
                "host": "127.0.0.1", "path": "/shutdown/edge", "port": 8090,
                "httpHeaders": [{"name": "x-drainhook-token", "value": "t"}],
            }})
        );
    }

    #[test]
    fn ours_is_known_by_the_sidecars_port_or_the_token() {
        let plain = form(false, None).wait();
        assert!(is_ours(&plain, Some(8090)));
        assert!(!is_ours(&plain, Some(8091)));
        assert!(!is_ours(&plain, None));
        assert!(is_ours(&form(false, Some("t")).wait(), None));
        assert!(!is_ours(
            &json!({"exec": {"command": ["sleep", "5"]}}),
            Some(8090)
        ));
        assert!(!is_ours(
            &json!({"httpGet": {"path": "/drain", "port": 8090}}),
            Some(8090)
        ));
    }

    #[test]
    fn defaults_that_the_api_server_fills_in_do_not_matter() {
        let ours = form(false, Some("t")).wait();
        let mut stored = ours.clone();
        stored["httpGet"]["scheme"] = json!("HTTP");
        assert!(is_equivalent(&stored, &ours));
        assert!(!is_equivalent(&stored, &form(false, Some("other")).wait()));
        assert!(!is_equivalent(
            &stored,
            &form(false, Some("t")).shutdown(None)
        ));
    }
}
