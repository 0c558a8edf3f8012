//! A cluster of bare cores: virtual time, a wire that a test may damage, and judges for
//! agreement and double signing in every run.
//!
//! The simulator's whole nodes cannot stand in for it. These tests crash a core after any one
//! record of a step, give it a block before the proposal, and have execution refuse sound
//! blocks. They bound a height by the core's own waits, which a node's block interval hides.

use std::collections::{BTreeMap, BTreeSet};

use trefoil_crypto::SecretKey;
use trefoil_types::{
    B256, Certificate, Evidence, Height, Millis, Offence, PublicKey, Round, Time, Turns, Validator,
    ValidatorSet, VoteKind, keccak256,
};

use crate::{Candidate, Config, Consensus, ConsensusMessage, Output, Timeouts};

pub const NETWORK: B256 = B256::repeat_byte(7);

pub fn key(i: usize) -> SecretKey {
    SecretKey::from_seed(&[i as u8 + 1; 32])
}

pub fn set_of(n: usize) -> ValidatorSet {
    set_of_keys(0..n)
}

pub fn set_of_keys(keys: impl IntoIterator<Item = usize>) -> ValidatorSet {
    let validators = keys.into_iter().map(|i| Validator { key: key(i).public(), power: 1 });
    ValidatorSet::new(validators.collect()).expect("a test's set")
}

pub fn timeouts() -> Timeouts {
    Timeouts {
        propose: Millis(1_000),
        prevote: Millis(400),
        precommit: Millis(400),
        delta: Millis(150),
        max: Millis(3_000),
        passes_over: true,
    }
}

/// The turns of `n` at `height`, who validate from the first on.
pub fn turns(n: usize, height: Height) -> Turns {
    let set = set_of(n);
    (1..height).fold(Turns::first(set.clone()), |turns, _| turns.next(&set))
}

/// Which node proposes at `height` and `round` among `n`.
pub fn proposer(n: usize, height: Height, round: Round) -> usize {
    let name = turns(n, height).proposer(round).key;
    (0..n).find(|i| key(*i).public() == name).expect("a validator")
}

/// SplitMix64 (public domain, Steele et al. 2014): small and seeded.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// The delays (ms) of the copies of one message from one node to another; none when it is
/// lost.
pub type CoreWire = Box<dyn FnMut(&mut Random, Time, usize, usize, &ConsensusMessage) -> Vec<u64>>;

pub struct CoreNode {
    pub consensus: Option<Consensus>,
    /// This height's records. They survive a crash, as the chain does.
    pub journal: Vec<Vec<u8>>,
    pub chain: Vec<Certificate>,
    /// Records written since the start of the run.
    pub records: usize,
    /// Crash after this many records, before anything that follows them.
    pub crash_after: Option<usize>,
}

enum CoreEvent {
    Deliver { to: usize, from: usize, speech: ConsensusMessage },
    Executed { to: usize, candidate: Candidate },
    Built { to: usize, height: Height, round: Round, block: B256 },
    Restart { node: usize },
}

pub struct CoreCluster {
    pub now: Time,
    pub nodes: Vec<CoreNode>,
    /// The validators, by the first height that has them.
    pub sets: BTreeMap<Height, ValidatorSet>,
    pub wire: CoreWire,
    pub random: Random,
    pub evidence: Vec<Evidence>,
    /// Nodes whose key was seen to sign elsewhere, and in which round.
    pub elsewhere: Vec<(usize, Round)>,
    /// Every block that was built, oldest first.
    pub built: Vec<B256>,
    /// Blocks that execution refuses.
    pub invalid: BTreeSet<B256>,
    pub refuse_round: Option<Round>,
    pub refuse_all: bool,
    /// The candidate arrives before its proposal.
    pub candidate_first: bool,
    pub offences: usize,
    events: BTreeMap<(Time, u64), CoreEvent>,
    sequence: u64,
    /// Every statement ever sent: the judge of double signing.
    said: BTreeMap<(PublicKey, Height, Round, u8), Option<B256>>,
    byzantine: BTreeSet<PublicKey>,
    /// The one key that each node signs with at a height.
    signers: BTreeMap<(usize, Height), PublicKey>,
    /// The keys of each node, oldest first.
    keys: Vec<Vec<usize>>,
}

