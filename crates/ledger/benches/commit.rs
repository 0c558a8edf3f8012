//! The ledger's cost of a block of 500 transfers between fresh accounts, once it is executed.
//! One bench makes it the tip in memory, while a reader's snapshot of each block is held. The
//! other makes 64 such blocks durable, on a disk in memory, so without the time of fsync.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench reads the clock")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_consensus::{Signed, TxLegacy, transaction::Recovered};
use alloy_primitives::{Signature, TxKind, U256};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trefoil_crypto::SecretKey;
use trefoil_ledger::{Checkpoint, Draft, History, Ledger, Outcome};
use trefoil_types::{
    Address, Attached, Certificate, ChainSpec, MemDisk, PeerId, Transaction, TxEnvelope, keccak256,
};

const TXS: u64 = 500;
const BLOCKS: u64 = 64;
const SENDER: Address = Address::repeat_byte(0xaa);

fn ledger() -> Ledger {
    let key = |n| SecretKey::from_seed(&[n; 32]).public();
    let text = format!(
        "name = \"bench\"\nkind = \"consortium\"\nchain_id = 7331\ngenesis_time = 0\n\
         gas_limit = 30000000\nbase_fee = 0\n[forks]\ncancun = 0\n[[organisations]]\nname = \"one\"\n\
         keys = [\"{0}\"]\nca_keys = [\"{ca}\"]\n[[validators]]\nkey = \"{key}\"\npower = 1\n\
         fee_recipient = \"{0}\"\nnode = \"{peer}\"\norganisation = \"one\"\n\
         [alloc.\"{SENDER}\"]\nbalance = \"0xffffffffffffffff\"\n",
        Address::repeat_byte(1),
        key = key(1),
        ca = key(2),
        peer = PeerId(key(3)),
    );
    let spec = ChainSpec::from_toml(&text).expect("a specification");
    Ledger::open(Arc::new(MemDisk::default()), Arc::new(spec), History::Archive).expect("a ledger")
}

fn transfer(nonce: u64) -> Transaction {
    let to = Address::from_slice(&keccak256(nonce.to_be_bytes())[12..]);
    let tx = TxLegacy {
        nonce,
        gas_limit: 21_000,
        to: TxKind::Call(to),
        value: U256::ONE,
        ..Default::default()
    };
    let signed = Signed::new_unhashed(tx, Signature::new(U256::ONE, U256::ONE, false));
    Arc::new(Recovered::new_unchecked(TxEnvelope::Legacy(signed), SENDER))
}

fn next(ledger: &Ledger) -> (Outcome, Certificate) {
    let height = ledger.tip().number + 1;
    let draft = Draft {
        timestamp: height,
        fee_recipient: Address::repeat_byte(1),
        attached: Attached {
            parent_certificate: ledger.tip_certificate().cloned(),
            ..Default::default()
        },
    };
    let first = (height - 1) * TXS;
    let (outcome, _) = ledger.build(draft, &mut (first..first + TXS).map(transfer));
    let block = outcome.block().hash;
    assert_eq!(outcome.receipts().len() as u64, TXS);
    (outcome, Certificate { height, round: 0, block, signatures: vec![] })
}

fn commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.throughput(Throughput::Elements(TXS)).sample_size(10);
    group.bench_function(format!("a block of {TXS} transfers"), |b| {
        b.iter_custom(|blocks| {
            let (mut ledger, mut took, mut snapshot) = (ledger(), Duration::ZERO, None);
            for _ in 0..blocks {
                let (outcome, certificate) = next(&ledger);
                let start = Instant::now();
                ledger.commit(outcome, certificate);
                snapshot.replace(ledger.snapshot());
                took += start.elapsed();
                if let Some(checkpoint) = ledger.checkpoint(false) {
                    ledger.checkpointed(checkpoint.run().expect("a checkpoint"));
                }
            }
            took
        });
    });
    group.throughput(Throughput::Elements(TXS * BLOCKS));
    group.bench_function(format!("a checkpoint of {BLOCKS} such blocks"), |b| {
        b.iter_custom(|checkpoints| {
            let (mut ledger, mut took) = (ledger(), Duration::ZERO);
            for _ in 0..checkpoints {
                for _ in 0..BLOCKS {
                    let (outcome, certificate) = next(&ledger);
                    ledger.commit(outcome, certificate);
                }
                let checkpoint = ledger.checkpoint(true).expect("there is much to write");
                let start = Instant::now();
                let done = Checkpoint::run(checkpoint).expect("a checkpoint");
                took += start.elapsed();
                ledger.checkpointed(done);
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
