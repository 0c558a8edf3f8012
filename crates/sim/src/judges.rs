//! The judges: they watch the messages and commits of every machine, and report what must
//! never be. They see more than any node does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use trefoil_crypto::{Address, B256, PublicKey, keccak256};
use trefoil_ledger::{LedgerError, Snapshot, StateReader as _};
use trefoil_mempool::MempoolLimits;
use trefoil_node::{Node, NodeStatus, PeerHoldings};
use trefoil_types::{
    BAN_AT, Certificate, Header, Height, Message, Millis, Offence, Proposal, Receipt,
    RecoveredBlock, Round, Time, ValidatorSet, Vote, VoteKind,
};

use crate::{seats::Seats, sent_bytes::SentBytes, wire::Id};

/// An event that must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub at: Time,
    pub judge: &'static str,
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.judge, self.text)
    }
}

/// A block as the first honest machine committed it.
#[derive(Clone, Debug)]
pub struct Final {
    pub hash: B256,
    pub at: Time,
    pub txs: usize,
    /// Digest of the watched accounts after it.
    state: u64,
    receipts: u64,
}

#[derive(Default)]
pub struct Judges {
    /// The validators of each height, as the first machine that knew them had them.
    sets: BTreeMap<Height, ValidatorSet>,
    network: B256,
    pool: MempoolLimits,
    pub now: Time,
    pub violations: Vec<Violation>,
    /// The one chain, from height 1.
    pub chain: BTreeMap<Height, Final>,
    /// The place of each transaction, as it was reported first.
    reported_txs: BTreeMap<B256, (Height, usize)>,
    /// The highest final block that each honest machine reported.
    reported: BTreeMap<Id, Height>,
    votes: BTreeMap<(PublicKey, Height, Round, VoteKind), Option<B256>>,
    proposals: BTreeMap<(PublicKey, Height, Round), (B256, Option<Round>)>,
    /// The validators that prevoted for a block in a round, honest or not.
    prevotes: BTreeMap<(Height, Round, B256), BTreeSet<PublicKey>>,
    /// The newest lock of each honest validator: its last precommit for a block.
    locks: BTreeMap<PublicKey, (Height, Round, B256)>,
    checked: BTreeSet<B256>,
    honest: BTreeMap<PublicKey, Id>,
    scores: BTreeMap<(Id, Id), u32>,
    sent: SentBytes,
    /// What each honest machine relayed since it started.
    relayed: BTreeSet<(Id, B256)>,
    /// The seats that have a standby.
    pub seats: Seats,
    /// The validators that were convicted, and by which block.
    pub convicted: BTreeMap<PublicKey, Height>,
}

impl Judges {
    /// `honest`: the validators that keep to the rules.
    pub fn new(
        set: ValidatorSet,
        network: B256,
        pool: MempoolLimits,
        honest: BTreeMap<PublicKey, Id>,
        seats: Seats,
    ) -> Self {
        Self { sets: BTreeMap::from([(1, set)]), network, pool, honest, seats, ..Self::default() }
    }

    pub fn accuse(&mut self, judge: &'static str, text: String) {
        self.violations.push(Violation { at: self.now, judge, text });
    }

    /// An honest machine reported to its callers that a block is final.
    pub fn committed(
        &mut self,
        id: Id,
        block: &RecoveredBlock,
        receipts: &[Receipt],
        snapshot: &Snapshot,
        watched: &[Address],
    ) {
        let height = block.header.number;
        let state = match digest_accounts(snapshot, height, watched) {
            Ok(state) => state,
            Err(e) => return self.accuse("storage", format!("machine {id}: {e}")),
        };
        let mut hasher = DefaultHasher::new();
        format!("{receipts:?}").hash(&mut hasher);
        let txs = block.transactions.len();
        // The first machine's block is the measure of all others: agreement is that no later
        // one differs, and needs no judgement of which is right.
        let ours = Final { hash: block.hash, at: self.now, txs, state, receipts: hasher.finish() };
        let first = self.chain.entry(height).or_insert_with(|| ours.clone()).clone();
        if first.hash != ours.hash {
            let text = format!("height {height}: {} and, machine {id}, {}", first.hash, ours.hash);
            self.accuse("agreement", text);
        } else if first.state != state {
            self.accuse("state", format!("machine {id} has other accounts after {height}"));
        } else if first.receipts != ours.receipts {
            self.accuse("state", format!("machine {id} has other receipts of {height}"));
        }
        // A receipt gives a wallet its transaction's place, for ever.
        for (index, tx) in block.transactions.iter().enumerate() {
            let place = (height, index);
            if *self.reported_txs.entry(*tx.tx_hash()).or_insert(place) != place {
                self.accuse("receipts", format!("{} is final twice", tx.tx_hash()));
            }
        }
        for evidence in &block.attached.evidence {
            self.convict(height, evidence.validator());
        }
        let told = self.reported.entry(id).or_default();
        *told = height.max(*told);
        self.certified(id, height, snapshot);
    }

