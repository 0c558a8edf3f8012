//! A proposer that is not there is not waited for, and one that is back is.

use arc_malachitebft_core_types::TimeoutKind;
use trefoil_types::{
    B256, Height, Millis, Offence, Proposal, PublicKey, Round, RoundCertificate, RoundVote,
    Signature, Time, Turns, Vote, VoteKind,
};

use super::cluster::{CoreCluster, NETWORK, good_wire, key, proposer, timeouts, turns};
use crate::{
    Candidate, Config, Consensus, ConsensusMessage, Output, Timeouts, timeouts::AdaptiveTimeouts,
};

const BLOCK: B256 = B256::repeat_byte(0xbb);

/// Node 0 of four, given the messages of the others by hand.
struct LoneNode {
    consensus: Consensus,
    height: Height,
    now: Time,
    out: Vec<Output>,
}

impl LoneNode {
    /// At the first height from 5 on whose first proposer is another node.
    fn new() -> Self {
        let config = Config { keys: vec![key(0)], network: NETWORK, timeouts: timeouts() };
        let consensus = Consensus::new(config);
        let mut node = Self { consensus, height: 0, now: Time(1_000), out: vec![] };
        node.begin((5..).find(|height| proposer(4, *height, 0) != 0).unwrap());
        node
    }

    fn begin(&mut self, height: Height) {
        self.height = height;
        let turns = turns(4, height);
        self.consensus.start(self.now, height, turns, &[], &mut self.out).unwrap();
    }

    /// The next height from here on whose first proposer is `who`.
    fn begin_turn_of(&mut self, who: usize) {
        let next = self.height + 1;
        self.begin((next..).find(|height| proposer(4, *height, 0) == who).unwrap());
    }

    fn proposer(&self) -> usize {
        proposer(4, self.height, 0)
    }

    /// Lets the wait for this height's proposal pass: how long it was.
    fn miss(&mut self) -> Millis {
        let began = self.now;
        self.out.clear();
        loop {
            // Votes of rounds before are repeated meanwhile.
            self.now = self.consensus.deadline().unwrap();
            self.consensus.tick(self.now, &mut self.out);
            if self.voted(VoteKind::Prevote, None) {
                return self.now.since(began);
            }
        }
    }

    fn take(&mut self, said: ConsensusMessage) -> Result<(), Offence> {
        self.consensus.input(self.now, said, &mut self.out)
    }

    fn vote(&self, who: usize, kind: VoteKind, round: Round, block: Option<B256>) -> Vote {
        Vote::sign(&key(who), &NETWORK, kind, self.height, round, block)
    }

    /// Whether a vote of its own for this was sent since the last time.
    fn voted(&mut self, kind: VoteKind, block: Option<B256>) -> bool {
        std::mem::take(&mut self.out).into_iter().any(|output| match output {
            Output::Send(ConsensusMessage::Vote(vote)) => (vote.kind, vote.block) == (kind, block),
            _ => false,
        })
    }
}

/// A node at a turn of a proposer that missed its last one, and that proposer.
fn absent() -> (LoneNode, usize) {
    let mut node = LoneNode::new();
    let gone = node.proposer();
    assert_eq!(node.miss(), Millis(1_000));
    node.begin_turn_of(gone);
    (node, gone)
}

#[test]
fn the_turn_of_an_absent_proposer_takes_no_time() {
    let (mut node, gone) = absent();
    assert_eq!(node.miss(), Millis(0));
    // That of the others does.
    let other = (1..4).find(|who| *who != gone).unwrap();
    node.begin_turn_of(other);
    assert_eq!(node.miss(), Millis(1_000));
}

