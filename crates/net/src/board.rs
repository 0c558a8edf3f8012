//! The switchboard of a network of members: whom the chain lets in, which
//! connections stand, and the switch of each.
//!
//! What always holds: a connection is admitted and entered under one lock with
//! the newest [`Admission`], and each new one judges all that are entered. So
//! there is no moment at which a revoked peer stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;
use trefoil_crypto::NodeCertificate;
use trefoil_types::{Admission, Height, NotAMember, OrganisationId, PeerId};

use crate::{
    Membership, Network,
    cut::Switch,
    proof::{Objection, Proof},
};

/// Refusals that wait for the engine; more are not told, only done.
const REFUSED_MAX: usize = 256;

/// Where a connection is: its remote address, and whether the peer dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub address: String,
    pub inbound: bool,
}

/// A handshake that ended with a refusal, ours or the peer's, for the engine.
#[derive(Debug)]
pub(crate) struct Refused {
    pub peer: PeerId,
    pub address: String,
    pub reason: String,
}

/// The switchboard. Shared by handshakes, the handle and the engine.
#[derive(Debug)]
pub(crate) struct Board {
    me: PeerId,
    network: Network,
    /// Peers that the operator named: see [`Admission::is_behind`].
    named: BTreeSet<PeerId>,
    state: Mutex<State>,
    refused: mpsc::Sender<Refused>,
}

#[derive(Debug)]
struct State {
    admission: Admission,
    /// This node's own.
    certificate: NodeCertificate,
    seats: BTreeMap<u64, Sitting>,
    next: u64,
}

/// One connection, from its first byte to its last.
#[derive(Debug)]
struct Sitting {
    place: Place,
    switch: Arc<Switch>,
    /// Known from TLS on; of a peer that we dial, expected before.
    peer: Option<PeerId>,
    /// What let it in.
    ticket: Option<Ticket>,
}

/// What a connection is judged by again.
#[derive(Debug)]
struct Ticket {
    certificate: NodeCertificate,
    /// The height that the peer said it was at.
    height: Height,
}

/// A connection's place on the board, left when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    board: Arc<Board>,
    id: u64,
}

