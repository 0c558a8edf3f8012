use std::{cell::RefCell, collections::BTreeMap};

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_trie::{TrieAccount, proof::verify_proof, root};
use proptest::prelude::*;

use super::{
    node::NodeChange,
    proof::{is_on_the_way, prove},
    witness::Proven,
    *,
};
use crate::{Account, AccountDiff, StateReader};

/// Trie rows in memory, and the state that they must stand for.
#[derive(Default)]
struct TrieModel {
    rows: RefCell<BTreeMap<NodeKey, Bytes>>,
    /// The keys of the rows that were read.
    read: RefCell<Vec<NodeKey>>,
    accounts: BTreeMap<Address, (Account, BTreeMap<U256, U256>)>,
}

impl NodeReader for TrieModel {
    fn node(&self, key: &NodeKey) -> Result<Option<Bytes>, LedgerError> {
        self.read.borrow_mut().push(*key);
        Ok(self.rows.borrow().get(key).cloned())
    }
}

impl TrieModel {
    /// The root by a naive full rebuild.
    fn oracle(&self) -> B256 {
        root::state_root_unhashed(
            self.accounts.iter().map(|(address, (account, storage))| {
                (*address, self.trie_account(account, storage))
            }),
        )
    }

    fn trie_account(&self, account: &Account, storage: &BTreeMap<U256, U256>) -> TrieAccount {
        let storage = storage.iter().map(|(slot, value)| (B256::from(*slot), *value));
        let storage_root = root::storage_root_unhashed(storage);
        TrieAccount::new(account.nonce, account.balance, storage_root, account.code_hash)
    }

    /// Applies a step to both and gives the trie's root.
    fn apply(&mut self, step: &TrieStep) -> B256 {
        let mut diff = StateDiff::default();
        for change in step {
            let address = Address::repeat_byte(change.account);
            let old = self.accounts.get(&address).cloned();
            let (before, mut storage) = match old {
                Some((account, storage)) => (Some(account), storage),
                None => (None, BTreeMap::new()),
            };
            let entry = diff
                .accounts
                .entry(address)
                .or_insert_with(|| AccountDiff { before, ..Default::default() });
            if change.gone {
                for (slot, value) in std::mem::take(&mut storage) {
                    entry.storage.insert(slot, (value, U256::ZERO));
                }
                entry.after = None;
                self.accounts.remove(&address);
                continue;
            }
            let account = Account { nonce: 1, balance: change.balance, code_hash: KECCAK_EMPTY };
            for (slot, value) in &change.slots {
                let slot = U256::from(*slot);
                let before = storage.get(&slot).copied().unwrap_or_default();
                entry.storage.insert(slot, (before, U256::from(*value)));
                storage.insert(slot, U256::from(*value));
            }
            storage.retain(|_, value| !value.is_zero());
            entry.after = Some(account);
            self.accounts.insert(address, (account, storage));
        }
        let (root, changed) = state_root(self, &diff).unwrap();
        let mut rows = self.rows.borrow_mut();
        let mut seen = std::collections::BTreeSet::new();
        for NodeChange { key, before, after } in changed {
            assert!(seen.insert(key), "{key:?} is changed twice");
            assert_eq!(rows.get(&key), before.as_ref(), "{key:?}");
            match after {
                Some(row) => _ = rows.insert(key, row),
                None => _ = rows.remove(&key),
            }
        }
        root
    }
}

type TrieStep = Vec<AccountChange>;

#[derive(Clone, Debug)]
struct AccountChange {
    account: u8,
    gone: bool,
    balance: U256,
    slots: BTreeMap<u8, u8>,
}

/// Few accounts and slots, so that steps meet each other's.
fn step() -> impl Strategy<Value = TrieStep> {
    let slots = proptest::collection::btree_map(0u8..40, 0u8..3, 0..12);
    let change = (0u8..60, proptest::bool::weighted(0.3), any::<u64>(), slots);
    let change = change.prop_map(|(account, gone, balance, slots)| AccountChange {
        account,
        gone,
        balance: U256::from(balance),
        slots,
    });
    proptest::collection::vec(change, 0..20).prop_map(|mut step| {
        step.sort_by_key(|change| change.account);
        step.dedup_by_key(|change| change.account);
        step
    })
}

