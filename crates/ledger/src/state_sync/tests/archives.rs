use alloy_primitives::{Log, LogData};
use trefoil_types::{limits, spec::SpecError};

use super::{
    super::{
        archive::{ARCHIVE, ArchiveHeader, BlockRow, GAS_LIMIT_MAX, RECEIPTS_BYTES_MAX, kind},
        frames::FrameWriter,
    },
    *,
};
use crate::{Snapshot, codec};

fn archive(ledger: &Ledger, first: Height, last: Height) -> Vec<u8> {
    let mut file = Vec::new();
    write_archive(&ledger.snapshot(), Archived { first, last }, &mut file).unwrap();
    file
}

/// In these chains the sender is who it says, without a signature.
fn import(disk: &MemDisk, file: &[u8]) -> Result<Archived, JoinError> {
    let owner =
        |block: &RecoveredBlock| block.transactions.iter().all(|tx| tx.signer() == address(OWNER));
    import_archive(disk, &spec(), &mut Cursor::new(file), &owner)
}

#[test]
fn history_is_the_same_file_everywhere_and_brings_what_a_snapshot_lacks() {
    let chain = SourceChain::busy();
    let disk = MemDisk::default();
    let mut pruned = open(&disk, History::Window(1));
    chain.replay(&mut pruned, chain.tip());
    checkpoint(&mut pruned);
    for (first, last) in [(1, 4), (5, 8), (9, 12)] {
        assert_eq!(archive(&pruned, first, last), archive(&chain.ledger, first, last));
    }

    let disk = restored(&state_file(&chain.ledger, 12));
    let file = |first, last| archive(&chain.ledger, first, last);
    let error = import(&disk, &file(5, 8)).unwrap_err();
    assert!(matches!(error, JoinError::NotNext { last: 8, wanted: 12 }), "{error}");
    assert_eq!(import(&disk, &file(9, 12)).unwrap(), Archived { first: 9, last: 12 });
    let ledger = open(&disk, History::Archive);
    assert_eq!(ledger.snapshot().blocks_from(), 9);
    assert!(ledger.snapshot().block(8).unwrap().is_none());
    assert!(
        write_archive(&ledger.snapshot(), Archived { first: 5, last: 9 }, &mut vec![]).is_err()
    );
    drop(ledger);
    import(&disk, &file(5, 8)).unwrap();
    import(&disk, &file(1, 4)).unwrap();
    let error = import(&disk, &file(1, 4)).unwrap_err();
    assert!(error.to_string().contains("here already"), "{error}");

    let mut ledger = open(&disk, History::Archive);
    chain.replay(&mut ledger, chain.tip());
    let (here, there) = (ledger.snapshot(), chain.ledger.snapshot());
    for height in 0..=chain.tip() {
        let (ours, theirs) = (here.block(height).unwrap().unwrap(), there.block(height).unwrap());
        let theirs = theirs.unwrap();
        assert_eq!((&ours.block, &ours.receipts), (&theirs.block, &theirs.receipts));
        assert_eq!(here.height_of(&ours.block.hash).unwrap(), Some(height));
        assert_eq!(here.certificate(height).unwrap(), there.certificate(height).unwrap());
        for tx in &ours.block.transactions {
            let hash = tx.tx_hash();
            assert_eq!(here.transaction(hash).unwrap(), there.transaction(hash).unwrap());
        }
    }
    let logs = |s: &Snapshot| s.log_candidates(0..=99, &[], &[]).unwrap();
    assert_eq!(logs(&here), logs(&there));
    assert!(!logs(&here).is_empty());
    // It can hand on what it was given.
    for (first, last) in [(1, 4), (5, 8), (9, 12), (3, 10)] {
        assert_eq!(archive(&ledger, first, last), file(first, last));
    }
}

#[test]
fn a_node_without_a_snapshot_imports_nothing() {
    let chain = SourceChain::busy();
    let error = import(&MemDisk::default(), &archive(&chain.ledger, 1, 4)).unwrap_err();
    assert!(error.to_string().contains("restore a state snapshot first"), "{error}");
}

