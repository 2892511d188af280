//! Where the admin interface of one Envoy is.
//!
//! Apart from the choice of containers since it concerns one Envoy at a time: several sources may
//! say where its admin is, and one of them holds.

use super::Arguments;
use super::bootstrap::Bootstrap;
use crate::annotations::Key;
use crate::decision::{Fault, RejectReason};
use crate::foreign;
use crate::message::quoted;
use crate::pod::Container;
use crate::settings::{Settings, Source};
use crate::value::AdminAddress;

/// Where an Envoy's admin is when nothing says where.
const USUAL_ADMIN: &str = "127.0.0.1:9901";

/// How an admin address was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminBecause {
    Set(Source),
    ConfigYaml,
    ContainerPort,
    ServerInfoProbe,
    Istio,
    Usual,
}

/// What is known of one Envoy, to search in.
pub(super) struct AdminSearch<'s, 'p> {
    pub(super) container: &'p Container<'p>,
    pub(super) arguments: &'s Arguments,
    pub(super) bootstrap: Option<&'s Bootstrap>,
    pub(super) unreadable: Option<&'s str>,
    pub(super) settings: &'s Settings,
    pub(super) single: bool,
}

impl AdminSearch<'_, '_> {
    /// The address, or why nobody can know it. What the pod says holds, then what the container
    /// shows, then the defaults.
    pub(super) fn run(
        &self,
        warnings: &mut Vec<String>,
    ) -> Result<(AdminAddress, AdminBecause), Fault> {
        let found = self.found();
        let set = self.set();
        if let Some((address, Source::Pod)) = set {
            if let Ok(Some((other, AdminBecause::ConfigYaml))) = &found
                && *other != address
            {
                warnings.push(format!(
                    "{}: {address} holds, but --config-yaml of {} says {other}",
                    Key::Admin.full(),
                    quoted(self.container.name)
                ));
            }
            return Ok((address, AdminBecause::Set(Source::Pod)));
        }
        if let Some(found) = found? {
            return Ok(found);
        }
        match set {
            Some((address, source)) => Ok((address, AdminBecause::Set(source))),
            None => {
                let usual = crate::value::admin_address(USUAL_ADMIN)
                    .map_err(|fault| Fault::new(RejectReason::AdminUnknown, fault))?;
                Ok((usual, AdminBecause::Usual))
            }
        }
    }

    /// What an annotation or a default says about this container.
    fn set(&self) -> Option<(AdminAddress, Source)> {
        let admin = self.settings.admin.as_ref()?;
        let named = admin
            .value
            .named
            .iter()
            .find(|(name, _)| name == self.container.name);
        let only = admin.value.only.as_ref().filter(|_| self.single);
        let address = named.map(|(_, address)| address).or(only)?;
        Some((address.clone(), admin.source))
    }

    /// What the container itself shows; an error where it shows that nobody can know.
    fn found(&self) -> Result<Option<(AdminAddress, AdminBecause)>, Fault> {
        if let Some(fault) = self.unreadable {
            return Err(self.unknown(&format!("its --config-yaml cannot be read ({fault})")));
        }
        match self.bootstrap.map(|bootstrap| &bootstrap.admin) {
            Some(Some(Ok(address))) => {
                return Ok(Some((address.clone(), AdminBecause::ConfigYaml)));
            }
            Some(Some(Err(fault))) => return Err(self.unknown(fault)),
            Some(None) if self.arguments.config_path.is_none() => {
                return Err(self.unknown("its --config-yaml has no admin"));
            }
            Some(None) | None => {}
        }
        if foreign::of_container(self.container) == Some(foreign::Foreign::IstioProxy) {
            let address = AdminAddress::Tcp(([127, 0, 0, 1], foreign::ISTIO_ADMIN_PORT).into());
            return Ok(Some((address, AdminBecause::Istio)));
        }
        let on_port = |port: u16| AdminAddress::Tcp(([127, 0, 0, 1], port).into());
        let is_admin = |name: &str| name.split('-').any(|word| word == "admin");
        let port = self
            .container
            .ports
            .iter()
            .find(|port| port.name.is_some_and(is_admin));
        if let Some(port) = port {
            return Ok(Some((on_port(port.number), AdminBecause::ContainerPort)));
        }
        let probe = self
            .container
            .probes
            .iter()
            .find(|probe| probe.path == Some("/server_info"));
        if let Some(port) = probe.and_then(|probe| probe.port) {
            return Ok(Some((on_port(port), AdminBecause::ServerInfoProbe)));
        }
        if let Some(path) = &self.arguments.admin_address_path {
            let why = format!("it writes the address into {} as it starts", quoted(path));
            return Err(self.unknown(&why));
        }
        Ok(None)
    }

    fn unknown(&self, why: &str) -> Fault {
        let key = Key::Admin.full();
        let form = if self.single {
            "ADDRESS"
        } else {
            "NAME=ADDRESS"
        };
        Fault::new(
            RejectReason::AdminUnknown,
            format!(
                "where the admin of Envoy {} is cannot be known: {why}. Give it a fixed loopback \
                 address or socket, and write {key}: \"{form}\"",
                quoted(self.container.name)
            ),
        )
    }
}
