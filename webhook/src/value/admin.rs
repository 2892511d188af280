//! Addresses of admin interfaces.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{digits, is_name, items};

/// The longest path of a unix socket: `sun_path` of Linux without its closing zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Where an Envoy's admin interface listens, as seen from inside of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// An address of the loopback interface.
    Tcp(SocketAddr),
    /// A unix socket, by its absolute path.
    Unix(String),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "unix://{path}"),
        }
    }
}

/// `admin`: one address for the only Envoy, or one for each by the container's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// The address that stands without a name.
    pub only: Option<AdminAddress>,
    /// Addresses by the container's name.
    pub named: Vec<(String, AdminAddress)>,
}

impl fmt::Display for Admin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = self.only.iter().map(AdminAddress::to_string);
        let named = self
            .named
            .iter()
            .map(|(name, address)| format!("{name}={address}"));
        formatter.write_str(&only.chain(named).collect::<Vec<_>>().join(","))
    }
}

pub(crate) fn admin(text: &str) -> Result<Admin, String> {
    let mut admin = Admin::default();
    let parts = items(text)?;
    for part in &parts {
        // A path may have `=` in it, a name cannot have `/`.
        let named = part.split_once('=').filter(|(name, _)| !name.contains('/'));
        let Some((name, address)) = named else {
            if parts.len() > 1 {
                return Err("lists several addresses: write name=address for each Envoy".into());
            }
            admin.only = Some(admin_address(part)?);
            continue;
        };
        if !is_name(name) {
            return Err(format!(
                "has {}, which is not a name that a container may have",
                crate::message::quoted(name)
            ));
        }
        if admin.named.iter().any(|(earlier, _)| earlier == name) {
            return Err(format!(
                "has two addresses for {}",
                crate::message::quoted(name)
            ));
        }
        admin.named.push((name.to_owned(), admin_address(address)?));
    }
    Ok(admin)
}

pub(crate) fn admin_address(text: &str) -> Result<AdminAddress, String> {
    const FORM: &str = "is not an admin address: write 9901, 127.0.0.1:9901 or unix:///path";
    if let Some(path) = text
        .strip_prefix("unix://")
        .or(text.starts_with('/').then_some(text))
    {
        return socket_path(path);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    let port = digits::<u16>(port).filter(|port| *port != 0).ok_or(FORM)?;
    if host == "localhost" {
        return Ok(AdminAddress::Tcp((Ipv4Addr::LOCALHOST, port).into()));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let ip: IpAddr = bare.parse().map_err(|_| FORM)?;
    match reached_inside(ip) {
        Some(ip) => Ok(AdminAddress::Tcp(SocketAddr::new(ip, port))),
        None => Err("is not on the loopback interface, where alone the sidecar may ask it".into()),
    }
}

/// The address under which something bound to `ip` is reached through the loopback interface.
pub(crate) fn reached_inside(ip: IpAddr) -> Option<IpAddr> {
    if ip.is_loopback() {
        return Some(ip);
    }
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Some(Ipv4Addr::LOCALHOST.into()),
        // Envoy binds `::` for IPv6 alone unless it is told otherwise (`ipv4_compat`).
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(Ipv6Addr::LOCALHOST.into()),
        _ => None,
    }
}

pub(crate) fn socket_path(path: &str) -> Result<AdminAddress, String> {
    if path.starts_with('@') {
        return Err("is an abstract socket, where a path or a loopback address is needed".into());
    }
    let odd = path.split('/').any(|part| part == ".." || part == ".");
    let unfit = |character: char| character.is_control() || character == ',';
    if !path.starts_with('/') || path.ends_with('/') || odd || path.contains(unfit) {
        return Err("is not the absolute path of a socket: write unix:///path".into());
    }
    if path.len() > LONGEST_SOCKET_PATH {
        return Err(format!(
            "is longer than a socket's path may be, {LONGEST_SOCKET_PATH} bytes"
        ));
    }
    Ok(AdminAddress::Unix(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_addresses_are_brought_to_one_form() {
        for (text, address) in [
            ("9901", "127.0.0.1:9901"),
            ("localhost:19000", "127.0.0.1:19000"),
            ("0.0.0.0:9901", "127.0.0.1:9901"),
            ("[::]:9901", "[::1]:9901"),
            ("127.0.0.7:80", "127.0.0.7:80"),
            ("unix:///admin/admin.sock", "unix:///admin/admin.sock"),
            ("/admin/admin.sock", "unix:///admin/admin.sock"),
        ] {
            assert_eq!(admin_address(text).unwrap().to_string(), address, "{text}");
        }
    }

    #[test]
    fn an_admin_that_is_not_the_pods_own_is_refused() {
        for text in [
            "10.0.0.1:9901",
            "example.org:9901",
            "[2001:db8::1]:9901",
            "unix://@admin",
        ] {
            assert!(admin_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_admin_address_is_refused() {
        for text in [
            "",
            "0",
            "127.0.0.1",
            "127.0.0.1:",
            "unix://relative",
            "/a/../b",
            "/a/",
        ] {
            assert!(admin_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn admins_of_several_envoys_go_by_name() {
        let both = admin("edge=9901, inner=unix:///run/x=y.sock").unwrap();
        assert_eq!(both.only, None);
        assert_eq!(both.named[0].0, "edge");
        assert_eq!(both.named[1].1.to_string(), "unix:///run/x=y.sock");
        assert!(admin("9901,9902").is_err());
        assert!(admin("edge=9901,edge=9902").is_err());
        assert!(admin("Edge=9901").is_err());
    }

    #[test]
    fn admins_are_shown_as_they_are_written() {
        for text in [
            "127.0.0.1:9901",
            "edge=127.0.0.1:9901,inner=unix:///run/a.sock",
        ] {
            assert_eq!(admin(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_sockets_path_is_no_longer_than_linux_takes() {
        let path = |length: usize| "/".to_owned() + &"x".repeat(length - 1);
        assert!(admin_address(&path(107)).is_ok());
        assert!(admin_address(&path(108)).is_err());
    }
}
