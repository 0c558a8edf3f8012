use std::collections::BTreeMap;

use alloy_consensus::{Signed, TxLegacy, constants::KECCAK_EMPTY, transaction::Recovered};
use alloy_primitives::{Bytes, Log, Signature, TxKind};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use proptest::prelude::*;
use trefoil_crypto::SecretKey;
use trefoil_types::{Attached, MemDisk, PeerId, Receipt, TxEnvelope, keccak256};

use super::*;
use crate::{
    AccountDiff, BodySize, CallMemory, Journal, Record, StateReader, codec,
    rpc_calls::simulate_v1::Ground, trie::proof::is_on_the_way,
};

mod crash;

fn spec() -> Arc<ChainSpec> {
    let key = |n| SecretKey::from_seed(&[n; 32]).public();
    let text = format!(
        "name = \"t\"\nkind = \"consortium\"\nchain_id = 7331\ngenesis_time = 5\n\
         gas_limit = 30000000\nbase_fee = 0\n[forks]\ncancun = 0\nprague = 0\n[[organisations]]\nname = \"one\"\n\
         keys = [\"{0}\"]\nca_keys = [\"{ca}\"]\n[[validators]]\nkey = \"{key}\"\npower = 1\n\
         fee_recipient = \"{0}\"\nnode = \"{peer}\"\norganisation = \"one\"\n\
         [alloc.\"{1}\"]\nbalance = \"0xffffffff\"\n",
        Address::repeat_byte(9),
        Address::repeat_byte(0xaa),
        key = key(1),
        ca = key(2),
        peer = PeerId(key(3)),
    );
    Arc::new(ChainSpec::from_toml(&text).unwrap())
}

fn open(disk: &MemDisk, history: History) -> Ledger {
    Ledger::open(Arc::new(disk.clone()), spec(), history).unwrap()
}

fn certificate(block: &RecoveredBlock, round: u32) -> Certificate {
    Certificate { height: block.header.number, round, block: block.hash, signatures: vec![] }
}

/// A block on the tip that changes the state by `diff`.
fn outcome(ledger: &Ledger, mut diff: StateDiff, receipts: Vec<Receipt>) -> Outcome {
    let (state_root, trie) = ledger.effect(&mut diff).unwrap();
    let mut header = Header {
        number: ledger.tip().number + 1,
        parent_hash: ledger.tip_hash(),
        state_root,
        ..Default::default()
    };
    header.logs_bloom = alloy_primitives::logs_bloom(receipts.iter().flat_map(|r| r.logs()));
    let tx = TxLegacy { nonce: header.number, ..Default::default() };
    let signed = Signed::new_unhashed(tx, Signature::new(U256::ONE, U256::ONE, false));
    let tx = Recovered::new_unchecked(TxEnvelope::Legacy(signed), Address::ZERO);
    let parent_certificate =
        ledger.tip_certificate().map(|c| Certificate { round: 77, ..c.clone() });
    let attached = Attached { parent_certificate, ..Default::default() };
    let block = Arc::new(RecoveredBlock::new(header, vec![Arc::new(tx)], attached));
    let receipts = Arc::new(receipts);
    Outcome { block, receipts, diff, trie, governed: None }
}

fn commit(ledger: &mut Ledger, diff: StateDiff) {
    let outcome = outcome(ledger, diff, vec![]);
    let certificate = certificate(outcome.block(), 0);
    ledger.commit(outcome, certificate);
}

fn checkpoint(ledger: &mut Ledger) {
    if let Some(checkpoint) = ledger.checkpoint(true) {
        ledger.checkpointed(checkpoint.run().unwrap());
    }
}

/// A whole state, as a naive node would copy it for each block.
type ModelState = BTreeMap<u8, (Account, BTreeMap<U256, U256>)>;

/// The changes of one block to a few accounts: gone, or a balance and some slots.
type BlockChanges = BTreeMap<u8, Option<(u64, BTreeMap<u8, u8>)>>;

fn changes() -> impl Strategy<Value = BlockChanges> {
    let slots = proptest::collection::btree_map(0u8..6, 0u8..3, 0..4);
    let change = proptest::option::weighted(0.7, (0u64..1_000, slots));
    proptest::collection::btree_map(0u8..12, change, 0..5)
}

fn address(account: u8) -> Address {
    Address::repeat_byte(account)
}

