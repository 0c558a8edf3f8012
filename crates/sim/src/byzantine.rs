//! Byzantine machines: an honest node, and an attacker with its key who alters its messages on
//! the way out. No product code knows of it.

mod claims;

use std::collections::VecDeque;

use alloy_primitives::Bytes;
use trefoil_crypto::{B256, SecretKey, Signature};
use trefoil_ledger::Draft;
use trefoil_node::Node;
use trefoil_types::{
    CertifiedBlock, Evidence, Height, Message, Millis, PolkaCertificate, Proposal, ProposedBlock,
    Vote, VoteKind,
    message::{Blocks, GetBlocks, Tip},
};

use crate::{certificates::certify_alone, machine::secret, rng::Rng, vice::Vice, wire::Id};

/// One dishonest machine.
pub struct ByzantineNode {
    vice: Vice,
    key: SecretKey,
    network: B256,
    rng: Rng,
    /// Its earlier messages, for repeating.
    said: VecDeque<Vec<u8>>,
    /// The other block of its newest double proposal.
    twin: Option<ProposedBlock>,
    /// Votes that it received, for its certificates.
    votes: VecDeque<Vote>,
    /// The proposal that it received last, if it did not pass it on yet.
    heard: Option<Box<ProposedBlock>>,
}

// Of several heights, so that the messages it repeats are both stale and recent.
/// How many of its messages it remembers.
const SAID_MAX: usize = 200;
// Four validators send eight votes a round: these are of eight rounds.
/// How many votes of others it remembers.
const VOTES_MAX: usize = 64;

// 50 requests a second to each machine, of up to 2 MiB: 800 Mbit/s of its line.
/// Between two shouts of those that ask without end.
const BEGS_EVERY: Millis = Millis(20);

// Its own chain comes in less: single transactions, small blocks.
/// Longer messages a beggar does not look at.
const BEGGAR_READS_MAX: usize = 1 << 20;

impl ByzantineNode {
    pub fn new(vice: Vice, key: SecretKey, network: B256, rng: Rng) -> Self {
        let (said, votes) = (VecDeque::new(), VecDeque::new());
        Self { vice, key, network, rng, said, twin: None, votes, heard: None }
    }

    /// The messages that reach `to` in place of `message`.
    pub fn alter(&mut self, node: &Node, to: Id, message: &Message) -> Vec<Vec<u8>> {
        match self.vice {
            _ if self.keeps_back(to, message) => vec![],
            Vice::Equivocator => self.equivocate(node, to, message),
            Vice::Garbler => self.garble(message),
            Vice::Repeater => self.repeat(message),
            Vice::Forger if self.rng.permille(300) => self.forge(message),
            Vice::Usurper if matches!(message, Message::Blocks(_)) => self.forge(message),
            Vice::HashLiar => self.lie_about_hashes(message),
            _ => vec![message.encode()],
        }
    }

    fn keeps_back(&self, to: Id, message: &Message) -> bool {
        match message {
            _ if self.hides_others() && self.is_of_others(message) => true,
            Message::Vote(_) | Message::PolkaCertificate(_) | Message::RoundCertificate(_) => {
                self.vice == Vice::Silent
            }
            // Two get it: too few for a quorum, enough that others learn of the block.
            Message::Proposal(_) => match self.vice {
                Vice::Silent => true,
                Vice::Withholder => to > 1,
                Vice::Mute => !self.is_of_others(message),
                _ => false,
            },
            Message::Blocks(_) => matches!(self.vice, Vice::Withholder | Vice::Boaster),
            Message::Bodies(_) | Message::Txs(_) => self.vice == Vice::Withholder,
            _ => false,
        }
    }

    /// Whether it relays nothing, so that its peers learn of the chain by its lies alone.
    fn hides_others(&self) -> bool {
        matches!(self.vice, Vice::Usurper | Vice::Boaster)
    }

    fn is_of_others(&self, message: &Message) -> bool {
        let own = self.key.public();
        match message {
            Message::Vote(vote) => vote.validator != own,
            Message::Proposal(proposed) => proposed.proposal.proposer != own,
            Message::PolkaCertificate(_) | Message::RoundCertificate(_) => true,
            _ => false,
        }
    }

    /// A message for everyone, now and then, that nobody asked for.
    pub fn shout(&mut self, node: &Node) -> Option<Vec<u8>> {
        // Often, and to everyone at once: some have begun the height and some have not. Both must
        // judge a certificate alike, or one bans the other for relaying it.
        match self.vice {
            Vice::Inflator if self.rng.permille(300) => Some(self.inflated(node)),
            Vice::Beggar | Vice::NonReader => Some(self.begging(node)),
            Vice::HashLiar => self.false_list().or_else(|| self.false_hashes()),
            _ => None,
        }
    }

