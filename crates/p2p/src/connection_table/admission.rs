//! Whom the chain lets in, and who is cut when it changes.
//!
//! What always holds: a connection is judged under the table's lock by the newest
//! [`Admission`], and each new one judges all connections again. So there is no moment at
//! which a revoked peer stands.

use std::time::{Duration, Instant};

use trefoil_crypto::NodeCertificate;
use trefoil_types::{Admission, Height, NotAMember, PeerId, Standing};

use super::{Connection, ConnectionTable};
use crate::{
    config::Membership,
    inbound_limits::slots::SocketId,
    membership::trial::{Doubts, Trial},
};

/// Why a peer is cut that newer blocks proved to be a member.
// A connection keeps one standing from its first word to its last: a change in the middle would
// have to reach each queue and stream. One redial (0.2 s) costs less (ADR 11).
const PROVEN: &str = "newer blocks prove that it is a member: connecting anew";

/// Why a validator is cut whose certificate counts no more, or again.
const CHANGED: &str = "its certificate counts otherwise now: connecting anew";

/// The same, of this node's own.
const RENEWED: &str = "this node's certificate counts again: connecting anew";

impl ConnectionTable {
    /// What we say of ourselves now, in a network of members: our tip and our certificate.
    pub fn proof(&self) -> Option<(Height, NodeCertificate)> {
        let membership = self.membership.as_ref()?;
        Some((membership.admission.height, membership.certificate.clone()))
    }

    pub fn set_certificate(&mut self, certificate: NodeCertificate) {
        let Some(membership) = &mut self.membership else { return };
        self.replaced = Some(std::mem::replace(&mut membership.certificate, certificate));
        self.show_renewed();
    }

    // A peer judges by the certificate that it was shown. A validator whose certificate had expired
    // would be of no organisation at it until the connection ends, whatever it has by now.
    // On trial is who may know more than this node: it is cut when it is proven.
    /// Once this node's certificate counts: cuts the connections if it was let in as a validator alone
    /// by the one before.
    fn show_renewed(&mut self) {
        let Some((old, own)) = self.replaced.as_ref().zip(self.membership.as_ref()) else { return };
        let judge = |certificate: &NodeCertificate| own.admission.judge(old.peer, certificate);
        if !matches!(judge(&own.certificate), Ok(Standing::Member(_))) {
            return;
        }
        let alone = judge(old) == Ok(Standing::Validator);
        self.replaced = None;
        let shown = |it: &&mut Connection| it.socket && it.peer.is_some() && it.trial.is_none();
        for connection in self.connections.values_mut().filter(shown).filter(|_| alone) {
            connection.kill_switch.cut(RENEWED.into());
        }
    }

    /// Whether the chain will never let the peer in again; or it is on trial, or was in vain
    /// and is not to be tried again yet.
    pub fn is_unwanted(&self, peer: PeerId, now: Instant) -> bool {
        let revoked = |it: &Membership| it.admission.members.is_revoked(peer);
        self.membership.as_ref().is_some_and(revoked) || self.doubts.holds(peer, now)
    }