    fn certified(&mut self, id: Id, height: Height, snapshot: &Snapshot) {
        // Also the next height's set: it is what this block decided.
        for height in [height, height + 1] {
            match snapshot.validators(height) {
                Ok(Some(set)) => self.know_set(id, height, set),
                Ok(None) => {}
                Err(e) => self.accuse("storage", format!("machine {id}: {e}")),
            }
        }
        match snapshot.certificate(height) {
            Ok(Some(certificate)) => self.certificate(id, &certificate),
            Ok(None) if height == 0 => {}
            Ok(None) => {
                self.accuse("certificate", format!("machine {id} has none for {height}"));
            }
            Err(e) => self.accuse("storage", format!("machine {id}: {e}")),
        }
    }

    /// A machine's validators of a height.
    fn know_set(&mut self, id: Id, height: Height, set: ValidatorSet) {
        if let Err(text) = self.seats.check(&set) {
            self.accuse("double-sign", text);
        }
        let known = self.sets.entry(height).or_insert_with(|| set.clone());
        if *known != set {
            let text = format!("height {height}: machine {id} has {set:?}, another {known:?}");
            self.accuse("validators", text);
        }
    }

    /// How often the validators, or their power, changed.
    pub fn changes_of_set(&self) -> u64 {
        let sets: Vec<_> = self.sets.values().collect();
        sets.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64
    }

    /// The validators of a height, as far as any machine knows.
    fn set_at(&self, height: Height) -> Option<&ValidatorSet> {
        self.sets.range(..=height).next_back().map(|(_, set)| set)
    }

    /// A certificate that an honest machine holds.
    pub fn certificate(&mut self, id: Id, certificate: &Certificate) {
        // Verifying signatures is most of a judge's work: each certificate once.
        if !self.checked.insert(certificate.hash()) {
            return;
        }
        let verified =
            self.set_at(certificate.height).map(|s| certificate.verify(s, &self.network));
        if let Some(Err(e)) = verified {
            self.accuse("certificate", format!("machine {id} holds a bad one: {e}"));
        }
        let known = self.chain.get(&certificate.height).map(|block| block.hash);
        if known.is_some_and(|hash| hash != certificate.block) {
            let text = format!("height {}: two blocks are certified", certificate.height);
            self.accuse("agreement", text);
        }
    }

    /// A machine started; it must know all that it reported before.
    pub fn started(&mut self, id: Id, node: &Node) {
        self.relayed.retain(|(by, _)| *by != id);
        let (tip, hash) = (node.ledger().tip().number, node.ledger().tip_hash());
        let told = self.reported.get(&id).copied().unwrap_or_default();
        // A caller that saw a final block may have delivered goods for it.
        if tip < told {
            self.accuse("lost", format!("machine {id} told of {told} and is back at {tip}"));
        }
        if self.chain.get(&tip).is_some_and(|block| block.hash != hash) {
            self.accuse("agreement", format!("machine {id} is back at another {tip}: {hash}"));
        }
        if tip > 0 {
            self.certified(id, tip, &node.ledger().snapshot());
        }
    }

    /// A machine believed a snapshot.
    pub fn restored(&mut self, id: Id, height: Height, hash: B256) {
        if self.chain.get(&height).is_none_or(|block| block.hash != hash) {
            let text = format!("machine {id} believes a snapshot of another {height}: {hash}");
            self.accuse("agreement", text);
        }
    }

