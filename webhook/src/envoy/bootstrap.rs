//! An Envoy's configuration that stands in the manifest itself (`--config-yaml`).
//!
//! Only the admin's address and the listeners' ports are read. Field names are those of the proto
//! (`socket_address`) or their JSON form (`socketAddress`): Envoy takes both.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto>

use serde_json::Value;

use crate::value::{self, AdminAddress};

/// What a configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bootstrap {
    /// The admin's address, what is wrong with it, or nothing where there is no admin.
    pub(crate) admin: Option<Result<AdminAddress, String>>,
    /// TCP ports of static listeners.
    pub(crate) ports: Vec<u16>,
}

impl Bootstrap {
    /// Reads a configuration.
    ///
    /// # Errors
    /// When it is not YAML.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let root = crate::yaml::read(text)?;
        let admin = root
            .get("admin")
            .and_then(|admin| admin.get("address"))
            .map(admin_address);
        let listeners = field(&root, "static_resources", "staticResources")
            .and_then(|resources| resources.get("listeners")?.as_array());
        let ports = listeners.into_iter().flatten().filter_map(|listener| {
            let address = field(listener.get("address")?, "socket_address", "socketAddress")?;
            let protocol = address
                .get("protocol")
                .and_then(Value::as_str)
                .unwrap_or("TCP");
            (protocol == "TCP").then(|| port(address).ok())?
        });
        Ok(Self {
            admin,
            ports: ports.collect(),
        })
    }
}

fn field<'a>(value: &'a Value, snake: &str, camel: &str) -> Option<&'a Value> {
    value.get(snake).or_else(|| value.get(camel))
}

fn admin_address(address: &Value) -> Result<AdminAddress, String> {
    if let Some(path) = address
        .get("pipe")
        .and_then(|pipe| pipe.get("path")?.as_str())
    {
        return value::socket_path(path).map_err(|fault| format!("its admin's path {fault}"));
    }
    let Some(socket) = field(address, "socket_address", "socketAddress") else {
        return Err("its admin has neither a socket_address nor a pipe".into());
    };
    let ip = socket
        .get("address")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let port = port(socket)?;
    value::admin_address(&format!("{}:{port}", bracketed(ip))).map_err(|_| {
        format!(
            "its admin listens on {}, not on the loopback interface",
            shown(ip)
        )
    })
}

fn port(socket: &Value) -> Result<u16, String> {
    let written = field(socket, "port_value", "portValue")
        .cloned()
        .unwrap_or(Value::Null);
    let number = match &written {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number.and_then(|number| u16::try_from(number).ok()) {
        Some(0) => Err("its admin takes any free port (port_value 0)".into()),
        Some(port) => Ok(port),
        None => Err(format!(
            "its admin's port is {}",
            shown(&written.to_string())
        )),
    }
}

fn bracketed(ip: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    }
}

fn shown(text: &str) -> String {
    crate::message::quoted(text.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(text: &str) -> Option<Result<String, String>> {
        let admin = Bootstrap::read(text).unwrap().admin?;
        Some(admin.map(|address| address.to_string()))
    }

    fn at(address: &str, port: &str) -> Option<Result<String, String>> {
        admin(&format!(
            "admin: {{address: {{socket_address: {{address: \"{address}\", port_value: {port}}}}}}}"
        ))
    }

    #[test]
    fn an_admin_is_found_in_yaml_and_json_and_both_spellings() {
        let expected = Some(Ok("127.0.0.1:19000".to_owned()));
        assert_eq!(at("127.0.0.1", "19000"), expected);
        let json =
            r#"{"admin":{"address":{"socketAddress":{"address":"0.0.0.0","portValue":"19000"}}}}"#;
        assert_eq!(admin(json), expected);
        let pipe = "admin:\n  address:\n    pipe: {path: /admin/admin.sock}\n";
        assert_eq!(admin(pipe), Some(Ok("unix:///admin/admin.sock".into())));
        assert_eq!(at("::1", "9901"), Some(Ok("[::1]:9901".into())));
    }

    #[test]
    fn an_admin_that_cannot_be_known_says_why() {
        for (found, said) in [
            (at("127.0.0.1", "0"), "any free port"),
            (at("$(POD_IP)", "9901"), "$(POD_IP)"),
            (at("10.1.2.3", "9901"), "not on the loopback interface"),
            (at("127.0.0.1", "\"${PORT}\""), "${PORT}"),
            (admin("admin: {address: {}}"), "neither"),
            (
                admin("admin: {address: {pipe: {path: '@admin'}}}"),
                "abstract",
            ),
        ] {
            let fault = found.unwrap().unwrap_err();
            assert!(fault.contains(said), "{fault}");
        }
    }

    #[test]
    fn a_configuration_without_admin_has_none() {
        assert_eq!(admin("node: {id: a}"), None);
        assert_eq!(admin("admin: {}"), None);
        assert_eq!(admin("[]"), None);
    }

    #[test]
    fn listeners_are_known_by_their_tcp_ports() {
        let text = "
static_resources:
  listeners:
  - address: {socket_address: {address: 0.0.0.0, port_value: 8080}}
  - address: {socket_address: {address: 0.0.0.0, port_value: 8443, protocol: UDP}}
  - address: {pipe: {path: /run/x.sock}}
  - name: odd
";
        assert_eq!(Bootstrap::read(text).unwrap().ports, [8080]);
    }

    #[test]
    fn what_is_not_yaml_is_told() {
        assert!(Bootstrap::read("{").is_err());
    }
}