/// A wire that takes 5 to 20 ms and loses nothing.
pub fn good_wire() -> CoreWire {
    Box::new(|random, _, _, _, _| vec![5 + random.below(16)])
}

impl CoreCluster {
    pub fn new(n: usize, seed: u64) -> Self {
        Self::with_followers(n, 0, seed)
    }

    /// `n` validators and `followers` full nodes after them.
    pub fn with_followers(n: usize, followers: usize, seed: u64) -> Self {
        let node = || CoreNode {
            consensus: None,
            journal: Vec::new(),
            chain: Vec::new(),
            records: 0,
            crash_after: None,
        };
        let mut cluster = Self {
            now: Time(1_000_000),
            nodes: (0..n + followers).map(|_| node()).collect(),
            sets: BTreeMap::from([(1, set_of(n))]),
            wire: good_wire(),
            random: Random(seed),
            evidence: Vec::new(),
            elsewhere: Vec::new(),
            built: Vec::new(),
            invalid: BTreeSet::new(),
            refuse_round: None,
            refuse_all: false,
            candidate_first: false,
            offences: 0,
            events: BTreeMap::new(),
            sequence: 0,
            said: BTreeMap::new(),
            byzantine: BTreeSet::new(),
            signers: BTreeMap::new(),
            keys: (0..n + followers).map(|i| (i < n).then_some(i).into_iter().collect()).collect(),
        };
        (0..n + followers).for_each(|i| cluster.restart(i));
        cluster
    }

    /// Expects a validator to double sign.
    pub fn suspect(&mut self, node: usize) {
        self.byzantine.insert(key(node).public());
    }

    /// Lets another machine, `node`, sign with a validator's key too.
    pub fn twin(&mut self, node: usize, validator: usize) {
        self.suspect(validator);
        self.give_keys(node, &[validator]);
    }

    /// Starts a node again, with these keys, oldest first.
    pub fn give_keys(&mut self, node: usize, keys: &[usize]) {
        self.keys[node] = keys.to_vec();
        self.restart(node);
    }

    fn turns_at(&self, height: Height) -> Turns {
        let first = Turns::first(self.set_at(1).clone());
        (2..=height).fold(first, |turns, height| turns.next(self.set_at(height)))
    }

    fn set_at(&self, height: Height) -> &ValidatorSet {
        self.sets.range(..=height).next_back().expect("the set of height 1").1
    }

    pub fn crash(&mut self, node: usize) {
        self.nodes[node].consensus = None;
        self.nodes[node].crash_after = None;
    }

    pub fn restart(&mut self, i: usize) {
        let keys = self.keys[i].iter().map(|i| key(*i)).collect();
        let config = Config { keys, network: NETWORK, timeouts: timeouts() };
        self.nodes[i].consensus = Some(Consensus::new(config));
        let records = self.nodes[i].journal.clone();
        self.begin(i, &records);
    }

    pub fn height(&self, node: usize) -> Height {
        self.nodes[node].chain.len() as Height
    }

    /// Runs until every node that is up has decided `height`; panics if that
    /// takes longer than `within`. Returns how long it took.
    pub fn decide(&mut self, height: Height, within: Millis) -> Millis {
        let began = self.now;
        while (0..self.nodes.len())
            .any(|i| self.nodes[i].consensus.is_some() && self.height(i) < height)
        {
            let places: Vec<_> = self
                .nodes
                .iter()
                .map(|n| n.consensus.as_ref().and_then(Consensus::position))
                .collect();
            assert!(self.step(), "nothing left to happen before height {height}");
            let took = self.now.since(began);
            assert!(took <= within, "height {height} took over {within}: at {places:?}");
        }
        self.now.since(began)
    }

