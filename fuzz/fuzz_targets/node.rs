//! Sequences of whatever peers, callers, workers and time can give to a node, with sound
//! signatures where a peer could have them: it holds no more than its rules say, sends nothing
//! that its peers would not decode, and blames nobody who did no wrong.
#![no_main]

use std::{collections::BTreeSet, sync::Arc};

use alloy_primitives::Bytes;
use libfuzzer_sys::fuzz_target;
use trefoil_fuzz::{
    TX,
    network::{ATTACKER, CHAIN, HEIGHTS, START, VALIDATORS, node, peer},
    words::Words,
};
use trefoil_node::{
    Call, Done, Effects, Input, Node, PeerCommand, RecoveryJob, WorkerJob, io::CallId,
};
use trefoil_rpc::backend::recover;
use trefoil_types::{
    Address, B256, Evidence, Height, Message, Millis, PeerId, PolkaCertificate, RoundCertificate,
    RoundVote, Time, ValidatorSignature, Vote, VoteKind,
    message::{Blocks, Bodies, GetBlocks, GetBodies, Tip},
};

/// Steps of one sequence: more show little more, and take time.
const STEPS_MAX: usize = 256;
/// The last peer says only what is true.
const HONEST: u8 = 4;

fuzz_target!(|bytes: &[u8]| {
    let mut effects = Effects::default();
    let node = node(&mut effects);
    let (connected, jobs, said) = (BTreeSet::new(), vec![], vec![]);
    let mut world = World { node, now: START, connected, jobs, said };
    world.carry_out(effects);
    let mut words = Words(bytes);
    for _ in 0..STEPS_MAX {
        if words.0.is_empty() {
            break;
        }
        let input = world.input(&mut words);
        let mut effects = Effects::default();
        world.node.step(world.now, input, &mut effects);
        world.carry_out(effects);
    }
});

struct World {
    node: Node,
    now: Time,
    connected: BTreeSet<PeerId>,
    jobs: Vec<WorkerJob>,
    /// What the node said last, which a peer may say back.
    said: Vec<Message>,
}

impl World {
    fn next(&self) -> Height {
        self.node.ledger().tip().number + 1
    }

    fn input(&mut self, words: &mut Words<'_>) -> Input {
        match words.byte() % 16 {
            0 => {
                self.now = self.now + Millis(1 << (words.byte() % 16));
                Input::Tick
            }
            1..=3 => self.connection(words),
            4 => self.done().unwrap_or(Input::Tick),
            5 => Input::Call { id: CallId(1), call: call(words) },
            6 | 7 => Input::Message { peer: peer(HONEST), message: self.honest(words) },
            _ => {
                let peer = peer(words.one_of(&[2, 3]));
                let message = self.hostile(words);
                // As it comes from the wire.
                match Message::decode(&message.encode()) {
                    Ok(message) => Input::Message { peer, message },
                    Err(_) => Input::Tick,
                }
            }
        }
    }

    /// A peer comes, or one that is here goes.
    fn connection(&mut self, words: &mut Words<'_>) -> Input {
        let peer = peer(words.one_of(&[2, 3, HONEST]));
        if self.connected.remove(&peer) {
            return Input::Disconnected(peer);
        }
        self.connected.insert(peer);
        let unjudged = peer != honest() && words.byte().is_multiple_of(4);
        if unjudged { Input::ConnectedUnjudged(peer) } else { Input::Connected(peer) }
    }

    /// The oldest work of a worker.
    fn done(&mut self) -> Option<Input> {
        let job = (!self.jobs.is_empty()).then(|| self.jobs.remove(0))?;
        Some(Input::Done(match job {
            WorkerJob::Recover(RecoveryJob { id, txs, .. }) => {
                let txs = txs.iter().map(|raw| recover(raw)).collect();
                Done::Recovered { id, txs }
            }
            WorkerJob::Checkpoint(checkpoint) => {
                Done::Checkpointed(checkpoint.run().expect("memory does not fail"))
            }
        }))
    }