    /// A machine sent a message to another; `honest`: whether the machine is.
    pub fn on_sent(&mut self, id: Id, honest: bool, message: &Message) {
        match message {
            Message::Vote(vote) => {
                // Prevotes of all, the dishonest too: a lock may be left for any quorum of them.
                if vote.kind == VoteKind::Prevote
                    && let Some(block) = vote.block
                {
                    let seen = self.prevotes.entry((vote.height, vote.round, block)).or_default();
                    seen.insert(vote.validator);
                }
                if honest && self.honest.get(&vote.validator) == Some(&id) {
                    self.voted(vote);
                }
            }
            Message::Proposal(proposed)
                if honest && self.honest.get(&proposed.proposal.proposer) == Some(&id) =>
            {
                self.proposed(&proposed.proposal, &proposed.header);
            }
            Message::PolkaCertificate(polka) => {
                let seen =
                    self.prevotes.entry((polka.height, polka.round, polka.block)).or_default();
                seen.extend(polka.signatures.iter().map(|s| s.validator));
            }
            _ => {}
        }
    }

    /// An honest machine relayed a message. Once is enough, as its rule says.
    pub fn on_relayed(&mut self, by: Id, message: &Message) {
        let mut is_new = || self.relayed.insert((by, keccak256(message.encode())));
        if message.rule().relayed && !matches!(message, Message::Txs(_)) && !is_new() {
            self.accuse("bounds", format!("machine {by} relays twice: {message:?}"));
        }
    }

    /// An honest machine sent a message to one peer only.
    pub fn on_sent_to(&mut self, by: Id, to: Id, favoured: bool, message: &Message) {
        let bytes = message.encoded_len();
        if let Some(text) = self.sent.add(self.now, (by, to), favoured, message, bytes) {
            self.accuse("bounds", text);
        }
    }

    fn voted(&mut self, vote: &Vote) {
        if let Err(text) = self.seats.sign(vote.validator, vote.height) {
            self.accuse("double-sign", text);
        }
        let place = (vote.validator, vote.height, vote.round, vote.kind);
        let first = *self.votes.entry(place).or_insert(vote.block);
        if first != vote.block {
            let text = format!("two votes: {vote:?}, and for {first:?} before");
            return self.accuse("double-sign", text);
        }
        let Some(block) = vote.block else { return };
        match vote.kind {
            VoteKind::Prevote => self.check_lock(vote, block),
            VoteKind::Precommit => {
                let lock = (vote.height, vote.round, block);
                let newest = self.locks.entry(vote.validator).or_insert(lock);
                *newest = lock.max(*newest);
            }
        }
    }

    /// A validator that precommitted a block prevotes for another only when a
    /// quorum prevoted that one since (arXiv:1807.04938, lines 22 to 30).
    fn check_lock(&mut self, vote: &Vote, block: B256) {
        let Some(&(height, round, locked)) = self.locks.get(&vote.validator) else { return };
        if height != vote.height || vote.round <= round || locked == block {
            return;
        }
        let Some(set) = self.set_at(height) else { return };
        let freed = (round..vote.round).any(|round| {
            let voters = self.prevotes.get(&(height, round, block));
            let powers = voters.into_iter().flatten().filter_map(|key| set.get(key));
            set.is_quorum(powers.map(|validator| validator.power).sum())
        });
        if !freed {
            let text = format!("{vote:?}, while locked on {locked} since round {round}");
            self.accuse("lock", text);
        }
    }

    fn proposed(&mut self, proposal: &Proposal, header: &Header) {
        let place = (proposal.proposer, proposal.height, proposal.round);
        let what = (proposal.block, proposal.pol_round);
        let first = *self.proposals.entry(place).or_insert(what);
        if first != what {
            let text = format!("two proposals: {proposal:?}, and {first:?} before");
            self.accuse("double-sign", text);
        }
        if header.number != proposal.height {
            self.accuse("double-sign", format!("{proposal:?} of a block {}", header.number));
        }
    }

    /// Adds to what `by` holds against `peer`; whether that is enough for a ban.
    pub fn blamed(&mut self, by: Id, peer: Id, honest: bool, offence: Offence) -> bool {
        let score = self.scores.entry((by, peer)).or_default();
        *score += offence.cost();
        let banned = *score >= BAN_AT;
        // Attack: a dishonest machine makes honest ones blame each other, until the network
        // falls apart without a single broken signature.
        if banned && honest {
            let text = format!("machine {by} bans the honest {peer}, last for {offence:?}");
            self.accuse("honest-peer", text);
        }
        banned
    }

    /// A machine is known by another name from now on.
    pub fn forget(&mut self, by: Id, peer: Id) {
        self.scores.remove(&(by, peer));
    }

    pub fn is_banned(&self, by: Id, peer: Id) -> bool {
        self.scores.get(&(by, peer)).is_some_and(|score| *score >= BAN_AT)
    }