/// A vote of the height, of a later round, of a height that is over (as of a validator that is
/// far away), and within a certificate that somebody made of it and another's.
#[test]
fn any_vote_restores_the_wait() {
    let says = |node: &mut LoneNode, gone: usize, how: usize| match how {
        0 => node.take(ConsensusMessage::Vote(node.vote(gone, VoteKind::Prevote, 0, None))),
        1 => node.take(ConsensusMessage::Vote(node.vote(gone, VoteKind::Precommit, 3, None))),
        2 => {
            let (kind, height) = (VoteKind::Precommit, node.height - 1);
            let vote = Vote::sign(&key(gone), &NETWORK, kind, height, 0, Some(BLOCK));
            node.consensus.input_late(&vote)
        }
        _ => {
            let votes = [gone, gone % 3 + 1].map(|who| {
                let Vote { kind, validator, signature, .. } =
                    node.vote(who, VoteKind::Prevote, 2, None);
                RoundVote { kind, block: None, validator, signature }
            });
            let (height, votes) = (node.height, votes.to_vec());
            let certificate = RoundCertificate { height, round: 2, skip: true, votes };
            node.take(ConsensusMessage::RoundCertificate(certificate))
        }
    };
    for how in 0..4 {
        let (mut node, gone) = absent();
        assert_eq!(says(&mut node, gone, how), Ok(()));
        node.begin_turn_of(gone);
        assert_eq!(node.miss(), Millis(1_000), "{how}");
        // It missed another turn.
        node.begin_turn_of(gone);
        assert_eq!(node.miss(), Millis(0), "{how}");
    }
}

#[test]
fn what_the_absent_did_not_sign_since_restores_nothing() {
    let (mut node, gone) = absent();
    let late = Vote::sign(&key(gone), &NETWORK, VoteKind::Precommit, node.height - 1, 0, None);
    let forge = |vote: &Vote| Vote { signature: Signature([1; 64]), ..vote.clone() };
    assert_eq!(node.consensus.input_late(&forge(&late)), Err(Offence::BadSignature));
    // It was signed before the turn that was missed, however late it comes.
    let before = Vote::sign(&key(gone), &NETWORK, VoteKind::Precommit, 4, 9, None);
    assert_eq!(node.consensus.input_late(&before), Ok(()));
    let forged = forge(&node.vote(gone, VoteKind::Prevote, 0, None));
    assert_eq!(node.take(ConsensusMessage::Vote(forged)), Err(Offence::BadSignature));
    let other = node.vote(gone % 3 + 1, VoteKind::Prevote, 0, None);
    assert_eq!(node.take(ConsensusMessage::Vote(other)), Ok(()));
    node.begin_turn_of(gone);
    assert_eq!(node.miss(), Millis(0));
    // The same vote restores it once and not at each of its turns.
    assert_eq!(node.consensus.input_late(&late), Ok(()));
    node.begin_turn_of(gone);
    assert_eq!(node.miss(), Millis(1_000));
    assert_eq!(node.consensus.input_late(&late), Ok(()));
    node.begin_turn_of(gone);
    assert_eq!(node.miss(), Millis(0));
}

/// A vote of one that is present is not verified: nothing could come of it.
#[test]
fn late_votes_of_the_present_cost_nothing() {
    let mut node = LoneNode::new();
    let vote = Vote::sign(&key(1), &NETWORK, VoteKind::Prevote, node.height - 1, 0, None);
    let forged = Vote { signature: Signature([1; 64]), ..vote };
    assert_eq!(node.consensus.input_late(&forged), Ok(()));
}

/// The node has voted for none at once. The others waited, and a polka forms: the block is
/// decided in this round all the same.
#[test]
fn a_proposal_that_comes_before_the_nil_polka_counts() {
    let (mut node, gone) = absent();
    assert_eq!(node.miss(), Millis(0));
    let height = node.height;
    let proposal = Proposal::sign(&key(gone), &NETWORK, height, 0, BLOCK, None);
    assert_eq!(node.take(ConsensusMessage::Proposal(proposal)), Ok(()));
    let proposer = key(gone).public();
    let candidate = Candidate { height, round: 0, proposer, block: BLOCK, valid: true };
    node.consensus.executed(node.now, candidate, &mut node.out);
    for who in 1..4 {
        let vote = node.vote(who, VoteKind::Prevote, 0, Some(BLOCK));
        assert_eq!(node.take(ConsensusMessage::Vote(vote)), Ok(()));
    }
    assert!(node.voted(VoteKind::Precommit, Some(BLOCK)));
    node.begin_turn_of(gone);
    assert_eq!(node.miss(), Millis(1_000));
}

