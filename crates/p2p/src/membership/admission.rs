//! The admission table of a network of members: whom the chain lets in, which
//! connections stand, and the kill switch of each.
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
    config::Membership,
    membership::{
        proof::{Objection, Proof},
        trial::{Doubts, Trial},
    },
    network::{NetworkId, VersionMismatch},
    transport::kill_switch::KillSwitch,
};

/// Refusals that wait for the service. More are not shown: a peer that is refused over and
/// over must not make a handshake wait for the log.
const REFUSED_HANDSHAKES_MAX: usize = 256;

/// Why a peer is cut that newer blocks proved to be a member.
// A connection keeps one standing from its first word to its last: a change in the middle would
// have to reach each queue and stream. One redial (0.2 s) costs less (ADR 11).
const PROVEN: &str = "newer blocks prove that it is a member: connecting anew";

/// Where a connection is: its remote address, and whether the peer dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteEndpoint {
    pub address: String,
    pub inbound: bool,
}

/// A handshake that ended with a refusal, ours or the peer's, for the service.
#[derive(Debug)]
pub(crate) struct RefusedHandshake {
    pub peer: PeerId,
    pub address: String,
    pub reason: String,
    /// If the versions of the membership proof are the reason.
    pub versions: Option<VersionMismatch>,
}

/// Shared by the handshakes, the handle and the service.
#[derive(Debug)]
pub(crate) struct AdmissionTable {
    me: PeerId,
    pub network: NetworkId,
    /// Peers that the operator named: see [`Admission::admit`].
    named: BTreeSet<PeerId>,
    state: Mutex<AdmissionState>,
    pub refused: mpsc::Sender<RefusedHandshake>,
}

#[derive(Debug)]
struct AdmissionState {
    admission: Admission,
    /// This node's own.
    certificate: NodeCertificate,
    entries: BTreeMap<u64, EntryState>,
    next: u64,
    doubts: Doubts,
}

/// One connection, from its first byte to its last.
#[derive(Debug)]
struct EntryState {
    endpoint: RemoteEndpoint,
    kill_switch: Arc<KillSwitch>,
    /// Known from TLS on; of a peer that we dial, expected before.
    peer: Option<PeerId>,
    /// What let it in.
    judged: Option<JudgedCertificate>,
}

/// What a connection is judged by again.
#[derive(Debug)]
struct JudgedCertificate {
    certificate: NodeCertificate,
    basis: AdmissionBasis,
}

/// By what right a connection stands.
#[derive(Clone, Debug)]
pub(crate) enum AdmissionBasis {
    /// For as long as the chain says: see [`Admission::judge_again`].
    Judged(Standing),
    /// Until newer blocks decide, and while it brings them. `height`: its tip, as it said.
    OnTrial { height: Height, trial: Arc<Trial> },
}

impl AdmissionBasis {
    pub const fn standing(&self) -> Standing {
        match self {
            Self::Judged(standing) => *standing,
            Self::OnTrial { .. } => Standing::Unjudged,
        }
    }
}

/// What the service needs of a connection that was let in.
#[derive(Debug)]
pub(crate) struct MemberConnection {
    pub kill_switch: Arc<KillSwitch>,
    pub basis: AdmissionBasis,
}

/// A connection's entry in the table, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct AdmissionEntry {
    table: Arc<AdmissionTable>,
    id: u64,
}

impl AdmissionTable {
    pub fn new(
        me: PeerId,
        network: NetworkId,
        named: impl IntoIterator<Item = PeerId>,
        membership: Membership,
    ) -> (Arc<Self>, mpsc::Receiver<RefusedHandshake>) {
        let (refused, refusals) = mpsc::channel(REFUSED_HANDSHAKES_MAX);
        let Membership { certificate, admission } = membership;
        let state = AdmissionState {
            admission,
            certificate,
            entries: BTreeMap::new(),
            next: 0,
            doubts: Doubts::default(),
        };
        let named = named.into_iter().collect();
        (Arc::new(Self { me, network, named, state: Mutex::new(state), refused }), refusals)
    }

