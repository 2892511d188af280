//! An injection that is already there: the container and the hooks, not what an annotation says.

use crate::foreign;
use crate::pod::{Container, Pod};
use crate::sidecar::{NAME, TOKEN_VARIABLE, VARIABLES};

/// A sidecar of ours in a pod.
pub(crate) struct Existing<'p> {
    pub(crate) container: &'p Container<'p>,
    pub(crate) port: u16,
    pub(crate) token: Option<String>,
}

/// What has the sidecar's name.
pub(crate) enum Named<'p> {
    /// Ours.
    Ours(Existing<'p>),
    /// Something else.
    Other(&'p Container<'p>),
}

/// What has the sidecar's name, if anything has.
pub(crate) fn find<'p>(pod: &'p Pod<'p>) -> Option<Named<'p>> {
    let container = pod.container(NAME)?;
    let told_by_us = container
        .env
        .iter()
        .any(|(name, _)| name.starts_with(VARIABLES));
    let our_image = foreign::image_name(container.image) == NAME;
    if !(told_by_us || our_image) || !container.is_running() {
        return Some(Named::Other(container));
    }
    let port = container
        .variable("SHUTDOWN_MANAGER_PORT")
        .and_then(|port| port.parse().ok());
    // As the process gets it: the kubelet takes `$$` for `$`.
    let token = container
        .variable(TOKEN_VARIABLE)
        .filter(|token| !token.is_empty());
    let token = token.map(|token| token.replace("$$", "$"));
    Some(Named::Ours(Existing {
        container,
        port: port.unwrap_or(8090),
        token,
    }))
}

impl Existing<'_> {
    /// Whether somebody wrote the container by hand, with flags: flags win over variables, so what
    /// it listens to is not ours to say.
    pub(crate) fn is_hand_written(&self) -> bool {
        !self.container.args.is_empty() || !self.container.command.is_empty()
    }
}