impl Board {
    pub fn new(
        me: PeerId,
        network: Network,
        named: impl IntoIterator<Item = PeerId>,
        membership: Membership,
    ) -> (Arc<Self>, mpsc::Receiver<Refused>) {
        let (refused, heard) = mpsc::channel(REFUSED_MAX);
        let Membership { certificate, admission } = membership;
        let state = State { admission, certificate, seats: BTreeMap::new(), next: 0 };
        let named = named.into_iter().collect();
        (Arc::new(Self { me, network, named, state: Mutex::new(state), refused }), heard)
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Enters a connection of which nothing is known but where it is, and whom
    /// we expect there if we dial.
    pub fn enter(self: &Arc<Self>, place: Place, expected: Option<PeerId>) -> (Seat, Arc<Switch>) {
        let switch = Arc::new(Switch::default());
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        let sitting = Sitting { place, switch: switch.clone(), peer: expected, ticket: None };
        state.seats.insert(id, sitting);
        drop(state);
        (Seat { board: self.clone(), id }, switch)
    }

    /// What we say of ourselves now.
    pub fn proof(&self) -> Proof {
        let state = self.lock();
        Proof {
            network: self.network.clone(),
            height: state.admission.height,
            certificate: state.certificate.clone(),
        }
    }

    pub fn set_certificate(&self, certificate: NodeCertificate) {
        self.lock().certificate = certificate;
    }

    /// Whether the chain will never let the peer in again.
    pub fn is_revoked(&self, peer: PeerId) -> bool {
        self.lock().admission.members.is_revoked(peer)
    }

    /// Judges every connection by what the chain says now, cuts those that it
    /// speaks against, and returns them.
    pub fn renew(&self, admission: Admission) -> Vec<(PeerId, Place, String)> {
        let mut state = self.lock();
        state.admission = admission;
        let State { admission, seats, .. } = &mut *state;
        let mut cut = vec![];
        for sitting in seats.values().filter(|sitting| sitting.switch.reason().is_none()) {
            let Some(peer) = sitting.peer else { continue };
            let Err(reason) = self.judge_again(admission, peer, sitting.ticket.as_ref()) else {
                continue;
            };
            sitting.switch.cut(reason.to_string());
            cut.push((peer, sitting.place.clone(), reason.to_string()));
        }
        cut
    }

    fn judge_again(
        &self,
        admission: &Admission,
        peer: PeerId,
        ticket: Option<&Ticket>,
    ) -> Result<(), NotAMember> {
        let Some(Ticket { certificate, height }) = ticket else {
            // Not judged yet: only its key can be held against it.
            let revoked = admission.members.is_revoked(peer);
            return if revoked { Err(NotAMember::Revoked) } else { Ok(()) };
        };
        self.excuse(admission, peer, *height, admission.judge_again(peer, certificate), certificate)
    }

    /// Lets a peer that the operator named pass if our list of members may only
    /// be too old to know it.
    fn excuse(
        &self,
        admission: &Admission,
        peer: PeerId,
        height: Height,
        judged: Result<(), NotAMember>,
        certificate: &NodeCertificate,
    ) -> Result<(), NotAMember> {
        judged.or_else(|reason| {
            let excused =
                self.named.contains(&peer) && admission.is_behind(height, certificate, &reason);
            if excused { Ok(()) } else { Err(reason) }
        })
    }

    /// The switch of a peer's connection. Of one that has left the board
    /// meanwhile it is off.
    pub fn switch(&self, peer: PeerId, place: &Place) -> Arc<Switch> {
        let switch = self.lock().sitting(peer, place).map(|sitting| sitting.switch.clone());
        switch.unwrap_or_else(|| {
            let gone = Switch::default();
            gone.cut("connection lost".into());
            Arc::new(gone)
        })
    }

    /// The organisation of a peer that a connection was made with.
    pub fn organisation(&self, peer: PeerId, place: &Place) -> Option<OrganisationId> {
        let state = self.lock();
        let ticket = state.sitting(peer, place)?.ticket.as_ref()?;
        Some(ticket.certificate.organisation)
    }

    pub fn tell(&self, refused: Refused) {
        let _ = self.refused.try_send(refused);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sitting(&self, peer: PeerId, place: &Place) -> Option<&Sitting> {
        let here = |sitting: &&Sitting| sitting.peer == Some(peer) && sitting.place == *place;
        self.seats.values().rev().find(here)
    }
}

impl Seat {
    /// The peer has proven to hold `peer`'s key. What its key alone tells
    /// against it is said before anything else of it is read.
    pub fn identify(&self, peer: PeerId) -> Result<(), Objection> {
        if peer == self.board.me {
            return Err(Objection::Ourselves(peer));
        }
        let mut state = self.board.lock();
        let revoked = state.admission.members.is_revoked(peer);
        self.sitting(&mut state).peer = Some(peer);
        if revoked { Err(NotAMember::Revoked.into()) } else { Ok(()) }
    }

    /// Judges the peer by its proof; from now on it stands, until the chain
    /// speaks against it.
    pub fn admit(&self, peer: PeerId, proof: Proof) -> Result<(), Objection> {
        let Proof { height, certificate, .. } = proof;
        let mut state = self.board.lock();
        let admission = &state.admission;
        let judged = admission.judge(peer, &certificate);
        self.board.excuse(admission, peer, height, judged, &certificate)?;
        self.sitting(&mut state).ticket = Some(Ticket { certificate, height });
        Ok(())
    }

    fn sitting<'a>(&self, state: &'a mut State) -> &'a mut Sitting {
        state.seats.get_mut(&self.id).expect("a seat is on the board while it is held")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.board.lock().seats.remove(&self.id);
    }
}
