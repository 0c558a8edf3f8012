//! Blocks of our networks: what is charged, what is refused, what is built.

use alloy_consensus::{TxEip1559, TxEip4844};
use alloy_eips::eip4788::BEACON_ROOTS_ADDRESS;
use alloy_primitives::{B256, Bloom, Bytes, TxKind, U256, bytes};
use trefoil_types::{Certificate, RecoveredBlock, limits};

use super::{ExecuteError, Executed, execute};
use crate::{
    StateReader, TxRefusal,
    testing::chain::{GWEI, TestChain, address, fund, sent, spec, transfer, world},
};

const ETHER: u64 = 1_000_000_000_000_000_000;

fn balance(chain: &TestChain, byte: u8) -> U256 {
    let account = chain.world.account(&address(byte)).expect("memory can be read");
    account.map_or(U256::ZERO, |account| account.balance)
}

/// One funded account, `address(1)`.
fn chain(base_fee: u64) -> TestChain {
    let mut world = world();
    fund(&mut world, address(1), U256::from(ETHER));
    TestChain::new(spec(base_fee), world)
}

fn rerun(chain: &TestChain, block: &RecoveredBlock) -> Result<Executed, ExecuteError> {
    execute(&chain.parent(), block)
}

#[test]
fn what_is_built_is_what_is_executed() {
    let mut chain = chain(GWEI);
    for round in 0..3 {
        let tx = TxEip1559 {
            nonce: round,
            max_fee_per_gas: u128::from(2 * GWEI),
            max_priority_fee_per_gas: 1,
            ..transfer(address(2), 5)
        };
        let built = chain.build([sent(tx, address(1))]);
        assert_eq!(built.refused, []);
        assert_eq!(built.executed.gas_used, 21_000);
        assert_eq!(rerun(&chain, &built.block).expect("valid"), built.executed);
        chain.extend(built);
    }
    assert_eq!(balance(&chain, 2), U256::from(15));
    // The tips: 1 wei a gas. The base fee is burnt.
    assert_eq!(balance(&chain, 0xfe), U256::from(3 * 21_000));
}

/// Foundry offers a tip of 1 wei whatever the node says, from accounts that
/// have nothing.
#[test]
fn a_gas_free_network_neither_demands_nor_takes_a_fee() {
    let mut chain = chain(0);
    let tx = TxEip1559 {
        max_fee_per_gas: u128::from(100 * GWEI),
        max_priority_fee_per_gas: 1,
        ..transfer(address(2), ETHER)
    };
    // All that the sender has goes to the receiver; then it sends nothing from nothing.
    let poor = TxEip1559 { nonce: 1, value: U256::ZERO, ..tx.clone() };
    let built = chain.build([sent(tx, address(1)), sent(poor, address(1))]);
    assert_eq!(built.refused, []);
    assert_eq!(built.block.header.base_fee_per_gas, Some(0));
    rerun(&chain, &built.block).expect("valid");
    chain.extend(built);
    assert_eq!(balance(&chain, 1), U256::ZERO);
    assert_eq!(balance(&chain, 2), U256::from(ETHER));
    assert_eq!(balance(&chain, 0xfe), U256::ZERO);
}

#[test]
fn a_gas_free_network_still_demands_the_value() {
    let chain = chain(0);
    let built = chain.build([sent(transfer(address(2), 1), address(3))]);
    assert!(matches!(&built.refused[..], [(_, TxRefusal::Invalid(_))]), "{:?}", built.refused);
}

#[test]
fn the_base_fee_follows_eip_1559_and_may_not_be_underbid() {
    let mut chain = chain(GWEI);
    let built = chain.build([]);
    // An empty block lowers it by an eighth.
    assert_eq!(built.block.header.base_fee_per_gas, Some(GWEI * 7 / 8));
    chain.extend(built);
    let low = TxEip1559 { max_fee_per_gas: 1, ..transfer(address(2), 1) };
    let built = chain.build([sent(low, address(1))]);
    assert_eq!(built.refused[0].1, TxRefusal::NotNow);
    assert_eq!(built.block.transactions.len(), 0);
}

