//! Byzantine machines: an honest node, and an attacker with its key who alters its messages on
//! the way out. No product code knows of it.

use std::collections::VecDeque;

use alloy_primitives::Bytes;
use clap::ValueEnum;
use trefoil_crypto::{B256, SecretKey, Signature};
use trefoil_ledger::Draft;
use trefoil_node::Node;
use trefoil_types::{
    CertifiedBlock, Evidence, Height, Message, PolkaCertificate, Proposal, ProposedBlock,
    RoundCertificate, RoundVote, ValidatorSignature, Vote, VoteKind,
    message::{Blocks, GetBlocks, GetBodies, Tip},
};

use crate::{rng::Rng, wire::Id};

/// In what way a machine is dishonest. A random plan picks one of `value_variants`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Vice {
    /// Takes no part in consensus.
    Silent,
    /// Sends one statement to one half of the others, and another to the other half.
    Equivocator,
    /// Proposes to a few only, and answers no request.
    Withholder,
    /// Sends bytes that are no messages, and messages that are no good.
    Garbler,
    /// Repeats old messages, and sends messages of heights far ahead.
    Repeater,
    /// Proposes blocks that break the rules, and answers requests with bodies
    /// and blocks that were not asked for or not decided.
    Forger,
    /// Sends certificates that have less power than they claim (empty, too short,
    /// one vote twice), to everyone over and over: some have begun the height, some not.
    Inflator,
    /// Claims tips that no chain has and gives no blocks, over a new connection
    /// again and again.
    Boaster,
    /// Asks everyone for all that it can name, the same over and over.
    Beggar,
    /// Relays proposals with other lists of hashes as soon as it hears of them, and announces
    /// hashes of nothing.
    HashLiar,
    /// Does no wrong by itself: a test uses its key, or sends messages in its name.
    #[value(skip)]
    Puppet,
}

