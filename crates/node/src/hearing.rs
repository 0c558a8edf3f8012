//! Consensus messages in and out: who is believed, what is handed on, what waits.
//!
//! What always holds: a message is handed on at most once, and only after its
//! signatures were verified; of what is too early, each peer may leave a little.

use std::{collections::BTreeMap, sync::Arc};

use alloy_eips::Encodable2718;
use trefoil_consensus::{Input, Output, Speech};
use trefoil_ledger::Record;
use trefoil_types::{
    B256, Evidence, Height, Message, Offence, PeerId, Proposal, RecoveredBlock, Round, Signature,
    Time, Vote, keccak256, message::ProposedBlock,
};

use crate::{Effects, To, node::Node};

/// Messages of the height after next that are kept for each peer: two votes of
/// each of so many validators, in a few rounds.
const EARLY_MAX: usize = 512;
/// Of which proposals, which are large.
const EARLY_PROPOSALS_MAX: usize = 2;
/// Verified messages remembered within a height; beyond that none is relayed.
const SEEN_MAX: usize = 16_384;
/// The newest own messages of a height that are repeated to new peers.
const SAID_MAX: usize = 16;

/// Messages of the height after next: the peer committed a moment before us.
#[derive(Debug, Default)]
pub(crate) struct Early(BTreeMap<PeerId, Vec<Message>>);

impl Early {
    fn keep(&mut self, peer: PeerId, message: Message) {
        let kept = self.0.entry(peer).or_default();
        let proposals = kept.iter().filter(|m| matches!(m, Message::Proposal(_))).count();
        let is_proposal = matches!(message, Message::Proposal(_));
        if kept.len() < EARLY_MAX && !(is_proposal && proposals >= EARLY_PROPOSALS_MAX) {
            kept.push(message);
        }
    }

    pub fn take(&mut self) -> impl Iterator<Item = (PeerId, Message)> + use<> {
        let all = std::mem::take(&mut self.0).into_iter();
        all.flat_map(|(peer, messages)| messages.into_iter().map(move |message| (peer, message)))
    }

    pub fn forget(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }
}

impl Node {
    /// A consensus message from a peer.
    pub(crate) fn hear(&mut self, now: Time, peer: PeerId, message: Message, fx: &mut Effects) {
        let (height, next) = (height_of(&message), self.next_height());
        if height != next {
            if let (Message::Vote(vote), true) = (&message, height == next - 1) {
                self.hear_late(now, peer, vote, fx);
            }
            // Of what is farther ahead, catch-up makes good the whole height.
            if height == next + 1 && self.peers.contains_key(&peer) {
                self.early.keep(peer, message);
            }
            return;
        }
        let (key, input) = match message {
            Message::Proposal(proposed) => return self.on_proposal(now, peer, *proposed, fx),
            Message::Vote(vote) => (signature_key(&vote.signature), Input::Vote(vote)),
            Message::PolkaCertificate(certificate) => {
                let bytes = Message::PolkaCertificate(certificate.clone()).encode();
                (keccak256(bytes), Input::PolkaCertificate(certificate))
            }
            Message::RoundCertificate(certificate) => {
                let bytes = Message::RoundCertificate(certificate.clone()).encode();
                (keccak256(bytes), Input::RoundCertificate(certificate))
            }
            _ => return,
        };
        let handed_on = self.seen.get(&key).copied();
        if handed_on == Some(true) {
            return;
        }
        let repeated = handed_on.is_some();
        if !repeated {
            let set = self.ledger.next_validators();
            let sound = self.consensus.verify_certificate(&input, set);
            if let Err(offence) = sound.and_then(|()| self.believe(now, input.clone())) {
                return fx.blame_relay(peer, offence);
            }
        }
        if !self.consensus.has_verified(&input) {
            return; // No news, so nobody looked whose it is.
        }
        let (round, message) = match input {
            Input::Vote(vote) => (vote.round, Message::Vote(vote)),
            Input::PolkaCertificate(c) => (c.round, Message::PolkaCertificate(c)),
            Input::RoundCertificate(c) => (c.round, Message::RoundCertificate(c)),
            _ => unreachable!("made above"),
        };
        let hands_on = repeated || self.hands_on(round);
        if self.remember(key, hands_on) && hands_on {
            fx.sends.push((To::AllBut(Some(peer)), message.into()));
        }
    }

    /// A vote of the tip's height, which is decided: it may still fill up the
    /// certificate, or contradict it.
    fn hear_late(&mut self, now: Time, peer: PeerId, vote: &Vote, fx: &mut Effects) {
        if let Err(offence) = self.ledger.add_precommit(vote) {
            return fx.blame_relay(peer, offence);
        }
        let counted = self.ledger.tip_certificate().and_then(|c| c.vote_of(&vote.validator));
        let evidence = counted.and_then(|counted| Evidence::of_votes(counted, vote.clone()));
        if let Some(evidence) = evidence {
            self.on_evidence(now, peer, evidence, fx);
        }
    }

