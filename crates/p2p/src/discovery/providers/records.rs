//! Provider records: which peer announced which resource, and which keys are this node's
//! own.
//!
//! What always holds:
//! - A record expires.
//! - The records of one key, of one peer and of one subnet are bounded. So a peer that
//!   announces without end displaces no other.
//! - Of the providers of a key, one of each subnet is named before a second of any, in an order
//!   that no identity can be made for.
//! - Value records are never kept.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    iter,
    net::SocketAddr,
    time::Instant,
};

use libp2p::{
    PeerId,
    kad::{
        ProviderRecord, Record, RecordKey,
        store::{Error, RecordStore, Result},
    },
};

use crate::{
    inbound_limits::subnet::{SourceIp, Subnet},
    transport::libp2p_types::to_multiaddr,
};

/// The BLAKE3 root of a resource.
pub(crate) type Root = [u8; 32];

/// Resources that a node announces.
// Each costs a search and eight messages an hour (`REPEAT_MAX`, `REPLICAS`), and a place of
// `RECORDS_MAX` at each of the eight nodes.
pub const PROVIDED_MAX: usize = 256;

/// Records of all others together: about 3 MB.
// Attack: identities are free, so bounds for each peer alone bound nothing. There is room for 64
// peers that announce as much as they may.
pub(super) const RECORDS_MAX: usize = 16_384;
/// Records of one subnet: 16 of them fill the store.
// Attack: one subnet that announces without end, so that nobody else's records find room.
pub(super) const OF_SUBNET_MAX: usize = 1_024;
/// Records of one peer: as many as a node announces.
const OF_PEER_MAX: usize = PROVIDED_MAX;
/// Providers of one key.
// An answer names eight (libp2p-kad: as many as `REPLICAS`). An asker needs a few, and they name
// each other.
pub(super) const OF_KEY_MAX: usize = 20;
/// Of those, from one subnet.
// Attack: one machine with many identities takes all providers' places of a key. With 2 of 20, of
// which the second of a subnet yields to another subnet, it takes twenty subnets.
pub(super) const OF_KEY_AND_SUBNET_MAX: usize = 2;

#[derive(Debug)]
pub(crate) struct Records {
    me: PeerId,
    /// Keys that this node provides.
    own: Vec<RecordKey>,
    others: BTreeMap<Root, BTreeMap<PeerId, Entry>>,
    /// Records of each peer, and of each subnet.
    of_peer: RecordCounts<PeerId>,
    of_subnet: RecordCounts<Subnet>,
    /// Records that were taken so far.
    taken: u64,
    /// Attack: identities that are made to be named first.
    secret: RandomState,
}

/// How many there are of each.
#[derive(Debug)]
struct RecordCounts<K>(BTreeMap<K, usize>);

