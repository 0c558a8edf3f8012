//! Where a connection comes from, in units that cost an attacker something.
//!
//! An IPv4 address is one unit. An IPv6 address is not: whoever has one has the other
//! 2^64 of its /64 too. Loopback is like any other place.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// One IPv4 address, or one IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourceIp(IpAddr);

/// What is rented together: an IPv4 /24, or an IPv6 /48.
// The smallest blocks that are commonly routed on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Subnet(IpAddr);

/// What one network operator owns, roughly: an IPv4 /16, or an IPv6 /32.
// Bitcoin Core's network groups: addresses within one are cheap to have together, addresses
// in many are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetGroup(IpAddr);

impl SourceIp {
    pub fn of(ip: IpAddr) -> Self {
        Self(cut(ip, 32, 64))
    }

    pub fn subnet(self) -> Subnet {
        Subnet(cut(self.0, 24, 48))
    }
}

impl NetGroup {
    pub fn of(ip: IpAddr) -> Self {
        Self(cut(ip, 16, 32))
    }

    /// Its first address.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// Bytes that name it, for a hash.
    pub fn bytes(self) -> [u8; 16] {
        match self.0 {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        }
    }
}

impl fmt::Display for SourceIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "{ip}/64"),
        }
    }
}

/// The first bits of an address, the rest zero. An IPv4 address that is
/// written as IPv6 is IPv4.
fn cut(ip: IpAddr, bits_v4: u32, bits_v6: u32) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - bits_v4).unwrap_or(0);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - bits_v6).unwrap_or(0);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
    }
}
