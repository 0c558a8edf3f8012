//! The state root after a block that changes 5,000 of many accounts, each by
//! its balance: reading the trie from the database, hashing, folding.
//!
//! 100,000 accounts; another number in `TREFOIL_BENCH_ACCOUNTS`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a setting of the bench")]

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use alloy_genesis::GenesisAccount;
use alloy_primitives::U256;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trefoil_crypto::SecretKey;
use trefoil_ledger::{AccountDiff, History, Ledger, StateDiff};
use trefoil_types::{Address, ChainSpec, MemDisk, PeerId, keccak256};

const CHANGED: u64 = 5_000;

fn address(n: u64) -> Address {
    Address::from_slice(&keccak256(n.to_be_bytes())[12..])
}

fn ledger(accounts: u64) -> Ledger {
    let key = |n| SecretKey::from_seed(&[n; 32]).public();
    let text = format!(
        "name = \"bench\"\nkind = \"consortium\"\nchain_id = 7331\ngenesis_time = 0\n\
         gas_limit = 30000000\nbase_fee = 0\n[forks]\ncancun = 0\n[[organisations]]\nname = \"one\"\n\
         keys = [\"{0}\"]\nca_keys = [\"{ca}\"]\n[[validators]]\nkey = \"{key}\"\npower = 1\n\
         fee_recipient = \"{0}\"\nnode = \"{peer}\"\norganisation = \"one\"\n",
        Address::repeat_byte(1),
        key = key(1),
        ca = key(2),
        peer = PeerId(key(3)),
    );
    let mut spec = ChainSpec::from_toml(&text).expect("a specification");
    let rich = GenesisAccount { balance: U256::from(1u64 << 60), ..Default::default() };
    spec.alloc = (0..accounts).map(|n| (address(n), rich.clone())).collect();
    Ledger::open(Arc::new(MemDisk::default()), Arc::new(spec), History::Archive).expect("a ledger")
}

/// Another balance for every `accounts / CHANGED`-th account.
fn diff(ledger: &Ledger, accounts: u64) -> StateDiff {
    let change = |n: u64| {
        let address = address(n * (accounts / CHANGED));
        let before = ledger.account(&address);
        let after = before.map(|mut account| {
            account.balance -= U256::from(n + 1);
            account
        });
        (address, AccountDiff { before, after, ..Default::default() })
    };
    let accounts: BTreeMap<_, _> = (0..CHANGED).map(change).collect();
    StateDiff { accounts, ..Default::default() }
}

fn trie(c: &mut Criterion) {
    let accounts = std::env::var("TREFOIL_BENCH_ACCOUNTS").ok().and_then(|n| n.parse().ok());
    let accounts = accounts.unwrap_or(100_000).max(CHANGED);
    let ledger = ledger(accounts);
    let diff = diff(&ledger, accounts);
    let mut group = c.benchmark_group("trie");
    group.throughput(Throughput::Elements(CHANGED)).sample_size(20);
    group.bench_function(format!("{CHANGED} of {accounts} accounts"), |b| {
        b.iter(|| black_box(ledger.state_root(diff.clone()).expect("a root")));
    });
    group.finish();
}

criterion_group!(benches, trie);
criterion_main!(benches);