/// The diff that leads from `state` to what `changes` makes of it. An account
/// that goes does not list its storage, as from a wiping self-destruct.
fn apply(state: &mut ModelState, changes: &BlockChanges) -> StateDiff {
    let mut diff = StateDiff::default();
    for (account, change) in changes {
        let old = state.remove(account);
        let mut entry = AccountDiff { before: old.as_ref().map(|(a, _)| *a), ..Default::default() };
        let mut storage = old.map(|(_, storage)| storage).unwrap_or_default();
        match change {
            None => entry.wiped = true,
            Some((balance, slots)) => {
                let balance = U256::from(*balance);
                let after = Account { nonce: 1, balance, code_hash: KECCAK_EMPTY };
                for (slot, value) in slots {
                    let (slot, value) = (U256::from(*slot), U256::from(*value));
                    let before = storage.insert(slot, value).unwrap_or_default();
                    entry.storage.insert(slot, (before, value));
                }
                storage.retain(|_, value| !value.is_zero());
                entry.after = Some(after);
                state.insert(*account, (after, storage));
            }
        }
        diff.accounts.insert(address(*account), entry);
    }
    diff
}

fn check_state(snapshot: &Snapshot, height: Height, state: &ModelState) {
    let at = snapshot.state(height).unwrap();
    for account in 0u8..12 {
        let known = state.get(&account);
        assert_eq!(at.account(&address(account)).unwrap(), known.map(|(a, _)| *a), "at {height}");
        for slot in 0..6 {
            let slot = U256::from(slot);
            let wanted = known.and_then(|(_, storage)| storage.get(&slot).copied());
            let found = at.storage(&address(account), slot).unwrap();
            assert_eq!(found, wanted.unwrap_or_default(), "at {height}");
        }
    }
}

fn check_proofs(snapshot: &Snapshot, height: Height) {
    let root = snapshot.header(height).unwrap().unwrap().1.state_root;
    let slots: Vec<B256> = (0..6).map(|slot| U256::from(slot).into()).collect();
    for account in 0u8..12 {
        let address = address(account);
        let proof = snapshot.proof(height, &address, &slots).unwrap();
        let leaf = proof.account.map(|Account { nonce, balance, code_hash }| {
            alloy_rlp::encode(TrieAccount::new(nonce, balance, proof.storage_root, code_hash))
        });
        let key = Nibbles::unpack(keccak256(address));
        assert_eq!(verify_proof(root, key, leaf, &proof.proof), Ok(()), "at {height}");
        for (slot, value, nodes) in &proof.slots {
            let wanted = (!value.is_zero()).then(|| alloy_rlp::encode(value));
            let key = Nibbles::unpack(keccak256(slot));
            assert_eq!(verify_proof(proof.storage_root, key, wanted, nodes), Ok(()), "at {height}");
        }
    }
}

