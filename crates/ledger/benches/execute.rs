//! The cost of a block of 1,000 transactions: to build it, and to execute it with every check,
//! on a state in memory (so without the state trie). They are transfers, and transfers of a
//! token, each between two accounts that no other one touches.

#[path = "../src/testing/mod.rs"]
mod testing;

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, U256, bytes, keccak256};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use testing::chain::{GWEI, TestChain, fund, sent, spec, transfer, world};
use trefoil_ledger::{LedgerError, StateDiff, execute};
use trefoil_types::Transaction;

const TXS: u64 = 1_000;
const TOKEN: Address = Address::repeat_byte(0x70);

fn account(kind: &str, index: u64) -> Address {
    Address::from_slice(&keccak256(format!("{kind}{index}"))[12..])
}

/// `transfer(address to, uint256 amount)` of a token, by hand: balances in a
/// mapping at slot 0, and the `Transfer` log.
fn token() -> Bytes {
    let mut code = bytes!(
        "335f5260405f208054602435900390556004355f5260405f20805460243501905560243560205260043533"
    )
    .to_vec();
    code.push(0x7f);
    code.extend(keccak256("Transfer(address,address,uint256)"));
    code.extend(bytes!("60206020a300"));
    code.into()
}

fn balance_slot(holder: Address) -> U256 {
    keccak256([holder.into_word().0, [0; 32]].concat()).into()
}

fn chain() -> TestChain {
    let mut world = world();
    let senders = (0..TXS).map(|index| account("sender", index));
    for sender in senders.clone() {
        fund(&mut world, sender, U256::from(10u64.pow(18)));
    }
    let balances = senders.map(|sender| (balance_slot(sender), U256::from(1_000_000)));
    world.set(TOKEN, 1, U256::ZERO, &token(), balances);
    let mut spec = spec(GWEI);
    spec.gas_limit = 600_000_000;
    TestChain::new(spec, world)
}

fn with_fee(tx: TxEip1559) -> TxEip1559 {
    TxEip1559 { max_fee_per_gas: u128::from(2 * GWEI), max_priority_fee_per_gas: 1, ..tx }
}

fn transfers() -> Vec<Transaction> {
    let tx = |index| with_fee(transfer(account("receiver", index), 1));
    (0..TXS).map(|index| sent(tx(index), account("sender", index))).collect()
}

fn token_transfers() -> Vec<Transaction> {
    let tx = |index| {
        let to = account("receiver", index).into_word();
        let input = [&[0xa9, 0x05, 0x9c, 0xbb][..], &to[..], &[0; 31], &[1]].concat();
        let tx = TxEip1559 { gas_limit: 100_000, input: input.into(), ..transfer(TOKEN, 0) };
        with_fee(tx)
    };
    (0..TXS).map(|index| sent(tx(index), account("sender", index))).collect()
}

/// The trie has its own bench.
fn no_root(_: &mut StateDiff) -> Result<B256, LedgerError> {
    Ok(B256::ZERO)
}

fn benches(c: &mut Criterion) {
    let mut chain = chain();
    // The first block has no parent's certificate: take the second.
    chain.extend(chain.build([]));
    let mut group = c.benchmark_group("block of 1000");
    group.throughput(Throughput::Elements(TXS));
    for (name, txs) in [("transfers", transfers()), ("token transfers", token_transfers())] {
        let block = chain.build(txs).block;
        assert_eq!(block.transactions.len() as u64, TXS);
        group.bench_function(format!("{name}: execute"), |b| {
            b.iter(|| execute(&chain.parent(), &block).expect("valid"));
        });
        group.bench_function(format!("{name}: build"), |b| {
            b.iter_batched(
                || block.transactions.clone().into_iter(),
                |mut txs| {
                    let (draft, root) = (chain.draft(), no_root);
                    trefoil_ledger::build(&chain.parent(), draft, &mut txs, root)
                        .expect("memory can be read")
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
