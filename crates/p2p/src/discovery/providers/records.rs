//! Provider records: which peer announced which resource, and which keys are this node's
//! own.
//!
//! What always holds:
//! - A record expires.
//! - The records of one key, of one peer and of one subnet are bounded. So a peer that
//!   announces without end displaces no other.
//! - Value records are never kept.

use std::{borrow::Cow, collections::BTreeMap, iter, net::SocketAddr, time::Instant};

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
// Attack: one machine with many identities takes all providers' places of a key. With 8 of 20 it
// takes three subnets.
pub(super) const OF_KEY_AND_SUBNET_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Records {
    me: PeerId,
    /// Keys that this node provides.
    own: Vec<RecordKey>,
    others: BTreeMap<Root, BTreeMap<PeerId, Entry>>,
    /// Records of each peer, and of each subnet.
    of_peer: RecordCounts<PeerId>,
    of_subnet: RecordCounts<Subnet>,
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
        Self { me, own: Vec::new(), others: BTreeMap::new(), of_peer, of_subnet }
    }

    /// Keeps that `peer`, which can be dialled at `address`, has a resource, if
    /// there is room. Its earlier record of the resource is replaced.
    pub fn keep(&mut self, root: Root, peer: PeerId, address: SocketAddr, expires: Instant) {
        self.remove(root, &peer);
        let from = subnet(address);
        if self.has_room(root, &peer, from) {
            self.of_peer.one_more(peer);
            self.of_subnet.one_more(from);
            self.others.entry(root).or_default().insert(peer, Entry { address, expires });
        }
    }

    fn has_room(&self, root: Root, peer: &PeerId, from: Subnet) -> bool {
        let of_key = self.others.get(&root).into_iter().flat_map(BTreeMap::values);
        let near = of_key.clone().filter(|entry| subnet(entry.address) == from);
        of_key.count() < OF_KEY_MAX
            && near.count() < OF_KEY_AND_SUBNET_MAX
            && self.of_peer.of(peer) < OF_PEER_MAX
            && self.of_subnet.of(&from) < OF_SUBNET_MAX
            && self.of_subnet.all() < RECORDS_MAX
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
        gone.iter().for_each(|(root, peer)| self.remove(*root, peer));
    }

    fn remove(&mut self, root: Root, peer: &PeerId) {
        let Some(of_key) = self.others.get_mut(&root) else { return };
        if let Some(gone) = of_key.remove(peer) {
            self.of_peer.one_less(peer);
            self.of_subnet.one_less(&subnet(gone.address));
        }
        if of_key.is_empty() {
            self.others.remove(&root);
        }
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
        let others = root(key).and_then(|root| self.others.get(&root)).into_iter().flatten();
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
