//! The steps of transactions, in the formats of geth's tracers.

use alloy_primitives::B256;
use alloy_rpc_types_trace::geth::{GethDebugTracingOptions, GethTrace};
use serde::Serialize;
use trefoil_ledger::{CallMemory, TraceError, trace_block, trace_transaction};

use crate::{Params, Rpc, RpcError, RpcResult, json, limits};

// A block can take millions of steps, each with its stack.
/// Steps in one answer.
const STEPS_MAX: u64 = 200_000;
// With `enableMemory` each step also holds the whole memory of its call.
/// Steps in one answer that also holds their memory.
const STEPS_WITH_MEMORY_MAX: u64 = 10_000;

impl From<TraceError> for RpcError {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::Ledger(error) => error.into(),
            TraceError::Genesis
            | TraceError::NoBlock(_)
            | TraceError::Tracer(_)
            | TraceError::TooLarge(_) => Self::Rejected(error.to_string()),
        }
    }
}

/// The tracing options at argument 1, with the steps of `txs` transactions
/// together capped. Execution goes on when the capture has stopped.
fn options(params: &Params, txs: usize) -> RpcResult<GethDebugTracingOptions> {
    let wants = "want {tracer, tracerConfig, enableMemory, disableStack, disableStorage, enableReturnData, limit}";
    let mut options: GethDebugTracingOptions = params.shaped(1, wants)?.unwrap_or_default();
    let memory = options.config.enable_memory.unwrap_or(false);
    let all = if memory { STEPS_WITH_MEMORY_MAX } else { STEPS_MAX };
    // A block is traced as a whole, so its transactions share the bound.
    let each = (all / txs.max(1) as u64).max(1);
    // 0 is "unlimited" in geth's words.
    let asked = options.config.limit.filter(|limit| *limit > 0);
    options.config.limit = Some(asked.map_or(each, |limit| limit.min(each)));
    Ok(options)
}

pub fn transaction(rpc: &Rpc, params: &Params) -> RpcResult {
    let hash: B256 = params.get(0)?;
    let snapshot = rpc.backend.snapshot();
    let Some((height, index)) = snapshot.transaction(&hash)? else {
        return Err(RpcError::Rejected(format!("transaction {hash} not found")));
    };
    let (spec, options) = (&rpc.backend.spec, options(params, 1)?);
    let _block = rpc.memory.claim(snapshot.body_memory(height)?)?;
    claimed(rpc, |memory| {
        json(&trace_transaction(spec, &snapshot, height, index, options, memory)?)
    })
}

/// Makes a trace, its memory claimed as it grows.
fn claimed(rpc: &Rpc, trace: impl FnOnce(&CallMemory<'_>) -> RpcResult) -> RpcResult {
    let max = limits::TRACE_BYTES_MAX;
    rpc.memory.while_growing(|reserve| trace(&CallMemory::of_trace(max, reserve)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TracedJson {
    tx_hash: B256,
    result: GethTrace,
}

pub fn block(rpc: &Rpc, params: &Params) -> RpcResult {
    let (snapshot, height) = rpc.at(Some(params.get(0)?))?;
    let txs = snapshot.transaction_count(height)?.unwrap_or(0);
    let (spec, options) = (&rpc.backend.spec, options(params, txs)?);
    let _block = rpc.memory.claim(snapshot.body_memory(height)?)?;
    claimed(rpc, |memory| {
        let traces = trace_block(spec, &snapshot, height, options, memory)?.into_iter();
        let traces = traces.map(|(tx_hash, result)| TracedJson { tx_hash, result });
        json(&traces.collect::<Vec<_>>())
    })
}