    /// Whether a message of `round` is handed on at once. In a mesh the first
    /// round does without; that something is repeated, or that there is a second
    /// round, means that somebody did not hear: two honest nodes may have no
    /// link, and a third may be dishonest.
    pub(crate) fn hands_on(&self, round: Round) -> bool {
        round > 0 || !self.is_meshed()
    }

    /// Lets consensus judge a message of the next height, which begins now if a
    /// validator really speaks of it.
    pub(crate) fn believe(&mut self, now: Time, input: Input) -> Result<(), Offence> {
        if !self.pace.has_begun() {
            if !self.is_from_a_validator(&input) {
                return Err(Offence::BadSignature);
            }
            self.begin_next_height(now);
        }
        self.tell(now, input)
    }

    fn is_from_a_validator(&self, input: &Input) -> bool {
        let (set, network) = (self.ledger.next_validators(), self.ledger.genesis_hash());
        let is_sound = |vote: &Vote| set.get(&vote.validator).is_some() && vote.verify(&network);
        match input {
            Input::Proposal(proposal) => {
                set.get(&proposal.proposer).is_some() && proposal.verify(&network)
            }
            Input::Vote(vote) => is_sound(vote),
            // Verified as a whole, before it came here.
            Input::PolkaCertificate(_) | Input::RoundCertificate(_) => true,
            Input::Candidate { .. } | Input::Built { .. } => false,
        }
    }

    /// Notes what was heard and whether it is handed on; there must be room.
    pub(crate) fn remember(&mut self, key: B256, handed_on: bool) -> bool {
        let room = self.seen.len() < SEEN_MAX || self.seen.contains_key(&key);
        if room {
            self.seen.insert(key, handed_on);
        }
        room
    }

    pub(crate) fn tell(&mut self, now: Time, input: Input) -> Result<(), Offence> {
        let mut out = Vec::new();
        let judged = self.consensus.input(now, input, &mut out);
        self.outputs.extend(out);
        judged
    }

    /// Carries out what consensus wants, until it wants nothing more.
    pub(crate) fn drive(&mut self, now: Time, fx: &mut Effects) {
        while let Some(output) = self.outputs.pop_front() {
            match output {
                Output::Record { height, bytes } => {
                    fx.records.push(Record::Consensus { height, bytes });
                }
                Output::Send(speech) => self.speak(speech, fx),
                Output::Build { height, round, until } => {
                    self.asked_to_build(now, height, round, until);
                    self.build_if_due(now, fx);
                }
                Output::Decided(certificate) => self.finish(now, certificate, fx),
                Output::Evidence(evidence) => self.witness(now, evidence, fx),
            }
        }
    }

    fn speak(&mut self, speech: Speech, fx: &mut Effects) {
        let message = match speech {
            Speech::Vote(vote) => Message::Vote(vote),
            Speech::PolkaCertificate(certificate) => Message::PolkaCertificate(certificate),
            Speech::RoundCertificate(certificate) => Message::RoundCertificate(certificate),
            Speech::Proposal(proposal) => {
                // Without its block nobody could use it.
                let candidate = self.candidates.get(&proposal.block);
                let Some(block) = candidate.and_then(|c| c.block()) else { return };
                proposal_of(proposal, block)
            }
        };
        let message = Arc::new(message);
        if self.said.len() == SAID_MAX {
            self.said.pop_front();
        }
        self.said.push_back(message.clone());
        fx.sends.push((To::AllBut(None), message));
    }

    /// Tells a new peer what this node said of the current height: it was not
    /// there to hear it, and a proposal is said but once.
    pub(crate) fn repeat_speech(&self, peer: PeerId, fx: &mut Effects) {
        fx.sends.extend(self.said.iter().map(|message| (To::Peer(peer), message.clone())));
    }
}

/// A proposal with its block as this node has it. The list of hashes is not
/// signed: a copy that came with another list is never handed on as it came.
pub(crate) fn proposal_of(proposal: Proposal, block: &RecoveredBlock) -> Message {
    Message::Proposal(Box::new(ProposedBlock {
        proposal,
        header: block.header.clone(),
        tx_hashes: block.transactions.iter().map(|tx| *tx.tx_hash()).collect(),
        attached: block.attached.clone(),
        bytes: block.transactions.iter().map(|tx| tx.encode_2718_len() as u64).sum(),
    }))
}

/// What a signed message is remembered by.
pub(crate) fn signature_key(signature: &Signature) -> B256 {
    keccak256(signature.0)
}

fn height_of(message: &Message) -> Height {
    match message {
        Message::Vote(vote) => vote.height,
        Message::Proposal(proposed) => proposed.proposal.height,
        Message::PolkaCertificate(certificate) => certificate.height,
        Message::RoundCertificate(certificate) => certificate.height,
        _ => 0,
    }
}
