//! Loopback addresses that nobody else uses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use anyhow::{Context, Result};

/// Whoever listens on this port of an address owns the address. Above the kernel's range for
/// outgoing connections (32768-60999), so that none of those can be in the way.
const CLAIM_PORT: u16 = 65_000;

/// How many addresses are tried before giving up. They are drawn from 15 million, so a second try is
/// rare already.
const ATTEMPTS: u32 = 1_000;

/// An address of 127.0.0.0/8 that this value owns, on which every port is free.
///
/// Processes under test can therefore use the ports that they use in a pod (9901, 8090, 8080), and
/// keep them over a restart. Tests of other processes on the same machine claim theirs in the same
/// way: the claim is a listening socket, so it ends with the process, however that ends.
#[derive(Debug)]
pub struct Loopback {
    ip: Ipv4Addr,
    _claim: TcpListener,
}

impl Loopback {
    /// Claims an address.
    ///
    /// # Errors
    /// When none of many could be claimed, as on a system that has 127.0.0.1 only.
    pub fn claim() -> Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let ip = candidate();
            match TcpListener::bind((ip, CLAIM_PORT)) {
                Ok(claim) => return Ok(Self { ip, _claim: claim }),
                Err(error) => last = Some(anyhow::Error::new(error).context(format!("bind {ip}"))),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no address was tried")))
            .context("cannot claim an address of 127.0.0.0/8")
    }

    /// The address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// The address with a port.
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), port)
    }
}

impl fmt::Display for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)
    }
}

/// An address of 127.16.0.0 to 127.254.255.255 (below are those that people use by hand), another
/// one with each call and, as far as can be, in each process.
fn candidate() -> Ipv4Addr {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let calls = u64::from(CALLS.fetch_add(1, Ordering::Relaxed));
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::from(since.subsec_nanos()));
    let seed = (u64::from(std::process::id()) << 32) ^ (calls << 20) ^ nanos;
    // The finaliser of SplitMix64: each bit of the seed changes each bit of the result.
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let [a, b, c, ..] = (mixed ^ (mixed >> 31)).to_le_bytes();
    Ipv4Addr::new(127, 16 + a % 239, b, 1 + c % 254)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_claims_never_get_the_same_address() {
        let claims: Vec<_> = (0..200).map(|_| Loopback::claim().unwrap()).collect();
        let distinct: std::collections::BTreeSet<_> = claims.iter().map(Loopback::ip).collect();
        assert_eq!(distinct.len(), claims.len());
    }
}
