//! Where a container's own addresses and paths are on this machine.
//!
//! In its namespaces a container binds `0.0.0.0:8080`, calls `127.0.0.1:9901` and reads
//! `/etc/envoy/envoy.yaml`. Here the first two are the pod's address in 127.0.0.0/8, the ports stay
//! as they are, and the path lies in the pod's folder.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Ways to write "this pod" in an argument or a variable. Longer ones first.
const SELF: [&str; 5] = ["localhost", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"];

/// How addresses and paths of one container read on this machine.
#[derive(Clone, Debug)]
pub struct Translation {
    address: Ipv4Addr,
    /// Path in the container and where it is, the longest path first.
    paths: Vec<(String, PathBuf)>,
}

impl Translation {
    /// For a container of the pod at `address` with these paths (in the container, on the machine).
    pub fn new(address: Ipv4Addr, mut paths: Vec<(String, PathBuf)>) -> Self {
        paths.sort_by_key(|(inside, _)| std::cmp::Reverse(inside.len()));
        Translation { address, paths }
    }

    /// The address of the pod.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Addresses and paths in an argument, a variable or a script.
    pub fn text(&self, text: &str) -> String {
        let address = self.address.to_string();
        let text = SELF.iter().fold(text.to_owned(), |text, own| {
            replace(&text, own, &address, is_address_byte)
        });
        self.paths(&text)
    }

    /// Only the paths.
    pub fn paths(&self, text: &str) -> String {
        // In one pass, so that what a path was replaced by is not replaced again.
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = None;
        'next: while let Some(character) = rest.chars().next() {
            for (inside, outside) in &self.paths {
                if before.is_none_or(|byte| !is_path_byte(byte))
                    && let Some(after) = rest.strip_prefix(inside.as_str())
                    && after
                        .bytes()
                        .next()
                        .is_none_or(|byte| byte == b'/' || !is_path_byte(byte))
                {
                    result.push_str(&outside.to_string_lossy());
                    before = inside.bytes().last();
                    rest = after;
                    continue 'next;
                }
            }
            result.push(character);
            before = u8::try_from(character).ok();
            rest = &rest[character.len_utf8()..];
        }
        result
    }
}

/// Whether an address means the pod itself, to bind or to call.
pub(super) fn is_own(address: &str) -> bool {
    address == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Replaces `what` where neither neighbour continues it.
fn replace(text: &str, what: &str, by: &str, continues: fn(u8) -> bool) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(at) = rest.find(what) {
        let (head, tail) = (&rest[..at], &rest[at + what.len()..]);
        let before_it = head.bytes().last().or(before);
        result.push_str(head);
        let stands_alone =
            !before_it.is_some_and(continues) && !tail.bytes().next().is_some_and(continues);
        result.push_str(if stands_alone { by } else { what });
        before = what.bytes().last();
        rest = tail;
    }
    result.push_str(rest);
    result
}

fn is_address_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translation() -> Translation {
        Translation::new(
            Ipv4Addr::new(127, 7, 3, 1),
            vec![
                ("/etc/envoy".to_owned(), PathBuf::from("/tmp/p/etc/envoy")),
                ("/run".to_owned(), PathBuf::from("/tmp/p/run")),
            ],
        )
    }

    #[test]
    fn own_addresses_become_the_pod_s_and_ports_stay() {
        let text = |given| translation().text(given);
        assert_eq!(text("127.0.0.1:9901"), "127.7.3.1:9901");
        assert_eq!(
            text("a=localhost:1,b=0.0.0.0:2"),
            "a=127.7.3.1:1,b=127.7.3.1:2"
        );
        assert_eq!(text("http://[::1]:8090/x"), "http://127.7.3.1:8090/x");
    }

    #[test]
    fn other_addresses_stay() {
        for given in [
            "10.127.0.0.1",
            "127.0.0.11",
            "localhost.example",
            "my-localhost",
            "1.1.1.1",
        ] {
            assert_eq!(translation().text(given), given);
        }
    }

    #[test]
    fn paths_of_volumes_become_those_of_the_pod_s_folder() {
        let text = |given| translation().text(given);
        assert_eq!(text("/etc/envoy/envoy.yaml"), "/tmp/p/etc/envoy/envoy.yaml");
        assert_eq!(
            text("unix:///run/admin.sock"),
            "unix:///tmp/p/run/admin.sock"
        );
        assert_eq!(
            text("cat /run; cat '/etc/envoy'"),
            "cat /tmp/p/run; cat '/tmp/p/etc/envoy'"
        );
    }

    #[test]
    fn paths_that_only_look_alike_stay() {
        for given in ["/etc/envoys/x", "/var/run/x", "/run-dir", "x/run.d"] {
            assert_eq!(translation().text(given), given);
        }
    }
}