/// It would hear nothing that ends its absence, and never propose again.
#[test]
fn a_node_is_never_absent_to_itself() {
    let mut node = LoneNode::new();
    node.begin_turn_of(0);
    // Nothing is built.
    node.miss();
    node.begin_turn_of(0);
    let until = node.now + Millis(750);
    let out = &node.out;
    assert!(matches!(out[..], [Output::Build { until: at, .. }] if at == until), "{out:?}");
}

/// Heights of `n` validators that are decided in this round, each.
struct Decided {
    waits: AdaptiveTimeouts,
    turns: Turns,
    height: Height,
}

impl Decided {
    fn new(n: usize) -> Self {
        let mut waits = AdaptiveTimeouts::new(timeouts());
        let turns = turns(n, 1);
        waits.begin(1, turns.validators());
        Self { waits, turns, height: 1 }
    }

    fn waits_for(&self, who: usize) -> bool {
        self.waits.wait(TimeoutKind::Propose, 0, &key(who).public()) > Millis(0)
    }

    /// All heard everybody. The first proposer that is none of `mute` decides.
    fn pass(&mut self, mute: &[usize], own: Option<usize>) {
        let mute: Vec<_> = mute.iter().map(|who| key(*who).public()).collect();
        let proposes = |it: &trefoil_types::Validator| !mute.contains(&it.key);
        let round = self.turns.proposers().position(proposes).unwrap() as Round;
        self.waits.note_decided(&self.turns, round, own.map(|who| key(who).public()));
        let set = self.turns.validators().clone();
        self.turns = self.turns.clone().next(&set);
        self.height += 1;
        self.waits.begin(self.height, &set);
    }

    /// How many of so many heights, one after another, waited for it at its turn.
    fn waited(&mut self, who: usize, mute: &[usize], heights: Height) -> usize {
        let mut waited = 0;
        for _ in 0..heights {
            let its = self.turns.proposer(0).key == key(who).public();
            waited += usize::from(its && self.waits_for(who));
            self.pass(mute, None);
        }
        waited
    }
}

/// Attack: it votes, so that everyone waits for it, and never proposes.
#[test]
fn one_that_votes_and_never_proposes_loses_its_turns() {
    let mut four = Decided::new(4);
    assert_eq!(four.waited(2, &[2], 16), 3);
    assert!(!four.waits_for(2) && four.waits_for(1));
    // Of 250 turns; each time for twice as long, up to a bound.
    assert!((3..=6).contains(&four.waited(2, &[2], 1_000)));
    // It proposes, and is waited for again for good at the next turn that is.
    four.waited(2, &[], 520);
    assert_eq!(four.waited(2, &[], 40), 10);
    // Whatever it did before: three in a row.
    four.waited(2, &[2], 8);
    four.waited(2, &[], 4);
    assert_eq!(four.waited(2, &[2], 8), 2);
}

#[test]
fn a_node_waits_for_itself_and_for_as_many_as_a_quorum_needs() {
    let mut alone = Decided::new(4);
    (0..100).for_each(|_| alone.pass(&[2], Some(2)));
    assert!(alone.waits_for(2));
    // One of three is needed, and two of four: then the network is at fault.
    let mut three = Decided::new(3);
    let mut four = Decided::new(4);
    for _ in 0..200 {
        three.pass(&[2], None);
        four.pass(&[1, 2], None);
        assert!(three.waits_for(2) && (four.waits_for(1) || four.waits_for(2)));
    }
    let elsewhere = Timeouts { passes_over: false, ..timeouts() };
    let mut public = Decided { waits: AdaptiveTimeouts::new(elsewhere), ..Decided::new(4) };
    (0..200).for_each(|_| public.pass(&[2], None));
    assert!(public.waits_for(2), "the chain takes its seat");
}