    /// A message for anyone, now and then, that nobody asked for.
    pub fn mutter(&mut self, node: &Node) -> Option<Vec<u8>> {
        let often = if self.vice == Vice::Boaster { 300 } else { 50 };
        if !self.rng.permille(often) {
            return None;
        }
        match self.vice {
            Vice::Garbler => Some(self.nonsense(node)),
            Vice::Repeater => Some(self.untimely(node)),
            Vice::Boaster => Some(self.boast(node)),
            _ => None,
        }
    }

    /// Between two messages that it sends by a clock of its own; none: it speaks when it hears.
    pub fn pace(&self) -> Option<Millis> {
        // By a clock: each answer is a turn, in which it would ask everyone again.
        matches!(self.vice, Vice::Beggar | Vice::NonReader).then_some(BEGS_EVERY)
    }

    /// Whether it looks at a message at all.
    pub fn reads(&self, bytes: &[u8]) -> bool {
        match self.vice {
            Vice::NonReader => false,
            Vice::Beggar => bytes.len() <= BEGGAR_READS_MAX,
            _ => true,
        }
    }

    /// Whether it now ends a connection, to come back as if it were new.
    pub fn reconnects(&mut self) -> bool {
        self.vice == Vice::Boaster && self.rng.permille(30)
    }

    /// A message reached it; whether its node hears it, too.
    pub fn hears(&mut self, message: &Message) -> bool {
        if let (Vice::Omitter(victim), Message::Vote(vote)) = (self.vice, message) {
            let its = secret("validator", victim).public() == vote.validator;
            return !its || vote.kind == VoteKind::Prevote;
        }
        if let Message::Proposal(proposed) = message {
            self.heard = Some(proposed.clone());
        }
        if let Message::Vote(vote) = message {
            if self.votes.len() == VOTES_MAX {
                self.votes.pop_front();
            }
            self.votes.push_back(vote.clone());
        }
        true
    }

    fn equivocate(&mut self, node: &Node, to: Id, message: &Message) -> Vec<Vec<u8>> {
        let other = match message {
            Message::Vote(vote) if vote.validator == self.key.public() => {
                Message::Vote(self.other_vote(vote))
            }
            Message::Proposal(proposed) if proposed.proposal.proposer == self.key.public() => {
                match self.other_proposal(node, proposed) {
                    Some(twin) => Message::Proposal(Box::new(twin)),
                    None => return vec![message.encode()],
                }
            }
            _ => return vec![message.encode()],
        };
        match (to % 2, self.rng.permille(100)) {
            // Now and then both to one peer: it has the evidence at first hand.
            (_, true) => vec![message.encode(), other.encode()],
            (0, _) => vec![message.encode()],
            _ => vec![other.encode()],
        }
    }

    fn other_vote(&self, vote: &Vote) -> Vote {
        let twin = self.twin.as_ref().map(|twin| &twin.proposal);
        let twin = twin.filter(|p| p.height == vote.height && p.round == vote.round);
        let block = match (vote.block, twin) {
            (block, Some(twin)) if block != Some(twin.block) => Some(twin.block),
            (Some(_), _) => None,
            (None, _) => Some(self.network),
        };
        Vote::sign(&self.key, &self.network, vote.kind, vote.height, vote.round, block)
    }

    /// A second valid block for the same round: empty, and a second later.
    fn other_proposal(&mut self, node: &Node, first: &ProposedBlock) -> Option<ProposedBlock> {
        let Proposal { height, round, .. } = first.proposal;
        let fits =
            |twin: &&ProposedBlock| twin.proposal.height == height && twin.proposal.round == round;
        if let Some(twin) = self.twin.as_ref().filter(fits) {
            return Some(twin.clone());
        }
        if node.ledger().tip().number + 1 != height {
            return None;
        }
        let draft = Draft {
            timestamp: first.header.timestamp + 1,
            fee_recipient: first.header.beneficiary,
            attached: first.attached.clone(),
        };
        let (outcome, _) = node.ledger().build(draft, &mut std::iter::empty());
        let block = outcome.block();
        let twin = ProposedBlock {
            proposal: self.propose_instead(&first.proposal, block.hash),
            header: block.header.clone(),
            tx_hashes: vec![],
            attached: block.attached.clone(),
            bytes: 0,
        };
        self.twin = Some(twin.clone());
        Some(twin)
    }

    fn garble(&mut self, message: &Message) -> Vec<Vec<u8>> {
        let mut bytes = message.encode();
        // Rarely: at each misdeed a peer comes nearer to its ban, and then it can do nothing.
        if self.rng.permille(20) {
            let at = self.rng.index(bytes.len());
            match self.rng.index(3) {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << self.rng.index(8),
                _ => bytes = self.rng.bytes(at),
            }
        }
        vec![bytes]
    }