#[test]
fn an_archive_of_another_past_is_refused_and_nothing_of_it_is_written() {
    let chain = SourceChain::busy();
    let disk = restored(&state_file(&chain.ledger, 4));
    let mut other = SourceChain::new();
    for _ in 0..5 {
        other.block([]);
    }
    let error = import(&disk, &archive(&other.ledger, 1, 4)).unwrap_err();
    assert!(error.to_string().contains("block 4 is not the"), "{error}");
    let good = archive(&chain.ledger, 1, 4);
    let never = |_: &RecoveredBlock| false;
    let error = import_archive(&disk, &spec(), &mut Cursor::new(&good), &never).unwrap_err();
    assert!(error.to_string().contains("wrong sender"), "{error}");
    let ledger = open(&disk, History::Archive);
    assert_eq!(ledger.snapshot().height_of(&other.decided[0].0.hash).unwrap(), None);
    assert_eq!(ledger.snapshot().blocks_from(), 5);
    drop(ledger);
    import(&disk, &good).unwrap();
}

#[test]
fn a_block_at_the_highest_gas_limit_fits_in_a_frame() {
    let refused = |gas_limit| {
        let checked = ChainSpec { gas_limit, ..ChainSpec::clone(&spec()) }.check();
        matches!(checked, Err(SpecError::Value { key: "gas_limit", .. }))
    };
    assert!(!refused(GAS_LIMIT_MAX) && refused(GAS_LIMIT_MAX + 1), "the specification's bound");
    let (block, receipts) = (vec![0; limits::MESSAGE_BYTES_MAX], vec![0; RECEIPTS_BYTES_MAX]);
    let row = alloy_rlp::encode(BlockRow { block: block.into(), receipts: receipts.into() });
    let mut file = FrameWriter::begin(std::io::sink(), &ARCHIVE).unwrap();
    file.put(kind::BLOCK, &row).unwrap();
}

/// `RECEIPTS_BYTES_MAX` rests on this.
#[test]
fn a_byte_of_a_log_costs_at_least_8_gas() {
    for topics in 0..=4u64 {
        for bytes in (0..130).chain([255, 256, 65_535, 65_536, 1 << 24]) {
            let topics_of = vec![B256::ZERO; topics as usize];
            let data = LogData::new_unchecked(topics_of, vec![0; bytes as usize].into());
            let log = Log { address: Address::ZERO, data };
            let gas = 375 + 375 * topics + 8 * bytes;
            let encoded = alloy_rlp::encode(&log).len() as u64;
            assert!(8 * encoded <= gas, "{topics} topics, {bytes} bytes: {encoded}");
        }
    }
}

/// They are counted before they are decoded: one of 5 bytes takes a hundred in memory.
#[test]
fn a_block_of_more_than_any_block_has_is_refused() {
    let mut chain = SourceChain::new();
    let tx = chain.tx(transfer(address(1), 1));
    chain.block([tx]);
    chain.block([]);
    let disk = restored(&state_file(&chain.ledger, 1));
    let stored = chain.ledger.snapshot().block(1).unwrap().unwrap();
    let refusal = |txs: usize, receipts: usize| {
        let transactions = vec![stored.block.transactions[0].clone(); txs];
        let block = RecoveredBlock::new(
            stored.block.header.clone(),
            transactions,
            stored.block.attached.clone(),
        );
        let receipts = vec![stored.receipts[0].clone(); receipts];
        let row = BlockRow {
            block: codec::encode_block(&block).into(),
            receipts: codec::encode_receipts(&receipts).into(),
        };
        let mut out = Vec::new();
        let mut file = FrameWriter::begin(&mut out, &ARCHIVE).unwrap();
        let genesis = chain.ledger.genesis_hash();
        let head = ArchiveHeader { genesis, first: 1, last: 1 };
        file.put(kind::HEAD, &alloy_rlp::encode(head)).unwrap();
        file.put(kind::BLOCK, &alloy_rlp::encode(row)).unwrap();
        file.finish().unwrap();
        import(&disk, &out).unwrap_err().to_string()
    };
    let max = limits::BLOCK_TXS_MAX;
    for (txs, receipts) in [(max + 1, max + 1), (1, 2), (2, 1)] {
        let why = refusal(txs, receipts);
        assert!(why.contains("cannot be decoded"), "{txs}, {receipts}: {why}");
    }
    // As many as a block may have are read, and are not those of this block.
    let why = refusal(max, max);
    assert!(why.contains("its body"), "{why}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_damaged_archive_is_refused(at in any::<prop::sample::Index>(), change in 0u8..) {
        let chain = SourceChain::busy();
        let disk = restored(&state_file(&chain.ledger, 8));
        let mut file = archive(&chain.ledger, 1, 8);
        let at = at.index(file.len());
        match change {
            0 => file.truncate(at),
            change => file[at] ^= change,
        }
        prop_assert!(import(&disk, &file).is_err());
        prop_assert_eq!(open(&disk, History::Archive).snapshot().blocks_from(), 9);
    }
}
