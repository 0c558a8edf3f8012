use trefoil_crypto::SecretKey;
use trefoil_ledger::{Draft, Ledger};
use trefoil_mempool::MempoolLimits;
use trefoil_types::{Address, Attached, Certificate, Height, PeerId};

use super::*;
use crate::{Config, testing};

/// A node that votes for nothing, on a ledger that is at its genesis.
fn opened(ledger: Ledger, records: Vec<Record>) -> Result<Node, OpenError> {
    let peer = PeerId(SecretKey::from_seed(&[3; 32]).public());
    let config = Config { validator_keys: vec![], peer, pool: MempoolLimits::default() };
    Node::open(config, ledger, records, Time(2_000), &mut Effects::default())
}

fn decided(height: Height) -> Record {
    let (round, block, signatures) = (0, B256::repeat_byte(1), vec![]);
    Record::Decided(Certificate { height, round, block, signatures })
}

#[test]
fn a_journal_with_a_hole_or_without_a_final_block_opens_no_node() {
    let gap = opened(testing::ledger(), vec![decided(2)]).err();
    assert_eq!(gap, Some(OpenError::Gap { height: 2, next: 1 }));
    let block = opened(testing::ledger(), vec![decided(1)]).err();
    assert_eq!(block, Some(OpenError::Block { height: 1, hash: B256::repeat_byte(1) }));
}

/// A candidate of the journal is taken for good: a child of another block would be voted for.
#[test]
fn of_journalled_blocks_only_children_of_the_tip_are_candidates() {
    let ledger = testing::ledger();
    let attached = Attached::default();
    let fee_recipient = Address::repeat_byte(9);
    let (outcome, _) =
        ledger.build(Draft { timestamp: 2, fee_recipient, attached }, &mut std::iter::empty());
    let good = outcome.block().clone();
    let mut header = good.header.clone();
    header.parent_hash = B256::repeat_byte(1);
    let other = Arc::new(RecoveredBlock::new(header, vec![], Attached::default()));
    let records = vec![Record::Block(other.clone()), Record::Block(good.clone())];
    let node = opened(ledger, records).unwrap();
    let is_candidate = |block: &RecoveredBlock| node.height.candidates.get(&block.hash).is_some();
    assert_eq!((is_candidate(&good), is_candidate(&other)), (true, false));
}