#[test]
fn waits_grow_with_every_other_round_up_to_a_bound() {
    let waits = AdaptiveTimeouts::new(timeouts());
    let wait = |kind, round| waits.wait(kind, round, &PublicKey::default());
    let propose: Vec<u64> = (0..6).map(|round| wait(TimeoutKind::Propose, round).0).collect();
    assert_eq!(propose, [1_000, 1_000, 1_150, 1_150, 1_300, 1_300]);
    let prevote: Vec<u64> = (0..4).map(|round| wait(TimeoutKind::Prevote, round).0).collect();
    assert_eq!(prevote, [400, 400, 550, 550]);
    assert_eq!(wait(TimeoutKind::Propose, Round::MAX), Millis(3_000));
}

/// Its votes come when the others have decided without it. It misses turns, and gets others: it
/// is never skipped for good.
#[test]
fn a_slow_validator_goes_on_proposing() {
    let mut cluster = CoreCluster::new(4, 20);
    let slow = 2;
    cluster.decide(4, Millis(1_000));
    cluster.crash(slow);
    // Long enough to miss turns.
    let down = cluster.height(0);
    cluster.decide(down + 8, Millis(6_000));
    cluster.wire = Box::new(move |random, _, from, _, _| match from == slow {
        true => vec![300 + random.below(100)],
        false => vec![5 + random.below(16)],
    });
    cluster.restart(slow);
    let from = cluster.height(0) as usize;
    cluster.decide(from as u64 + 60, Millis(60_000));
    let chain = &cluster.nodes[0].chain[from..];
    let its = chain.iter().filter(|c| proposer(4, c.height, c.round) == slow).count();
    assert!(its >= 12, "{its} of {} blocks", chain.len());
}

/// A small model: each of four holds any of the others for absent, in any of 4,096 ways, though
/// all are there. At worst one round passes without a block, and then all are waited for.
#[test]
fn blocks_come_whoever_is_held_for_absent_by_whomever() {
    // Each 37th way, and those in which all are held for absent by one or by all.
    let ways = (0u64..4_096).step_by(37).chain([0o7, 0o7777]);
    for way in ways {
        let mut cluster = CoreCluster::new(4, way);
        cluster.decide(3, Millis(500));
        for node in 0..4 {
            let others = (0..4).filter(|other| *other != node).enumerate();
            let held = others.filter(|(at, _)| way >> (3 * node + at) & 1 == 1);
            let consensus = cluster.nodes[node].consensus.as_mut().unwrap();
            held.for_each(|(_, other)| consensus.presume_absent(key(other).public()));
        }
        let from = (0..4).map(|node| cluster.height(node)).max().unwrap();
        cluster.decide(from + 2, Millis(2_000));
        cluster.decide(from + 6, Millis(4 * 150));
        let chain = &cluster.nodes[0].chain[from as usize + 2..];
        assert!(chain.iter().all(|certificate| certificate.round == 0), "{way:o}");
    }
}

/// Whatever was lost, so that everyone was absent to somebody: when messages come again,
/// everyone is waited for again.
#[test]
fn nobody_stays_absent_on_a_good_wire() {
    for seed in 0..8 {
        let mut cluster = CoreCluster::new(4, 100 + seed);
        cluster.wire = Box::new(|random, _, _, _, speech| match speech {
            ConsensusMessage::Proposal(_) if random.below(10) < 8 => vec![],
            _ if random.below(10) < 3 => vec![],
            _ => vec![5 + random.below(200)],
        });
        cluster.run_for(Millis(60_000));
        cluster.wire = good_wire();
        let height = (0..4).map(|node| cluster.height(node)).max().unwrap();
        // Rounds have grown, and two that are locked on a block must propose it.
        cluster.decide(height + 5, Millis(30_000));
        cluster.decide(height + 21, Millis(16 * 150));
        let late = &cluster.nodes[0].chain[height as usize + 5..];
        let rounds: Vec<Round> = late.iter().map(|certificate| certificate.round).collect();
        assert!(rounds.iter().all(|round| *round == 0), "seed {seed}: {rounds:?}");
    }
}
