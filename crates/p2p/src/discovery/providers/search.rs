//! A search for providers, and which of those that it finds are connected to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use libp2p::{PeerId, kad::QueryId};

use super::records::Root;
use crate::inbound_limits::subnet::{SourceIp, Subnet};

/// Providers that one search connects to.
// Attack: records of peers that have nothing. A false search costs 16 dials at most, and all
// eight 128. Honest providers name each other, so an asker needs a few.
pub(super) const FOUND_MAX: usize = 16;

/// Of those, from one subnet.
// Attack: one machine with many identities. It takes four subnets to fill a search.
pub(super) const FOUND_OF_SUBNET_MAX: usize = 4;

/// A search that is under way.
pub(super) struct Search {
    pub id: QueryId,
    pub root: Root,
    found: BTreeSet<PeerId>,
    /// Of each subnet; `None`: nobody knows where they are.
    of_subnet: BTreeMap<Option<Subnet>, usize>,
}

impl Search {
    pub fn new(id: QueryId, root: Root) -> Self {
        Self { id, root, found: BTreeSet::new(), of_subnet: BTreeMap::new() }
    }

    /// Whether it has found enough.
    pub fn is_full(&self) -> bool {
        self.found.len() >= FOUND_MAX
    }

    /// Whether a provider that may be there is a new one, and has a place.
    pub fn takes(&mut self, peer: PeerId, address: Option<SocketAddr>) -> bool {
        if self.is_full() || self.found.contains(&peer) {
            return false;
        }
        let subnet = address.map(|address| SourceIp::of(address.ip()).subnet());
        let of_subnet = self.of_subnet.entry(subnet).or_default();
        if *of_subnet >= FOUND_OF_SUBNET_MAX {
            return false;
        }
        *of_subnet += 1;
        self.found.insert(peer)
    }
}
