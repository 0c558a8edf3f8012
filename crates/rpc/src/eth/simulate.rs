//! `eth_simulateV1`: whole blocks of calls that change nothing.

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Bytes, U64};
use alloy_rpc_types_eth::{BlockOverrides, state::StateOverride};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, value::RawValue};
use trefoil_ledger::{
    CallError, CallOutcome, StateReader,
    rpc_calls::simulate_v1::{
        Ground, PretendedBlock, RefusedFor, SimulateError, SimulateOptions, SimulatedBlock,
        SimulatedCall, simulate_blocks,
    },
};
use trefoil_types::Height;

use crate::{
    Json, MemoryAccount, Params, Rpc, RpcError, RpcResult,
    answer::json_within,
    convert,
    eth::execute::claimed,
    limits,
    params::{Arg, BlockRef, member, object},
};

// geth's `errCodeVMError`.
/// JSON-RPC code of a call that halted (out of gas, invalid opcode …).
const HALTED: i64 = -32015;

// As much as the ledger lets all calls return and log.
/// What simulated blocks hold until they are JSON, besides what every execution does, bytes.
const BLOCKS_BYTES: usize = 16 << 20;

impl From<SimulateError> for RpcError {
    fn from(error: SimulateError) -> Self {
        let code = match error {
            SimulateError::Call(error) => return error.into(),
            SimulateError::Empty => -32602,
            SimulateError::TooManyBlocks
            | SimulateError::TooManyCalls(_)
            | SimulateError::TooMuchOutput => -38026,
            SimulateError::Number { .. } => -38020,
            SimulateError::Timestamp { .. } => -38021,
            SimulateError::BlockGas { .. } => -38015,
            SimulateError::Refused { kind, .. } => refused_code(kind),
        };
        Self::Simulation { code, text: error.to_string() }
    }
}

/// geth's code for a call that it would not run.
fn refused_code(kind: RefusedFor) -> i64 {
    match kind {
        RefusedFor::NonceTooLow => -38010,
        RefusedFor::NonceTooHigh => -38011,
        RefusedFor::BaseFee => -38012,
        RefusedFor::IntrinsicGas => -38013,
        RefusedFor::Funds => -38014,
        RefusedFor::InitCode => -38025,
        RefusedFor::TipAboveCap => -32602,
        RefusedFor::Other => -32603,
    }
}

pub fn simulate(rpc: &Rpc, params: &Params) -> RpcResult {
    let payload: Payload = params.get(0)?;
    let (snapshot, height) = rpc.find(params.opt(1)?)?;
    let height = height.ok_or(CallError::NoBlock(0))?;
    let spec = &rpc.backend.spec;
    let claim = rpc.memory.claim(BLOCKS_BYTES.min(rpc.memory.max() / 4))?;
    let gas_free = snapshot.governed().settings.is_gas_free();
    claimed(&rpc.memory, |memory| {
        let ground = Ground::at(spec, &snapshot, height, memory)?;
        payload.answer(&ground, limits::CALL_GAS_MAX, gas_free, (&rpc.memory, claim.bytes()))
    })
}

/// The answer to `params` on any chain, as JSON: how the official fixtures are
/// run. `ground` finds a block by its height (`None`: the latest).
///
/// # Errors
/// The error as JSON.
pub fn simulate_on<'a, S: StateReader>(
    params: &RawValue,
    gas_cap: u64,
    ground: impl FnOnce(Option<Height>) -> Option<Ground<'a, S>>,
) -> Result<Json, Value> {
    let answer = || {
        let params = Params::parse(Some(params), 2)?;
        let payload: Payload = params.get(0)?;
        let height = match params.opt(1)? {
            Some(BlockRef::Number(number)) => Some(number),
            _ => None,
        };
        let ground = ground(height).ok_or(CallError::NoBlock(height.unwrap_or(0)))?;
        payload.answer(&ground, gas_cap, false, (&MemoryAccount::new(usize::MAX), 0))
    };
    answer().map_err(|error: RpcError| serde_json::to_value(error).expect("plain data"))
}

/// The request.
struct Payload {
    blocks: Vec<PretendedBlock>,
    validation: bool,
    transfers: bool,
    whole: bool,
}

