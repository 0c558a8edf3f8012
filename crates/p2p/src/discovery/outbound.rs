//! The dialer: which addresses are dialled besides the configured peers.
//!
//! It keeps a number of connections to candidates of the address book, of different network
//! groups. Now and then it dials an address only to see which peer is there. Pure: time is
//! handed in, dials are data.
//!
//! What always holds: there are at most `target` connections of this kind, and at most one a
//! network group. Half of them go to the peers known longest, if those are there. A connection
//! that lasts earns nothing: an attacker's never ends, and honest nodes come and go.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
};

use trefoil_types::{Millis, PeerId, Time};

use crate::{
    discovery::address_book::{AddressBook, DialCandidate},
    inbound_limits::subnet::NetGroup,
};

/// Between two rounds of dials.
// Each round reads the whole book, up to 5,120 entries. A connection that ended is replaced no
// later than this. With `DIALLING_MAX`, at most eight dials a second.
pub(crate) const ROUND: Millis = Millis(500);

/// Dials at once.
// A book full of dead addresses costs a few sockets at a time, and not one for each.
const DIALLING_MAX: usize = 4;

/// Between two feelers: short dials that only see who is there.
// Bitcoin Core's feelers: addresses that were never met move to the tried ones, so that a restart
// does not depend on what peers sent. They are 1,440 a day, and the book has 4,096 new places.
const FEELER: Millis = Millis(60_000);

/// The purpose of a connection that we dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialPurpose {
    /// To stay.
    Keep,
    /// To see which peer is there.
    Feeler,
}

#[derive(Clone, Copy, Debug)]
struct Dial {
    purpose: DialPurpose,
    /// Among those that are known longest.
    old: bool,
    since: Time,
    /// The peer that it met, once it did.
    met: Option<PeerId>,
}

#[derive(Debug)]
pub struct Dialer {
    target: usize,
    /// Under way or there.
    dials: BTreeMap<SocketAddr, Dial>,
    /// Not dialled yet since the start.
    anchors: VecDeque<DialCandidate>,
    next_round: Time,
    next_feeler: Time,
}

impl Dialer {
    /// Keeps `target` connections, to the book's anchors first.
    pub fn new(target: usize, book: &AddressBook, now: Time) -> Self {
        Self {
            target,
            dials: BTreeMap::new(),
            anchors: book.anchors().iter().cloned().collect(),
            next_round: now,
            next_feeler: now + FEELER,
        }
    }

    /// The candidates to dial now. `others` are the addresses that this node is connected
    /// to, or will be, by other means: their network groups are taken.
    pub fn due(
        &mut self,
        book: &mut AddressBook,
        others: impl IntoIterator<Item = SocketAddr>,
        now: Time,
    ) -> Vec<DialCandidate> {
        if self.target == 0 || now < self.next_round {
            return Vec::new();
        }
        self.next_round = now + ROUND;
        let mut taken: BTreeSet<_> =
            others.into_iter().chain(self.dials.keys().copied()).map(net_group).collect();
        let mut due = Vec::new();
        while self.wants_more() {
            let wants_old = self.wants_old();
            let anchor = self.anchors.pop_front();
            let old = anchor.or_else(|| wants_old.then(|| book.pick_old(now, &taken)).flatten());
            let is_old = old.is_some();
            let Some(candidate) = old.or_else(|| book.pick(now, &taken)) else { break };
            if taken.insert(net_group(candidate.address)) {
                self.begin(&candidate, DialPurpose::Keep, is_old, book, now);
                due.push(candidate);
            }
        }
        if now >= self.next_feeler {
            self.next_feeler = now + FEELER;
            if let Some(candidate) = book.pick_to_test(now, &taken) {
                self.begin(&candidate, DialPurpose::Feeler, false, book, now);
                due.push(candidate);
            }
        }
        due
    }

    fn begin(
        &mut self,
        candidate: &DialCandidate,
        purpose: DialPurpose,
        old: bool,
        book: &mut AddressBook,
        now: Time,
    ) {
        book.dialled(candidate.address, now);
        self.dials.insert(candidate.address, Dial { purpose, old, since: now, met: None });
    }

    fn wants_old(&self) -> bool {
        self.dials.values().filter(|dial| dial.old).count() < self.target.div_ceil(2)
    }

    fn wants_more(&self) -> bool {
        let kept = self.dials.values().filter(|dial| dial.purpose == DialPurpose::Keep);
        let under_way = self.dials.values().filter(|dial| dial.met.is_none());
        kept.count() < self.target && under_way.count() < DIALLING_MAX
    }

    /// `peer` sent a valid hello at an address. Returns the connection's purpose, if it is
    /// one of ours.
    pub fn met(
        &mut self,
        address: SocketAddr,
        peer: PeerId,
        book: &mut AddressBook,
        now: Time,
    ) -> Option<DialPurpose> {
        let dial = self.dials.get_mut(&address)?;
        dial.met = Some(peer);
        let purpose = dial.purpose;
        book.met(address, peer, now);
        let mut kept = self.kept();
        // Those known longest first; it sorts stably.
        kept.sort_by_key(|kept| book.met_since(kept.address).unwrap_or(now));
        book.set_anchors(kept);
        Some(purpose)
    }

    /// A dial failed, or its connection ended.
    pub fn ended(&mut self, address: SocketAddr, book: &mut AddressBook) {
        let Some(dial) = self.dials.remove(&address) else { return };
        if dial.met.is_none() {
            book.failed(address);
        }
    }

    /// A dial was not made after all: nothing was learnt.
    pub fn dropped(&mut self, address: SocketAddr) {
        self.dials.remove(&address);
    }

    /// Peers that this keeps a connection with, the longest first.
    pub fn kept(&self) -> Vec<DialCandidate> {
        let kept = |dial: &Dial| dial.purpose == DialPurpose::Keep && dial.met.is_some();
        let mut kept: Vec<_> = self.dials.iter().filter(|(_, dial)| kept(dial)).collect();
        kept.sort_by_key(|(address, dial)| (dial.since, **address));
        let candidate = |(address, dial): (&SocketAddr, &Dial)| DialCandidate {
            address: *address,
            peer: dial.met,
        };
        kept.into_iter().map(candidate).collect()
    }
}

fn net_group(address: SocketAddr) -> NetGroup {
    NetGroup::of(address.ip())
}
