//! The address book: the addresses that may be dialled. A peer that fills the book cannot
//! choose which of them are dialled.
//!
//! Owns two bounded tables: *new* (a peer sent the address) and *tried* (a dial met a peer
//! there). A place in a table is a hash, under a secret key, of the address's network group
//! (/16, /32). For a new address, the network group of its source enters the hash too.
//!
//! What always holds:
//! - The addresses that one network group sends reach at most [`NEW_PER_SOURCE`] of the new
//!   buckets.
//! - The addresses within one network group reach at most [`TRIED_PER_GROUP`] of the tried
//!   buckets.
//! - An address at which a peer was met keeps its place until a dial to it fails.
//! - No peer is known longer than it was there.
//! - The book follows from the key, the seed and the calls alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IteratorRandom as _};
use trefoil_types::{Millis, PeerId, Time, keccak256};

use crate::{
    discovery::{peer_record::PeerRecord, reachability::is_reachable},
    inbound_limits::subnet::NetGroup,
};

// Bitcoin Core's tables (addrman) at a sixteenth of its size: 4,096 new and 1,024 tried
// places, about 1 MiB of entries with their records.
/// Places in a bucket.
const SLOTS: u64 = 16;
const NEW_BUCKETS: u64 = 256;
const TRIED_BUCKETS: u64 = 64;
// Attack: a peer that sends the most addresses owns the book. Those that one network group sends
// reach 1/16 of the new places, and its own addresses 1/16 of the tried ones, however many.
/// Buckets that one network group can fill: as a source, and with its own addresses.
const NEW_PER_SOURCE: u64 = 16;
const TRIED_PER_GROUP: u64 = 4;

/// So many dials that failed in a row make a new address worthless.
// Three as in Bitcoin Core (`ADDRMAN_RETRIES`). With the waits between them, a node has at least
// 6 minutes to restart before another address may take its place.
const FAILURES_MAX: u32 = 3;

// A minute: a node that restarts is found again soon. 2^10 minutes are 17 hours: an address
// whose node is gone costs a dial or two a day.
/// The wait after a dial, doubled for each failure in a row, up to the longest.
const RETRY_MIN: Millis = Millis(60_000);
const RETRY_DOUBLINGS_MAX: u32 = 10;

// Attack: new acquaintances that push old ones out. A place is yielded only after a dial to its
// holder failed (test before evict, Bitcoin Core). One is tested a minute (`FEELER`), so that the
// last of 32 waits half an hour.
/// Met addresses that wait for the place of another until that is dialled.
const WAITING_MAX: usize = 32;

// Attack: an attacker's connections never end, and honest ones do, so that after a day all are
// the attacker's. But none of them was met earlier than it was there: half of the dials go to
// those known longest. Of 16 one is drawn, so that not all nodes crowd the same few (ADR 13).
/// Old acquaintances are of the so many network groups that are known longest.
const OLD_GROUPS: usize = 16;

// Attack: an eclipse by making a node restart. The first connections after it are the ones
// from before, so that a poisoned book decides nothing. As many as are dialled at once
// (`DIALLING_MAX`): the first round is theirs alone.
/// Peers that are dialled first after a restart.
pub const ANCHORS_MAX: usize = 4;

/// An address that may be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialCandidate {
    pub address: SocketAddr,
    /// The peer that should be there, if we know.
    pub peer: Option<PeerId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum BookTable {
    New,
    Tried,
}

type Slot = (BookTable, u64, u64);

#[derive(Clone, Debug)]
pub(crate) struct BookEntry {
    pub peer: Option<PeerId>,
    /// To be passed on: only a signed record is.
    pub record: Option<PeerRecord>,
    /// The network group that sent the address.
    pub source: NetGroup,
    /// When its peer was first met there; `None` among the new.
    pub met: Option<Time>,
    pub last_dial: Time,
    pub failures: u32,
    slot: Slot,
}

#[derive(Debug)]
pub struct AddressBook {
    key: [u8; 32],
    random: StdRng,
    entries: BTreeMap<SocketAddr, BookEntry>,
    slots: BTreeMap<Slot, SocketAddr>,
    /// Met, and waiting for the place of one that was met before.
    waiting: BTreeMap<SocketAddr, (PeerId, Time)>,
    anchors: Vec<DialCandidate>,
}

impl BookEntry {
    /// An entry without a place; [`AddressBook::restore`] finds it one.
    pub fn new(
        peer: Option<PeerId>,
        record: Option<PeerRecord>,
        source: NetGroup,
        met: Option<Time>,
        last_dial: Time,
        failures: u32,
    ) -> Self {
        Self { peer, record, source, met, last_dial, failures, slot: (BookTable::New, 0, 0) }
    }
}