    /// What no node may be blamed for.
    fn honest(&self, words: &mut Words<'_>) -> Message {
        let (height, round) = (self.next(), u32::from(words.byte() % 3));
        let seed = words.one_of(&[3, 4]);
        let kind = words.one_of(&[VoteKind::Prevote, VoteKind::Precommit]);
        let block = CHAIN.choice(height);
        match words.byte() % 3 {
            0 => {
                let height = height.min(HEIGHTS);
                Message::Tip(Tip { height, hash: CHAIN.hash(height), round })
            }
            _ => Message::Vote(CHAIN.vote(seed, kind, height, round, block)),
        }
    }

    fn hostile(&self, words: &mut Words<'_>) -> Message {
        let next = self.next();
        let height =
            words.one_of(&[next, next, next, next + 1, next + 2, next - 1, 0, Height::MAX]);
        let round = words.one_of(&[0, 0, 0, 1, 2, 3, 100, u32::MAX]);
        let right = CHAIN.hash(height);
        let hash = words.one_of(&[right, right, B256::ZERO, B256::repeat_byte(7)]);
        let hashes = vec![words.one_of(&[*TX.tx_hash(), hash]); usize::from(words.byte())];
        match words.byte() % 16 {
            0 | 1 => Message::Vote(vote(words, height, round, hash)),
            2 | 3 => self.proposal(words, height, round),
            4 => {
                let signed = |vote: Vote| ValidatorSignature {
                    validator: vote.validator,
                    signature: vote.signature,
                };
                let signatures = votes(words, height, round, hash).into_iter().map(signed);
                let signatures = signatures.collect();
                Message::PolkaCertificate(PolkaCertificate {
                    height,
                    round,
                    block: hash,
                    signatures,
                })
            }
            5 => {
                let vote = |vote: Vote| RoundVote {
                    kind: vote.kind,
                    block: vote.block,
                    validator: vote.validator,
                    signature: vote.signature,
                };
                let skip = words.byte().is_multiple_of(2);
                let votes = votes(words, height, round, hash).into_iter().map(vote).collect();
                Message::RoundCertificate(RoundCertificate { height, round, skip, votes })
            }
            6 => Message::Tip(Tip { height, hash, round }),
            7 => Message::GetBlocks(GetBlocks { from: height, count: 1 << (words.byte() % 64) }),
            8 => Message::Blocks(self.blocks(words, height)),
            9 => Message::GetBodies(GetBodies { block: hash, tx_hashes: hashes }),
            10 => Message::Bodies(Bodies { block: hash, txs: transactions(words) }),
            11 => Message::TxHashes(hashes),
            12 => Message::GetTxs(hashes),
            13 => Message::Txs(transactions(words)),
            14 => {
                let other = CHAIN.vote(ATTACKER, VoteKind::Prevote, height, round, None);
                let vote = vote(words, height, round, hash);
                match Evidence::of_votes(vote, other) {
                    Some(proof) => Message::Evidence(Box::new(proof)),
                    None => Message::TxHashes(vec![]),
                }
            }
            _ => self.echo(words),
        }
    }

    /// A proposal of the others' block, or of nearly that.
    fn proposal(&self, words: &mut Words<'_>, height: Height, round: u32) -> Message {
        let seed = words.one_of(&[ATTACKER, ATTACKER, 3, 4, 9]);
        let mut proposed = CHAIN.proposal(seed, height, round);
        match words.byte() % 8 {
            0 => proposed.tx_hashes = vec![B256::repeat_byte(7); usize::from(words.byte())],
            1 => proposed.header.timestamp = u64::from(words.byte()) << 32,
            2 => proposed.bytes = u64::MAX,
            3 => proposed.attached.parent_certificate = None,
            _ => {}
        }
        Message::Proposal(Box::new(proposed))
    }

    /// A run of the others' blocks, sound or with something changed.
    fn blocks(&self, words: &mut Words<'_>, from: Height) -> Blocks {
        let count = u64::from(words.byte() % 4);
        let heights = (0..count).map(|at| from.saturating_add(at));
        let mut blocks: Vec<_> = heights.map(|height| CHAIN.block(height).clone()).collect();
        if let Some(last) = blocks.last_mut() {
            match words.byte() % 8 {
                0 => last.certificate.signatures.truncate(usize::from(words.byte() % 4)),
                1 => last.certificate.signatures.reverse(),
                2 => last.block.header.gas_used ^= 1,
                3 => last.block.body.transactions.clear(),
                _ => {}
            }
        }
        Blocks { from, blocks }
    }