    /// The peer has proven to hold `peer`'s key.
    ///
    /// # Errors
    /// What its key alone tells against it. This is said before anything else of it is read.
    // A revoked peer is so given nothing to attack: no decoder has seen a byte of it.
    pub fn identify(&mut self, id: SocketId, peer: PeerId) -> Result<(), NotAMember> {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.peer = Some(peer);
        }
        let revoked = |it: &Membership| it.admission.members.is_revoked(peer);
        let revoked = self.membership.as_ref().is_some_and(revoked);
        if revoked { Err(NotAMember::Revoked) } else { Ok(()) }
    }

    /// Judges the peer by its proof; from now on it stands, until the chain
    /// speaks against it. `height`: its tip, as it said.
    ///
    /// # Errors
    /// Why it may not connect.
    pub fn judge(
        &mut self,
        id: SocketId,
        peer: PeerId,
        (height, certificate): (Height, NodeCertificate),
        now: Instant,
    ) -> Result<(), NotAMember> {
        // Without an entry its socket is gone, and nothing can be said to it.
        let Some((membership, connection)) =
            self.membership.as_ref().zip(self.connections.get_mut(&id))
        else {
            return Ok(());
        };
        let admission = &membership.admission;
        let tried = self.configured.contains_key(&peer) && !self.doubts.holds(peer, now);
        connection.standing = admission.admit(peer, &certificate, height, tried)?;
        connection.certificate = Some(certificate);
        if connection.standing == Standing::Unjudged {
            self.doubts.begin(peer, now);
            connection.trial = Some(Trial::new(height, now, admission.time));
        }
        Ok(())
    }

    /// Judges every connection by what the chain says now, and cuts those that it
    /// speaks against. Keeps places for the validators.
    pub fn renew(&mut self, admission: Admission) {
        let Some(membership) = &mut self.membership else { return };
        if membership.admission.members != admission.members {
            // A certificate that could not be judged may be proven by the new list, so nobody
            // waits.
            self.doubts = Doubts::default();
        }
        let validators: Vec<_> = admission.validators().collect();
        membership.admission = admission;
        for connection in self.connections.values_mut().filter(|it| !it.kill_switch.is_cut()) {
            let Some(peer) = connection.peer else { continue };
            let Err(reason) = connection.judge_again(peer, &membership.admission) else { continue };
            if reason == PROVEN {
                self.doubts.clear(peer);
            }
            connection.kill_switch.cut(reason);
        }
        self.favour(validators);
        self.show_renewed();
    }

    /// Something that the peer gave was verified: if it is on trial, it has time anew.
    pub fn brought(&mut self, peer: PeerId, now: Instant) {
        for connection in self.connections.values_mut().filter(|it| it.peer == Some(peer)) {
            connection.brought = Some(now);
            if let Some(trial) = &mut connection.trial {
                trial.renew(now);
                self.doubts.extend(peer, now);
            }
        }
    }

    /// Bytes of blocks came on a connection.
    pub fn hear(&mut self, id: SocketId, now: Instant) {
        let trial = self.connections.get_mut(&id).and_then(|it| it.trial.as_mut());
        trial.into_iter().for_each(|trial| trial.hear(now));
    }

    /// When the trial of a connection ends, if it is on trial.
    pub fn trial_end(&self, id: SocketId, patience: Duration) -> Option<Instant> {
        let trial = self.get(id)?.trial.as_ref()?;
        Some(trial.ends_at(patience, self.tip_time()))
    }

    /// The socket of a connection is closed.
    pub(super) fn end_trial(&mut self, id: SocketId, now: Instant) {
        let connection = self.get(id);
        let on_trial = connection.and_then(|it| it.trial.as_ref().zip(it.peer));
        let Some((trial, peer)) = on_trial else { return };
        if trial.kept_pace(now, self.tip_time()) {
            self.doubts.clear(peer);
        } else {
            self.doubts.end(peer, now);
        }
    }

    /// The timestamp of our tip, Unix seconds.
    // A newcomer has no chain that could come on: what it is brought is a snapshot, whose size
    // is proven before it is fetched (`swarm/src/store/admission.rs`).
    fn tip_time(&self) -> u64 {
        let known = self.membership.as_ref().filter(|_| !self.newcomer);
        known.map_or(u64::MAX, |membership| membership.admission.time)
    }
}

impl Connection {
    /// Why a connection that stands, or is about to, may not go on.
    fn judge_again(&mut self, peer: PeerId, admission: &Admission) -> Result<(), String> {
        let judged = match (&self.certificate, &self.trial) {
            // It has shown no certificate yet: only its key can be held against it.
            (None, _) if admission.members.is_revoked(peer) => Err(NotAMember::Revoked),
            (None, _) => Ok(()),
            (Some(certificate), None) => {
                let (standing, issuer) = (self.standing, &mut self.issuer);
                match admission.judge_again(peer, certificate, standing, issuer) {
                    Ok(now) if now == standing => Ok(()),
                    Ok(_) => return Err(CHANGED.into()),
                    Err(reason) => Err(reason),
                }
            }
            // Only peers that the operator named are on trial.
            (Some(certificate), Some(trial)) => {
                match admission.admit(peer, certificate, trial.height, true) {
                    Ok(Standing::Unjudged) => Ok(()),
                    // A connection is of one standing from its first word to its last.
                    Ok(_) => return Err(PROVEN.into()),
                    Err(reason) => Err(reason),
                }
            }
        };
        judged.map_err(|reason| reason.to_string())
    }
}