    pub fn run_for(&mut self, time: Millis) {
        let end = self.now + time;
        while self.next_time().is_some_and(|next| next <= end) {
            self.step();
        }
        self.now = end;
    }

    fn next_time(&self) -> Option<Time> {
        let events = self.events.keys().next().map(|(time, _)| *time);
        let timers = self.nodes.iter().filter_map(|n| n.consensus.as_ref()?.deadline());
        timers.chain(events).min()
    }

    fn step(&mut self) -> bool {
        let Some(next) = self.next_time() else { return false };
        self.now = self.now.max(next);
        for i in 0..self.nodes.len() {
            let mut out = Vec::new();
            if let Some(consensus) = &mut self.nodes[i].consensus
                && consensus.deadline().is_some_and(|due| due <= self.now)
            {
                consensus.tick(self.now, &mut out);
                self.handle(i, out);
            }
        }
        while let Some((&(time, at), _)) = self.events.first_key_value()
            && time <= self.now
        {
            let event = self.events.remove(&(time, at)).expect("just seen");
            self.happen(event);
        }
        true
    }

    fn happen(&mut self, event: CoreEvent) {
        match event {
            CoreEvent::Restart { node } => self.restart(node),
            CoreEvent::Executed { to, candidate } => self.executed(to, candidate),
            CoreEvent::Built { to, height, round, block } => {
                self.drive(to, |consensus, now, out| {
                    consensus.built(now, height, round, block, out);
                    Ok(())
                })
            }
            CoreEvent::Deliver { to, from, speech } => self.deliver(to, from, speech),
        }
    }

    fn deliver(&mut self, to: usize, from: usize, speech: ConsensusMessage) {
        if self.nodes[to].consensus.is_none() {
            return;
        }
        // Block sync: a node that learns of a later height asks for the block that it lacks.
        let height = speech.place().0;
        while height > self.height(to) + 1 && self.height(from) > self.height(to) {
            let certificate = self.nodes[from].chain[self.nodes[to].chain.len()].clone();
            self.commit(to, certificate);
        }
        if height <= self.height(to) && self.height(from) < self.height(to) {
            let certificate = self.nodes[to].chain[self.nodes[from].chain.len()].clone();
            if self.nodes[from].consensus.is_some()
                && (self.wire)(&mut self.random, self.now, to, from, &speech).len() == 1
            {
                self.commit(from, certificate);
            }
        }
        if let ConsensusMessage::Proposal(p) = &speech {
            let valid = !self.invalid.contains(&p.block)
                && self.refuse_round != Some(p.round)
                && !self.refuse_all;
            let candidate = Candidate {
                height: p.height,
                round: p.round,
                proposer: p.proposer,
                block: p.block,
                valid,
            };
            if self.candidate_first {
                self.executed(to, candidate);
            } else {
                self.after(5, CoreEvent::Executed { to, candidate });
            }
        }
        self.input(to, speech);
    }

    pub fn input(&mut self, to: usize, speech: ConsensusMessage) {
        let is_late = speech.place().0 <= self.height(to);
        self.drive(to, |consensus, now, out| match speech {
            ConsensusMessage::Vote(vote) if is_late => consensus.input_late(&vote),
            speech => consensus.input(now, speech, out),
        });
    }

    fn executed(&mut self, to: usize, candidate: Candidate) {
        self.drive(to, |consensus, now, out| {
            consensus.executed(now, candidate, out);
            Ok(())
        });
    }

    fn drive(
        &mut self,
        to: usize,
        call: impl FnOnce(&mut Consensus, Time, &mut Vec<Output>) -> Result<(), Offence>,
    ) {
        let mut out = Vec::new();
        let Some(consensus) = &mut self.nodes[to].consensus else { return };
        if call(consensus, self.now, &mut out).is_err() {
            self.offences += 1;
        }
        self.handle(to, out);
    }

