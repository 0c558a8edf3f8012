//! Calls and estimates on hand-written contracts.

use std::cell::Cell;

use alloy_primitives::{Bytes, U256, address, bytes};
use alloy_rpc_types_eth::{
    BlockOverrides, TransactionRequest,
    state::{AccountOverride, StateOverride},
};
use trefoil_types::{Address, B256, Header};

use super::Simulation;
use crate::{
    CallError, CallMemory, CallOptions, CallOutcome, Estimate, header,
    testing::{
        chain::{GWEI, TestChain, fund, spec, world},
        world::World,
    },
};

const RICH: Address = address!("00000000000000000000000000000000000000aa");
const CONTRACT: Address = address!("00000000000000000000000000000000000000cc");

fn chain(base_fee: u64, code: &Bytes) -> TestChain {
    let mut world = world();
    fund(&mut world, RICH, U256::from(10u64.pow(18)));
    world.set(CONTRACT, 1, U256::ZERO, code, [(U256::ZERO, U256::from(7))]);
    TestChain::new(spec(base_fee), world)
}

fn request(to: Option<Address>) -> TransactionRequest {
    let request = TransactionRequest::default();
    match to {
        Some(to) => request.to(to),
        None => request,
    }
}

fn with<T>(
    chain: &TestChain,
    options: &CallOptions,
    run: impl FnOnce(Simulation<'_, World>) -> Result<T, CallError>,
) -> Result<T, String> {
    let settings = &chain.governed.settings;
    let header: Header =
        header::draft_header(settings, chain.tip_hash, &chain.tip, &chain.draft(), B256::ZERO);
    let rules = chain.governed.rules(&chain.spec, &header).expect("known rules");
    let simulation = Simulation::new(rules, &header, &chain.world, options);
    simulation.and_then(run).map_err(|error| error.to_string())
}

fn call(chain: &TestChain, request: &TransactionRequest) -> Result<CallOutcome, String> {
    with(chain, &CallOptions::default(), |simulation| simulation.call(request))
}

fn estimate(chain: &TestChain, request: &TransactionRequest) -> Result<Estimate, String> {
    with(chain, &CallOptions::default(), |simulation| simulation.estimate_gas(request))
}

/// The output of a successful call, as a number.
fn word(outcome: Result<CallOutcome, String>) -> U256 {
    match outcome {
        Ok(CallOutcome::Success { output, .. }) => U256::from_be_slice(&output),
        other => panic!("{other:?}"),
    }
}

/// `op`, then return the word that it left on the stack.
fn returns(op: &[u8]) -> Bytes {
    [op, &bytes!("5f5260205ff3")].concat().into()
}

#[test]
fn what_a_call_sees() {
    let table: [(&str, &[u8], U256); 6] = [
        ("SLOAD(0)", &[0x5f, 0x54], U256::from(7)),
        ("CALLER", &[0x33], U256::ZERO),
        ("NUMBER", &[0x43], U256::from(1)),
        ("CHAINID", &[0x46], U256::from(7331)),
        // Nothing is offered, so nothing is asked: geth shows a base fee of 0.
        ("BASEFEE", &[0x48], U256::ZERO),
        ("GASPRICE", &[0x3a], U256::ZERO),
    ];
    for (name, op, wanted) in table {
        let chain = chain(GWEI, &returns(op));
        assert_eq!(word(call(&chain, &request(Some(CONTRACT)))), wanted, "{name}");
    }
}

#[test]
fn without_a_receiver_the_input_is_run_as_init_code() {
    let chain = chain(0, &Bytes::new());
    let code = returns(&[0x60, 0x2a]);
    let deploy = TransactionRequest { input: code.into(), ..request(None) };
    assert_eq!(word(call(&chain, &deploy)), U256::from(0x2a));
}

#[test]
fn overrides_of_state_and_block() {
    let chain = chain(0, &returns(&[0x5f, 0x54]));
    let slots = |value: u64| [(B256::ZERO, B256::from(U256::from(value)))].into_iter().collect();
    let run = |over: AccountOverride, block: Option<BlockOverrides>| {
        let state: StateOverride = [(CONTRACT, over)].into_iter().collect();
        let options = CallOptions { state: Some(state), block, gas_cap: 0 };
        word(with(&chain, &options, |simulation| simulation.call(&request(Some(CONTRACT)))))
    };
    let over = AccountOverride::default();
    let diff = AccountOverride { state_diff: Some(slots(9)), ..over.clone() };
    assert_eq!(run(diff, None), U256::from(9));
    let other = [(B256::with_last_byte(1), B256::with_last_byte(1))].into_iter().collect();
    let all = AccountOverride { state: Some(other), ..over.clone() };
    assert_eq!(run(all, None), U256::ZERO);
    let code = AccountOverride { code: Some(returns(&[0x42])), ..over.clone() };
    let block = BlockOverrides { time: Some(77), ..Default::default() };
    assert_eq!(run(code, Some(block)), U256::from(77));
    let balance =
        AccountOverride { balance: Some(U256::from(5)), code: Some(returns(&[0x47])), ..over };
    assert_eq!(run(balance, None), U256::from(5));
}

#[test]
fn how_a_call_can_fail() {
    // revert(0, 0) with the word 0x2a as data; and an endless loop.
    let chain = chain(0, &bytes!("602a5f5260205ffd"));
    match call(&chain, &request(Some(CONTRACT))) {
        Ok(CallOutcome::Revert { output, .. }) => assert_eq!(output[31], 0x2a),
        other => panic!("{other:?}"),
    }
    let halts: [(&[u8], &str); 3] = [
        (&[0x5b, 0x5f, 0x56], "out of gas"),
        (&[0xfe], "invalid opcode: INVALID"),
        (&[0x50], "stack underflow"),
    ];
    for (code, wanted) in halts {
        let chain = self::chain(0, &Bytes::copy_from_slice(code));
        let options = CallOptions { gas_cap: 100_000, ..Default::default() };
        let to = request(Some(CONTRACT));
        match with(&chain, &options, |simulation| simulation.call(&to)) {
            Ok(CallOutcome::Halt { reason, .. }) => assert_eq!(reason, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

/// Wallets know these by their words.
#[test]
fn what_is_wrong_with_a_request() {
    let to = || request(Some(CONTRACT));
    let table = [
        (
            TransactionRequest { value: Some(U256::from(1)), ..to() },
            "insufficient funds for gas * price + value: have 0 want 1",
        ),
        (TransactionRequest { gas: Some(20_000), ..to() }, "intrinsic gas too low"),
        (
            TransactionRequest { max_fee_per_gas: Some(1), ..to() },
            "max fee per gas less than block base fee",
        ),
        (
            TransactionRequest {
                max_fee_per_gas: Some(1),
                max_priority_fee_per_gas: Some(2),
                ..to()
            },
            "max priority fee per gas higher than max fee per gas",
        ),
        (
            TransactionRequest { gas_price: Some(1), max_fee_per_gas: Some(1), ..to() },
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ),
        (TransactionRequest { chain_id: Some(1), ..to() }, "chainId does not match"),
        (TransactionRequest { blob_versioned_hashes: Some(vec![B256::ZERO]), ..to() }, "type 3"),
    ];
    let chain = chain(GWEI, &Bytes::new());
    for (request, wanted) in table {
        let error = call(&chain, &request).expect_err(wanted);
        assert!(error.contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn a_sender_pays_with_what_it_has_if_it_offers_a_fee() {
    let chain = chain(GWEI, &returns(&[0x3a]));
    let priced = TransactionRequest {
        from: Some(RICH),
        gas_price: Some(2_000_000_000),
        ..request(Some(CONTRACT))
    };
    // The gas was not said, so it is what RICH can pay for.
    assert_eq!(word(call(&chain, &priced)), U256::from(2_000_000_000u64));
    let unpayable = TransactionRequest { gas: Some(u64::MAX), ..priced };
    let error = call(&chain, &unpayable).expect_err("not that rich");
    assert!(error.contains("insufficient funds"), "{error}");
}

#[test]
fn a_transfer_is_estimated_at_21000() {
    let chain = chain(GWEI, &Bytes::new());
    let transfer = TransactionRequest {
        from: Some(RICH),
        value: Some(U256::from(1)),
        ..request(Some(address!("00000000000000000000000000000000000000bb")))
    };
    assert_eq!(estimate(&chain, &transfer), Ok(Estimate::Gas(21_000)));
    // Foundry's way: with fees, gas and nonce filled in.
    let filled = TransactionRequest {
        max_fee_per_gas: Some(2_000_000_000),
        max_priority_fee_per_gas: Some(1),
        nonce: Some(5),
        chain_id: Some(7331),
        ..transfer
    };
    assert_eq!(estimate(&chain, &filled), Ok(Estimate::Gas(21_000)));
}

/// An estimate succeeds, and one gas less does not.
#[test]
fn an_estimate_is_exact() {
    let contracts = [
        // Writes two fresh slots.
        bytes!("600160015560016002 55"),
        // Clears a slot: a refund that the limit must yet cover.
        bytes!("5f5f55"),
        // Writes a slot in a call to itself: the 1/64 that stays behind.
        bytes!("3615600b576001600155005b5f5f60015f5f305af1601b575f5ffd5b00"),
        // Fails unless a lot of gas is left, which it does not use.
        bytes!("620186a05a10600857005b5f5ffd"),
    ];
    for code in contracts {
        let chain = chain(0, &code);
        let to = TransactionRequest { from: Some(RICH), ..request(Some(CONTRACT)) };
        let Ok(Estimate::Gas(gas)) = estimate(&chain, &to) else {
            panic!("{code}: {:?}", estimate(&chain, &to));
        };
        let succeeds = |gas| {
            let limited = TransactionRequest { gas: Some(gas), ..to.clone() };
            matches!(call(&chain, &limited), Ok(CallOutcome::Success { .. }))
        };
        assert!(succeeds(gas), "{code}: {gas}");
        assert!(!succeeds(gas - 1), "{code}: {gas} is more than it needs");
    }
}

/// Attack: what needs most of the gas, and burns what it gets, in each run of a search.
#[test]
fn all_runs_of_an_estimate_have_the_gas_of_one_more() {
    // Burns all unless 100,000 are left.
    let chain = chain(0, &bytes!("620186a05a10600857005bfe"));
    let to = TransactionRequest { from: Some(RICH), ..request(Some(CONTRACT)) };
    let estimate = |gas_cap| {
        let options = CallOptions { gas_cap, ..CallOptions::default() };
        with(&chain, &options, |simulation| simulation.estimate_gas(&to))
    };
    let Ok(Estimate::Gas(exact)) = estimate(16_000_000) else { panic!("it succeeds") };
    assert!((121_000..122_000).contains(&exact), "{exact}");
    // The next run would be of more than half: three quarters of it are gone.
    assert_eq!(estimate(200_000), Ok(Estimate::Gas(200_000)));
}

#[test]
fn an_estimate_of_what_cannot_succeed() {
    let reverts = chain(0, &bytes!("602a5f5260205ffd"));
    let to = TransactionRequest { from: Some(RICH), ..request(Some(CONTRACT)) };
    assert!(matches!(estimate(&reverts, &to), Ok(Estimate::Fails(CallOutcome::Revert { .. }))));
    let endless = chain(0, &bytes!("5b5f56"));
    let error = estimate(&endless, &to).expect_err("never ends");
    assert!(error.contains("gas required exceeds allowance"), "{error}");
    let poor = TransactionRequest { from: Some(CONTRACT), value: Some(U256::from(1)), ..to };
    let error = estimate(&reverts, &poor).expect_err("has nothing");
    assert!(error.contains("insufficient funds for gas * price + value"), "{error}");
}

#[test]
fn an_access_list_names_the_slots_and_makes_them_warm() {
    // sload(0) of CONTRACT, then the balance of another account.
    let other = address!("00000000000000000000000000000000000000dd");
    let code = [&[0x5f, 0x54, 0x50, 0x73][..], other.as_slice(), &[0x31]].concat();
    let chain = chain(0, &code.into());
    let to = TransactionRequest { from: Some(RICH), ..request(Some(CONTRACT)) };
    let options = CallOptions::default();
    let outcome =
        with(&chain, &options, |simulation| simulation.create_access_list(&to)).expect("runs");
    assert_eq!(outcome.error, None);
    let list: Vec<_> = outcome
        .access_list
        .0
        .iter()
        .map(|item| (item.address, item.storage_keys.clone()))
        .collect();
    assert_eq!(list, [(CONTRACT, vec![B256::ZERO]), (other, vec![])]);
}

/// What a call with all the gas of a caller asks for beyond what is claimed for each.
fn asks(chain: &TestChain, gas: u64) -> usize {
    let asked = Cell::new(0);
    let reserve = |bytes| {
        asked.set(asked.get() + bytes);
        true
    };
    let memory = CallMemory::new(usize::MAX, &reserve);
    let request = TransactionRequest { gas: Some(gas), ..request(Some(CONTRACT)) };
    let options = CallOptions::default();
    with(chain, &options, |simulation| simulation.within(&memory).call(&request)).unwrap();
    asked.get()
}

/// Does `op` with each number from `from` on as its argument, without end.
fn with_each(from: u16, op: &[u8]) -> Bytes {
    let [high, low] = from.to_be_bytes();
    [&[0x61, high, low, 0x5b], op, &[0x60, 1, 0x01, 0x60, 3, 0x56]].concat().into()
}

/// Beside each, what it holds at least by the sizes of revm's own types.
#[test]
fn a_call_asks_for_the_memory_that_its_gas_does_not_bound() {
    let calls_itself = bytes!("5f6201400052 5f5f5f5f5f305af1 00");
    let table: [(&str, Bytes, usize); 6] = [
        ("transient storage", with_each(1, &[0x80, 0x80, 0x5d]), 60 << 20),
        ("a slot written over and over", with_each(1, &[0x80, 0x5f, 0x55]), 20 << 20),
        ("nested frames of 80 KiB, and their stacks", calls_itself, 20 << 20),
        ("accounts", with_each(1, &[0x80, 0x31, 0x50]), 8 << 20),
        ("slots", with_each(1, &[0x80, 0x54, 0x50]), 7 << 20),
        ("logs", with_each(1, &[0x5f, 0x5f, 0xa0]), 10 << 20),
    ];
    for (name, code, least) in table {
        let chain = chain(0, &code);
        let asked = asks(&chain, 50_000_000);
        assert!(asked >= least, "{name}: {asked}");
        // Without room it has no result: not even one in which a frame failed.
        let refused = CallMemory::new(usize::MAX, &|_| false);
        let request = TransactionRequest { gas: Some(50_000_000), ..request(Some(CONTRACT)) };
        let options = CallOptions::default();
        let ran = with(&chain, &options, |simulation| simulation.within(&refused).call(&request));
        assert!(
            ran.as_ref().is_err_and(|why| why.contains("holds more memory")),
            "{name}: {ran:?}"
        );
        let ran = with(&chain, &options, |simulation| {
            simulation.within(&refused).create_access_list(&request)
        });
        assert!(ran.is_err_and(|why| why.contains("holds more memory")), "{name}");
    }
}

/// Whatever memory one frame has was claimed before.
#[test]
fn a_call_of_one_frame_asks_for_nothing() {
    // MSTORE at 4 MiB.
    let chain = chain(0, &bytes!("5f6240000052 00"));
    assert_eq!(asks(&chain, 50_000_000), 0);
}

/// A factory makes any number of contracts of one code.
#[test]
fn code_that_is_only_looked_at_is_held_once() {
    let looks = with_each(0x1000, &[0x80, 0x3b, 0x50]);
    let held = |differ: bool| {
        let mut chain = chain(0, &looks);
        for n in 0..200u16 {
            let mut code = vec![0x5b; 24 << 10];
            code[0] = if differ { n as u8 } else { 0 };
            code[1] = if differ { (n >> 8) as u8 } else { 0 };
            let address = Address::from_word(B256::from(U256::from(0x1000 + n)));
            chain.world.set(address, 1, U256::ZERO, &Bytes::from(code), []);
        }
        // For 200 of them: 2,600 gas each, and the loop.
        asks(&chain, 21_000 + 200 * 2_630)
    };
    assert_eq!(held(false), 0);
    assert!(held(true) >= 4 << 20);
}
