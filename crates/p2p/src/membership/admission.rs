//! The switchboard of a network of members: whom the chain lets in, which
//! connections stand, and the switch of each.
//!
//! What always holds: a connection is admitted and entered under one lock with
//! the newest [`Admission`], and each new one judges all that are entered. So
//! there is no moment at which a revoked peer stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::mpsc;
use trefoil_crypto::NodeCertificate;
use trefoil_types::{Admission, Height, NotAMember, PeerId, Standing};

use crate::{
    Membership, Network,
    cut::Switch,
    proof::{Objection, Proof},
    trial::{Doubts, Trial},
};

/// Refusals that wait for the engine; more are not told, only done.
const REFUSED_MAX: usize = 256;

/// Why a peer is cut that newer blocks proved to be a member: it is dialled again at
/// once, or dials, and is one from its first word.
const PROVEN: &str = "newer blocks prove that it is a member: connecting anew";

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
    /// Peers that the operator named: see [`Admission::admit`].
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
    doubts: Doubts,
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
    pass: Pass,
}

/// By what right a connection stands.
#[derive(Clone, Debug)]
pub(crate) enum Pass {
    /// For as long as the chain says: see [`Admission::judge_again`].
    Judged(Standing),
    /// Until newer blocks tell, and while it brings them. `height`: its tip, as it said.
    OnTrial { height: Height, trial: Arc<Trial> },
}

impl Pass {
    pub const fn standing(&self) -> Standing {
        match self {
            Self::Judged(standing) => *standing,
            Self::OnTrial { .. } => Standing::Unjudged,
        }
    }
}

/// What the engine needs of a connection that was let in.
#[derive(Debug)]
pub(crate) struct Entry {
    pub switch: Arc<Switch>,
    pub pass: Pass,
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
        let state = State {
            admission,
            certificate,
            seats: BTreeMap::new(),
            next: 0,
            doubts: Doubts::default(),
        };
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
        if state.admission.members != admission.members {
            state.doubts.clear_all();
        }
        state.admission = admission;
        let State { admission, seats, doubts, .. } = &mut *state;
        let mut cut = vec![];
        for sitting in seats.values().filter(|sitting| sitting.switch.reason().is_none()) {
            let Some(peer) = sitting.peer else { continue };
            let Err(reason) = judge_again(admission, peer, sitting.ticket.as_ref()) else {
                continue;
            };
            if reason == PROVEN {
                doubts.clear(peer);
            }
            sitting.switch.cut(reason.clone());
            cut.push((peer, sitting.place.clone(), reason));
        }
        cut
    }

    /// A block that the peer gave was verified: if it is on trial, it has time anew.
    pub fn brought(&self, peer: PeerId) {
        let mut state = self.lock();
        state.doubts.clear(peer);
        let own = state.seats.values().filter(|sitting| sitting.peer == Some(peer));
        own.filter_map(Sitting::trial).for_each(|trial| trial.renew(Instant::now()));
    }

    /// Whether the peer is on trial, or was in vain and is not to be tried again yet.
    pub fn is_doubted(&self, peer: PeerId) -> bool {
        self.lock().doubts.holds(peer, Instant::now())
    }

    /// The connection with a peer that was let in. One that has left the board
    /// meanwhile is cut, and nobody's.
    pub fn entry(&self, peer: PeerId, place: &Place) -> Entry {
        let entry = self.lock().sitting(peer, place).and_then(|sitting| {
            let pass = sitting.ticket.as_ref()?.pass.clone();
            Some(Entry { switch: sitting.switch.clone(), pass })
        });
        entry.unwrap_or_else(|| {
            let switch = Arc::new(Switch::default());
            switch.cut("connection lost".into());
            let trial = Arc::new(Trial::new(Instant::now()));
            Entry { switch, pass: Pass::OnTrial { height: 0, trial } }
        })
    }

    pub fn tell(&self, refused: Refused) {
        let _ = self.refused.try_send(refused);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection that stands, or is about to, may not go on.
fn judge_again(admission: &Admission, peer: PeerId, ticket: Option<&Ticket>) -> Result<(), String> {
    let Some(Ticket { certificate, pass }) = ticket else {
        // Not judged yet: only its key can be held against it.
        let revoked = admission.members.is_revoked(peer);
        return if revoked { Err(NotAMember::Revoked.to_string()) } else { Ok(()) };
    };
    match pass {
        Pass::Judged(_) => admission.judge_again(peer, certificate).map_err(|e| e.to_string()),
        // Only who is named is on trial.
        Pass::OnTrial { height, .. } => match admission.admit(peer, certificate, *height, true) {
            Ok(Standing::Unjudged) => Ok(()),
            // A connection is of one standing from its first word to its last.
            Ok(_) => Err(PROVEN.into()),
            Err(reason) => Err(reason.to_string()),
        },
    }
}

impl Sitting {
    fn trial(&self) -> Option<&Trial> {
        match &self.ticket.as_ref()?.pass {
            Pass::OnTrial { trial, .. } => Some(trial),
            Pass::Judged(_) => None,
        }
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
        let now = Instant::now();
        let tried = self.board.named.contains(&peer) && !state.doubts.holds(peer, now);
        let pass = match state.admission.admit(peer, &certificate, height, tried)? {
            Standing::Unjudged => {
                state.doubts.begin(peer, now);
                Pass::OnTrial { height, trial: Arc::new(Trial::new(now)) }
            }
            judged => Pass::Judged(judged),
        };
        self.sitting(&mut state).ticket = Some(Ticket { certificate, pass });
        Ok(())
    }

    fn sitting<'a>(&self, state: &'a mut State) -> &'a mut Sitting {
        state.seats.get_mut(&self.id).expect("a seat is on the board while it is held")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.board.lock();
        let left = state.seats.remove(&self.id).filter(|sitting| sitting.trial().is_some());
        if let Some(peer) = left.and_then(|sitting| sitting.peer) {
            state.doubts.end(peer, Instant::now());
        }
    }
}