proptest! {
    #[test]
    fn the_root_is_that_of_a_full_rebuild(steps in proptest::collection::vec(step(), 1..12)) {
        let mut model = TrieModel::default();
        for step in &steps {
            let root = model.apply(step);
            prop_assert_eq!(root, model.oracle());
        }
        // With all gone, no row is left behind.
        let all = (0..60).map(|account| AccountChange { account, gone: true, balance: U256::ZERO, slots: BTreeMap::new() });
        prop_assert_eq!(model.apply(&all.collect()), EMPTY_ROOT_HASH);
        prop_assert!(model.rows.borrow().is_empty());
    }

    #[test]
    fn proofs_verify_for_what_is_there_and_what_is_not(steps in proptest::collection::vec(step(), 1..6)) {
        let mut model = TrieModel::default();
        let mut root = EMPTY_ROOT_HASH;
        for step in &steps {
            root = model.apply(step);
        }
        for account in 0..62 {
            let address = Address::repeat_byte(account);
            let owner = keccak256(address);
            model.read.take();
            let (proof, value) = prove(&model, None, owner).unwrap();
            let (read, none) = (model.read.take(), Default::default());
            let is_needed = |key: &NodeKey| is_on_the_way(&key.to_bytes(), &owner, &none);
            prop_assert!(read.iter().all(is_needed));
            // Besides them, the root of the account's storage.
            let needed = model.rows.borrow().keys().filter(|key| is_needed(key)).count();
            prop_assert!(needed <= read.len() + 1, "{needed} of {}", read.len());
            let known = model.accounts.get(&address);
            let wanted = known.map(|(a, s)| alloy_rlp::encode(model.trie_account(a, s)));
            prop_assert_eq!(value.map(|value| value.to_vec()), wanted.clone());
            prop_assert_eq!(verify_proof(root, Nibbles::unpack(owner), wanted, &proof), Ok(()));
            let storage = known.map(|(_, storage)| storage.clone()).unwrap_or_default();
            let storage_root = storage_root(&model, &address).unwrap();
            for slot in 0..42 {
                let slot = U256::from(slot);
                let key = keccak256(slot.to_be_bytes::<32>());
                let (proof, _) = prove(&model, Some(owner), key).unwrap();
                let (read, slots) = (model.read.take(), [key, B256::ZERO].into());
                let is_needed = |key: &NodeKey| is_on_the_way(&key.to_bytes(), &owner, &slots);
                prop_assert!(read.iter().all(is_needed));
                let wanted = storage.get(&slot).map(alloy_rlp::encode);
                prop_assert_eq!(verify_proof(storage_root, Nibbles::unpack(key), wanted, &proof), Ok(()));
            }
        }
    }

    #[test]
    fn reading_any_bytes_as_a_row_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let row = Bytes::from(bytes);
        if let Some(branch) = node::Branch::decode(&row) {
            branch.rlp();
        }
        if let Some(child) = TrieChild::decode_root(&row) {
            child.reference();
        }
    }
}

/// Keys chosen so that leaves end at the bottom of the trie, where a node is
/// shorter than its hash and its parent holds it whole.
#[test]
fn nodes_shorter_than_a_hash_are_held_by_their_parents() {
    let key = |tail: [u8; 2]| {
        let mut key = [0x11; 32];
        key[30..].copy_from_slice(&tail);
        Nibbles::unpack(key)
    };
    let tails: [[u8; 2]; 5] =
        [[0x22, 0x22], [0x22, 0x23], [0x22, 0x33], [0x23, 0x22], [0x33, 0x22]];
    for present in 1u32..32 {
        let mut model = TrieModel::default();
        // All in, then out again those that are not to be there.
        for gone in [false, true] {
            let touched = (0..).zip(&tails).filter(|(n, _)| !gone || present & (1 << n) == 0);
            let leaves = touched.map(|(n, tail)| LeafChange {
                key: key(*tail),
                target: if gone { LeafValue::Gone } else { LeafValue::Value(vec![n + 1u8].into()) },
            });
            let mut changed = Vec::new();
            let leaves = leaves.collect();
            let root = update_trie(&model, None, leaves, &mut changed).unwrap();
            for node in changed {
                match node.after {
                    Some(row) => _ = model.rows.get_mut().insert(node.key, row),
                    None => _ = model.rows.get_mut().remove(&node.key),
                }
            }
            if !gone {
                continue;
            }
            let mut oracle = alloy_trie::HashBuilder::default();
            for (n, tail) in (0u8..).zip(&tails).filter(|(n, _)| present & (1 << n) != 0) {
                oracle.add_leaf(key(*tail), &[n + 1]);
            }
            assert_eq!(root, oracle.root(), "{present:b}");
            for (n, tail) in (0u8..).zip(&tails) {
                let wanted = (present & (1 << n) != 0).then(|| vec![n + 1]);
                let packed = B256::from_slice(&key(*tail).pack());
                let (proof, value) = prove(&model, None, packed).unwrap();
                assert_eq!(value.map(|value| value.to_vec()), wanted);
                assert_eq!(verify_proof(root, key(*tail), wanted, &proof), Ok(()));
            }
        }
    }
}

#[test]
fn a_missing_row_is_a_damaged_database() {
    let mut model = TrieModel::default();
    let step = |range: std::ops::Range<u8>| -> TrieStep {
        let slots = BTreeMap::new();
        range
            .map(|account| AccountChange {
                account,
                gone: false,
                balance: U256::ONE,
                slots: slots.clone(),
            })
            .collect()
    };
    model.apply(&step(0..50));
    let root = NodeKey { owner: None, path: Some(Nibbles::new()) };
    model.rows.get_mut().remove(&root);
    assert!(matches!(prove(&model, None, B256::ZERO), Err(LedgerError::Damaged(_))));
}

/// The only leaf of a trie is on the way to every key.
#[test]
fn a_witness_of_one_leaf_proves_that_every_other_is_absent() {
    let mut model = TrieModel::default();
    let slots = [(1, 7)].into();
    let root =
        model.apply(&vec![AccountChange { account: 1, gone: false, balance: U256::ONE, slots }]);
    let [one, other] = [1, 2].map(Address::repeat_byte);
    let owner = keccak256(one);
    let slot = keccak256(U256::from(1).to_be_bytes::<32>());
    let mut nodes = prove(&model, None, owner).unwrap().0;
    nodes.extend(prove(&model, Some(owner), slot).unwrap().0);
    let codes = BTreeMap::new();
    let proven = Proven::new(root, &nodes, &codes);
    assert_eq!(proven.storage(&one, U256::from(1)).unwrap(), U256::from(7));
    assert_eq!(proven.storage(&one, U256::from(2)).unwrap(), U256::ZERO);
    assert!(proven.account(&one).unwrap().is_some());
    assert!(proven.account(&other).unwrap().is_none());
}