    /// Sends a message to everyone in the name of its signer.
    pub fn say(&mut self, from: usize, speech: &ConsensusMessage) {
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            self.send(from, to, speech);
        }
    }

    pub fn send(&mut self, from: usize, to: usize, speech: &ConsensusMessage) {
        for delay in (self.wire)(&mut self.random, self.now, from, to, speech) {
            self.after(delay, CoreEvent::Deliver { to, from, speech: speech.clone() });
        }
    }

    fn after(&mut self, delay: u64, event: CoreEvent) {
        self.sequence += 1;
        self.events.insert((self.now + Millis(delay), self.sequence), event);
    }

    /// Journal before speech: a crash between the two loses the speech.
    fn handle(&mut self, node: usize, out: Vec<Output>) {
        let decided = out.iter().position(|o| matches!(o, Output::Decided(_)));
        assert!(decided.is_none_or(|at| at + 1 == out.len()), "something follows the decision");
        for output in out {
            match output {
                Output::Record { bytes, .. } => {
                    let n = &mut self.nodes[node];
                    n.journal.push(bytes);
                    n.records += 1;
                    if n.crash_after == Some(n.records) {
                        self.crash(node);
                        self.after(50, CoreEvent::Restart { node });
                        return;
                    }
                }
                Output::Send(speech) => {
                    self.judge(node, &speech);
                    self.say(node, &speech);
                }
                Output::Build { height, round, until } => {
                    assert!(until > self.now);
                    let block = keccak256(format!("{height}/{round}/{node}/{}", self.now.0));
                    self.built.push(block);
                    if self.refuse_round == Some(round) {
                        self.invalid.insert(block);
                    }
                    self.after(10, CoreEvent::Built { to: node, height, round, block });
                }
                Output::Decided(certificate) => self.commit(node, certificate),
                Output::Evidence(evidence) => self.evidence.push(evidence),
                Output::Elsewhere { round, .. } => self.elsewhere.push((node, round)),
            }
        }
    }

    /// Agreement: everyone who decided this height decided the same.
    fn commit(&mut self, node: usize, certificate: Certificate) {
        let height = certificate.height;
        assert_eq!(height, self.height(node) + 1, "a height is decided out of turn");
        certificate.verify(self.set_at(height), &NETWORK).expect("a certificate proves its block");
        for other in &self.nodes {
            if let Some(theirs) = other.chain.get(height as usize - 1) {
                assert_eq!(theirs.block, certificate.block, "two blocks at height {height}");
            }
        }
        self.nodes[node].chain.push(certificate);
        self.nodes[node].journal.clear();
        self.begin(node, &[]);
    }

    fn begin(&mut self, node: usize, records: &[Vec<u8>]) {
        let height = self.height(node) + 1;
        let (now, turns, mut out) = (self.now, self.turns_at(height), Vec::new());
        if let Some(consensus) = &mut self.nodes[node].consensus {
            consensus.start(now, height, turns, records, &mut out).expect("own records");
        }
        self.handle(node, out);
    }

    fn judge(&mut self, node: usize, speech: &ConsensusMessage) {
        let (who, height, round, kind, block) = match speech {
            ConsensusMessage::Vote(v) => (
                v.validator,
                v.height,
                v.round,
                1 + u8::from(v.kind == VoteKind::Precommit),
                v.block,
            ),
            ConsensusMessage::Proposal(p) => (p.proposer, p.height, p.round, 0, Some(p.block)),
            _ => return,
        };
        // A node passes on votes of others too, for those who lack them.
        if self.keys[node].iter().any(|i| key(*i).public() == who) {
            let signer = *self.signers.entry((node, height)).or_insert(who);
            assert_eq!(signer, who, "node {node} signs with two keys at height {height}");
        }
        if self.byzantine.contains(&who) {
            return;
        }
        let before = *self.said.entry((who, height, round, kind)).or_insert(block);
        assert_eq!(before, block, "{who:?} signed twice at {height}/{round} kind {kind}");
    }
}
