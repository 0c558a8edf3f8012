//! A machine that comes by a snapshot, among others that tell it of false ones.
//!
//! Which snapshot is tried next is decided in `host`, which no simulation runs: here all that
//! are told are tried, the false ones first. What is believed is decided in `ledger`, and that
//! is the real code.

use std::sync::Arc;

use trefoil_crypto::SecretKey;
use trefoil_ledger::{
    Draft, History, Ledger,
    state_sync::{snapshot_height, write_state},
};
use trefoil_types::{Address, Attached, ChainSpec, Height, MemDisk};

use crate::{certificates::certify_alone, chain, cluster::Cluster, machine::secret, wire::Id};

/// The name and version of a file, and length and checksum of a frame, bytes (`docs/disk.md`).
const MAGIC_BYTES: usize = 16;
const FRAME_HEADER_BYTES: usize = 8;

/// The kinds of frames: up to here the way to the block, then its state.
const HANDOVER: u8 = 3;

impl Cluster {
    /// A machine that has no chain takes the first snapshot that it believes, and starts.
    pub(crate) fn join(&mut self, id: Id) {
        let mut tellers: Vec<Id> = self.running().filter(|teller| *teller != id).collect();
        tellers.sort_by_key(|teller| self.plan.is_honest(*teller));
        for file in tellers.into_iter().flat_map(|teller| self.told(teller)).collect::<Vec<_>>() {
            match self.machines[id].restore(&file) {
                Ok(Ok(restored)) => {
                    self.trace.note(self.now, || format!("{id} takes {restored:?}"));
                    self.judges.restored(id, restored.height, restored.hash);
                    return self.start(id);
                }
                Ok(Err(refusal)) => {
                    self.trace.note(self.now, || format!("{id} refuses a snapshot: {refusal}"));
                    self.count("snapshots refused");
                }
                Err(panic) => self.judges.accuse("fault", format!("machine {id}: {panic}")),
            }
        }
    }

    /// The snapshots that a machine tells of.
    fn told(&self, teller: Id) -> Vec<Vec<u8>> {
        let Some(node) = self.machines[teller].node() else { return vec![] };
        let (spec, tip) = (node.ledger().spec(), node.ledger().tip().number);
        let Some(height) = snapshot_height(spec, tip) else { return vec![] };
        let truth = state_file(node.ledger(), height);
        if self.plan.is_honest(teller) {
            return vec![truth];
        }
        let mut other = chain::spec(&self.plan);
        other.gas_limit += 1;
        let key = secret("validator", teller);
        let [own, elsewhere] = [chain::spec(&self.plan), other]
            .map(|spec| state_file(&chain_of_one(spec, &key, tip), height));
        lies(&truth, &own).into_iter().chain([own, elsewhere]).collect()
    }
}

/// # Panics
/// If the ledger does not have the state.
fn state_file(ledger: &Ledger, height: Height) -> Vec<u8> {
    let mut file = vec![];
    write_state(&ledger.snapshot(), height, &mut file).expect("a state that is there");
    file
}

/// A chain of so many blocks of which one key signs each.
fn chain_of_one(spec: ChainSpec, key: &SecretKey, blocks: Height) -> Ledger {
    let disk = Arc::new(MemDisk::default());
    let mut ledger = Ledger::open(disk, Arc::new(spec), History::Archive).expect("an empty disk");
    while ledger.tip().number < blocks {
        let draft = Draft {
            timestamp: ledger.tip().timestamp + 1,
            fee_recipient: Address::repeat_byte(0x66),
            attached: Attached {
                evidence: vec![],
                parent_certificate: ledger.tip_certificate().cloned(),
            },
        };
        let (outcome, _) = ledger.build(draft, &mut std::iter::empty());
        let (height, block) = (ledger.tip().number + 1, outcome.block().hash);
        let certificate = certify_alone(key, &ledger.genesis_hash(), height, block);
        ledger.commit(outcome, certificate);
    }
    ledger
}

/// False files, of a true one and one of another chain: the way of one to the state of the other,
/// no change of validators, cut, and damaged.
fn lies(truth: &[u8], other: &[u8]) -> Vec<Vec<u8>> {
    let (ours, theirs) = (frames(truth), frames(other));
    let spliced = |way: &[&[u8]], state: &[&[u8]], handovers: bool| {
        let way = way.iter().filter(|it| kind(it) < HANDOVER + u8::from(handovers));
        let state = state.iter().filter(|it| kind(it) > HANDOVER);
        let frames: Vec<u8> = way.chain(state).copied().flatten().copied().collect();
        [&truth[..MAGIC_BYTES], &frames].concat()
    };
    let mut damaged = truth.to_vec();
    damaged[truth.len() / 2] ^= 1;
    let mut lies = vec![
        spliced(&ours, &theirs, true),
        spliced(&theirs, &ours, true),
        truth[..truth.len() / 2].to_vec(),
        damaged,
    ];
    lies.extend(ours.iter().any(|it| kind(it) == HANDOVER).then(|| spliced(&ours, &ours, false)));
    lies
}

fn kind(frame: &[u8]) -> u8 {
    frame[FRAME_HEADER_BYTES]
}

/// The frames of a file, each with its length and checksum.
fn frames(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = &file[MAGIC_BYTES..];
    let mut frames = vec![];
    while let Some(length) = rest.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) {
        let (frame, others) = rest.split_at(FRAME_HEADER_BYTES + length as usize);
        frames.push(frame);
        rest = others;
    }
    frames
}
