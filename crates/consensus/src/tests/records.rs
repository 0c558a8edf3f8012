//! The journal's bytes.

use arc_malachitebft_core_types::Height as _;
use proptest::prelude::*;
use trefoil_types::{Height, Millis, Time};

use super::cluster::{CoreCluster, NETWORK, Random, key, timeouts, turns};
use crate::{
    Config, Consensus,
    context::ConsensusHeight,
    wal_entry::{self, WalEntry},
};

proptest! {
    /// No bytes make the decoder panic, and what it takes has one encoding.
    #[test]
    fn any_bytes_decode_to_what_encodes_to_them(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok((height, entry)) = wal_entry::decode(&bytes) {
            prop_assert_eq!(encode(height, &entry), bytes);
        }
    }

    #[test]
    fn a_damaged_record_is_refused_or_another_record(at in 0usize..400, bit in 0u8..8, pick: u64) {
        let records = sample();
        let mut bytes = records[pick as usize % records.len()].clone();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok((height, entry)) = wal_entry::decode(&bytes) {
            prop_assert_eq!(encode(height, &entry), bytes);
        }
    }
}

/// A height's records when something else wrote the journal: lost, doubled, out of order, of
/// other nodes.
#[test]
fn a_shuffled_journal_is_replayed_or_refused() {
    let records = sample();
    let mut random = Random(40);
    let (mut replayed, mut refused) = (0, 0);
    for _ in 0..300 {
        let take = 1 + random.below(2 * records.len() as u64);
        let pick = |_| records[random.below(records.len() as u64) as usize].clone();
        let shuffled: Vec<Vec<u8>> = (0..take).map(pick).collect();
        let keys = vec![key(random.below(4) as usize)];
        let config = Config { keys, network: NETWORK, timeouts: timeouts() };
        let (mut consensus, mut out) = (Consensus::new(config), Vec::new());
        match consensus.start(Time(0), 1, turns(4, 1), &shuffled, &mut out) {
            Ok(()) => replayed += 1,
            Err(_) => refused += 1,
        }
    }
    // A vote of the node's own, torn from what led to it, is contradicted.
    assert!(replayed > 0 && refused > 0, "{replayed} replayed, {refused} refused");
}

#[test]
fn every_record_of_a_run_has_one_encoding() {
    let records = sample();
    let mut kinds = std::collections::BTreeSet::new();
    for bytes in &records {
        let (height, entry) = wal_entry::decode(bytes).unwrap();
        assert_eq!(&encode(height, &entry), bytes);
        assert!(ConsensusHeight(height).as_u64() == 1);
        kinds.insert(bytes[0]);
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(wal_entry::decode(&longer).is_err(), "bytes after the end");
    }
    assert_eq!(kinds.len(), 4, "votes, proposals, candidates and timers: {kinds:?}");
}

#[test]
fn a_polka_of_more_signatures_than_validators_is_refused_by_its_length() {
    // A list header that claims 16 MiB, with nothing behind it.
    assert!(wal_entry::decode(&[3, 0xfa, 0xff, 0xff, 0xff]).is_err());
}

fn encode(height: Height, entry: &WalEntry) -> Vec<u8> {
    match entry {
        WalEntry::Input(input) => wal_entry::encode(ConsensusHeight(height), input),
        WalEntry::Elsewhere(round) => wal_entry::encode_elsewhere(height, *round),
    }
}

/// The records of a height that took more than one round.
fn sample() -> Vec<Vec<u8>> {
    let mut cluster = CoreCluster::new(4, 30);
    cluster.refuse_round = Some(0);
    cluster.wire = Box::new(|random, _, from, to, speech| match speech {
        crate::ConsensusMessage::Proposal(p) if p.round > 0 => vec![],
        _ if from == 3 || to == 3 => vec![],
        _ => vec![5 + random.below(16)],
    });
    cluster.run_for(Millis(3_000));
    cluster.nodes[0].journal.clone()
}
