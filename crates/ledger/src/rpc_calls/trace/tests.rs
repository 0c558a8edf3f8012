//! Traces of a block in which a later transaction sees what an earlier one wrote.

use std::cell::Cell;

use alloy_consensus::TxEip1559;
use alloy_primitives::{U256, bytes};
use alloy_rpc_types_trace::geth::{GethDebugBuiltInTracerType, GethDebugTracingOptions, GethTrace};

use super::{TraceError, replay};
use crate::CallMemory;
use crate::testing::chain::{TestChain, address, fund, sent, spec, transfer, world};

/// A contract that adds one to slot 0 and returns the sum, called twice.
fn chain() -> (TestChain, crate::Built) {
    let mut world = world();
    fund(&mut world, address(1), U256::from(1_000));
    let counter = bytes!("5f54600101805f555f5260205ff3");
    world.set(address(0xcc), 1, U256::ZERO, &counter, [(U256::ZERO, U256::from(5))]);
    let chain = TestChain::new(spec(0), world);
    let call = |nonce| TxEip1559 { nonce, gas_limit: 100_000, ..transfer(address(0xcc), 0) };
    let built = chain.build([0, 1].map(|nonce| sent(call(nonce), address(1))));
    assert_eq!(built.refused, []);
    (chain, built)
}

fn traced(only: Option<usize>, options: GethDebugTracingOptions) -> Vec<GethTrace> {
    let (chain, built) = chain();
    let memory = CallMemory::of_trace(usize::MAX, &|_| true);
    let traces = replay(&chain.parent(), &built.block, only, options, &memory).expect("runs");
    traces.into_iter().map(|(_, trace)| trace).collect()
}

fn tracer(name: GethDebugBuiltInTracerType) -> GethDebugTracingOptions {
    GethDebugTracingOptions { tracer: Some(name.into()), ..Default::default() }
}

#[test]
fn the_opcode_logger_shows_each_step_and_the_result() {
    let traces = traced(None, GethDebugTracingOptions::default());
    for (trace, wanted) in traces.iter().zip([6u8, 7]) {
        let GethTrace::Default(frame) = trace else { panic!("{trace:?}") };
        assert!(!frame.failed);
        assert_eq!(frame.return_value.last(), Some(&wanted));
        assert_eq!(frame.struct_logs.first().map(|log| log.pc), Some(0));
        assert_eq!(frame.struct_logs.last().map(|log| &*log.op), Some("RETURN"));
    }
    assert_eq!(traces.len(), 2);
}

#[test]
fn one_transaction_is_traced_on_what_came_before_it() {
    let traces = traced(Some(1), tracer(GethDebugBuiltInTracerType::CallTracer));
    let [GethTrace::CallTracer(frame)] = &traces[..] else { panic!("{traces:?}") };
    assert_eq!(frame.from, address(1));
    assert_eq!(frame.to, Some(address(0xcc)));
    assert_eq!(frame.output.as_ref().and_then(|output| output.last()), Some(&7));
}

#[test]
fn the_state_before_is_that_of_the_transaction_not_of_the_block() {
    let traces = traced(Some(1), tracer(GethDebugBuiltInTracerType::PreStateTracer));
    let json = format!("{traces:?}");
    let six = format!("{:?}", alloy_primitives::B256::with_last_byte(6));
    assert!(json.contains(&six), "{json}");
}

#[test]
fn tracers_in_javascript_are_refused_with_a_reason() {
    let (chain, built) = chain();
    let options = GethDebugTracingOptions {
        tracer: Some(alloy_rpc_types_trace::geth::GethDebugTracerType::JsTracer("{}".into())),
        ..Default::default()
    };
    let memory = CallMemory::of_trace(usize::MAX, &|_| true);
    let error = replay(&chain.parent(), &built.block, None, options, &memory);
    assert!(matches!(&error, Err(TraceError::Tracer(text)) if text.contains("JS")), "{error:?}");
}

/// A contract that fills its stack and then runs in a loop, which shows the whole stack at
/// each step; called once with this much gas.
fn deep(gas_limit: u64) -> (TestChain, crate::Built) {
    let mut world = world();
    fund(&mut world, address(1), U256::from(1_000));
    // PUSH0 a thousand times, then JUMPDEST, and a jump there for ever.
    let mut code = vec![0x5f; 1_000];
    code.extend([0x5b, 0x61, 0x03, 0xe8, 0x56]);
    world.set(address(0xdd), 1, U256::ZERO, &code.into(), []);
    let chain = TestChain::new(spec(0), world);
    let call = TxEip1559 { gas_limit, ..transfer(address(0xdd), 0) };
    let built = chain.build([sent(call, address(1))]);
    assert_eq!(built.refused, []);
    (chain, built)
}

#[test]
fn a_trace_ends_at_its_bound_in_bytes_and_says_what_to_do() {
    let (chain, built) = deep(1_500_000);
    let traced = |options, max, reserve: &dyn Fn(usize) -> bool| {
        let memory = CallMemory::of_trace(max, reserve);
        replay(&chain.parent(), &built.block, None, options, &memory)
    };
    // 140 kB for each step on the full stack; 375,000 steps would be 52 GB.
    let reserved = Cell::new(0);
    let count = |bytes| {
        reserved.set(reserved.get() + bytes);
        true
    };
    let error = traced(GethDebugTracingOptions::default(), 16 << 20, &count).unwrap_err();
    assert!(matches!(error, TraceError::TooLarge(max) if max == 16 << 20), "{error}");
    assert!(error.to_string().contains("disableStack"), "{error}");
    assert!(reserved.get() <= 16 << 20, "{reserved:?}");
    // Whoever gives the room may refuse it at any time.
    let asked = Cell::new(0);
    let refuse = |_| {
        asked.set(asked.get() + 1);
        asked.get() < 3
    };
    let error = traced(GethDebugTracingOptions::default(), usize::MAX, &refuse).unwrap_err();
    assert!(matches!(error, TraceError::TooLarge(_)), "{error}");
    assert_eq!(asked.get(), 3);
    // A few steps, or a tracer that shows none, take little of the same transaction.
    let mut few = GethDebugTracingOptions::default();
    few.config.limit = Some(10);
    assert_eq!(traced(few, 1 << 20, &|_| true).unwrap().len(), 1);
    let calls = tracer(GethDebugBuiltInTracerType::CallTracer);
    assert_eq!(traced(calls, 1 << 20, &|_| true).unwrap().len(), 1);
}

/// At each step the words of a full stack take much more than the step itself.
#[test]
fn a_step_is_counted_with_its_stack() {
    let (chain, built) = deep(23_500);
    let memory = CallMemory::of_trace(16 << 20, &|_| true);
    let options = GethDebugTracingOptions::default();
    let traced = replay(&chain.parent(), &built.block, None, options, &memory);
    assert!(matches!(traced, Err(TraceError::TooLarge(_))), "some 1,100 steps fit in 16 MiB");
}
