//! What follows for a peer from what it brought: a place that its proposals have, or a pause.
//!
//! On a public network it is not known which peer is which validator. So a few peers that brought
//! something of use have room of their own for their proposals, as favoured peers have. What
//! always holds: there are [`CREDITED_MAX`] such places, and each is lost at most once in the time
//! that a proposal may take to come.

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

use trefoil_types::{PeerId, Standing, message::Lane};

use super::ConnectionTable;
use crate::{
    connection::budget::CREDITED_MAX,
    inbound_limits::{peer_rates::PeerRates, slots::SocketId},
};

/// A place is another's after this time at the earliest.
// The slowest proposal of 1,088 KiB takes 27 s (`connection::frame::due`). What those who lost
// their places have begun so takes no more room than there is beside that of those who have one.
const TERM: Duration = Duration::from_secs(30);

/// A peer that is not favoured, and whose proposals have room of their own.
#[derive(Debug)]
pub(super) struct CreditedPeer {
    id: SocketId,
    since: Instant,
    /// Whether it brought a block, and not only transactions.
    blocks: bool,
    /// When it last brought something of use.
    last: Instant,
}

impl ConnectionTable {
    /// A peer was the first to tell of something that it had to pay for.
    pub fn useful(&mut self, peer: PeerId, now: Instant) {
        let own = self.connections.values_mut().filter(|it| it.peer == Some(peer));
        own.for_each(|connection| connection.useful = Some(now));
        self.credit(peer, false, now);
    }

    /// A peer was the first to bring a valid proposal, or brought a final block.
    pub fn brought_block(&mut self, peer: PeerId, now: Instant) {
        self.credit(peer, true, now);
    }

    // Attack: transactions that pay, under many names, and frames that are dripped by all of them.
    // Who brought a block yields to nobody who brought none: to be first with it cannot be bought.
    /// Gives a peer one of the places, if one is free or the term of another's is over.
    fn credit(&mut self, peer: PeerId, blocks: bool, now: Instant) {
        let judged = self.admitted(peer).is_some_and(|it| it.standing != Standing::Unjudged);
        let Some(id) = self.of_peer(peer).filter(|_| judged && !self.is_favoured(peer)) else {
            return;
        };
        let Self { connections, credited, .. } = &mut *self;
        credited.retain(|it| connections.get(&it.id).is_some_and(|it| it.send_queue.is_some()));
        if let Some(known) = credited.iter_mut().find(|it| it.id == id) {
            (known.blocks, known.last) = (known.blocks || blocks, now);
            return;
        }
        if credited.len() >= CREDITED_MAX {
            credited.sort_by_key(|it| Reverse((it.blocks, it.last)));
            let yields = |it: &CreditedPeer| it.since + TERM <= now && (blocks || !it.blocks);
            let Some(place) = credited.iter().rposition(yields) else { return };
            let lost = credited.remove(place).id;
            self.set_credited(lost, false);
        }
        self.credited.push(CreditedPeer { id, since: now, blocks, last: now });
        self.set_credited(id, true);
    }

    fn set_credited(&self, id: SocketId, credited: bool) {
        let budget = self.get(id).and_then(|connection| connection.budget.as_ref());
        budget.into_iter().for_each(|budget| budget.set_credited(credited));
    }

    // Attack: a validator, which is not banned for it, sends bad votes, and connects again when it
    // is read more slowly: 30 to 90 % of the node's thread. Others have a new name for nothing.
    /// How fast a peer is read over a new connection. All of its connections have this together; a
    /// favoured one has it also when it comes again.
    pub fn rates(&mut self, peer: PeerId) -> Arc<PeerRates> {
        let Self { rates, favoured, .. } = self;
        let is_used = |rates: &Arc<PeerRates>| Arc::strong_count(rates) > 1;
        rates.retain(|peer, rates| favoured.contains_key(peer) || is_used(rates));
        rates.entry(peer).or_default().clone()
    }

    /// A peer made this node verify so many signatures in vain.
    // Whether it is connected or not: the node may read a message when its peer has gone.
    pub fn slow(&self, peer: PeerId, lane: Lane, signatures: usize, now: Instant) {
        let rates = self.rates.get(&peer);
        let signatures = u32::try_from(signatures).unwrap_or(u32::MAX);
        rates.into_iter().for_each(|rates| rates.waste(lane, signatures, now));
    }
}