impl AddressBook {
    /// An empty book. `key` must be secret and stay the same as long as the
    /// book; `seed` is fresh randomness.
    pub fn new(key: [u8; 32], seed: [u8; 32]) -> Self {
        Self {
            key,
            random: StdRng::from_seed(seed),
            entries: BTreeMap::new(),
            slots: BTreeMap::new(),
            waiting: BTreeMap::new(),
            anchors: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Notes an address that `source` sent. Returns whether it is new and has a place.
    pub fn add(
        &mut self,
        candidate: DialCandidate,
        record: Option<PeerRecord>,
        source: SocketAddr,
    ) -> bool {
        let DialCandidate { address, peer } = candidate;
        if !is_reachable(address) {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(&address) {
            // A newer record of the same peer; other peers cannot change the entry.
            let before = entry.record.as_ref().map_or(0, |record| record.sequence);
            if record.as_ref().is_some_and(|r| Some(r.peer) == entry.peer && r.sequence > before) {
                entry.record = record;
            }
            return false;
        }
        let source = NetGroup::of(source.ip());
        let slot = self.new_slot(address, source);
        if let Some(holder) = self.slots.get(&slot).copied() {
            if self.entries[&holder].failures < FAILURES_MAX {
                return false;
            }
            self.remove(holder);
        }
        let (last_dial, failures) = (Time(0), 0);
        let entry = BookEntry { peer, record, source, met: None, last_dial, failures, slot };
        self.insert(address, entry);
        true
    }

    /// A dial to an address begins.
    pub fn dialled(&mut self, address: SocketAddr, now: Time) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.last_dial = now;
        }
    }

    /// A dial failed, or met another peer than it should.
    pub fn failed(&mut self, address: SocketAddr) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        entry.failures = entry.failures.saturating_add(1);
        let slot = entry.slot;
        if entry.met.is_none() {
            return;
        }
        // Its place is wanted by one that was met meanwhile.
        let heir = self.waiting.keys().copied().find(|heir| self.tried_slot(*heir) == slot);
        if let Some(heir) = heir {
            self.demote(address);
            if let Some((peer, at)) = self.waiting.remove(&heir) {
                self.met(heir, peer, at);
            }
        }
    }

    /// A dial met another peer than the one in the book. A false name must not keep us from
    /// dialling the peer that is there.
    pub fn wrong_peer(&mut self, address: SocketAddr) {
        if let Some(entry) = self.entries.get_mut(&address) {
            (entry.peer, entry.record) = (None, None);
        }
    }

    /// `peer` was met at an address now. It moves to the tried, unless another that
    /// was met there before has its place: that one is dialled first.
    pub fn met(&mut self, address: SocketAddr, peer: PeerId, now: Time) {
        let slot = self.tried_slot(address);
        let Some(entry) = self.entries.get_mut(&address) else { return };
        let before = entry.peer.replace(peer);
        entry.failures = 0;
        if let Some(since) = &mut entry.met {
            // Another peer than the one met before begins anew.
            *since = if before == Some(peer) { now.min(*since) } else { now };
            return;
        }
        match self.slots.get(&slot).copied() {
            Some(_) if self.waiting.len() < WAITING_MAX => {
                self.waiting.insert(address, (peer, now));
            }
            Some(_) => {}
            None => self.promote(address, slot, now),
        }
    }

    /// A candidate to dial, of none of the `taken` network groups. A coin decides between
    /// new and tried. Then every network group has the same chance, then every address of it:
    /// many addresses of few network groups gain nothing.
    pub fn pick(&mut self, now: Time, taken: &BTreeSet<NetGroup>) -> Option<DialCandidate> {
        let met_first = self.random.random::<bool>();
        [met_first, !met_first].into_iter().find_map(|tried| self.pick_of(tried, now, taken))
    }

    /// An old acquaintance to dial: of the network groups in which a peer was met the
    /// longest ago. A peer that fills the book today is not among them, as long as enough of
    /// them are there.
    pub fn pick_old(&mut self, now: Time, taken: &BTreeSet<NetGroup>) -> Option<DialCandidate> {
        let mut oldest: BTreeMap<NetGroup, (Time, SocketAddr)> = BTreeMap::new();
        for (address, entry) in self.entries.iter().filter(|(_, entry)| is_due(entry, now)) {
            let (net_group, Some(met)) = (NetGroup::of(address.ip()), entry.met) else { continue };
            let first = oldest.entry(net_group).or_insert((met, *address));
            *first = (met, *address).min(*first);
        }
        let mut oldest: Vec<_> = oldest.into_values().collect();
        oldest.sort_unstable();
        oldest.truncate(OLD_GROUPS);
        oldest.retain(|(_, address)| !taken.contains(&NetGroup::of(address.ip())));
        let (_, address) = oldest.into_iter().choose(&mut self.random)?;
        Some(DialCandidate { address, peer: self.entries[&address].peer })
    }

    /// When the peer at an address was first met there, if it was.
    pub fn met_since(&self, address: SocketAddr) -> Option<Time> {
        self.entries.get(&address)?.met
    }

