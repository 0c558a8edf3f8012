//! Which addresses a node connects to because a peer named them. Without this, a stranger
//! could make the node send requests to servers of its operator's own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Name, Resolve, Resolving};
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

/// Whether an address is unicast and reached from everywhere, by IANA's registries of
/// special-purpose addresses. An address that carries an IPv4 address is judged by that
/// one.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => is_global_v4(ip),
        IpAddr::V6(ip) => is_global_v6(ip),
    }
}

fn is_global_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = a == 0                                // this network
        || ip.is_private()
        || (a == 100 && b & 0xc0 == 64)                 // carriers' own (100.64.0.0/10)
        || ip.is_loopback()
        || ip.is_link_local()
        || (a == 192 && b == 0 && c == 0)               // protocol assignments
        || ip.is_documentation()
        || (a == 192 && b == 88 && c == 99)             // 6to4 relays
        || (a == 198 && b & 0xfe == 18)                 // benchmarks
        || ip.is_multicast()
        || a >= 240; // reserved, and broadcast
    !special
}

fn is_global_v6(ip: Ipv6Addr) -> bool {
    let words = ip.segments();
    let v4 =
        |high: u16, low: u16| is_global_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match words {
        // NAT64 (RFC 6052) and 6to4 (RFC 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        // Protocol assignments with Teredo, documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Only 2000::/3 is unicast that is handed out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_global() {
        for global in ["1.1.1.1", "198.17.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::101:101"] {
            assert!(is_global(global.parse().unwrap()), "{global}");
        }
        for not in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:1.1.1.1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_global(not.parse().unwrap()), "{not}");
        }
    }

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