    /// What the node said itself, with a byte changed or as it was.
    fn echo(&self, words: &mut Words<'_>) -> Message {
        let at = usize::from(words.byte()) % self.said.len().max(1);
        let Some(message) = self.said.get(at) else { return Message::GetTxs(vec![]) };
        let mut bytes = message.encode();
        let change = words.take(2);
        if let [at, change] = change[..] {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= change;
        }
        Message::decode(&bytes).unwrap_or_else(|_| message.clone())
    }

    fn carry_out(&mut self, effects: Effects) {
        self.jobs.extend(effects.jobs);
        for (_, message) in effects.sends {
            let bytes = message.encode();
            assert!(bytes.len() <= message.rule().bytes_max, "{}", message.rule().name);
            assert_eq!(Message::decode(&bytes).as_ref(), Ok(&*message), "it would be banned");
            self.said.push(Arc::unwrap_or_clone(message));
        }
        let surplus = self.said.len().saturating_sub(32);
        self.said.drain(..surplus);
        for order in effects.orders {
            if let PeerCommand::Blame { peer, offence, .. } = order {
                assert_ne!(peer, honest(), "blamed for {offence:?}");
            }
        }
        for held in self.node.held_bytes() {
            let (name, budget) = (held.rule.name, held.budget);
            assert!(held.all <= budget.all, "{name}: {} bytes of all are held", held.all);
            assert!(held.of_one <= budget.peer, "{name}: {} bytes of one are held", held.of_one);
            assert_eq!(held.of_gone, 0, "{name}: bytes of a peer that is gone are held");
        }
        let tip = self.node.ledger().tip().number;
        if tip > 0 && tip <= HEIGHTS {
            // The node alone is no quorum, so only blocks of the others' chain become final.
            assert_eq!(self.node.ledger().tip_hash(), CHAIN.hash(tip));
        }
    }
}

fn honest() -> PeerId {
    peer(HONEST)
}

/// A vote of the attacker, or of somebody who does not validate.
fn vote(words: &mut Words<'_>, height: Height, round: u32, hash: B256) -> Vote {
    let seed = words.one_of(&[ATTACKER, ATTACKER, ATTACKER, 9]);
    let kind = words.one_of(&[VoteKind::Prevote, VoteKind::Precommit]);
    let block = (!words.byte().is_multiple_of(4)).then_some(hash);
    let mut vote = CHAIN.vote(seed, kind, height, round, block);
    if words.byte().is_multiple_of(8) {
        vote.signature.0[0] ^= 1;
    }
    vote
}

/// A subset of the votes that there could be, in any order, some of them twice. The honest ones
/// vote for the block of their chain.
fn votes(words: &mut Words<'_>, height: Height, round: u32, hash: B256) -> Vec<Vote> {
    let kind = words.one_of(&[VoteKind::Prevote, VoteKind::Precommit]);
    let count = words.byte() % 8;
    let vote = |seed: u8| {
        let block = if seed == ATTACKER { Some(hash) } else { CHAIN.choice(height) };
        CHAIN.vote(seed, kind, height, round, block)
    };
    // The node's own votes are nobody else's to make.
    (0..count).map(|_| vote(2 + words.byte() % (VALIDATORS - 1))).collect()
}

fn transactions(words: &mut Words<'_>) -> Vec<Bytes> {
    let sound = Bytes::from_static(include_bytes!("../corpus/transaction/legacy"));
    match words.byte() % 4 {
        0 => vec![],
        1 => vec![words.take(64).into()],
        2 => vec![sound; usize::from(words.byte())],
        _ => vec![sound],
    }
}

fn call(words: &mut Words<'_>) -> Call {
    match words.byte() % 5 {
        0 => Call::Submit(TX.clone()),
        1 => Call::PendingNonce(Address::ZERO),
        2 => Call::PooledTransaction(*TX.tx_hash()),
        3 => Call::PoolContent,
        _ => Call::Peers,
    }
}