impl Vice {
    /// The vices that need no validator's key.
    pub const OF_STRANGERS: [Self; 6] = [
        Self::Inflator,
        Self::Boaster,
        Self::Garbler,
        Self::Repeater,
        Self::Beggar,
        Self::HashLiar,
    ];
}

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
            Vice::Forger => self.forge(message),
            Vice::HashLiar => self.lie_about_hashes(message),
            _ => vec![message.encode()],
        }
    }

    fn keeps_back(&self, to: Id, message: &Message) -> bool {
        match message {
            Message::Vote(_) | Message::PolkaCertificate(_) | Message::RoundCertificate(_) => {
                self.vice == Vice::Silent
            }
            // Two get it: too few for a quorum, enough that others learn of the block.
            Message::Proposal(_) => {
                self.vice == Vice::Silent || (self.vice == Vice::Withholder && to > 1)
            }
            Message::Blocks(_) => matches!(self.vice, Vice::Withholder | Vice::Boaster),
            Message::Bodies(_) | Message::Txs(_) => self.vice == Vice::Withholder,
            _ => false,
        }
    }

    /// A message for everyone, now and then, that nobody asked for.
    pub fn shout(&mut self, node: &Node) -> Option<Vec<u8>> {
        // Often, and to everyone at once: some have begun the height and some have not. Both must
        // judge a certificate alike, or one bans the other for relaying it.
        match self.vice {
            Vice::Inflator if self.rng.permille(300) => Some(self.inflated(node)),
            // Seldom: each answer is a turn, in which it may ask everyone again.
            Vice::Beggar if self.rng.permille(50) => Some(self.begging(node)),
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

    /// Whether it now ends a connection, to come back as if it were new.
    pub fn reconnects(&mut self) -> bool {
        self.vice == Vice::Boaster && self.rng.permille(30)
    }

    /// A message reached it.
    pub fn on_message(&mut self, message: &Message) {
        if let Message::Proposal(proposed) = message {
            self.heard = Some(proposed.clone());
        }
        if let Message::Vote(vote) = message {
            if self.votes.len() == VOTES_MAX {
                self.votes.pop_front();
            }
            self.votes.push_back(vote.clone());
        }
    }

    /// A certificate of the next height with no vote, one vote, or one vote twice: never a
    /// quorum.
    fn inflated(&mut self, node: &Node) -> Vec<u8> {
        let height = node.ledger().tip().number + 1;
        let fits = |vote: &&Vote| vote.height == height;
        let of_height: Vec<Vote> = self.votes.iter().filter(fits).cloned().collect();
        let first = (!of_height.is_empty()).then(|| self.rng.pick(&of_height).clone());
        let votes = match (self.rng.index(3), first) {
            (0, _) | (_, None) => vec![],
            (1, Some(vote)) => vec![vote],
            (_, Some(vote)) => vec![vote.clone(), vote],
        };
        let round = votes.first().map_or(0, |vote| vote.round);
        if self.rng.permille(300) {
            let block = votes.first().and_then(|vote| vote.block).unwrap_or(self.network);
            let signed =
                |v: Vote| ValidatorSignature { validator: v.validator, signature: v.signature };
            let signatures = votes.into_iter().map(signed).collect();
            let polka = PolkaCertificate { height, round, block, signatures };
            return Message::PolkaCertificate(polka).encode();
        }
        let vote = |v: Vote| RoundVote {
            kind: v.kind,
            block: v.block,
            validator: v.validator,
            signature: v.signature,
        };
        let votes = votes.into_iter().map(vote).collect();
        let skip = self.rng.permille(500);
        Message::RoundCertificate(RoundCertificate { height, round, skip, votes }).encode()
    }

    /// A request whose answer is much longer: the tip's transactions many times, or the
    /// whole chain.
    fn begging(&mut self, node: &Node) -> Vec<u8> {
        let (tip, block) = (node.ledger().tip().number, node.ledger().tip_hash());
        let stored = node.ledger().snapshot().block(tip).ok().flatten();
        let txs = stored.iter().flat_map(|stored| &stored.block.transactions);
        let named: Vec<B256> = txs.map(|tx| *tx.tx_hash()).collect();
        let mut tx_hashes: Vec<B256> = named.iter().cycle().take(200).copied().collect();
        tx_hashes.push(B256::from_slice(&self.rng.bytes(32)));
        let message = match self.rng.index(3) {
            0 => Message::GetBodies(GetBodies { block, tx_hashes }),
            1 => Message::GetTxs(tx_hashes),
            _ => Message::GetBlocks(GetBlocks { from: 1, count: u64::MAX }),
        };
        message.encode()
    }

    fn false_hashes(&mut self) -> Option<Vec<u8>> {
        if !self.rng.permille(100) {
            return None;
        }
        let hashes = (0..300).map(|_| B256::from_slice(&self.rng.bytes(32)));
        Some(Message::TxHashes(hashes.collect()).encode())
    }

    /// What it heard, with another list, and at once: who executes the block first comes later.
    fn false_list(&mut self) -> Option<Vec<u8>> {
        let mut proposed = self.heard.take()?;
        self.spoil_list(&mut proposed);
        Some(Message::Proposal(proposed).encode())
    }

    /// Each receiver may get another list.
    fn lie_about_hashes(&mut self, message: &Message) -> Vec<Vec<u8>> {
        let mut message = message.clone();
        if let Message::Proposal(proposed) = &mut message {
            self.spoil_list(proposed);
        }
        vec![message.encode()]
    }

    fn spoil_list(&mut self, proposed: &mut ProposedBlock) {
        match self.rng.index(3) {
            0 => proposed.tx_hashes.push(B256::from_slice(&self.rng.bytes(32))),
            1 => proposed.tx_hashes.clear(),
            _ => proposed.tx_hashes.reverse(),
        }
    }

    fn boast(&mut self, node: &Node) -> Vec<u8> {
        let tip = node.ledger().tip().number;
        // One that is barely ahead, one that is far, and the greatest there is: sums must not
        // overflow on it.
        let height = *self.rng.pick(&[tip + 2, tip + 1000, 1_000_000_000, u64::MAX]);
        Message::Tip(Tip { height, hash: self.network, round: 0 }).encode()
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

    /// A lie in the right form, every third time or so.
    fn forge(&mut self, message: &Message) -> Vec<Vec<u8>> {
        let mut message = message.clone();
        if self.rng.permille(300) {
            match &mut message {
                Message::Proposal(proposed) => self.spoil_proposal(proposed),
                Message::Blocks(blocks) => self.spoil_blocks(&mut blocks.blocks),
                Message::Bodies(bodies) => {
                    bodies.txs.pop();
                    bodies.txs.push(Bytes::from(self.rng.bytes(120)));
                }
                _ => {}
            }
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

    fn spoil_blocks(&mut self, blocks: &mut Vec<CertifiedBlock>) {
        let which = self.rng.index(4);
        let Some(block) = blocks.last_mut() else { return };
        match which {
            0 => _ = block.certificate.signatures.pop(),
            1 => block.block.header.gas_used += 1,
            2 => block.attached.parent_certificate = None,
            _ => blocks.clear(),
        }
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