impl<K: Ord> RecordCounts<K> {
    fn of(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    fn all(&self) -> usize {
        self.0.values().sum()
    }

    fn one_more(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    fn one_less(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: SocketAddr,
    expires: Instant,
    /// Its place in time.
    number: u64,
}

fn subnet(address: SocketAddr) -> Subnet {
    SourceIp::of(address.ip()).subnet()
}

/// A key is the root of a resource.
pub(super) fn root(key: &RecordKey) -> Option<Root> {
    key.as_ref().try_into().ok()
}

impl Records {
    pub fn new(me: PeerId) -> Self {
        let (of_peer, of_subnet) = (RecordCounts(BTreeMap::new()), RecordCounts(BTreeMap::new()));
        let (own, others, secret) = (Vec::new(), BTreeMap::new(), RandomState::new());
        Self { me, own, others, of_peer, of_subnet, taken: 0, secret }
    }

    /// Keeps that `peer`, which can be dialled at `address`, has a resource, if
    /// there is room. Its earlier record of the resource is replaced.
    pub fn keep(&mut self, root: Root, peer: PeerId, address: SocketAddr, expires: Instant) {
        let from = subnet(address);
        let before = self.remove(root, &peer).filter(|entry| subnet(entry.address) == from);
        if !self.has_room(root, &peer, from) {
            return;
        }
        if let Some(yields) = self.yields(root) {
            self.remove(root, &yields);
        }
        self.of_peer.one_more(peer);
        self.of_subnet.one_more(from);
        self.taken += 1;
        // Who says it again is no newcomer.
        let number = before.map_or(self.taken, |entry| entry.number);
        self.others.entry(root).or_default().insert(peer, Entry { address, expires, number });
    }

    fn has_room(&self, root: Root, peer: &PeerId, from: Subnet) -> bool {
        let near = self.of_key(root).filter(|(_, entry)| subnet(entry.address) == from).count();
        let full = self.of_key(root).count() >= OF_KEY_MAX;
        near < OF_KEY_AND_SUBNET_MAX
            && (!full || near == 0 && self.yields(root).is_some())
            && self.of_peer.of(peer) < OF_PEER_MAX
            && self.of_subnet.of(&from) < OF_SUBNET_MAX
            && self.of_subnet.all() < RECORDS_MAX
    }

    fn of_key(&self, root: Root) -> impl Iterator<Item = (&PeerId, &Entry)> {
        self.others.get(&root).into_iter().flatten()
    }

    /// Of a key whose places are taken, whose record yields to one of another subnet: the
    /// youngest of the largest subnet, if that has more than one.
    fn yields(&self, root: Root) -> Option<PeerId> {
        let mut of_subnet: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (peer, entry) in self.of_key(root) {
            of_subnet.entry(subnet(entry.address)).or_default().push((entry.number, *peer));
        }
        let full = of_subnet.values().map(Vec::len).sum::<usize>() >= OF_KEY_MAX;
        let largest = of_subnet.into_values().filter(|peers| full && peers.len() > 1);
        let youngest = largest.filter_map(|peers| Some((peers.len(), peers.into_iter().max()?)));
        youngest.max().map(|(_, (_, peer))| peer)
    }

    /// The providers of a key, as they are named.
    // libp2p-kad names the first eight.
    fn in_order(&self, root: Root) -> Vec<(&PeerId, &Entry)> {
        let mut of_key: Vec<_> = self.of_key(root).collect();
        of_key.sort_by_cached_key(|(peer, _)| Reverse(self.secret.hash_one(peer)));
        let mut ranks = RecordCounts(BTreeMap::new());
        of_key.sort_by_cached_key(|(_, entry)| {
            let from = subnet(entry.address);
            ranks.one_more(from);
            ranks.of(&from)
        });
        of_key
    }

    /// Drops what has expired.
    pub fn expire(&mut self, now: Instant) {
        self.remove_all(|_, entry| entry.expires <= now);
    }

    /// Drops all records of a peer.
    pub fn forget(&mut self, peer: PeerId) {
        self.remove_all(|other, _| *other == peer);
    }

    fn remove_all(&mut self, which: impl Fn(&PeerId, &Entry) -> bool) {
        let all = self.others.iter().flat_map(|(root, of)| of.iter().map(|it| (*root, it)));
        let gone = all.filter(|(_, (peer, entry))| which(peer, entry));
        let gone: Vec<_> = gone.map(|(root, (peer, _))| (root, *peer)).collect();
        gone.iter().for_each(|(root, peer)| _ = self.remove(*root, peer));
    }

    fn remove(&mut self, root: Root, peer: &PeerId) -> Option<Entry> {
        let of_key = self.others.get_mut(&root)?;
        let gone = of_key.remove(peer);
        if of_key.is_empty() {
            self.others.remove(&root);
        }
        let gone = gone?;
        self.of_peer.one_less(peer);
        self.of_subnet.one_less(&subnet(gone.address));
        Some(gone)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.of_subnet.all()
    }
}

/// The store that libp2p's Kademlia uses. It adds our own records itself. Records of others
/// come by [`Records::keep`].
impl RecordStore for Records {
    type RecordsIter<'a> = iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.provider == self.me && !self.own.contains(&record.key) {
            self.own.push(record.key);
        }
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let own = self.own.iter().filter(|own| *own == key);
        let own = own.map(|key| ProviderRecord::new(key.clone(), self.me, Vec::new()));
        let others = root(key).map(|root| self.in_order(root)).into_iter().flatten();
        let others = others.map(|(peer, entry)| ProviderRecord {
            key: key.clone(),
            provider: *peer,
            expires: Some(entry.expires),
            addresses: vec![to_multiaddr(entry.address)],
        });
        own.chain(others).collect()
    }

    /// Announcements are repeated by [`super::Providers`].
    fn provided(&self) -> Self::ProvidedIter<'_> {
        iter::empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if *provider == self.me {
            self.own.retain(|own| own != key);
        } else if let Some(root) = root(key) {
            self.remove(root, provider);
        }
    }
}