    /// Enters a connection of which nothing is known but where it is, and whom
    /// we expect there if we dial.
    pub fn enter(
        self: &Arc<Self>,
        endpoint: RemoteEndpoint,
        expected: Option<PeerId>,
        kill_switch: Arc<KillSwitch>,
    ) -> AdmissionEntry {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        let entry = EntryState { endpoint, kill_switch, peer: expected, judged: None };
        state.entries.insert(id, entry);
        AdmissionEntry { table: self.clone(), id }
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

    /// Whether the chain will never let the peer in again; or it is on trial, or was in vain
    /// and is not to be tried again yet.
    pub fn is_unwanted(&self, peer: PeerId) -> bool {
        let state = self.lock();
        state.admission.members.is_revoked(peer) || state.doubts.holds(peer, Instant::now())
    }

    /// Judges every connection by what the chain says now, cuts those that it
    /// speaks against, and returns them.
    pub fn renew(&self, admission: Admission) -> Vec<(PeerId, RemoteEndpoint, String)> {
        let mut state = self.lock();
        if state.admission.members != admission.members {
            // A certificate that could not be judged may be proven by the new list, so nobody
            // waits.
            state.doubts = Doubts::default();
        }
        state.admission = admission;
        let AdmissionState { admission, entries, doubts, .. } = &mut *state;
        let mut cut = vec![];
        for entry in entries.values().filter(|entry| entry.kill_switch.reason().is_none()) {
            let Some(peer) = entry.peer else { continue };
            let Err(reason) = judge_again(admission, peer, entry.judged.as_ref()) else {
                continue;
            };
            if reason == PROVEN {
                doubts.clear(peer);
            }
            entry.kill_switch.cut(reason.clone());
            cut.push((peer, entry.endpoint.clone(), reason));
        }
        cut
    }

    /// A block that the peer gave was verified: if it is on trial, it has time anew.
    pub fn brought(&self, peer: PeerId) {
        let mut state = self.lock();
        state.doubts.clear(peer);
        let own = state.entries.values().filter(|entry| entry.peer == Some(peer));
        own.filter_map(EntryState::trial).for_each(|trial| trial.renew(Instant::now()));
    }

    /// The connection with a peer that was let in. One that has left the table
    /// meanwhile is cut, and nobody's.
    pub fn member_connection(&self, peer: PeerId, endpoint: &RemoteEndpoint) -> MemberConnection {
        let state = self.lock();
        let here = |entry: &&EntryState| entry.peer == Some(peer) && entry.endpoint == *endpoint;
        let connection = state.entries.values().rev().find(here).and_then(|entry| {
            let basis = entry.judged.as_ref()?.basis.clone();
            Some(MemberConnection { kill_switch: entry.kill_switch.clone(), basis })
        });
        connection.unwrap_or_else(|| {
            let kill_switch = Arc::new(KillSwitch::default());
            kill_switch.cut("connection lost".into());
            let trial = Arc::new(Trial::new(Instant::now()));
            MemberConnection { kill_switch, basis: AdmissionBasis::OnTrial { height: 0, trial } }
        })
    }

    fn lock(&self) -> MutexGuard<'_, AdmissionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection that stands, or is about to, may not go on.
fn judge_again(
    admission: &Admission,
    peer: PeerId,
    judged: Option<&JudgedCertificate>,
) -> Result<(), String> {
    let Some(JudgedCertificate { certificate, basis }) = judged else {
        // It has shown no certificate yet: only its key can be held against it.
        let revoked = admission.members.is_revoked(peer);
        return if revoked { Err(NotAMember::Revoked.to_string()) } else { Ok(()) };
    };
    match basis {
        AdmissionBasis::Judged(_) => {
            admission.judge_again(peer, certificate).map_err(|e| e.to_string())
        }
        // Only peers that the operator named are on trial.
        AdmissionBasis::OnTrial { height, .. } => {
            match admission.admit(peer, certificate, *height, true) {
                Ok(Standing::Unjudged) => Ok(()),
                // A connection is of one standing from its first word to its last.
                Ok(_) => Err(PROVEN.into()),
                Err(reason) => Err(reason.to_string()),
            }
        }
    }
}

impl EntryState {
    fn trial(&self) -> Option<&Trial> {
        match &self.judged.as_ref()?.basis {
            AdmissionBasis::OnTrial { trial, .. } => Some(trial),
            AdmissionBasis::Judged(_) => None,
        }
    }
}

impl AdmissionEntry {
    /// The peer has proven to hold `peer`'s key. What its key alone tells
    /// against it is said before anything else of it is read.
    // A revoked peer is so given nothing to attack: no decoder has seen a byte of it.
    pub fn identify(&self, peer: PeerId) -> Result<(), Objection> {
        if peer == self.table.me {
            return Err(Objection::Ourselves(peer));
        }
        let mut state = self.table.lock();
        let revoked = state.admission.members.is_revoked(peer);
        self.entry_state(&mut state).peer = Some(peer);
        if revoked { Err(NotAMember::Revoked.into()) } else { Ok(()) }
    }

    /// Judges the peer by its proof; from now on it stands, until the chain
    /// speaks against it.
    pub fn admit(&self, peer: PeerId, proof: Proof) -> Result<(), Objection> {
        let Proof { height, certificate, .. } = proof;
        let mut state = self.table.lock();
        let now = Instant::now();
        let tried = self.table.named.contains(&peer) && !state.doubts.holds(peer, now);
        let basis = match state.admission.admit(peer, &certificate, height, tried)? {
            Standing::Unjudged => {
                state.doubts.begin(peer, now);
                AdmissionBasis::OnTrial { height, trial: Arc::new(Trial::new(now)) }
            }
            judged => AdmissionBasis::Judged(judged),
        };
        self.entry_state(&mut state).judged = Some(JudgedCertificate { certificate, basis });
        Ok(())
    }

    fn entry_state<'a>(&self, state: &'a mut AdmissionState) -> &'a mut EntryState {
        state.entries.get_mut(&self.id).expect("an entry is in the table while it is held")
    }
}

impl Drop for AdmissionEntry {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        let left = state.entries.remove(&self.id).filter(|entry| entry.trial().is_some());
        if let Some(peer) = left.and_then(|entry| entry.peer) {
            state.doubts.end(peer, Instant::now());
        }
    }
}
