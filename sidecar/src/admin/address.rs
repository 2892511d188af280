//! Where Envoy's admin interface is.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

/// What is allowed, for messages.
const ALLOWED: &str = "use a port (9901), a loopback address (127.0.0.1:9901, localhost:9901, \
                       [::1]:9901) or a socket (unix:///path, /path, unix://@name)";

/// An admin interface in this pod: loopback, or a unix socket. Never somebody else's address: the
/// admin interface asks nobody who they are, so an Envoy elsewhere must not be told to drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP on a loopback address.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
    /// A socket in Linux's abstract namespace (Envoy writes its name with a leading `@`), which the
    /// containers of a pod share without a volume.
    Abstract(String),
}

impl Address {
    /// A port on 127.0.0.1.
    pub fn loopback(port: u16) -> Self {
        Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Reads `9901`, `host:port`, `unix:///path`, `unix://@name` or `/path`.
    ///
    /// # Errors
    ///
    /// What is wrong with the text, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Self::socket(path).ok_or_else(|| fault(text, "names no absolute path"));
        }
        if let Some(socket) = Self::socket(text) {
            return Ok(socket);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port),
            None => ("127.0.0.1", text),
        };
        let port = match port.parse::<u16>() {
            Ok(port) if port != 0 => port,
            _ => return Err(fault(text, "has no port from 1 to 65535")),
        };
        let ip = match host {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            _ => match host.trim_start_matches('[').trim_end_matches(']').parse() {
                // Who listens everywhere is reached on loopback.
                Ok(IpAddr::V4(ip)) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                Ok(IpAddr::V6(ip)) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                Ok(ip) => ip,
                Err(_) => return Err(fault(text, "is neither an IP address nor localhost")),
            },
        };
        if !ip.to_canonical().is_loopback() {
            return Err(fault(text, "is not in this pod for certain"));
        }
        Ok(Self::Tcp(SocketAddr::new(ip, port)))
    }

    fn socket(text: &str) -> Option<Self> {
        match text.strip_prefix('@') {
            Some("") => None,
            Some(name) => Some(Self::Abstract(name.to_owned())),
            None => (text.starts_with('/') && text.len() > 1).then(|| Self::Unix(text.into())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Abstract(name) => write!(f, "unix://@{name}"),
        }
    }
}

/// Reads one address, or several as `name=address,name2=address2`.
///
/// # Errors
///
/// Everything that is wrong with the list.
pub fn parse_addresses(text: &str) -> Result<Vec<(Option<String>, Address)>, Vec<String>> {
    let parts: Vec<_> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    let mut addresses = Vec::with_capacity(parts.len());
    let mut faults = Vec::new();
    for part in &parts {
        let (name, address) = named(part);
        match Address::parse(address) {
            Ok(address) => addresses.push((name.map(str::to_owned), address)),
            Err(fault) => faults.push(fault),
        }
        if name.is_none() && parts.len() > 1 {
            faults.push(format!(
                "{part:?} is one of {} and has no name: write name=address",
                parts.len()
            ));
        }
        if let Some(name) = name
            && parts
                .iter()
                .filter(|other| named(other).0 == Some(name))
                .count()
                > 1
        {
            faults.push(format!("two Envoys are called {name:?}"));
        }
    }
    if parts.is_empty() {
        faults.push(format!("{text:?} names no address: {ALLOWED}"));
    }
    faults.dedup();
    if faults.is_empty() {
        Ok(addresses)
    } else {
        Err(faults)
    }
}

/// Splits `name=address`. A socket's path may contain `=`, a container's name cannot contain more
/// than lower-case letters, digits and `-`.
fn named(part: &str) -> (Option<&str>, &str) {
    match part.split_once('=') {
        Some((name, address))
            if !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') =>
        {
            (Some(name), address)
        }
        _ => (None, part),
    }
}

fn fault(text: &str, what: &str) -> String {
    format!("{text:?} {what}: {ALLOWED}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_an_address() {
        for (text, shown) in [
            ("9901", "127.0.0.1:9901"),
            ("127.0.0.1:9901", "127.0.0.1:9901"),
            ("127.7.7.7:1", "127.7.7.7:1"),
            ("localhost:19000", "127.0.0.1:19000"),
            ("0.0.0.0:9901", "127.0.0.1:9901"),
            ("[::1]:9901", "[::1]:9901"),
            ("[::]:9901", "[::1]:9901"),
            ("unix:///run/admin.sock", "unix:///run/admin.sock"),
            ("unix:/run/admin.sock", "unix:///run/admin.sock"),
            ("/run/a=b.sock", "unix:///run/a=b.sock"),
            ("unix://@envoy/admin", "unix://@envoy/admin"),
            ("@envoy", "unix://@envoy"),
        ] {
            assert_eq!(
                Address::parse(text).map(|a| a.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_not_in_the_pod_or_no_address() {
        for text in [
            "",
            ":",
            "/",
            "0",
            "65536",
            "admin",
            "envoy.local:9901",
            "10.0.0.1:9901",
            "unix://",
            "unix://run/x",
            "127.0.0.1:",
            "127.0.0.1:0",
            "http://127.0.0.1:9901",
            "[fe80::1]:1",
        ] {
            let fault = Address::parse(text).expect_err(text);
            assert!(
                fault.contains(&format!("{text:?}")) && fault.contains("9901"),
                "{fault}"
            );
        }
    }

    #[test]
    fn reads_several_envoys_by_name() {
        let read = parse_addresses("inner=9901, outer=unix:///run/a=b.sock").unwrap();
        assert_eq!(read[0], (Some("inner".into()), Address::loopback(9901)));
        assert_eq!(
            read[1],
            (Some("outer".into()), Address::Unix("/run/a=b.sock".into()))
        );
    }

    #[test]
    fn tells_every_fault_of_a_list_at_once() {
        let faults = parse_addresses("a=9901,a=x,9902,b=10.1.1.1:1").unwrap_err();
        let all = faults.join("\n");
        for part in [
            "called \"a\"",
            "\"x\"",
            "\"9902\" is one of 4",
            "10.1.1.1:1",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }
}
