//! The pool at the sizes of a busy chain: admission, selection, and a commit.

use std::{hint::black_box, sync::Arc};

use alloy_consensus::{SignableTransaction as _, TxEip1559, transaction::Recovered};
use alloy_primitives::{Address, Signature, TxKind, U256};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use trefoil_mempool::{Mempool, MempoolLimits, SenderState, TxRules};
use trefoil_types::{Time, Transaction, TxEnvelope, spec::Fork};

const RULES: TxRules = TxRules {
    chain_id: 7331,
    fork: Fork::Osaka,
    gas_limit: 600_000_000,
    base_fee: 10,
    gas_free: false,
    tx_gas_max: None,
    code_bytes_max: None,
};

fn sender(n: u64) -> Address {
    Address::left_padding_from(&n.to_be_bytes())
}

fn state(nonce: u64) -> SenderState {
    SenderState { nonce, balance: U256::from(u128::MAX), ..SenderState::default() }
}

/// `count` transfers of as many senders as it takes at `each` from one.
fn transfers(count: u64, each: u64) -> Vec<Transaction> {
    let transfer = |n: u64| {
        let tx = TxEip1559 {
            chain_id: 7331,
            nonce: n % each,
            gas_limit: 21_000,
            max_fee_per_gas: 1_000,
            max_priority_fee_per_gas: u128::from(n * 7_919 % 97),
            to: TxKind::Call(sender(n)),
            ..TxEip1559::default()
        };
        let signed: TxEnvelope = tx.into_signed(Signature::test_signature()).into();
        signed.tx_hash();
        Arc::new(Recovered::new_unchecked(signed, sender(n / each)))
    };
    (0..count).map(transfer).collect()
}

fn filled(txs: &[Transaction]) -> Mempool {
    let mut pool = Mempool::new(MempoolLimits::default());
    for tx in txs {
        pool.admit(Time(0), tx.clone(), None, &RULES, || state(0)).unwrap();
    }
    pool
}

fn pool(c: &mut Criterion) {
    let background = transfers(90_000, 10);
    let all = transfers(100_000, 10);
    let new = &all[90_000..];

    let mut group = c.benchmark_group("pool");
    group.sample_size(10);
    group.throughput(Throughput::Elements(new.len() as u64));
    group.bench_function("admit 10,000 to 90,000", |b| {
        let admit = |mut pool: Mempool| {
            for tx in new {
                pool.admit(Time(0), tx.clone(), None, &RULES, || state(0)).unwrap();
            }
            pool
        };
        b.iter_batched(|| filled(&background), admit, BatchSize::LargeInput);
    });
    group.throughput(Throughput::Elements(5_000));
    let full = filled(&background);
    group.bench_function("choose 5,000 of 90,000", |b| {
        b.iter(|| full.best(10, Time(0)).take(5_000).map(|p| black_box(p.bytes)).sum::<usize>());
    });
    group.bench_function("commit 5,000 of 500 senders", |b| {
        let commit = |mut pool: Mempool| {
            for n in 0..500 {
                pool.advance(&sender(n), 10, U256::from(u128::MAX));
            }
            pool
        };
        b.iter_batched(|| filled(&background), commit, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, pool);
criterion_main!(benches);
