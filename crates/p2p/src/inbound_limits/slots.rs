//! The places of one stage, counted by where the sockets come from; and whose place
//! a newcomer takes when there is none left. Functions over the places that are taken.
//!
//! What always holds: a newcomer displaces only a crowd that is larger than
//! its own, or one that says nothing. So a flood from few places displaces
//! itself, and from many it must outpace a whole stage within one handshake.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
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
    pub source: SourceIp,
}

/// Whether there is room for one more beside those that `taken` places.
pub(crate) fn judge(
    limits: &SlotLimits,
    taken: &[SocketSlot],
    source: SourceIp,
) -> Result<(), Full> {
    let SlotLimits { source: of_source, subnet: of_subnet, all } = *limits;
    if count(taken, |it| it.source == source) >= of_source {
        Err(Full::Source(of_source))
    } else if count(taken, |it| it.source.subnet() == source.subnet()) >= of_subnet {
        Err(Full::Subnet(of_subnet))
    } else if taken.len() >= all {
        Err(Full::All(all))
    } else {
        Ok(())
    }
}

/// Room for one more, or whose place it takes.
pub(crate) fn make_room(
    limits: &SlotLimits,
    taken: &[SocketSlot],
    source: SourceIp,
    now: Instant,
) -> Result<Option<SocketId>, Full> {
    let Err(full) = judge(limits, taken, source) else { return Ok(None) };
    // A newcomer displaces only a crowd larger than its own: so the attacker's own
    // sockets yield, and never the one socket of another subnet. Of one's own source
    // nothing is larger; only who is silent there yields.
    let of_source = count(taken, |it| it.source == source);
    let of_subnet = count(taken, |it| it.source.subnet() == source.subnet());
    let within = |subnet: Subnet| taken.iter().filter(move |it| it.source.subnet() == subnet);
    let (slots, larger) = match full {
        Full::Source(_) => {
            (taken.iter().filter(|it| it.source == source).copied().collect(), false)
        }
        Full::Subnet(_) => {
            let slots = largest(within(source.subnet()), |it| it.source);
            let larger = slots.len() > of_source;
            (slots, larger)
        }
        _ => {
            let subnet = largest(taken.iter(), |it| it.source.subnet());
            let larger = subnet.len() > of_subnet;
            (largest(subnet.iter(), |it| it.source), larger)
        }
    };
    let first = slots.iter().min().ok_or(full)?;
    let silent = !first.spoke && now.saturating_duration_since(first.since) >= SILENT;
    if larger || silent { Ok(Some(first.id)) } else { Err(full) }
}

fn count(taken: &[SocketSlot], is: impl Fn(&SocketSlot) -> bool) -> usize {
    taken.iter().filter(|slot| is(slot)).count()
}

/// The crowd of most; of several, that of the silent and oldest.
// Ties go by age and not by address: an attacker chooses his addresses, and cannot be older
// than his connections.
fn largest<'a, K: Ord>(
    slots: impl Iterator<Item = &'a SocketSlot>,
    crowd: impl Fn(&SocketSlot) -> K,
) -> Vec<SocketSlot> {
    let mut crowds: BTreeMap<K, Vec<SocketSlot>> = BTreeMap::new();
    for slot in slots {
        crowds.entry(crowd(slot)).or_default().push(*slot);
    }
    let largest =
        crowds.into_values().max_by_key(|it| (it.len(), Reverse(it.iter().min().copied())));
    largest.unwrap_or_default()
}
