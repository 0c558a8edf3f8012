//! Simulated blocks on a small network of ours. (geth's own answers are
//! compared in `crates/trefoil/examples/simulate`.)

use alloy_primitives::{Bytes, TxKind, U256, address, bytes, keccak256};
use alloy_rpc_types_eth::{TransactionRequest, state::AccountOverride};
use trefoil_types::Address;

use super::*;
use crate::{
    MemoryTrie,
    testing::{
        chain::{GWEI, TestChain, fund, spec, world},
        world::World,
    },
};

const RICH: Address = address!("00000000000000000000000000000000000000aa");
const POOR: Address = address!("00000000000000000000000000000000000000bb");
const CONTRACT: Address = address!("00000000000000000000000000000000000000cc");

const OPTIONS: SimulateOptions =
    SimulateOptions { validation: false, transfers: false, gas_cap: 50_000_000 };

fn ground(base_fee: u64) -> Ground<'static, World> {
    let mut world = world();
    fund(&mut world, RICH, U256::from(10u64.pow(18)));
    world.set(CONTRACT, 1, U256::ZERO, &Bytes::new(), [(U256::from(1), U256::from(7))]);
    let TestChain { spec, governed, mut world, tip, tip_hash, .. } =
        TestChain::new(spec(base_fee), world);
    world.blocks.insert(tip.number, tip_hash);
    let mut trie = MemoryTrie::default();
    let mut diff = StateDiff::default();
    for (address, (account, storage)) in &world.accounts {
        let storage = storage.iter().map(|(slot, value)| (*slot, (U256::ZERO, *value))).collect();
        let change = AccountDiff { after: Some(*account), storage, ..Default::default() };
        diff.accounts.insert(*address, change);
    }
    assert_eq!(trie.apply(&diff).unwrap(), tip.state_root);
    Ground::in_memory(tip, world, trie, move |header| {
        ground::rules_of_chain(&spec, &governed, header).unwrap()
    })
}

fn call(from: Address, to: Address, value: u64) -> TransactionRequest {
    TransactionRequest {
        from: Some(from),
        to: Some(TxKind::Call(to)),
        value: Some(U256::from(value)),
        ..Default::default()
    }
}

fn calls(calls: Vec<TransactionRequest>) -> PretendedBlock {
    PretendedBlock { calls, ..Default::default() }
}

fn with_code(code: Bytes, calls: Vec<TransactionRequest>) -> PretendedBlock {
    let over = AccountOverride { code: Some(code), ..Default::default() };
    PretendedBlock { state: [(CONTRACT, over)].into_iter().collect(), calls, ..Default::default() }
}

fn numbered(number: u64) -> PretendedBlock {
    let block = BlockOverrides { number: Some(U256::from(number)), ..Default::default() };
    PretendedBlock { block, ..Default::default() }
}

fn simulated(blocks: Vec<PretendedBlock>, options: SimulateOptions) -> Vec<SimulatedBlock> {
    simulate_blocks(&ground(GWEI), blocks, options, None).unwrap()
}

fn refused(blocks: Vec<PretendedBlock>, options: SimulateOptions) -> String {
    simulate_blocks(&ground(GWEI), blocks, options, None).unwrap_err().to_string()
}

fn output(call: &SimulatedCall) -> U256 {
    match &call.outcome {
        CallOutcome::Success { output, .. } => U256::from_be_slice(output),
        failed => panic!("{failed:?}"),
    }
}

fn logs(call: &SimulatedCall) -> &[alloy_primitives::Log] {
    match &call.outcome {
        CallOutcome::Success { logs, .. } => logs,
        failed => panic!("{failed:?}"),
    }
}

#[test]
fn blocks_follow_each_other_and_gaps_are_filled() {
    let base = ground(GWEI);
    let blocks = simulated(vec![numbered(3), PretendedBlock::default()], OPTIONS);
    let mut parent = base.hash;
    for (height, simulated) in (1..).zip(&blocks) {
        let header = &simulated.block.header;
        assert_eq!((header.number, header.parent_hash), (height, parent));
        assert_eq!(header.timestamp, base.header.timestamp + 12 * height);
        assert_eq!(simulated.bytes, alloy_rlp::encode(simulated.block.to_block()).len());
        parent = simulated.block.hash;
    }
    assert_eq!(blocks.len(), 4);
}