    /// A message that decodes and is no good.
    fn nonsense(&mut self, node: &Node) -> Vec<u8> {
        let height = node.ledger().tip().number + 1;
        let block = B256::from_slice(&self.rng.bytes(32));
        let signature = Signature([7; 64]);
        let message = match self.rng.index(4) {
            0 => {
                let validator = self.key.public();
                let (kind, block) = (VoteKind::Precommit, Some(block));
                Message::Vote(Vote { kind, height, round: 0, block, validator, signature })
            }
            1 => {
                let polka = PolkaCertificate { height, round: 0, block, signatures: vec![] };
                Message::PolkaCertificate(polka)
            }
            2 => Message::Txs(vec![Bytes::from(self.rng.bytes(100))]),
            _ => Message::Blocks(Blocks { from: height, blocks: vec![] }),
        };
        message.encode()
    }

    /// A lie in the right form.
    fn forge(&mut self, message: &Message) -> Vec<Vec<u8>> {
        let mut message = message.clone();
        match &mut message {
            Message::Proposal(proposed) => self.spoil_proposal(proposed),
            Message::Blocks(blocks) => self.spoil_blocks(&mut blocks.blocks),
            Message::Bodies(bodies) => {
                bodies.txs.pop();
                bodies.txs.push(Bytes::from(self.rng.bytes(120)));
            }
            _ => {}
        }
        vec![message.encode()]
    }

    /// Each receiver may get another lie: the block is signed anew, or the list
    /// of hashes is not that of the block which was signed.
    fn spoil_proposal(&mut self, proposed: &mut ProposedBlock) {
        if proposed.proposal.proposer != self.key.public() {
            return;
        }
        let forged = self.forged_evidence(proposed.proposal.height);
        let header = &mut proposed.header;
        match self.rng.index(7) {
            0 => header.state_root = self.network,
            1 => header.gas_used += 1,
            2 => header.timestamp += 3_600,
            3 => header.parent_hash = self.network,
            4 => proposed.attached.parent_certificate = None,
            5 => {
                proposed.attached.evidence = vec![forged];
                header.extra_data = proposed.attached.extra_data();
            }
            _ => proposed.tx_hashes.push(self.network),
        }
        let hash = proposed.header.hash_slow();
        proposed.proposal = self.propose_instead(&proposed.proposal, hash);
    }

    /// A proposal of another block in the same place.
    fn propose_instead(&self, first: &Proposal, block: B256) -> Proposal {
        let Proposal { height, round, pol_round, .. } = *first;
        Proposal::sign(&self.key, &self.network, height, round, block, pol_round)
    }

    /// Against itself, since it has no other key, and half of it not signed.
    fn forged_evidence(&self, height: Height) -> Evidence {
        let vote =
            |block| Vote::sign(&self.key, &self.network, VoteKind::Prevote, height, 0, block);
        let (sound, mut forged) = (vote(None), vote(Some(self.network)));
        forged.signature = sound.signature;
        Evidence::of_votes(sound, forged).expect("they conflict")
    }

    /// Spoils one block. A usurper gives no good one before it.
    fn spoil_blocks(&mut self, blocks: &mut Vec<CertifiedBlock>) {
        if blocks.is_empty() {
            return;
        }
        let at = if self.vice == Vice::Usurper { 0 } else { blocks.len() - 1 };
        let block = &mut blocks[at];
        match self.rng.index(6) {
            0 => _ = block.certificate.signatures.pop(),
            1 => block.block.header.gas_used += 1,
            2 => block.attached.parent_certificate = None,
            3 => self.certify_alone(block),
            4 => {
                // One signature as often as a quorum has signatures.
                let first = block.certificate.signatures[0];
                block.certificate.signatures.fill(first);
            }
            _ => blocks.clear(),
        }
    }

    /// Another block in the place of one, which only its own key signs.
    fn certify_alone(&self, block: &mut CertifiedBlock) {
        block.block.header.state_root = self.network;
        let (hash, height) = (block.block.header.hash_slow(), block.block.header.number);
        block.certificate = certify_alone(&self.key, &self.network, height, hash);
    }

    fn repeat(&mut self, message: &Message) -> Vec<Vec<u8>> {
        let bytes = message.encode();
        if self.said.len() == SAID_MAX {
            self.said.pop_front();
        }
        self.said.push_back(bytes.clone());
        vec![bytes]
    }

    fn untimely(&mut self, node: &Node) -> Vec<u8> {
        let tip = node.ledger().tip().number;
        let height = *self.rng.pick(&[0, 1, tip, tip + 1, tip + 2, tip + 1000, u64::MAX]);
        let round = *self.rng.pick(&[0, 1, 5, 1000, u32::MAX]);
        let kind = *self.rng.pick(&[VoteKind::Prevote, VoteKind::Precommit]);
        let message = match self.rng.index(4) {
            0 => Message::Vote(Vote::sign(&self.key, &self.network, kind, height, round, None)),
            1 => Message::Tip(Tip { height, hash: self.network, round }),
            2 => Message::GetBlocks(GetBlocks { from: height, count: u64::MAX }),
            _ if self.said.is_empty() => return Message::TxHashes(vec![]).encode(),
            _ => {
                let at = self.rng.index(self.said.len());
                return self.said[at].clone();
            }
        };
        message.encode()
    }
}
