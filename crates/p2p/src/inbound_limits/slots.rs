//! The places of one stage, counted by where the sockets come from; and whose place
//! a newcomer takes when there is none left.
//!
//! What always holds: a newcomer displaces only a crowd that is larger than
//! its own, or one that says nothing. So a flood from few places displaces
//! itself, and from many it must outpace a whole stage within one handshake.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::inbound_limits::subnet::{SourceIp, Subnet};

/// A socket's number; later ones are larger.
pub(crate) type SocketId = u64;

/// A socket that has said nothing for so long gives its place to a newcomer, even to one of
/// its own source.
// The side that dials speaks first (multistream-select), and at once.
pub(crate) const SILENT: Duration = Duration::from_millis(500);

/// The most sockets of one stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotLimits {
    pub source: usize,
    pub subnet: usize,
    pub all: usize,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("{0} connections of its address are here already")]
    Source(usize),
    #[error("{0} connections of its network (/24 or /48) are here already")]
    Subnet(usize),
    #[error("{0} inbound peers are here already")]
    All(usize),
    #[error("{0} connections of its organisation are here already")]
    Organisation(usize),
    #[error("{0} connections are being closed")]
    Leaving(usize),
    #[error("its address is banned for another {0} s: handshakes failed")]
    Banned(u64),
}

/// One socket. The silent come before those that spoke, then the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketSlot {
    pub spoke: bool,
    pub id: SocketId,
    pub since: Instant,
}

#[derive(Debug)]
pub(crate) struct Slots {
    caps: SlotLimits,
    all: usize,
    subnets: BTreeMap<Subnet, BTreeMap<SourceIp, BTreeSet<SocketSlot>>>,
}

impl Slots {
    pub fn new(caps: SlotLimits) -> Self {
        Self { caps, all: 0, subnets: BTreeMap::new() }
    }

    pub fn insert(&mut self, source: SourceIp, slot: SocketSlot) {
        let subnet = self.subnets.entry(source.subnet()).or_default();
        if subnet.entry(source).or_default().insert(slot) {
            self.all += 1;
        }
    }

    pub fn remove(&mut self, source: SourceIp, slot: SocketSlot) {
        let Some(subnet) = self.subnets.get_mut(&source.subnet()) else { return };
        let Some(slots) = subnet.get_mut(&source) else { return };
        if slots.remove(&slot) {
            self.all -= 1;
        }
        subnet.retain(|_, slots| !slots.is_empty());
        self.subnets.retain(|_, subnet| !subnet.is_empty());
    }

    /// Whether there is room for one more.
    pub fn judge(&self, source: SourceIp) -> Result<(), Full> {
        let SlotLimits { source: of_source, subnet: of_subnet, all } = self.caps;
        if self.of_source(source) >= of_source {
            Err(Full::Source(of_source))
        } else if self.of_subnet(source.subnet()) >= of_subnet {
            Err(Full::Subnet(of_subnet))
        } else if self.all >= all {
            Err(Full::All(all))
        } else {
            Ok(())
        }
    }

    /// Room for one more, or whose place it takes.
    pub fn make_room(&self, source: SourceIp, now: Instant) -> Result<Option<SocketId>, Full> {
        let Err(full) = self.judge(source) else { return Ok(None) };
        // A newcomer displaces only a crowd larger than its own: so the attacker's own
        // sockets yield, and never the one socket of another subnet. Of one's own source
        // nothing is larger; only who is silent there yields.
        let (slots, larger) = match full {
            Full::Source(_) => (self.subnets[&source.subnet()].get(&source), false),
            Full::Subnet(_) => {
                let slots = largest_source(&self.subnets[&source.subnet()]);
                (slots, slots.map_or(0, BTreeSet::len) > self.of_source(source))
            }
            _ => {
                let subnet = largest_subnet(&self.subnets);
                let larger = subnet.map_or(0, total) > self.of_subnet(source.subnet());
                (subnet.and_then(largest_source), larger)
            }
        };
        let first = slots.and_then(BTreeSet::first).ok_or(full)?;
        let silent = !first.spoke && now.saturating_duration_since(first.since) >= SILENT;
        if larger || silent { Ok(Some(first.id)) } else { Err(full) }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.all == 0 && self.subnets.is_empty()
    }

    fn of_source(&self, source: SourceIp) -> usize {
        let subnet = self.subnets.get(&source.subnet());
        subnet.and_then(|subnet| subnet.get(&source)).map_or(0, BTreeSet::len)
    }

    pub fn of_subnet(&self, subnet: Subnet) -> usize {
        self.subnets.get(&subnet).map_or(0, total)
    }
}

fn total(subnet: &BTreeMap<SourceIp, BTreeSet<SocketSlot>>) -> usize {
    subnet.values().map(BTreeSet::len).sum()
}

/// The source with the most; of several, that of the silent and oldest.
// Ties go by age and not by address: an attacker chooses his addresses, and cannot be older
// than his connections.
fn largest_source(
    subnet: &BTreeMap<SourceIp, BTreeSet<SocketSlot>>,
) -> Option<&BTreeSet<SocketSlot>> {
    subnet.values().max_by_key(|slots| (slots.len(), Reverse(slots.first())))
}

/// The subnet with the most; of several, that of the silent and oldest.
fn largest_subnet(
    subnets: &BTreeMap<Subnet, BTreeMap<SourceIp, BTreeSet<SocketSlot>>>,
) -> Option<&BTreeMap<SourceIp, BTreeSet<SocketSlot>>> {
    let first = |subnet: &BTreeMap<SourceIp, BTreeSet<SocketSlot>>| {
        subnet.values().filter_map(|slots| slots.first().copied()).min()
    };
    subnets.values().max_by_key(|subnet| (total(subnet), Reverse(first(subnet))))
}