    /// A candidate to dial only to see whether it is there: one whose place is wanted, or a
    /// new one.
    pub fn pick_to_test(&mut self, now: Time, taken: &BTreeSet<NetGroup>) -> Option<DialCandidate> {
        let wanted = self.waiting.keys().filter_map(|heir| self.slots.get(&self.tried_slot(*heir)));
        let wanted = wanted.copied().find(|address| is_due(&self.entries[address], now));
        match wanted {
            Some(address) => Some(DialCandidate { address, peer: self.entries[&address].peer }),
            None => self.pick_of(false, now, taken),
        }
    }

    fn pick_of(
        &mut self,
        tried: bool,
        now: Time,
        taken: &BTreeSet<NetGroup>,
    ) -> Option<DialCandidate> {
        let fits = |(address, entry): &(&SocketAddr, &BookEntry)| {
            entry.met.is_some() == tried
                && is_due(entry, now)
                && !taken.contains(&NetGroup::of(address.ip()))
        };
        let fitting: Vec<_> = self.entries.iter().filter(fits).collect();
        let net_groups: BTreeSet<_> =
            fitting.iter().map(|(address, _)| NetGroup::of(address.ip())).collect();
        let net_group = net_groups.into_iter().choose(&mut self.random)?;
        let of_group =
            fitting.into_iter().filter(|(address, _)| NetGroup::of(address.ip()) == net_group);
        let (address, entry) = of_group.choose(&mut self.random)?;
        Some(DialCandidate { address: *address, peer: entry.peer })
    }

    /// Signed records for a peer that asks, at most `count`.
    pub fn records(&mut self, count: usize) -> Vec<PeerRecord> {
        let records = self.entries.values().filter_map(|entry| entry.record.clone());
        records.choose_multiple(&mut self.random, count)
    }

    /// Remembers the peers to dial first after a restart.
    pub fn set_anchors(&mut self, anchors: Vec<DialCandidate>) {
        self.anchors = anchors;
        self.anchors.truncate(ANCHORS_MAX);
    }

    pub fn anchors(&self) -> &[DialCandidate] {
        &self.anchors
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    pub(crate) fn entries(&self) -> &BTreeMap<SocketAddr, BookEntry> {
        &self.entries
    }

    /// Places that are taken.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Puts back an entry that was read from disk, if its place is free.
    pub(crate) fn restore(&mut self, address: SocketAddr, entry: BookEntry) {
        let slot = match entry.met {
            Some(_) => self.tried_slot(address),
            None => self.new_slot(address, entry.source),
        };
        if !self.slots.contains_key(&slot) && !self.entries.contains_key(&address) {
            self.insert(address, BookEntry { slot, ..entry });
        }
    }

    fn insert(&mut self, address: SocketAddr, entry: BookEntry) {
        self.slots.insert(entry.slot, address);
        self.entries.insert(address, entry);
    }

    fn remove(&mut self, address: SocketAddr) -> Option<BookEntry> {
        let entry = self.entries.remove(&address)?;
        self.slots.remove(&entry.slot);
        self.waiting.remove(&address);
        Some(entry)
    }

    fn promote(&mut self, address: SocketAddr, slot: Slot, now: Time) {
        if let Some(entry) = self.remove(address) {
            self.insert(address, BookEntry { met: Some(now), slot, ..entry });
        }
    }

    /// Back among the new, if there is a place.
    fn demote(&mut self, address: SocketAddr) {
        if let Some(entry) = self.remove(address) {
            self.restore(address, BookEntry { met: None, ..entry });
        }
    }

    fn new_slot(&self, address: SocketAddr, source: NetGroup) -> Slot {
        let net_group = NetGroup::of(address.ip());
        let within = self.hash(&[&source.bytes(), &net_group.bytes()]) % NEW_PER_SOURCE;
        let bucket = self.hash(&[&source.bytes(), &within.to_be_bytes()]) % NEW_BUCKETS;
        (BookTable::New, bucket, self.slot_in(bucket, address))
    }

    fn tried_slot(&self, address: SocketAddr) -> Slot {
        let net_group = NetGroup::of(address.ip()).bytes();
        let within = self.hash(&[address.to_string().as_bytes()]) % TRIED_PER_GROUP;
        let bucket = self.hash(&[&net_group, &within.to_be_bytes(), b"tried"]) % TRIED_BUCKETS;
        (BookTable::Tried, bucket, self.slot_in(bucket, address))
    }

    fn slot_in(&self, bucket: u64, address: SocketAddr) -> u64 {
        self.hash(&[&bucket.to_be_bytes(), address.to_string().as_bytes()]) % SLOTS
    }

    /// Without the key no peer can aim at a place.
    fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut bytes = self.key.to_vec();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        u64::from_be_bytes(keccak256(bytes)[..8].try_into().expect("eight bytes"))
    }
}

/// Whether an address may be dialled again. A dial in the future is one by a
/// clock that was wrong.
fn is_due(entry: &BookEntry, now: Time) -> bool {
    let wait = Millis(RETRY_MIN.0 << entry.failures.min(RETRY_DOUBLINGS_MAX));
    now < entry.last_dial || entry.last_dial == Time(0) || now >= entry.last_dial + wait
}
