//! What a message would tell the core, before any signature in it is verified.
//!
//! Attack: certificates of honest votes and one more of a validator that signs without end. Each
//! verified, none taught the core anything, and they filled the memory of what was verified and
//! relayed. What always holds: of one validator the core keeps one vote of each round and kind, and
//! a few pairs in all as evidence; another is neither verified nor vouched for.

use arc_malachitebft_core_types::{RoundCertificateType, Vote as _};
use trefoil_types::{Offence, RoundCertificate, Vote};

use super::Consensus;
use crate::{ConsensusMessage, context};

impl Consensus {
    /// Whether a certificate shows something that the core lacks. It knows one polka of a block and
    /// round, and the way into a round, by whoever's votes.
    pub fn lacks(&self, message: &ConsensusMessage) -> bool {
        let Some(core) = self.core.as_ref().filter(|_| self.is_at(message.place().0)) else {
            return true;
        };
        match message {
            ConsensusMessage::PolkaCertificate(polka) => {
                core.polka_certificate(polka.round.into(), &polka.block).is_none()
            }
            ConsensusMessage::RoundCertificate(certificate) => {
                self.leads_on(certificate) && certificate.votes().any(|vote| !self.absorbs(vote))
            }
            ConsensusMessage::Vote(_) | ConsensusMessage::Proposal(_) => true,
        }
    }

    /// Whether the round that a certificate ends or begins is not past, and it is not the way by
    /// which the core came there.
    fn leads_on(&self, certificate: &RoundCertificate) -> bool {
        let RoundCertificate { round, skip, .. } = *certificate;
        let is_past = if skip { round <= self.effects.round } else { round < self.effects.round };
        let known = self.core.as_ref().and_then(|core| core.round_certificate());
        !is_past
            && known.map(|known| &known.certificate).is_none_or(|known| {
                let is_skip = known.cert_type == RoundCertificateType::Skip;
                (context::round_out(known.round), is_skip) != (round, skip)
            })
    }

    /// Whether the core would pass over a vote unread.
    fn absorbs(&self, vote: Vote) -> bool {
        let (Some(core), vote) = (&self.core, context::vote_in(vote)) else { return false };
        let votes = core.driver.votes();
        votes.has_vote(&vote)
            || votes.is_saturated_conflict(&vote)
            || votes.has_equivocation_evidence(&vote)
    }

    /// Of a certificate that shows nothing new otherwise, the core is given the votes that convict
    /// their validator, or show that this node's key signs elsewhere.
    ///
    /// # Errors
    /// [`Offence::BadSignature`].
    pub(super) fn take_conflicts(&mut self, votes: Vec<Vote>) -> Result<(), Offence> {
        for vote in votes {
            let signed = context::vote_in(vote.clone());
            let convicts = self.core.as_ref().is_some_and(|it| it.can_record_equivocation(&signed));
            let is_own = self.effects.signer.is_elsewhere(&vote);
            if convicts || is_own && self.effects.may_sign(vote.round) {
                self.vote(vote)?;
            }
        }
        Ok(())
    }

    /// Whether the core kept a vote, to be counted or as evidence. A second signature of a vote
    /// is another vote.
    pub(super) fn keeps(&self, vote: &Vote) -> bool {
        let (Some(core), signed) = (&self.core, context::vote_in(vote.clone())) else {
            return false;
        };
        let votes = core.driver.votes();
        let of_round = votes.per_round(vote.round.into());
        let kept =
            of_round.and_then(|it| it.get_vote(signed.vote_type(), signed.validator_address()));
        kept == Some(&signed) || votes.has_equivocation_evidence(&signed)
    }
}
