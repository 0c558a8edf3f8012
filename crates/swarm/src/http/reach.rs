//! Which addresses a node connects to because a peer named them. Without this, a stranger
//! could make the node send requests to servers of its operator's own network.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Name, Resolve, Resolving};
use trefoil_p2p::is_global;
use url::{Host, Url};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Wherever a URL leads.
    All,
    /// Only where the whole Internet can.
    Global,
}

/// An address that only this machine or its network reaches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no address of the Internet, and only those are asked here")]
pub struct NotGlobal(String);

/// Judges an address that stands in a URL itself; names are resolved later.
pub fn check_host(url: &Url) -> Result<(), NotGlobal> {
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    if is_global(address) { Ok(()) } else { Err(NotGlobal(address.to_string())) }
}

// The client connects to the very addresses that this returns. A name cannot mean one address
// when it is judged and another when it is used (DNS rebinding).
/// Resolves names to global addresses only.
pub struct GlobalOnly;

impl Resolve for GlobalOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let global: Vec<SocketAddr> = found.filter(|at| is_global(at.ip())).collect();
            if global.is_empty() {
                return Err(NotGlobal(name.as_str().into()).into());
            }
            Ok(Box::new(global.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_a_url_is_judged_however_it_is_spelled() {
        let judged = |url: &str| check_host(&url.parse().unwrap());
        for url in ["http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://[::1]:80/"]
        {
            assert!(judged(url).is_err(), "{url}");
        }
        assert!(judged("http://1.1.1.1/").is_ok() && judged("http://example.org/").is_ok());
    }
}
