//! The swarm as one value: it decides which source is asked for which piece, which peer is
//! served, and what is announced.
//!
//! Owns, for each resource: the pieces that are here, the pieces of each peer, the open
//! requests, and the requests of peers that wait. It decides in the field's terms: the
//! piece picker (rarest first), choking, request windows, the upload queue.
//!
//! What always holds: a piece is requested from one source at a time; a peer's messages
//! take bounded memory; the same inputs with the same seed give the same effects.
//! `docs/content.md` has the ideas, ADR 15 the reasons.

mod announcements;
mod bucket;
mod choke;
mod common;
mod flow;
mod io;
mod origin;
mod peer;
mod piece_picker;
mod rarity;
mod requests;
mod transfer;
mod upload;
mod window;

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use trefoil_types::{PeerId, Time};

use bucket::Bucket;
use common::Common;
pub use io::{
    Effect, FetchFailure, Rates, RejectReason, RequestId, Resource, SchedulerInput, Source,
    SourceRole, Ticket, UploadPolicy,
};
use peer::{ASKED_IN_ALL_MAX, ASKED_STEP, PeerState};
use transfer::Transfer;

use crate::Bits;

// The seed is handed in, as time is, so that a run can be repeated in virtual time (ADR 15).
#[derive(Clone, Debug)]
pub struct SwarmConfig {
    pub me: PeerId,
    /// The only source of randomness in the swarm's decisions.
    pub seed: u64,
    /// Limits over all resources together.
    pub rates: Rates,
}

/// All resources that this node fetches and serves.
#[derive(Debug)]
pub struct Swarm {
    transfers: BTreeMap<Resource, Transfer>,
    common: Common,
}

impl Swarm {
    pub fn new(config: SwarmConfig) -> Self {
        let common = Common {
            me: config.me,
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            up: Bucket::new(config.rates.up),
            down: Bucket::new(config.rates.down),
            last_request: 0,
        };
        Self { transfers: BTreeMap::new(), common }
    }

    /// The pieces that are here and announced to peers, if the resource is open.
    pub fn have(&self, resource: Resource) -> Option<&Bits> {
        Some(&self.transfers.get(&resource)?.have)
    }

    /// Takes one input. An input for a resource that is not open is dropped: the resource
    /// may have been closed while the input was on its way.
    pub fn step(&mut self, now: Time, input: SchedulerInput, effects: &mut Vec<Effect>) {
        if let SchedulerInput::Asked { resource, peer, ticket, .. } = input
            && self.asks_too_much(resource, peer)
        {
            let why = RejectReason::Choked;
            return effects.push(Effect::Refuse { resource, peer, ticket, why });
        }
        let common = &mut self.common;
        let mut only = None;
        let resource = match input {
            SchedulerInput::Tick => return self.pump_all(now, effects),
            SchedulerInput::Left { source } => {
                for transfer in self.transfers.values_mut() {
                    transfer.left(now, source);
                }
                return self.pump_all(now, effects);
            }
            SchedulerInput::Open { resource, layout, have, upload_policy, origin } => {
                let transfer = Transfer::new(resource, layout, have, upload_policy, origin);
                self.transfers.insert(resource, transfer);
                resource
            }
            SchedulerInput::Close { resource } => {
                if let Some(transfer) = self.transfers.remove(&resource) {
                    transfer.close(effects);
                }
                return;
            }
            SchedulerInput::Want { resource, .. }
            | SchedulerInput::Joined { resource, .. }
            | SchedulerInput::Announced { resource, .. }
            | SchedulerInput::Choked { resource, .. }
            | SchedulerInput::Arrived { resource, .. }
            | SchedulerInput::Failed { resource, .. }
            | SchedulerInput::Lost { resource, .. }
            | SchedulerInput::Asked { resource, .. }
            | SchedulerInput::Unasked { resource, .. }
            | SchedulerInput::Served { resource, .. } => {
                let Some(transfer) = self.transfers.get_mut(&resource) else { return };
                only = transfer.input(now, input, common, effects);
                resource
            }
        };
        if let Some(transfer) = self.transfers.get_mut(&resource) {
            transfer.pump(now, only, common, effects);
        }
    }

    /// Whether too many requests of a peer are here, of all resources.
    fn asks_too_much(&self, resource: Resource, peer: PeerId) -> bool {
        let waiting = |transfer: &Transfer| {
            transfer.peers.get(&Source::Peer(peer)).map_or(0, PeerState::requests)
        };
        let here = self.transfers.get(&resource).map_or(0, waiting);
        here > 0
            && here.is_multiple_of(ASKED_STEP)
            && self.transfers.values().map(waiting).sum::<usize>() >= ASKED_IN_ALL_MAX
    }

    /// When [`SchedulerInput::Tick`] is due, if nothing else happens.
    pub fn deadline(&self) -> Option<Time> {
        let transfers = self.transfers.values();
        transfers.filter_map(|transfer| transfer.deadline(&self.common)).min()
    }

    fn pump_all(&mut self, now: Time, effects: &mut Vec<Effect>) {
        for transfer in self.transfers.values_mut() {
            transfer.pump(now, None, &mut self.common, effects);
        }
    }
}