    /// A block convicts a validator of signing two things.
    fn convict(&mut self, height: Height, validator: PublicKey) {
        let before = *self.convicted.entry(validator).or_insert(height);
        if self.honest.contains_key(&validator) {
            let text = format!("block {height} convicts {validator}");
            self.accuse("honest-validator", text);
        } else if before != height {
            // A key is convicted once (`docs/adr/0016`): a second time would punish twice.
            let text = format!("blocks {before} and {height} convict {validator}");
            self.accuse("convicted-once", text);
        }
    }

    /// Checks the bounds of the memory that a machine's status shows.
    pub fn status(&mut self, id: Id, status: &NodeStatus) {
        let txs = status.pool_pending + status.pool_queued;
        if txs > self.pool.txs_max || status.pool_bytes > self.pool.bytes_max {
            let text = format!("machine {id} pools {txs} txs, {} bytes", status.pool_bytes);
            self.accuse("bounds", text);
        }
    }

    /// What a machine holds for its peers: within the rule of each message, and nothing for who is
    /// gone.
    pub fn held(&mut self, id: Id, node: &Node) {
        for held in node.held_bytes() {
            let PeerHoldings { rule, budget, all, of_one, of_gone } = held;
            if all > budget.all || of_one > budget.peer || of_gone > 0 {
                let text = format!("machine {id} holds too much of {}: {held:?}", rule.name);
                self.accuse("bounds", text);
            }
        }
    }

    /// The end: an honest machine still knows all that any reported.
    pub fn ended(&mut self, id: Id, node: &Node) {
        if let Err(e) = self.remembers(id, &node.ledger().snapshot()) {
            self.accuse("storage", format!("machine {id}: {e}"));
        }
        self.status(id, &node.status());
    }

    fn remembers(&mut self, id: Id, snapshot: &Snapshot) -> Result<(), LedgerError> {
        // A machine that began by a snapshot lacks what was before it, and the receipts of that.
        let (from, tip) = (snapshot.blocks_from(), snapshot.tip().number);
        let known = self.chain.range(from..=tip).map(|(height, block)| (*height, block.hash));
        for (height, hash) in known.collect::<Vec<_>>() {
            let ours = snapshot.header(height)?.map(|(hash, _)| hash);
            if ours != Some(hash) {
                self.accuse("lost", format!("machine {id} has {ours:?} at {height}, not {hash}"));
            }
            self.certified(id, height, snapshot);
        }
        for (tx, (height, index)) in self.reported_txs.clone() {
            let ours = snapshot.transaction(&tx)?;
            if (from..=tip).contains(&height) && ours != Some((height, index)) {
                let text = format!("machine {id}: {tx} was {index} in {height}, is {ours:?}");
                self.accuse("receipts", text);
            }
        }
        Ok(())
    }

    /// How many blocks were final at that instant.
    pub fn height_at(&self, at: Time) -> Height {
        let then = self.chain.iter().filter(|(_, block)| block.at <= at);
        then.map(|(height, _)| *height).max().unwrap_or_default()
    }

    /// When blocks became final, after that instant.
    pub fn times_after(&self, since: Time) -> Vec<Time> {
        let mut times: Vec<_> = self.chain.values().map(|block| block.at).collect();
        times.retain(|at| *at > since);
        times.sort();
        times
    }

    /// When blocks became final, after one instant and up to another.
    pub fn times_between(&self, since: Time, until: Time) -> Vec<Time> {
        let mut times = self.times_after(since);
        times.retain(|at| *at <= until);
        times
    }

    /// How many transactions became final after that instant.
    pub fn txs_after(&self, since: Time) -> u64 {
        self.chain.values().filter(|block| block.at > since).map(|block| block.txs as u64).sum()
    }

    /// The longest that no block became final, from `since` until now.
    pub fn gap_after(&self, since: Time) -> Millis {
        let times = [vec![since], self.times_after(since), vec![self.now]].concat();
        times.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap_or_default()
    }
}

fn digest_accounts(
    snapshot: &Snapshot,
    height: Height,
    watched: &[Address],
) -> Result<u64, LedgerError> {
    let mut hasher = DefaultHasher::new();
    for address in watched {
        let account = snapshot.state(height)?.account(address)?;
        account.map(|it| (it.nonce, it.balance, it.code_hash)).hash(&mut hasher);
    }
    Ok(hasher.finish())
}
