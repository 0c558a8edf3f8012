//! Consensus messages in and out: what is verified, what is relayed, what waits.
//!
//! What always holds: a message is relayed at most once, and only after its
//! signatures were verified.

use std::sync::Arc;

use alloy_eips::Encodable2718;
use trefoil_consensus::{ConsensusMessage, Output};
use trefoil_ledger::Record;
use trefoil_types::{
    B256, Evidence, Message, Offence, PeerId, PolkaCertificate, Proposal, RecoveredBlock, Round,
    RoundCertificate, Time, Vote, VoteKind, keccak256, message::ProposedBlock,
};

use crate::{
    Effects, Event, block_producer::BuildRequest, height_messages::signature_key, node::Node,
};

// Attack: votes with bad signatures, or proposals with certificates of 128. A vote is verified in
// 32 µs: 128 are 4 ms.
/// Messages that came before their height and are looked at in one step.
const EARLY_PER_STEP: usize = 128;

impl Node {
    /// A consensus message from a peer.
    pub(super) fn on_consensus_message(
        &mut self,
        now: Time,
        peer: PeerId,
        message: Message,
        effects: &mut Effects,
    ) {
        let Some(said) = consensus_message(&message) else { return };
        let ((height, round), next) = (said.place(), self.next_height());
        if height != next {
            if let (Message::Vote(vote), true) = (&message, height < next) {
                self.on_late_vote(now, peer, vote, effects);
            }
            // Of what is farther ahead, block sync makes good the whole height.
            if height == next + 1 && self.peers.is_member(&peer) {
                self.height.early.keep(self.peers.members().len(), peer, message);
            }
            return;
        }
        if let Message::Proposal(proposed) = message {
            return self.on_proposal(now, peer, *proposed, said, effects);
        }
        let Some(key) = seen_key(&message) else { return };
        let relayed = self.height.messages.was_relayed(&key);
        // Of two certificates of one place, each may have votes that this node lacks.
        let is_vote = matches!(said, ConsensusMessage::Vote(_));
        let is_news = relayed.is_none() || !is_vote && self.consensus.lacks(&said);
        // Attack: the votes of one place in certificate after certificate, each with another of a
        // validator that signs without end: a verification each, and nothing is learned.
        if !is_news && (relayed == Some(true) || !self.consensus.has_verified(&said)) {
            // It may convict somebody.
            let sound = if is_vote { Ok(()) } else { self.verify(now, said) };
            return sound.unwrap_or_else(|offence| effects.blame_relay(peer, offence));
        }
        // Also of what is no news: its votes may be good, and too few.
        let mut sound = self.consensus.verify_certificate(&said, self.ledger.next_validators());
        // Before consensus has it: it judges at once, by what it knows of the block.
        if let (Ok(()), ConsensusMessage::PolkaCertificate(polka)) = (&sound, &said) {
            self.note_polka(now, polka.block, effects);
        }
        if is_news {
            sound = sound.and_then(|()| self.verify(now, said.clone()));
        }
        if let Err(offence) = sound {
            return effects.blame_relay(peer, offence);
        }
        if !self.consensus.has_verified(&said) {
            // Consensus already had this message, so its signatures were not checked: do
            // not relay it.
            return;
        }
        let relays = match relayed {
            Some(before) => !before,
            None => self.relays_at_once(round),
        };
        let is_relayed = relays || relayed == Some(true);
        if self.height.messages.note_seen(key, is_relayed) && relays {
            effects.broadcast(Some(peer), message);
        }
    }

    /// Takes some of the messages of this height that came before it. At a peer's first offence
    /// the others of it are dropped, as its ban would drop them.
    pub(super) fn take_early_messages(&mut self, now: Time, effects: &mut Effects) {
        for _ in 0..EARLY_PER_STEP {
            let Some((peer, message)) = self.height.due.take_next() else { return };
            let orders = effects.orders.len();
            self.on_consensus_message(now, peer, message, effects);
            if effects.blames_since(orders, &peer) {
                self.height.due.forget(&peer);
            }
        }
    }

    /// A vote of the tip's height, which is decided: it may still fill up the
    /// certificate, contradict it, or show that its validator is back.
    fn on_late_vote(&mut self, now: Time, peer: PeerId, vote: &Vote, effects: &mut Effects) {
        // Of any height: the votes of a validator that is far away come when the next block is
        // final too, and they are all that shows that it is back.
        let mut sound = self.consensus.input_late(vote);
        let is_of_tip = vote.height == self.ledger.tip().number;
        if is_of_tip {
            sound = sound.and_then(|()| self.ledger.add_precommit(vote));
        }
        if let Err(offence) = sound {
            return effects.blame_relay(peer, offence);
        }
        if !is_of_tip {
            return;
        }
        let counted = self.ledger.tip_certificate().and_then(|c| c.vote_of(&vote.validator));
        let evidence = counted.and_then(|counted| Evidence::of_votes(counted, vote.clone()));
        if let Some(evidence) = evidence {
            self.on_evidence(now, peer, evidence, effects);
        }
    }

    /// Whether a message of `round` is relayed at once. In a mesh the first
    /// round does without; that something is repeated, or that there is a second
    /// round, means that a node did not hear: two honest nodes may have no
    /// link, and a third may be dishonest.
    pub(super) fn relays_at_once(&self, round: Round) -> bool {
        round > 0 || !self.is_meshed()
    }

