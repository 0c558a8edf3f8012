use std::{cell::RefCell, collections::BTreeSet};

use super::*;
use crate::{Account, Governed, governance::founding};

#[test]
fn nodes_of_different_pasts_make_the_same_bytes() {
    let chain = SourceChain::busy();
    for height in 1..chain.tip() {
        let wanted = state_file(&chain.ledger, height);

        // One that has just made the block after it, all in memory.
        let mut fresh = open(&MemDisk::default(), History::Archive);
        chain.replay(&mut fresh, height + 1);
        assert_eq!(state_file(&fresh, height), wanted, "fresh, at {height}");

        // One with checkpoints, restarts and little history.
        let disk = MemDisk::default();
        let mut pruned = open(&disk, History::Window(2));
        for to in (1..=height + 1).step_by(3) {
            chain.replay(&mut pruned, to);
            checkpoint(&mut pruned);
            if to % 2 == 0 {
                drop(pruned);
                pruned = open(&disk, History::Window(2));
            }
        }
        chain.replay(&mut pruned, height + 1);
        assert_eq!(state_file(&pruned, height), wanted, "pruned, at {height}");
        // In the middle of a checkpoint, after it, and after a restart.
        let begun = pruned.checkpoint(true);
        assert_eq!(state_file(&pruned, height), wanted, "pruned, flushing, at {height}");
        if let Some(checkpoint) = begun {
            pruned.checkpointed(checkpoint.run().unwrap());
        }
        assert_eq!(state_file(&pruned, height), wanted, "pruned, on disk, at {height}");
        drop(pruned);
        let pruned = open(&disk, History::Window(2));
        assert_eq!(state_file(&pruned, height), wanted, "pruned, restarted, at {height}");

        // One that has all on disk and goes far back.
        let mut late = open(&MemDisk::default(), History::Archive);
        chain.replay(&mut late, chain.tip());
        checkpoint(&mut late);
        assert_eq!(state_file(&late, height), wanted, "late, at {height}");
    }
}

/// Turns of most heights are counted on from earlier ones, in memory or on disk.
#[test]
fn the_turns_of_every_height_are_known() {
    let disk = MemDisk::default();
    let mut chain = SourceChain::busy();
    let mut late = open(&disk, History::Archive);
    while chain.tip() < 520 {
        chain.block([]);
    }
    let set = |height| chain.ledger.snapshot().validators(height).unwrap().unwrap();
    let mut turns = trefoil_types::Turns::first(set(1));
    for height in 1..=chain.tip() {
        let known = chain.ledger.snapshot().turns(height).unwrap();
        assert_eq!(known.as_ref(), Some(&turns), "in memory, of {height}");
        chain.replay(&mut late, height);
        if height % 100 == 0 {
            checkpoint(&mut late);
        }
        assert_eq!(late.snapshot().turns(height).unwrap(), known, "of the tip {height}");
        turns = turns.next(&set((height + 1).min(chain.tip())));
    }
    drop(late);
    let late = open(&disk, History::Archive);
    for height in 1..=late.tip().number {
        let known = chain.ledger.snapshot().turns(height).unwrap();
        assert_eq!(late.snapshot().turns(height).unwrap(), known, "on disk, of {height}");
    }
    assert_eq!(late.snapshot().turns(late.tip().number + 1).unwrap(), None);
}

