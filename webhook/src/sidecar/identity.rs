//! The user that the sidecar runs as.
//!
//! Always what Pod Security "restricted" demands, but where Envoy itself is root and its admin a
//! socket that only root may open.

use serde_json::{Map, Value, json};

use crate::annotations::Key;
use crate::configuration::Namespace;
use crate::decision::{Fault, RejectReason};
use crate::envoy::Envoy;
use crate::message::quoted;
use crate::pod::Pod;
use crate::settings::Settings;
use crate::value::AdminAddress;

/// Nobody's user id, as images without a shell usually have it.
const NOBODY: i64 = 65_532;

/// User, group and SELinux label; what is `None` is left to the pod and the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Identity {
    user: Option<i64>,
    group: Option<i64>,
    selinux: Option<Value>,
}

impl Identity {
    fn of(user: i64, group: Option<i64>) -> Self {
        Self {
            user: Some(user),
            group: Some(group.unwrap_or(user)),
            selinux: None,
        }
    }

    /// Whether Pod Security "restricted" refuses it.
    pub(crate) fn is_root(&self) -> bool {
        self.user == Some(0)
    }

    pub(super) fn security_context(&self) -> Value {
        let mut context = Map::new();
        let mut put = |key: &str, value: Value| context.insert(key.to_owned(), value);
        put("allowPrivilegeEscalation", json!(false));
        put("capabilities", json!({"drop": ["ALL"]}));
        put("readOnlyRootFilesystem", json!(true));
        put("runAsNonRoot", json!(!self.is_root()));
        if let Some(user) = self.user {
            put("runAsUser", json!(user));
        }
        if let Some(group) = self.group {
            put("runAsGroup", json!(group));
        }
        if let Some(selinux) = &self.selinux {
            put("seLinuxOptions", selinux.clone());
        }
        put("seccompProfile", json!({"type": "RuntimeDefault"}));
        Value::Object(context)
    }
}

/// Decides the identity.
///
/// # Errors
/// When the user that may open an admin's socket cannot be known.
pub(crate) fn identity(
    pod: &Pod<'_>,
    envoys: &[Envoy<'_>],
    settings: &Settings,
    namespace: Option<&Namespace>,
) -> Result<Identity, Fault> {
    let socket = |envoy: &&Envoy<'_>| matches!(envoy.admin, AdminAddress::Unix(_));
    let behind_socket: Vec<&Envoy<'_>> = envoys.iter().filter(socket).collect();
    // A socket in a volume carries the label of the container that made it.
    let selinux = behind_socket
        .iter()
        .find_map(|envoy| envoy.container.selinux)
        .cloned();
    if let Some(chosen) = &settings.run_as_user {
        return Ok(Identity {
            selinux,
            ..Identity::of(i64::from(chosen.value), pod.group)
        });
    }
    let on_openshift = namespace.is_some_and(Namespace::on_openshift);
    let identity = match behind_socket.split_first() {
        Some((first, others)) => as_envoy(pod, first, others, on_openshift)?,
        None if on_openshift || pod.user.is_some_and(|user| user != 0) => Identity::default(),
        None => Identity::of(NOBODY, None),
    };
    Ok(Identity {
        selinux,
        ..identity
    })
}

/// Envoy makes its socket so that only its own user may connect.
fn as_envoy(
    pod: &Pod<'_>,
    first: &Envoy<'_>,
    others: &[&Envoy<'_>],
    on_openshift: bool,
) -> Result<Identity, Fault> {
    let user = |envoy: &Envoy<'_>| envoy.container.user.or(pod.user);
    if let Some(other) = others.iter().find(|other| user(other) != user(first)) {
        return Err(unknown(format!(
            "Envoys {} and {} run as different users, and one sidecar cannot open the admin sockets \
             of both: give them one user, or admins on loopback addresses",
            quoted(first.container.name),
            quoted(other.container.name)
        )));
    }
    match user(first) {
        // The pod's own user holds for the sidecar as it is.
        Some(user) if pod.user == Some(user) && user != 0 && first.container.group.is_none() => {
            Ok(Identity::default())
        }
        Some(user) => Ok(Identity::of(user, first.container.group.or(pod.group))),
        None if on_openshift => Ok(Identity::default()),
        None => Err(unknown(format!(
            "only the user of Envoy {} can open its admin socket, and who that is stands in its \
             image: set runAsUser in its securityContext, or write {}: \"ID\"",
            quoted(first.container.name),
            Key::RunAsUser.full()
        ))),
    }
}

fn unknown(message: String) -> Fault {
    Fault::new(RejectReason::UserUnknown, message)
}
