//! Binds the port: on both families at once where there are two.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Callers wait for minutes and are few; probes are short.
const BACKLOG: i32 = 128;

/// Why the port cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", hint(source))]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl BindError {
    /// Whether somebody else has the port.
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// Binds `ip`, or every address of both families.
///
/// # Errors
///
/// Where the address is not there or the port is taken.
pub fn bind(ip: Option<IpAddr>, port: u16) -> Result<std::net::TcpListener, BindError> {
    if let Some(ip) = ip {
        return bind_one(SocketAddr::new(ip, port), false);
    }
    match bind_one(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), true) {
        // Taken is taken, on whichever family. Anything else: this node may have no IPv6.
        Err(error) if !error.is_in_use() => {
            bind_one(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), false)
        }
        bound => bound,
    }
}

fn bind_one(address: SocketAddr, dual: bool) -> Result<std::net::TcpListener, BindError> {
    let bound = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if dual {
            // Said, not left to net.ipv6.bindv6only.
            socket.set_only_v6(false)?;
        }
        // A restart must not wait for connections of the one before.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bound().map_err(|source| BindError { address, source })
}

fn hint(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::AddrInUse {
        ": choose another with --port (drainhook.io/port)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn one_socket_serves_both_families() {
        let listener = bind(None, 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind(None, port).unwrap_err();
        assert!(error.is_in_use());
        let text = error.to_string();
        assert!(
            text.contains(&port.to_string()) && text.contains("--port"),
            "{text}"
        );
    }
}