#[test]
fn a_restored_node_is_where_the_others_are_and_makes_the_same_files() {
    let chain = SourceChain::busy();
    for height in 1..chain.tip() {
        let file = state_file(&chain.ledger, height);
        let disk = restored(&file);
        let mut ledger = open(&disk, History::Archive);
        let hash = chain.decided[height as usize - 1].0.hash;
        assert_eq!((ledger.tip().number, ledger.tip_hash()), (height, hash));
        assert_eq!(peek(&*file).unwrap(), (height, hash));
        let snapshot = chain.ledger.snapshot();
        for of in 1..=height + 1 {
            let known = ledger.snapshot().validators(of).unwrap();
            assert_eq!(known, snapshot.validators(of).unwrap(), "of {of}");
        }
        let turns = ledger.snapshot().turns(height).unwrap();
        assert!(turns.is_some());
        assert_eq!(turns, snapshot.turns(height).unwrap());
        // It executes what follows to the same roots, in memory and from disk.
        chain.replay(&mut ledger, height + 1);
        checkpoint(&mut ledger);
        drop(ledger);
        let mut ledger = open(&disk, History::Archive);
        chain.replay(&mut ledger, chain.tip());
        assert_eq!(ledger.tip_hash(), chain.ledger.tip_hash());
        for height in height..chain.tip() {
            let again = state_file(&ledger, height);
            assert_eq!(again, state_file(&chain.ledger, height), "at {height}");
        }
        // It does not pretend to know blocks that it never executed.
        let earlier = ledger.snapshot().state(height.saturating_sub(1));
        assert!(matches!(earlier, Err(LedgerError::Pruned { .. })), "{height}");
        assert!(ledger.snapshot().block(height).unwrap().is_none());
        assert!(ledger.snapshot().certified_block(height).unwrap().is_none());
        let logs = ledger.snapshot().log_candidates(0..=height, &[], &[]);
        assert!(matches!(logs, Err(LedgerError::NoBlock { .. })), "{logs:?}");
    }
}

/// BLOCKHASH reaches back 256 blocks: the block after the snapshot asks for them.
#[test]
fn a_restored_node_knows_the_hashes_that_blocks_may_ask_for() {
    let mut chain = SourceChain::new();
    // sstore(0, blockhash(number - 256)), at once.
    let input = bytes!("610100 43 03 40 6000 55 00");
    while chain.tip() < 299 {
        chain.block([]);
    }
    let file_at = chain.tip();
    let contract = address(OWNER).create(chain.nonce);
    let tx = TxEip1559 { to: TxKind::Create, input, ..transfer(contract, 0) };
    let tx = chain.tx(tx);
    chain.block([tx]);
    let state = chain.ledger.snapshot().state(300).unwrap();
    let stored = state.storage(&contract, U256::ZERO).unwrap();
    assert_eq!(B256::from(stored), chain.decided[43].0.hash, "of block 44");

    let mut ledger = open(&restored(&state_file(&chain.ledger, file_at)), History::Archive);
    chain.replay(&mut ledger, 300);
    assert_eq!(ledger.tip_hash(), chain.ledger.tip_hash());
    // EIP-2935 keeps its hashes in the state.
    assert!(ledger.account(&eip2935::HISTORY_STORAGE_ADDRESS).is_some());
}

#[test]
fn only_multiples_below_the_tip_are_due() {
    let spec = spec();
    let due: Vec<_> = (0..10).map(|tip| snapshot_height(&spec, tip)).collect();
    let wanted = [None, None, None, None, None, Some(4), Some(4), Some(4), Some(4), Some(8)];
    assert_eq!(due, wanted);
    let never = ChainSpec { snapshot_every: 0, ..ChainSpec::clone(&spec) };
    assert_eq!(snapshot_height(&never, 1_000), None);

    let mut chain = SourceChain::new();
    chain.block([]);
    for height in [0, 1, 2] {
        let error = write_state(&chain.ledger.snapshot(), height, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("no block"), "{error}");
    }
}

#[test]
fn a_directory_with_a_chain_is_left_alone() {
    let chain = SourceChain::busy();
    let file = state_file(&chain.ledger, 4);
    let disk = MemDisk::default();
    let mut ledger = open(&disk, History::Archive);
    chain.replay(&mut ledger, 3);
    checkpoint(&mut ledger);
    drop(ledger);
    let error = restore(&disk, &spec(), &*file, None).unwrap_err();
    assert!(matches!(error, JoinError::Taken { tip: 3 }), "{error}");
    assert_eq!(open(&disk, History::Archive).tip().number, 3);
}