    /// Lets consensus judge a message of the next height, which begins now if a
    /// validator really speaks of it.
    pub(super) fn verify(&mut self, now: Time, said: ConsensusMessage) -> Result<(), Offence> {
        if !self.height.producer.has_begun() {
            if !self.is_from_a_validator(&said) {
                return Err(Offence::BadSignature);
            }
            self.begin_next_height(now);
        }
        self.consensus.input(now, said, &mut self.outputs)
    }

    fn is_from_a_validator(&self, said: &ConsensusMessage) -> bool {
        let (set, network) = (self.ledger.next_validators(), self.ledger.genesis_hash());
        match said {
            ConsensusMessage::Proposal(p) => set.get(&p.proposer).is_some() && p.verify(&network),
            ConsensusMessage::Vote(v) => set.get(&v.validator).is_some() && v.verify(&network),
            // Verified as a whole, before it came here.
            ConsensusMessage::PolkaCertificate(_) | ConsensusMessage::RoundCertificate(_) => true,
        }
    }

    /// Carries out what consensus wants, until it wants nothing more. If a round has begun, the
    /// proposal that was kept for it is taken up.
    pub(super) fn handle_outputs(&mut self, now: Time, effects: &mut Effects) {
        loop {
            while !self.outputs.is_empty() {
                for output in std::mem::take(&mut self.outputs) {
                    self.handle_output(now, output, effects);
                }
            }
            if !self.take_up_due(now, effects) {
                return;
            }
        }
    }

    fn handle_output(&mut self, now: Time, output: Output, effects: &mut Effects) {
        match output {
            Output::Record { height, bytes } => {
                effects.records.push(Record::Consensus { height, bytes });
            }
            Output::Send(message) => self.publish(message, effects),
            Output::Build { height, round, until } => {
                let request = BuildRequest { height, round, at: now, until };
                self.height.producer.note_request(request);
                self.build_if_due(now, effects);
            }
            Output::Decided(certificate) => self.finish(now, certificate, effects),
            Output::Elsewhere { height, round } => {
                effects.events.push(Event::SignedElsewhere { height, round });
            }
            Output::Evidence(evidence) => {
                // Evidence that was convicted since may go on: that is no news.
                let _ = self.admit_evidence(now, None, evidence, effects);
            }
        }
    }

    fn publish(&mut self, message: ConsensusMessage, effects: &mut Effects) {
        let candidates = &mut self.height.candidates;
        let message = match message {
            ConsensusMessage::Vote(vote) => {
                // This node precommits a block for which it has counted a quorum.
                let block = vote.block.filter(|_| vote.kind == VoteKind::Precommit);
                block.into_iter().for_each(|block| candidates.note_polka(block));
                Message::Vote(vote)
            }
            ConsensusMessage::PolkaCertificate(polka) => {
                candidates.note_polka(polka.block);
                Message::PolkaCertificate(polka)
            }
            ConsensusMessage::RoundCertificate(round) => Message::RoundCertificate(round),
            ConsensusMessage::Proposal(proposal) => {
                // Without its block nobody could use it.
                let candidate = candidates.get(&proposal.block);
                let Some(block) = candidate.and_then(|c| c.block()) else { return };
                proposal_of(proposal, block)
            }
        };
        let message = Arc::new(message);
        self.height.messages.note_own(message.clone());
        effects.broadcast(None, message);
    }
}

/// A proposal with its block as this node has it. The list of hashes is not
/// signed: a copy that came with another list is never relayed as it came.
pub(super) fn proposal_of(proposal: Proposal, block: &RecoveredBlock) -> Message {
    Message::Proposal(Box::new(ProposedBlock {
        proposal,
        header: block.header.clone(),
        tx_hashes: block.transactions.iter().map(|tx| *tx.tx_hash()).collect(),
        attached: block.attached.clone(),
        bytes: block.transactions.iter().map(|tx| tx.encode_2718_len() as u64).sum(),
    }))
}

// Attack: the votes of one certificate, as every subset with enough power in every order,
// are more certificates than `seen` has room for, and each is good. They all prove the same.
/// What a vote or certificate is remembered by: the signature, or what it is a proof of.
fn seen_key(message: &Message) -> Option<B256> {
    let proof = match message {
        Message::Vote(vote) => return Some(signature_key(&vote.signature)),
        Message::PolkaCertificate(polka) => {
            let PolkaCertificate { height, round, block, .. } = *polka;
            let signatures = vec![];
            Message::PolkaCertificate(PolkaCertificate { height, round, block, signatures })
        }
        Message::RoundCertificate(certificate) => {
            let RoundCertificate { height, round, skip, .. } = *certificate;
            Message::RoundCertificate(RoundCertificate { height, round, skip, votes: vec![] })
        }
        _ => return None,
    };
    Some(keccak256(proof.encode()))
}

/// What consensus is given of a peer's message, if it concerns consensus.
fn consensus_message(message: &Message) -> Option<ConsensusMessage> {
    Some(match message {
        Message::Vote(vote) => ConsensusMessage::Vote(vote.clone()),
        Message::Proposal(proposed) => ConsensusMessage::Proposal(proposed.proposal.clone()),
        Message::PolkaCertificate(polka) => ConsensusMessage::PolkaCertificate(polka.clone()),
        Message::RoundCertificate(round) => ConsensusMessage::RoundCertificate(round.clone()),
        _ => return None,
    })
}