#[derive(Clone, Debug)]
enum LedgerStep {
    Block(BlockChanges),
    /// Begin a checkpoint, or finish the one begun.
    Checkpoint,
    /// Checkpoint all and open again.
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<LedgerStep>> {
    let step = prop_oneof![
        6 => changes().prop_map(LedgerStep::Block),
        2 => Just(LedgerStep::Checkpoint),
        1 => Just(LedgerStep::Reopen),
    ];
    proptest::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_past_state_reads_and_proves_as_it_was(steps in steps()) {
        let disk = MemDisk::default();
        let mut ledger = open(&disk, History::Archive);
        let (mut state, mut past) = (ModelState::new(), vec![ModelState::new()]);
        let mut begun = None;
        let mut old = Vec::new();
        for step in steps {
            match step {
                LedgerStep::Block(changes) => {
                    let diff = apply(&mut state, &changes);
                    commit(&mut ledger, diff);
                    past.push(state.clone());
                    old.push(ledger.snapshot());
                }
                LedgerStep::Checkpoint => match begun.take() {
                    None => begun = ledger.checkpoint(true),
                    Some(checkpoint) => ledger.checkpointed(Checkpoint::run(checkpoint).unwrap()),
                },
                LedgerStep::Reopen => {
                    if let Some(checkpoint) = begun.take() {
                        ledger.checkpointed(checkpoint.run().unwrap());
                    }
                    checkpoint(&mut ledger);
                    let tip = ledger.tip_hash();
                    old.clear();
                    drop(ledger);
                    ledger = open(&disk, History::Archive);
                    prop_assert_eq!(ledger.tip_hash(), tip);
                }
            }
        }
        // Snapshots taken on the way did not change either.
        for snapshot in old.iter().chain([&ledger.snapshot()]) {
            for height in 0..=snapshot.tip().number {
                check_state(snapshot, height, &past[height as usize]);
                check_proofs(snapshot, height);
            }
            let height = snapshot.tip().number + 1;
            let unknown = matches!(snapshot.state(height), Err(LedgerError::Unknown { .. }));
            prop_assert!(unknown);
        }
    }
}

#[test]
fn a_window_forgets_older_states_and_says_so() {
    let disk = MemDisk::default();
    let mut ledger = open(&disk, History::Window(5));
    let (mut state, mut past) = (ModelState::new(), vec![ModelState::new()]);
    for n in 0..PROOFS + 20 {
        let slots = BTreeMap::from([(n as u8 % 6, n as u8 % 3)]);
        let changes = BlockChanges::from([(n as u8 % 12, Some((n, slots)))]);
        let diff = apply(&mut state, &changes);
        commit(&mut ledger, diff);
        past.push(state.clone());
        // A checkpoint drops what those before it wrote.
        if n % 7 == 0 || n == PROOFS + 18 {
            checkpoint(&mut ledger);
        }
    }
    checkpoint(&mut ledger);
    let (snapshot, tip) = (ledger.snapshot(), ledger.tip().number);
    for height in tip - 5..=tip {
        check_state(&snapshot, height, &past[height as usize]);
        check_proofs(&snapshot, height);
    }
    let oldest = tip - 5;
    let error = snapshot.state(oldest - 1).unwrap_err();
    assert!(matches!(error, LedgerError::Pruned { height, oldest: o } if height + 1 == o));
    // The blocks themselves stay.
    assert!(snapshot.block(1).unwrap().is_some());
}

const PROOFS: u64 = crate::PROOFS_WINDOW;

/// A call on an old state may create a contract where one stands today.
#[test]
fn what_a_contract_stored_later_is_not_in_an_older_state() {
    let mut ledger = open(&MemDisk::default(), History::Archive);
    let stores = |nonce| AccountDiff {
        after: Some(Account { nonce, balance: U256::ONE, code_hash: KECCAK_EMPTY }),
        storage: [(U256::ZERO, (U256::ZERO, U256::ONE))].into(),
        ..Default::default()
    };
    let diff =
        |of, nonce| StateDiff { accounts: [(of, stores(nonce))].into(), ..Default::default() };
    // As of genesis, with neither nonce nor code; and a contract.
    let (bare, contract) = (address(1), address(2));
    commit(&mut ledger, diff(bare, 0));
    commit(&mut ledger, diff(contract, 1));
    for _ in 0..2 {
        let has = |height, of| ledger.snapshot().state(height).unwrap().has_storage(&of).unwrap();
        assert!(has(1, bare) && has(2, bare) && has(2, contract));
        assert!(!has(0, contract) && !has(1, contract));
        checkpoint(&mut ledger);
    }
}

#[test]
fn proofs_older_than_their_window_are_refused_with_the_reason() {
    let mut ledger = open(&MemDisk::default(), History::Archive);
    let mut state = ModelState::new();
    for n in 0..PROOFS + 10 {
        let diff = apply(&mut state, &BlockChanges::from([(1, Some((n, BTreeMap::new())))]));
        commit(&mut ledger, diff);
        checkpoint(&mut ledger);
    }
    let (snapshot, tip) = (ledger.snapshot(), ledger.tip().number);
    check_proofs(&snapshot, tip - PROOFS + 1);
    let error = snapshot.proof(3, &address(1), &[]).unwrap_err();
    assert!(error.to_string().starts_with("proofs are kept for the newest 128 blocks"), "{error}");
    assert!(snapshot.state(3).unwrap().account(&address(1)).unwrap().is_some());
}

/// Blocks of high gas limits can change gigabytes of rows within the window of proofs.
#[test]
fn an_older_trie_is_held_as_far_as_there_is_memory_and_a_proof_needs_little() {
    let mut ledger = open(&MemDisk::default(), History::Archive);
    let at = |n: u64| Address::from_word(keccak256(n.to_be_bytes()));
    let account = |n: u64| Account { nonce: n, balance: U256::ONE, code_hash: KECCAK_EMPTY };
    for nonce in 1..=2 {
        let mut diff = StateDiff::default();
        for n in 0..30_000 {
            let before = (nonce > 1).then(|| account(nonce - 1));
            let after = Some(account(nonce));
            diff.accounts.insert(at(n), AccountDiff { before, after, ..Default::default() });
        }
        commit(&mut ledger, diff);
    }
    for on_disk in [false, true] {
        if on_disk {
            checkpoint(&mut ledger);
        }
        let snapshot = ledger.snapshot();
        for has_room in [false, true] {
            let reserve = |_| has_room;
            let memory = CallMemory::new(64 << 20, &reserve);
            let ground = Ground::at(ledger.spec(), &snapshot, 1, &memory);
            assert_eq!(ground.is_ok(), has_room, "on disk: {on_disk}");
        }
        let (mut rows, mut needed) = (0, 0);
        let owner = keccak256(at(7));
        let is_needed = |key: &[u8], _| {
            rows += 1;
            let is_needed = is_on_the_way(key, &owner, &Default::default());
            needed += usize::from(is_needed);
            Ok(is_needed)
        };
        snapshot.view.trie_at(1, is_needed).unwrap();
        assert!(rows > 1_000 && needed < 20, "{needed} of {rows}");
        let proof = snapshot.proof(1, &at(7), &[]).unwrap();
        let (_, header) = snapshot.header(1).unwrap().unwrap();
        let known = TrieAccount { nonce: 1, balance: U256::ONE, ..Default::default() };
        let proven = verify_proof(
            header.state_root,
            Nibbles::unpack(owner),
            Some(alloy_rlp::encode(known)),
            &proof.proof,
        );
        assert_eq!(proven, Ok(()));
    }
}

#[test]
fn parts_of_a_block_are_those_of_the_whole_one() {
    let mut ledger = open(&MemDisk::default(), History::Archive);
    let logs = vec![Log::new_unchecked(address(1), vec![B256::ZERO], Bytes::new()); 100];
    let bare = alloy_consensus::Receipt { status: true.into(), cumulative_gas_used: 7, logs };
    let receipt = Receipt::from_typed(alloy_consensus::TxType::Legacy, bare);
    let outcome = outcome(&ledger, StateDiff::default(), vec![receipt]);
    let certificate = certificate(outcome.block(), 0);
    ledger.commit(outcome, certificate);
    for on_disk in [false, true] {
        if on_disk {
            checkpoint(&mut ledger);
        }
        let s = ledger.snapshot();
        assert_eq!(s.is_in_memory(1), !on_disk);
        let whole = s.block(1).unwrap().unwrap();
        assert_eq!(s.body(1).unwrap().unwrap().hash, whole.block.hash);
        assert_eq!(s.transaction_count(1).unwrap(), Some(whole.block.transactions.len()));
        assert_eq!(s.cumulative_gas(1).unwrap(), Some(vec![7]));
        assert_eq!(s.body_memory(1).unwrap() > 0, on_disk);
        assert_eq!(s.receipts_memory(1).unwrap() > 100 * size_of::<Log>(), on_disk);
        assert!(s.body(2).unwrap().is_none() && s.transaction_count(2).unwrap().is_none());
        assert!(s.cumulative_gas(2).unwrap().is_none() && s.body_memory(2).unwrap() == 0);
        assert_eq!(s.transaction_count(0).unwrap(), Some(0));
    }
}

#[test]
fn blocks_and_all_that_belongs_to_them_are_found_in_memory_and_on_disk() {
    let disk = MemDisk::default();
    let mut ledger = open(&disk, History::Archive);
    let (here, elsewhere) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let (topic, other) = (B256::repeat_byte(3), B256::repeat_byte(4));
    for n in 1..=6 {
        let bare = alloy_consensus::Receipt {
            status: true.into(),
            cumulative_gas_used: n,
            logs: vec![Log::new_unchecked(
                here,
                vec![topic, B256::from(U256::from(n))],
                Bytes::new(),
            )],
        };
        let receipt = Receipt::from_typed(alloy_consensus::TxType::Legacy, bare);
        let receipts = if n % 2 == 0 { vec![receipt] } else { vec![] };
        let outcome = outcome(&ledger, StateDiff::default(), receipts);
        let certificate = certificate(outcome.block(), n as u32);
        ledger.commit(outcome, certificate);
    }
    let look = |ledger: &Ledger| {
        let s = ledger.snapshot();
        let mut seen = Vec::new();
        for height in 1..=6 {
            let stored = s.block(height).unwrap().unwrap();
            let (hash, header) = s.header(height).unwrap().unwrap();
            assert_eq!((hash, &header), (stored.block.hash, &stored.block.header));
            assert_eq!(s.height_of(&hash).unwrap(), Some(height));
            let mut body = Vec::new();
            codec::encode_body(&stored.block, &mut body);
            let size = BodySize { bytes: body.len(), txs: 1 };
            assert_eq!(s.body_size(height).unwrap(), Some(size));
            let tx = *stored.block.transactions[0].tx_hash();
            assert_eq!(s.transaction(&tx).unwrap(), Some((height, 0)));
            // Each block binds its parent's certificate, which replaced ours.
            let round = if height < 6 { 77 } else { 6 };
            assert_eq!(s.certificate(height).unwrap().unwrap().round, round);
            let certified = s.certified_block(height).unwrap().unwrap();
            assert_eq!(certified.block.header.hash_slow(), hash);
            assert_eq!(certified.attached.parent_certificate.is_some(), height > 1);
            assert_eq!(s.validators(height).unwrap(), Some(ledger.next_validators().clone()));
            seen.push((stored.block, stored.receipts));
        }
        assert!(s.validators(8).unwrap().is_none() && s.validators(0).unwrap().is_none());
        assert!(s.block(7).unwrap().is_none() && s.certificate(0).unwrap().is_none());
        assert!(s.body_size(7).unwrap().is_none() && s.certified_block(0).unwrap().is_none());
        assert!(s.block(0).unwrap().unwrap().block.transactions.is_empty());
        let logs = |range, addresses: &[Address], topics: &[Vec<B256>]| {
            s.log_candidates(range, addresses, topics).unwrap()
        };
        assert_eq!(logs(0..=9, &[], &[]), [2, 4, 6]);
        assert_eq!(logs(3..=5, &[here, elsewhere], &[]), [4]);
        assert_eq!(logs(0..=9, &[elsewhere], &[]), [] as [u64; 0]);
        assert_eq!(logs(0..=9, &[here], &[vec![other, topic]]), [2, 4, 6]);
        assert_eq!(logs(0..=9, &[], &[vec![], vec![U256::from(4).into()]]), [4]);
        assert_eq!(logs(0..=9, &[], &[vec![other]]), [] as [u64; 0]);
        seen
    };
    let in_memory = look(&ledger);
    checkpoint(&mut ledger);
    assert_eq!(look(&ledger), in_memory);
    drop(ledger);
    assert_eq!(look(&open(&disk, History::Archive)), in_memory);
}

#[test]
fn a_disk_of_another_chain_is_refused() {
    let disk = MemDisk::default();
    drop(open(&disk, History::Archive));
    let mut other = ChainSpec::clone(&spec());
    other.chain_id += 1;
    let error = Ledger::open(Arc::new(disk), Arc::new(other), History::Archive).unwrap_err();
    assert!(matches!(error, LedgerError::OtherChain { .. }), "{error}");
}

#[test]
fn checkpoints_are_made_when_enough_has_gathered_and_one_at_a_time() {
    let mut ledger = open(&MemDisk::default(), History::Archive);
    assert!(ledger.checkpoint(true).is_none(), "there is nothing to make durable");
    for _ in 1..CHECKPOINT_BLOCKS {
        commit(&mut ledger, StateDiff::default());
        assert!(ledger.checkpoint(false).is_none());
    }
    commit(&mut ledger, StateDiff::default());
    let first = ledger.checkpoint(false).unwrap();
    commit(&mut ledger, StateDiff::default());
    assert!(ledger.checkpoint(true).is_none(), "one is under way");
    assert_eq!(first.height(), CHECKPOINT_BLOCKS as u64);
    let done = first.run().unwrap();
    ledger.checkpointed(done);
    assert_eq!(ledger.checkpoint(true).unwrap().height(), CHECKPOINT_BLOCKS as u64 + 1);
}

fn transfer(nonce: u64) -> Transaction {
    let tx = TxLegacy {
        nonce,
        gas_limit: 21_000,
        to: TxKind::Call(Address::repeat_byte(0xbb)),
        value: U256::from(nonce + 1),
        ..Default::default()
    };
    let signed = Signed::new_unhashed(tx, Signature::new(U256::ONE, U256::ONE, false));
    Arc::new(Recovered::new_unchecked(TxEnvelope::Legacy(signed), Address::repeat_byte(0xaa)))
}

fn draft(ledger: &Ledger) -> Draft {
    Draft {
        timestamp: ledger.tip().timestamp + 1,
        fee_recipient: Address::repeat_byte(9),
        attached: Attached {
            parent_certificate: ledger.tip_certificate().cloned(),
            ..Default::default()
        },
    }
}

#[test]
fn a_built_block_executes_alike_elsewhere_and_a_wrong_root_is_told() {
    let (mut here, mut there) =
        (open(&MemDisk::default(), History::Archive), open(&MemDisk::default(), History::Archive));
    for n in 0..5 {
        let (built, refused) =
            here.build(draft(&here), &mut [transfer(n), transfer(n + 7)].into_iter());
        assert_eq!(refused.len(), 1, "a nonce gap");
        let mut wrong = RecoveredBlock::clone(built.block());
        wrong.header.state_root = B256::ZERO;
        let wrong = RecoveredBlock::new(wrong.header, wrong.transactions, wrong.attached);
        let error = there.execute(Arc::new(wrong)).unwrap_err();
        assert!(error.reason.starts_with("state_root is"), "{error}");
        let executed = there.execute(built.block().clone()).unwrap();
        assert_eq!(executed.receipts(), built.receipts());
        let certificate = certificate(built.block(), 0);
        here.commit(built, certificate.clone());
        there.commit(executed, certificate);
    }
    assert_eq!(here.account(&Address::repeat_byte(0xbb)).unwrap().balance, U256::from(15));
    assert_eq!(here.tip_hash(), there.tip_hash());
}

#[test]
fn a_restart_takes_the_checkpoint_and_the_journal_and_has_the_same_tip() {
    let disk = MemDisk::default();
    let mut ledger = open(&disk, History::Archive);
    let (mut journal, _) = Journal::open(Arc::new(disk.clone())).unwrap();
    for n in 0..9 {
        let (built, _) = ledger.build(draft(&ledger), &mut [transfer(n)].into_iter());
        let certificate = certificate(built.block(), 0);
        let records = [Record::Block(built.block().clone()), Record::Decided(certificate.clone())];
        journal.append(&records).unwrap();
        journal.sync().unwrap();
        ledger.commit(built, certificate);
        if n == 4 {
            checkpoint(&mut ledger);
        }
    }
    let (hash, root) = (ledger.tip_hash(), ledger.tip().state_root);
    drop((ledger, journal));

    let mut ledger = open(&disk, History::Archive);
    assert_eq!(ledger.tip().number, 5);
    let (_, recovered) = Journal::open(Arc::new(disk)).unwrap();
    let mut blocks = BTreeMap::new();
    for record in recovered.records {
        match record {
            Record::Block(block) => _ = blocks.insert(block.hash, block),
            Record::Decided(c) if c.height > ledger.tip().number => {
                let outcome = ledger.execute(blocks[&c.block].clone()).unwrap();
                ledger.commit(outcome, c);
            }
            _ => {}
        }
    }
    assert_eq!((ledger.tip_hash(), ledger.tip().state_root), (hash, root));
}

// A disk that others fill stops the writer for as long as that lasts.
#[test]
fn a_checkpoint_that_is_not_written_stops_the_chain_before_the_memory_is_full() {
    let mut ledger = open(&MemDisk::default(), History::Archive);
    ledger.set_checkpoint_blocks(2);
    let commit = |ledger: &mut Ledger| {
        let outcome = outcome(ledger, StateDiff::default(), vec![]);
        let certificate = certificate(outcome.block(), 0);
        ledger.commit(outcome, certificate);
    };
    (0..2).for_each(|_| commit(&mut ledger));
    let written = ledger.checkpoint(false).unwrap();
    for blocks in 0..2 * OVERFULL_BLOCKS_TIMES {
        assert!(!ledger.is_overfull(), "{blocks} blocks");
        commit(&mut ledger);
        assert!(ledger.checkpoint(false).is_none(), "one at a time");
    }
    assert!(ledger.is_overfull());
    ledger.checkpointed(written.run().unwrap());
    assert!(!ledger.is_overfull());
}
