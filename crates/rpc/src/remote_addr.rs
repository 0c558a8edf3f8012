//! From where a request came.

use std::net::SocketAddr;

/// From where a request came: an extension of each.
#[derive(Clone, Copy, Debug)]
pub struct RemoteAddr {
    pub from: SocketAddr,
    /// It came to the very address that it came from.
    is_own: bool,
}

impl RemoteAddr {
    /// Of a connection from one address to another.
    pub fn of(from: SocketAddr, to: Option<SocketAddr>) -> Self {
        // A socket for IPv6 and IPv4 shows `::ffff:127.0.0.1`.
        let ip = from.ip().to_canonical();
        let is_own = to.is_some_and(|to| to.ip().to_canonical() == ip);
        Self { from: SocketAddr::new(ip, from.port()), is_own }
    }

    pub fn is_loopback(&self) -> bool {
        self.from.ip().is_loopback()
    }

    // A node that listens on an address of the network refused its own machine. A forwarder of a
    // container makes strangers' connections such ones too, so it takes a secret beside this.
    /// Whether it came from this machine, or through a forwarder on it.
    pub fn is_this_machine(&self) -> bool {
        self.is_own || self.is_loopback()
    }
}