#[test]
fn a_trusted_hash_must_be_the_blocks() {
    let chain = SourceChain::busy();
    let file = state_file(&chain.ledger, 8);
    let hash = chain.decided[7].0.hash;
    restore(&MemDisk::default(), &spec(), &*file, Some(hash)).unwrap();
    let disk = MemDisk::default();
    let error = restore(&disk, &spec(), &*file, Some(B256::ZERO)).unwrap_err();
    assert!(error.to_string().contains("you trust"), "{error}");
    assert_eq!(open(&disk, History::Archive).tip().number, 0, "nothing was written");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Cut or changed anywhere, a file is refused, what it left cannot be opened
    /// as a chain, and the whole file restores all the same.
    #[test]
    fn a_damaged_file_is_refused(at in any::<prop::sample::Index>(), change in 0u8..) {
        let chain = SourceChain::busy();
        let whole = state_file(&chain.ledger, 12);
        let mut file = whole.clone();
        let at = at.index(file.len());
        match change {
            0 => file.truncate(at),
            change => file[at] ^= change,
        }
        let disk = MemDisk::default();
        prop_assert!(restore(&disk, &spec(), &*file, None).is_err());
        let opened = Ledger::open(Arc::new(disk.clone()), spec(), History::Archive);
        match opened {
            Ok(ledger) => prop_assert_eq!(ledger.tip().number, 0),
            Err(error) => {
                prop_assert!(matches!(error, LedgerError::Unfinished), "{}", error);
                restore(&disk, &spec(), &*whole, None).unwrap();
                prop_assert_eq!(open(&disk, History::Archive).tip().number, 12);
            }
        }
    }
}

#[test]
fn bytes_after_the_end_and_other_files_are_refused() {
    let chain = SourceChain::busy();
    let mut file = state_file(&chain.ledger, 4);
    file.push(0);
    let error = restore(&MemDisk::default(), &spec(), &*file, None).unwrap_err();
    assert!(error.to_string().contains("after its end"), "{error}");
    for bytes in [&b""[..], b"trefoil", &[0; 64]] {
        let error = restore(&MemDisk::default(), &spec(), bytes, None).unwrap_err();
        assert!(matches!(error, JoinError::NotOurs { wanted: "state snapshot" }), "{error}");
    }
    file.pop();
    let other = ChainSpec { chain_id: 9, ..ChainSpec::clone(&spec()) };
    let error = restore(&MemDisk::default(), &other, &*file, None).unwrap_err();
    assert!(matches!(error, JoinError::OtherChain { .. }), "{error}");
}

/// A chain pays one for every change of validators, for ever.
#[test]
fn a_witness_is_small() {
    let chain = SourceChain::busy();
    let file = frames(&state_file(&chain.ledger, chain.tip() - 1));
    let sizes: Vec<_> = file
        .iter()
        .filter(|(kind, _)| *kind == state_file::kind::HANDOVER)
        .map(|(_, body)| body.len())
        .collect();
    assert!(!sizes.is_empty(), "validators changed");
    assert!(sizes.iter().all(|size| *size < 32 << 10), "{sizes:?}");
}

/// A state, and the accounts that were looked at in it.
struct Watched<'a, S> {
    state: &'a S,
    seen: RefCell<BTreeSet<Address>>,
}

impl<S: StateReader> StateReader for Watched<'_, S> {
    fn account(&self, address: &Address) -> Result<Option<Account>, LedgerError> {
        self.seen.borrow_mut().insert(*address);
        self.state.account(address)
    }

    fn storage(&self, address: &Address, slot: U256) -> Result<U256, LedgerError> {
        self.seen.borrow_mut().insert(*address);
        self.state.storage(address, slot)
    }

    fn code(&self, hash: &B256) -> Result<Option<Bytes>, LedgerError> {
        self.state.code(hash)
    }

    fn block_hash(&self, height: Height) -> Result<Option<B256>, LedgerError> {
        self.state.block_hash(height)
    }
}

/// A witness holds what was read and nothing else. A program whose EVM looked at another account
/// (the caller's, the beneficiary's) would refuse those of all programs before it (ADR 18).
#[test]
fn who_validates_is_read_of_the_contracts_of_genesis_alone() {
    let chain = SourceChain::busy();
    let snapshot = chain.ledger.snapshot();
    let state = snapshot.state(chain.tip()).unwrap();
    let watched = Watched { state: &state, seen: RefCell::default() };
    Governed::read_validators(&spec(), snapshot.tip(), &watched).unwrap();
    let founded = founding::contracts(&spec()).into_iter().map(|(address, _)| address);
    let (founded, seen) = (founded.collect::<BTreeSet<_>>(), watched.seen.into_inner());
    assert!(seen.contains(&GOVERNING_CONTRACT) && seen.is_subset(&founded), "{seen:?}");
}