impl Arg for Payload {
    fn parse(value: &Value) -> Result<Self, String> {
        let object = object(value)?;
        let flag = |key| Ok::<_, String>(member(object, key)?.unwrap_or(false));
        Ok(Self {
            blocks: member(object, "blockStateCalls")?.unwrap_or_default(),
            validation: flag("validation")?,
            transfers: flag("traceTransfers")?,
            whole: flag("returnFullTransactions")?,
        })
    }
}

impl Arg for PretendedBlock {
    fn parse(value: &Value) -> Result<Self, String> {
        let outer = object(value)?;
        let mut over: Map<String, Value> = member(outer, "blockOverrides")?.unwrap_or_default();
        let withdrawals = shaped::<Vec<Withdrawal>>(
            over.remove("withdrawals").as_ref(),
            "withdrawals: want a list of {index, validatorIndex, address, amount}",
        )?;
        let block = shaped::<BlockOverrides>(
            Some(&Value::Object(over)),
            "blockOverrides: want {number, time, gasLimit, feeRecipient, prevRandao, baseFeePerGas, blobBaseFee, beaconRoot, withdrawals}",
        )?;
        let state = shaped::<StateOverride>(
            outer.get("stateOverrides"),
            "stateOverrides: want {address: {balance, nonce, code, state, stateDiff, movePrecompileToAddress}}",
        )?;
        let calls = member(outer, "calls")?.unwrap_or_default();
        Ok(Self { block, withdrawals, state, calls })
    }
}

/// Something with a shape of its own; absent and `null` are the default.
fn shaped<T: DeserializeOwned + Default>(value: Option<&Value>, wants: &str) -> Result<T, String> {
    match value {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => T::deserialize(value).map_err(|_| wants.into()),
    }
}

impl Payload {
    fn answer<S: StateReader>(
        self,
        ground: &Ground<'_, S>,
        gas_cap: u64,
        gas_free: bool,
        (memory, beside): (&MemoryAccount, usize),
    ) -> RpcResult {
        let Self { blocks, validation, transfers, whole } = self;
        let options = SimulateOptions { validation, transfers, gas_cap };
        let blocks =
            claimed(memory, |memory| Ok(simulate_blocks(ground, blocks, options, Some(memory))?))?;
        let shown = blocks.iter().map(|block| block_json(block, whole, gas_free));
        json_within(memory, beside, &shown.collect::<Vec<_>>())
    }
}

#[derive(Serialize)]
struct SimulatedJson<'a> {
    #[serde(flatten)]
    block: convert::BlockJson<'a>,
    calls: Vec<CallJson<'a>>,
}

fn block_json(simulated: &SimulatedBlock, whole: bool, gas_free: bool) -> SimulatedJson<'_> {
    let calls = simulated.calls.iter().enumerate();
    SimulatedJson {
        calls: calls.map(|(index, call)| call_json(simulated, index, call)).collect(),
        block: convert::simulated_block(simulated, whole, gas_free),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallJson<'a> {
    return_data: Bytes,
    logs: Vec<convert::LogJson<'a>>,
    gas_used: U64,
    max_used_gas: U64,
    status: U64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureJson>,
}

/// Why a call that was run failed.
#[derive(Serialize)]
struct FailureJson {
    message: String,
    code: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

fn call_json<'a>(
    simulated: &'a SimulatedBlock,
    index: usize,
    call: &'a SimulatedCall,
) -> CallJson<'a> {
    let failed =
        |message, code, data| (Bytes::new(), &[][..], Some(FailureJson { message, code, data }));
    let (return_data, logs, error) = match &call.outcome {
        CallOutcome::Success { output, logs, .. } => (output.clone(), &logs[..], None),
        CallOutcome::Revert { output, .. } => {
            let error = RpcError::Reverted(output.clone());
            failed(error.to_string(), error.code(), error.data())
        }
        CallOutcome::Halt { reason, .. } => failed(reason.clone(), HALTED, None),
    };
    let numbered = call.log_numbers.iter().zip(logs);
    let logs = numbered
        .map(|(number, log)| convert::log_json(&simulated.block, index, *number as usize, log));
    CallJson {
        return_data,
        logs: logs.collect(),
        gas_used: convert::quantity(call.gas_used()),
        max_used_gas: convert::quantity(call.gas_max),
        status: convert::quantity(error.is_none().into()),
        error,
    }
}
