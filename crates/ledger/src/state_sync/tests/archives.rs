use super::*;
use crate::Snapshot;

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