/// Each transaction that stays out, and what the pool should do with it.
#[test]
fn refusals_say_whether_to_keep_the_transaction() {
    let fee = u128::from(10 * GWEI);
    let good = TxEip1559 { max_fee_per_gas: fee, ..transfer(address(2), 1) };
    let invalid = TxRefusal::Invalid(String::new());
    let table = [
        ("nonce too high", TxEip1559 { nonce: 7, ..good.clone() }, TxRefusal::NotNow),
        ("fee below base fee", TxEip1559 { max_fee_per_gas: 1, ..good.clone() }, TxRefusal::NotNow),
        (
            "more gas than the EIP-7825 cap",
            TxEip1559 { gas_limit: 20_000_000, ..good.clone() },
            invalid.clone(),
        ),
        (
            "more gas than a block",
            TxEip1559 { gas_limit: 40_000_000, ..good.clone() },
            invalid.clone(),
        ),
        ("too little gas", TxEip1559 { gas_limit: 20_999, ..good.clone() }, invalid.clone()),
        ("another chain", TxEip1559 { chain_id: 1, ..good.clone() }, invalid.clone()),
        (
            "tip over cap",
            TxEip1559 { max_priority_fee_per_gas: fee + 1, ..good.clone() },
            invalid.clone(),
        ),
        ("no funds", TxEip1559 { value: U256::MAX, ..good.clone() }, invalid.clone()),
    ];
    for (name, tx, wanted) in table {
        let chain = chain(GWEI);
        let before = chain.build([sent(good.clone(), address(1))]);
        let built = chain.build([sent(tx, address(1)), sent(good.clone(), address(1))]);
        let got = match &built.refused[..] {
            [(_, TxRefusal::Invalid(_))] => invalid.clone(),
            [(_, other)] => other.clone(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(got, wanted, "{name}: {:?}", built.refused);
        // It left no trace.
        assert_eq!(built.block, before.block, "{name}");
        assert_eq!(built.executed, before.executed, "{name}");
    }
}

#[test]
fn a_nonce_that_is_used_up_is_refused_for_ever() {
    let chain = chain(0);
    let tx = sent(transfer(address(2), 1), address(1));
    let again = sent(transfer(address(3), 1), address(1));
    let built = chain.build([tx, again]);
    assert!(matches!(&built.refused[..], [(_, TxRefusal::Invalid(_))]), "{:?}", built.refused);
    assert_eq!(built.block.transactions.len(), 1);
}

#[test]
fn blob_transactions_are_refused() {
    let chain = chain(0);
    let tx = TxEip4844 {
        chain_id: 7331,
        gas_limit: 21_000,
        to: address(2),
        blob_versioned_hashes: vec![B256::with_last_byte(1)],
        ..Default::default()
    };
    let built = chain.build([sent(tx, address(1))]);
    let refused = format!("{:?}", built.refused);
    assert!(refused.contains("type 3"), "{refused}");
}

#[test]
fn a_full_block_keeps_what_finds_no_room_for_later() {
    let mut chain = chain(0);
    chain.governed.settings.gas_limit = 1_000_000;
    chain.tip.gas_limit = 1_000_000;
    let tx = |nonce, gas| {
        sent(TxEip1559 { nonce, gas_limit: gas, ..transfer(address(2), 1) }, address(1))
    };
    let built = chain.build([tx(0, 990_000), tx(1, 990_000), tx(1, 21_000)]);
    assert_eq!(built.refused, [(*tx(1, 990_000).tx_hash(), TxRefusal::NotNow)]);
    assert_eq!(built.block.transactions.len(), 2);
    let many = chain.build((0..60).map(|nonce| tx(nonce, 21_000)));
    assert_eq!(many.block.transactions.len(), 47);
    // Nobody looked at the rest: less gas was left than any takes.
    assert_eq!(many.refused, []);
}

type BlockEdit = fn(&mut RecoveredBlock);

/// Every field of a header of ours: changed, it breaks the block.
#[test]
fn every_header_rule() {
    let mut chain = chain(GWEI);
    chain.extend(chain.build([]));
    let tx = TxEip1559 { max_fee_per_gas: u128::from(2 * GWEI), ..transfer(address(2), 1) };
    let good = chain.build([sent(tx, address(1))]).block;
    let breaks: [(&str, BlockEdit); 27] = [
        ("parent_hash", |b| b.header.parent_hash = B256::ZERO),
        ("ommers_hash", |b| b.header.ommers_hash = B256::ZERO),
        ("transactions_root", |b| b.header.transactions_root = B256::ZERO),
        ("transactions_root", |b| b.transactions.clear()),
        ("receipts_root", |b| b.header.receipts_root = B256::ZERO),
        ("logs_bloom", |b| b.header.logs_bloom = Bloom::repeat_byte(1)),
        ("difficulty", |b| b.header.difficulty = U256::ONE),
        ("number", |b| b.header.number = 3),
        ("gas_limit", |b| b.header.gas_limit += 1),
        ("gas_used", |b| b.header.gas_used += 1),
        ("timestamp", |b| b.header.timestamp = 1_000),
        ("extra_data", |b| b.header.extra_data = vec![0; 33].into()),
        ("mix_hash", |b| b.header.mix_hash = B256::ZERO),
        ("nonce", |b| b.header.nonce = [1; 8].into()),
        ("base_fee_per_gas", |b| b.header.base_fee_per_gas = Some(1)),
        ("base_fee_per_gas", |b| b.header.base_fee_per_gas = None),
        ("withdrawals_root", |b| b.header.withdrawals_root = None),
        ("blob_gas_used", |b| b.header.blob_gas_used = Some(131_072)),
        ("excess_blob_gas", |b| b.header.excess_blob_gas = Some(1)),
        ("parent_beacon_block_root", |b| b.header.parent_beacon_block_root = Some(B256::ZERO)),
        ("requests_hash", |b| b.header.requests_hash = None),
        ("block_access_list_hash", |b| b.header.block_access_list_hash = Some(B256::ZERO)),
        ("slot_number", |b| b.header.slot_number = Some(1)),
        ("certificate is missing", |b| b.attached.parent_certificate = None),
        ("not of the parent", |b| certificate(b).block = B256::ZERO),
        ("not of the parent", |b| certificate(b).height = 9),
        // Another certificate of the same block is another binding.
        ("mix_hash", |b| certificate(b).round = 1),
    ];
    rerun(&chain, &good).expect("valid as it is");
    for (rule, change) in breaks {
        let mut block = good.clone();
        change(&mut block);
        match rerun(&chain, &block) {
            Err(ExecuteError::Block(error)) => {
                assert!(error.reason.contains(rule), "{rule}: {error}");
            }
            other => panic!("{rule}: {other:?}"),
        }
    }
}

fn certificate(block: &mut RecoveredBlock) -> &mut Certificate {
    block.attached.parent_certificate.as_mut().expect("height 2 has one")
}

/// A peer may name any transactions for a header that a proposer signed. The check comes before the
/// execution, which none of these would pass.
#[test]
fn no_transaction_is_executed_that_the_header_does_not_name() {
    let chain = chain(0);
    let tx = |nonce| sent(TxEip1559 { nonce, ..transfer(address(2), 1) }, address(1));
    let good = chain.build([tx(0)]).block;
    for transactions in [vec![tx(7)], vec![tx(0), tx(7)], vec![]] {
        let error = rerun(&chain, &RecoveredBlock { transactions, ..good.clone() });
        let error = error.expect_err("another list").to_string();
        assert!(error.contains("transactions_root"), "{error}");
    }
}

/// The check comes before the execution, which none of these blocks would pass.
#[test]
fn a_block_is_bounded_in_transactions_and_bytes() {
    let chain = chain(0);
    let small = sent(transfer(address(2), 1), address(1));
    let input = Bytes::from(vec![1; 100_000]);
    let large = sent(TxEip1559 { input, ..transfer(address(2), 1) }, address(1));
    for (tx, most, refusal) in [
        (small, limits::BLOCK_TXS_MAX, "30001 transactions, at most 30000"),
        (large, limits::BLOCK_BYTES_MAX / 100_000, "is over the limit"),
    ] {
        let mut block = chain.build([]).block;
        block.transactions = vec![tx.clone(); most + 1];
        let error = rerun(&chain, &block).expect_err("too much").to_string();
        assert!(error.contains(refusal), "{error}");
        block.transactions.truncate(most);
        block.header.transactions_root = crate::transactions_root(&block.transactions);
        let error = rerun(&chain, &block).expect_err("a transaction that cannot be").to_string();
        assert!(error.contains("transaction ") && !error.contains(refusal), "{error}");
    }
}

#[test]
fn a_proposer_may_repeat_the_timestamp() {
    let chain = chain(0);
    let mut block = chain.build([]).block;
    block.header.timestamp = chain.tip.timestamp;
    rerun(&chain, &block).expect("valid");
    block.header.timestamp -= 1;
    assert!(rerun(&chain, &block).is_err());
}

#[test]
fn a_block_with_a_transaction_that_cannot_follow_names_it() {
    let chain = chain(0);
    let mut block = chain.build([sent(transfer(address(2), 1), address(1))]).block;
    block.transactions.push(block.transactions[0].clone());
    block.header.transactions_root = crate::transactions_root(&block.transactions);
    let error = rerun(&chain, &block).expect_err("the nonce repeats").to_string();
    assert!(error.contains("transaction 1") && error.contains("nonce"), "{error}");
}

#[test]
fn the_parents_certificate_can_be_read_by_contracts() {
    let mut chain = chain(0);
    chain.extend(chain.build([]));
    let built = chain.build([]);
    let root = built.block.attached.parent_certificate.as_ref().expect("height 2 has one").hash();
    assert_eq!(built.block.header.parent_beacon_block_root, Some(root));
    let timestamp = U256::from(built.block.header.timestamp);
    chain.extend(built);
    // EIP-4788: two rings of 8,191 slots, timestamps and roots.
    let slot = timestamp % U256::from(8_191) + U256::from(8_191);
    let stored = chain.world.storage(&BEACON_ROOTS_ADDRESS, slot).expect("memory can be read");
    assert_eq!(B256::from(stored), root);
}

/// The diff over a block that deploys, writes, clears and destroys.
#[test]
fn one_journal_over_many_transactions_forgets_nothing() {
    let mut chain = chain(0);
    // Runtime: sstore(0, calldata word 0).
    let setter = bytes!("5f355f5500");
    let store = address(0x55);
    chain.world.set(store, 1, U256::ZERO, &setter, [(U256::ZERO, U256::from(3))]);
    // Init code that destroys itself at once, paying address(9).
    let doomed = [&[0x73][..], address(9).as_slice(), &[0xff]].concat();
    let call = |nonce, word: u64| TxEip1559 {
        nonce,
        gas_limit: 100_000,
        input: B256::from(U256::from(word)).into(),
        ..transfer(store, 0)
    };
    let create = TxEip1559 {
        nonce: 2,
        gas_limit: 100_000,
        to: TxKind::Create,
        input: Bytes::from(doomed),
        ..transfer(address(0), 11)
    };
    let txs = [call(0, 8), call(1, 0), create, call(3, 4)];
    let built = chain.build(txs.into_iter().map(|tx| sent(tx, address(1))));
    assert_eq!(built.refused, []);
    let diff = &built.executed.diff;
    assert_eq!(diff.accounts[&store].storage[&U256::ZERO], (U256::from(3), U256::from(4)));
    assert!(!diff.accounts.contains_key(&address(1).create(2)));
    chain.extend(built);
    assert_eq!(balance(&chain, 9), U256::from(11));
}
