//! Heights a second: four validators on one core, real signatures, no wire.

use std::{collections::VecDeque, hint::black_box};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trefoil_consensus::{Candidate, Config, Consensus, ConsensusMessage, Output, Timeouts};
use trefoil_crypto::SecretKey;
use trefoil_types::{B256, Height, Millis, Round, Time, Turns, Validator, ValidatorSet, keccak256};

const VALIDATORS: usize = 4;
const NETWORK: B256 = B256::repeat_byte(7);
const NOW: Time = Time(1_000_000);

fn key(i: usize) -> SecretKey {
    SecretKey::from_seed(&[i as u8 + 1; 32])
}

fn set() -> ValidatorSet {
    let validators = (0..VALIDATORS).map(|i| Validator { key: key(i).public(), power: 1 });
    ValidatorSet::new(validators.collect()).expect("four validators are a set")
}

fn nodes() -> Vec<Consensus> {
    let timeouts = Timeouts {
        propose: Millis(1_000),
        prevote: Millis(400),
        precommit: Millis(400),
        delta: Millis(150),
        max: Millis(3_000),
        passes_over: true,
    };
    let config = |i| Config { keys: vec![key(i)], network: NETWORK, timeouts };
    (0..VALIDATORS).map(|i| Consensus::new(config(i))).collect()
}

/// The next event of a node.
enum Event {
    Heard(ConsensusMessage),
    Executed(Candidate),
    Built(Height, Round, B256),
}

/// Runs one height to its decision on every node.
fn decide(nodes: &mut [Consensus], height: Height, turns: &Turns) {
    let mut queue = VecDeque::new();
    let mut decided = 0;
    for (i, node) in nodes.iter_mut().enumerate() {
        let mut out = Vec::new();
        node.start(NOW, height, turns.clone(), &[], &mut out).expect("no records");
        handle(i, out, &mut queue, &mut decided);
    }
    while let Some((to, event)) = queue.pop_front() {
        let mut out = Vec::new();
        match event {
            Event::Heard(speech) => nodes[to].input(NOW, speech, &mut out).expect("honest peers"),
            Event::Executed(candidate) => nodes[to].executed(NOW, candidate, &mut out),
            Event::Built(height, round, block) => {
                nodes[to].built(NOW, height, round, block, &mut out);
            }
        }
        handle(to, out, &mut queue, &mut decided);
    }
    assert_eq!(decided, VALIDATORS);
}

fn handle(
    from: usize,
    out: Vec<Output>,
    queue: &mut VecDeque<(usize, Event)>,
    decided: &mut usize,
) {
    for output in out {
        match output {
            Output::Build { height, round, .. } => {
                let block = keccak256(height.to_be_bytes());
                queue.push_back((from, Event::Built(height, round, block)));
            }
            Output::Send(speech) => {
                for to in (0..VALIDATORS).filter(|to| *to != from) {
                    queue.push_back((to, Event::Heard(speech.clone())));
                    let candidate = candidate(&speech).map(Event::Executed);
                    queue.extend(candidate.map(|event| (to, event)));
                }
            }
            Output::Decided(certificate) => {
                black_box(certificate);
                *decided += 1;
            }
            _ => {}
        }
    }
}

/// The block of a proposal, executed.
fn candidate(speech: &ConsensusMessage) -> Option<Candidate> {
    let ConsensusMessage::Proposal(proposal) = speech else { return None };
    Some(Candidate {
        height: proposal.height,
        round: proposal.round,
        proposer: proposal.proposer,
        block: proposal.block,
        valid: true,
    })
}

fn heights(c: &mut Criterion) {
    let (mut nodes, mut turns, mut height) = (nodes(), Turns::first(set()), 0);
    let mut group = c.benchmark_group("consensus");
    group.throughput(Throughput::Elements(1));
    group.bench_function("four validators decide a height", |b| {
        b.iter(|| {
            height += 1;
            decide(&mut nodes, height, &turns);
            turns = turns.clone().next(&set());
        });
    });
}

/// The widest set: what each height costs, and the proposer of the last round before they
/// come again.
fn turns(c: &mut Criterion) {
    let key = |n: u8| SecretKey::from_seed(&[n; 32]).public();
    let validator = |n: u8| Validator { key: key(n), power: 1 + u64::from(n) * 1_000 };
    let set = ValidatorSet::new((0..128).map(validator).collect()).expect("a set");
    let mut turns = Turns::first(set.clone());
    let mut group = c.benchmark_group("turns of 128 validators");
    group.bench_function("of the next height", |b| {
        b.iter(|| turns = black_box(&turns).clone().next(&set));
    });
    group.bench_function("their hash", |b| b.iter(|| black_box(&turns).hash()));
    group.bench_function("the proposer of round 1,023", |b| {
        b.iter(|| black_box(&turns).proposer(1_023).key);
    });
}

criterion_group!(benches, heights, turns);
criterion_main!(benches);