/// BLOCKHASH of the block before: a simulated one, and the chain's own.
#[test]
fn simulated_blocks_are_seen_by_blockhash() {
    let code = bytes!("60014303405f5260205ff3");
    let ask = || calls(vec![call(RICH, CONTRACT, 0)]);
    let blocks = simulated(vec![with_code(code, vec![call(RICH, CONTRACT, 0)]), ask()], OPTIONS);
    for simulated in &blocks {
        let parent = simulated.block.header.parent_hash;
        assert_eq!(output(&simulated.calls[0]), U256::from_be_bytes(parent.0));
    }
}

#[test]
fn a_call_sees_what_the_calls_before_it_did() {
    // Adds one to slot 1 and returns it.
    let code = bytes!("600154600101806001555f5260205ff3");
    let again = || call(RICH, CONTRACT, 0);
    let blocks = vec![with_code(code, vec![again(), again()]), calls(vec![again()])];
    let blocks = simulated(blocks, OPTIONS);
    let seen: Vec<_> = blocks.iter().flat_map(|b| &b.calls).map(output).collect();
    assert_eq!(seen, [U256::from(8), U256::from(9), U256::from(10)]);
    let nonces = blocks.iter().flat_map(|b| &b.block.transactions);
    let nonces: Vec<_> = nonces.map(|tx| alloy_consensus::Transaction::nonce(&***tx)).collect();
    assert_eq!(nonces, [0, 1, 2]);
}

/// The root is that of the state as overridden and changed, from scratch.
#[test]
fn the_state_root_is_that_of_the_state_pretended() {
    let slot = |n: u64| alloy_primitives::B256::from(U256::from(n));
    let over = AccountOverride {
        state: Some([(slot(2), slot(9))].into_iter().collect()),
        ..Default::default()
    };
    let mut block = calls(vec![call(RICH, POOR, 5)]);
    block.state.insert(CONTRACT, over);
    let base = ground(GWEI);
    let simulated = simulate_blocks(&base, vec![block], OPTIONS, None).unwrap().remove(0);
    let mut state = base.state.clone();
    let rich = state.accounts[&RICH].0;
    state.set(RICH, 1, rich.balance - U256::from(5), &Bytes::new(), []);
    fund(&mut state, POOR, U256::from(5));
    let (contract, _) = state.accounts[&CONTRACT];
    assert_eq!(contract.code_hash, keccak256([]));
    state.set(CONTRACT, 1, U256::ZERO, &Bytes::new(), [(U256::from(2), U256::from(9))]);
    // The writes of the opening system calls, taken from an empty block.
    let mut run =
        BlockRun::new(base.rules(&base.header).unwrap(), &simulated.block.header, &base.state);
    run.open(&simulated.block.header, None).unwrap();
    state.apply(&run.finish().diff).unwrap();
    assert_eq!(simulated.block.header.state_root, state.root());
}

#[test]
fn value_that_moves_is_logged_if_asked() {
    let options = SimulateOptions { transfers: true, ..OPTIONS };
    let request = || vec![calls(vec![call(RICH, POOR, 5), call(RICH, POOR, 0)])];
    let blocks = simulated(request(), options);
    let [paid, nothing] = &blocks[0].calls[..] else { panic!("two calls") };
    let [log] = logs(paid) else { panic!("one log") };
    assert_eq!(log.address, Address::repeat_byte(0xee));
    assert_eq!(log.topics()[1..], [RICH.into_word(), POOR.into_word()]);
    assert!(logs(nothing).is_empty());
    // They are no logs of the block, and are not there unless asked for.
    assert!(blocks[0].block.header.logs_bloom.is_zero());
    assert!(logs(&simulated(request(), OPTIONS)[0].calls[0]).is_empty());
    // A failed call moves nothing.
    let fails = with_code(bytes!("5f5ffd"), vec![call(RICH, CONTRACT, 5)]);
    let blocks = simulated(vec![fails], options);
    assert!(matches!(blocks[0].calls[0].outcome, CallOutcome::Revert { .. }));
}

