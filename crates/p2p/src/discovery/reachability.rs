//! Which addresses lead somewhere, and from where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether a node may be at an address at all.
// Private and loopback addresses are allowed: whole networks run within one company or machine.
pub fn is_reachable(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

/// Whether an address may be told between this node and a peer at `peer`.
// Attack: a peer on the Internet that tells of loopback and private addresses, so that nodes
// knock at their own machines and networks. A peer on such a network may tell of it.
pub(crate) fn may_tell(address: SocketAddr, peer: SocketAddr) -> bool {
    is_global(address.ip()) || !is_global(peer.ip().to_canonical())
}

/// Whether an address is unicast and reached from everywhere, by IANA's registries of
/// special-purpose addresses. An address that carries an IPv4 address is judged by that
/// one.
pub fn is_global(ip: IpAddr) -> bool {
    match ip {
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
    fn a_peer_on_the_internet_tells_of_the_internet_alone() {
        let at = |address: &str| address.parse::<SocketAddr>().unwrap();
        let (far, near) = (at("1.2.3.4:5"), at("192.168.0.7:5"));
        assert!(may_tell(far, far) && may_tell(far, near) && may_tell(near, near));
        assert!(!may_tell(near, far) && !may_tell(at("[::ffff:127.0.0.1]:5"), far));
    }
}