#[test]
fn a_precompile_can_be_moved() {
    let identity = address!("0000000000000000000000000000000000000004");
    let ask = |to| TransactionRequest { input: bytes!("1234").into(), ..call(RICH, to, 0) };
    let over = AccountOverride { move_precompile_to: Some(POOR), ..Default::default() };
    let mut block = calls(vec![ask(POOR), ask(identity)]);
    block.state.insert(identity, over.clone());
    let next = calls(vec![ask(POOR), ask(identity)]);
    let outputs: Vec<_> = simulated(vec![block, next], OPTIONS)
        .iter()
        .flat_map(|block| block.calls.iter().map(output).collect::<Vec<_>>())
        .collect();
    // A move holds for its block.
    let (echo, nothing) = (U256::from(0x1234), U256::ZERO);
    assert_eq!(outputs, [echo, nothing, nothing, echo]);
    let mut block = PretendedBlock::default();
    block.state.insert(CONTRACT, over);
    assert!(refused(vec![block], OPTIONS).ends_with("is not a precompile"));
}

#[test]
fn validation_asks_for_nonce_and_base_fee() {
    let strict = SimulateOptions { validation: true, ..OPTIONS };
    let with = |change: fn(&mut TransactionRequest)| {
        let mut request = call(RICH, POOR, 1);
        request.max_fee_per_gas = Some(10 * u128::from(GWEI));
        change(&mut request);
        vec![calls(vec![request])]
    };
    let header = &simulated(with(|_| {}), strict)[0].block.header;
    assert_eq!(header.base_fee_per_gas, Some(875_000_000));
    for (blocks, text) in [
        (with(|r| r.nonce = Some(1)), "nonce too high: address"),
        (with(|r| r.max_fee_per_gas = None), "max fee per gas less than block base fee: address"),
        (with(|r| r.from = Some(POOR)), "insufficient funds for gas * price + value: address"),
        (with(|r| r.gas = Some(20_000)), "intrinsic gas too low: have 20000, want 21000"),
        (with(|r| r.gas = Some(40_000_000)), "block gas limit reached: 0 >= 30000000"),
    ] {
        let got = refused(blocks, strict);
        assert!(got.contains(text), "{got}");
    }
    // Without validation none of the first two matters.
    assert_eq!(simulated(with(|r| r.nonce = Some(9)), OPTIONS)[0].calls.len(), 1);
    let free = with(|r| r.max_fee_per_gas = None);
    assert_eq!(simulated(free, OPTIONS)[0].block.header.base_fee_per_gas, Some(0));
}

#[test]
fn a_gas_free_network_stays_so() {
    let strict = SimulateOptions { validation: true, ..OPTIONS };
    let offers = TransactionRequest { max_fee_per_gas: Some(1 << 60), ..call(RICH, POOR, 1) };
    let block =
        simulate_blocks(&ground(0), vec![calls(vec![offers])], strict, None).unwrap().remove(0);
    assert_eq!(block.block.header.base_fee_per_gas, Some(0));
}

#[test]
fn what_is_too_much_is_refused() {
    let many = |count| vec![PretendedBlock::default(); count];
    assert_eq!(refused(vec![], OPTIONS), "empty input");
    assert_eq!(refused(many(257), OPTIONS), "too many blocks");
    assert_eq!(refused(vec![numbered(257)], OPTIONS), "too many blocks");
    assert_eq!(simulated(many(256), OPTIONS).len(), 256);
    let five_thousand_and_one = calls(vec![call(RICH, POOR, 0); 5_001]);
    let got = refused(vec![five_thousand_and_one], OPTIONS);
    assert_eq!(got, "too many calls in block: 5001 > 5000");
    assert_eq!(
        refused(vec![numbered(2), numbered(2)], OPTIONS),
        "block numbers must be in order: 2 <= 2"
    );
    let blob = TransactionRequest {
        blob_versioned_hashes: Some(vec![Default::default()]),
        ..call(RICH, POOR, 0)
    };
    assert!(refused(vec![calls(vec![blob])], OPTIONS).contains("type 3"));
    // All calls share the gas: the third one is left with too little.
    let tight = SimulateOptions { gas_cap: 60_000, ..OPTIONS };
    let got = refused(vec![calls(vec![call(RICH, POOR, 0); 3])], tight);
    assert!(got.contains("intrinsic gas too low: have 18000"), "{got}");
    // Returns 128 KiB of zeros, in each of two hundred calls.
    let code = bytes!("620200005ff3");
    let loud = with_code(code, vec![call(RICH, CONTRACT, 0); 200]);
    assert!(refused(vec![loud], OPTIONS).contains("ask for less at once"));
}
