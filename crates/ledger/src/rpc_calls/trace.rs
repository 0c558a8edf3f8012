//! Traces of transactions in blocks, as geth's `debug_trace…` methods give them: the opcode
//! logger and the built-in tracers.
//!
//! What always holds: the transactions before a traced one are executed again on the
//! parent's state, so a trace shows what happened when the block was made. Traces are not
//! stored: they are large, seldom wanted, and follow from the block. What one takes is
//! counted while it is made, and bounded ([`CallMemory`]).

mod meter;

use std::mem;

use alloy_rpc_types_trace::geth::{
    GethDebugBuiltInTracerType, GethDebugTracerType, GethDebugTracingOptions, GethTrace,
};
use revm::{
    DatabaseCommit, ExecuteEvm, InspectEvm, MainBuilder, MainContext,
    context::{Context, result::EVMError},
    database::CacheDB,
    handler::{Handler, MainnetHandler},
    inspector::NoOpInspector,
};
use revm_inspectors::tracing::{DebugInspector, DebugInspectorError, TransactionContext};
use trefoil_types::{B256, ChainSpec, Height, RecoveredBlock};

use self::meter::{Shown, TraceMeter};
use crate::{
    CallMemory, LedgerError, Parent, Snapshot, StateReader,
    create_gate::CreateGate,
    evm::{EvmFault, StateRef},
    governance,
    rpc_calls::governed_at,
    run::{opening_calls, system_tx, tx_env},
};

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("genesis is not traceable")]
    Genesis,
    #[error("block {0} not found")]
    NoBlock(Height),
    /// No such tracer, or a configuration that it does not take.
    #[error("{0}")]
    Tracer(String),
    #[error(
        "the trace takes more than {0} bytes; set `disableStack`, `disableStorage` or a `limit` of steps, use the callTracer, or trace one transaction"
    )]
    TooLarge(usize),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl<E: Into<TraceError> + std::fmt::Display> From<DebugInspectorError<E>> for TraceError {
    fn from(error: DebugInspectorError<E>) -> Self {
        match error {
            DebugInspectorError::Database(error) => error.into(),
            other => Self::Tracer(other.to_string()),
        }
    }
}

impl From<std::convert::Infallible> for TraceError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<EvmFault> for TraceError {
    fn from(error: EvmFault) -> Self {
        match error {
            EVMError::Database(error) => error.into(),
            // A committed block executes again as it did: anything else means that the
            // database is damaged.
            other => Self::Ledger(LedgerError::Storage(format!("the block does not run: {other}"))),
        }
    }
}

/// `debug_traceBlockBy…`: each transaction's hash and trace.
pub fn trace_block(
    spec: &ChainSpec,
    snapshot: &Snapshot,
    height: Height,
    options: GethDebugTracingOptions,
    memory: &CallMemory<'_>,
) -> Result<Vec<(B256, GethTrace)>, TraceError> {
    traces(spec, snapshot, height, None, options, memory)
}

/// `debug_traceTransaction` of the transaction at `index` of the block at
/// `height`.
pub fn trace_transaction(
    spec: &ChainSpec,
    snapshot: &Snapshot,
    height: Height,
    index: usize,
    options: GethDebugTracingOptions,
    memory: &CallMemory<'_>,
) -> Result<GethTrace, TraceError> {
    let traces = traces(spec, snapshot, height, Some(index), options, memory)?;
    let trace = traces.into_iter().next().map(|(_, trace)| trace);
    trace.ok_or_else(|| TraceError::Tracer(format!("block {height} has no transaction {index}")))
}

fn traces(
    spec: &ChainSpec,
    snapshot: &Snapshot,
    height: Height,
    only: Option<usize>,
    options: GethDebugTracingOptions,
    memory: &CallMemory<'_>,
) -> Result<Vec<(B256, GethTrace)>, TraceError> {
    // geth's words, since tools match on them.
    let before = height.checked_sub(1).ok_or(TraceError::Genesis)?;
    let block = snapshot.body(height)?.ok_or(TraceError::NoBlock(height))?;
    let (hash, header) = snapshot.header(before)?.ok_or(TraceError::NoBlock(before))?;
    let (state, turns) = (snapshot.state(before)?, snapshot.turns(before)?);
    let governed = governed_at(spec, snapshot, &header, &state)?;
    let parent = Parent {
        spec,
        hash,
        header: &header,
        state: &state,
        governed: &governed,
        turns: turns.as_ref(),
    };
    replay(&parent, &block, only, options, memory)
}

/// What each step of a trace shows, if the tracer shows steps.
fn shown(options: &GethDebugTracingOptions) -> Shown {
    let config = &options.config;
    // geth's 0 is "unlimited".
    let limit = config.limit.filter(|limit| *limit > 0).unwrap_or(u64::MAX);
    let steps = match &options.tracer {
        None => limit,
        Some(tracer) if tracer.as_str().is_empty() => limit,
        Some(tracer) if is_builtin(tracer, GethDebugBuiltInTracerType::Erc7562Tracer) => u64::MAX,
        Some(_) => 0,
    };
    Shown {
        steps,
        memory: config.is_memory_enabled(),
        stack: config.is_stack_enabled(),
        storage: config.is_storage_enabled(),
        returned: config.is_return_data_enabled(),
    }
}

/// Whether a tracer shows the state that a transaction found.
fn shows_state(options: &GethDebugTracingOptions) -> bool {
    use GethDebugBuiltInTracerType::{Erc7562Tracer, MuxTracer, PreStateTracer};
    let shows =
        |tracer| [Erc7562Tracer, MuxTracer, PreStateTracer].map(|one| is_builtin(tracer, one));
    options.tracer.as_ref().is_some_and(|tracer| shows(tracer).contains(&true))
}

fn is_builtin(tracer: &GethDebugTracerType, one: GethDebugBuiltInTracerType) -> bool {
    matches!(tracer, GethDebugTracerType::BuiltInTracer(tracer) if *tracer == one)
}

/// Executes a block again on its parent's state, up to the transaction `only` if it is
/// given, and traces that one or all. `parent.governed` may be of a later state but for its lists.
fn replay<S: StateReader>(
    parent: &Parent<'_, S>,
    block: &RecoveredBlock,
    only: Option<usize>,
    options: GethDebugTracingOptions,
    memory: &CallMemory<'_>,
) -> Result<Vec<(B256, GethTrace)>, TraceError> {
    let shows_state = shows_state(&options);
    let meter = TraceMeter::new(memory, shown(&options));
    let rules = parent.governed.rules(parent.spec, &block.header)?;
    let mut evm = Context::mainnet()
        .with_db(CacheDB::new(StateRef(parent.state)))
        .with_cfg(rules.cfg())
        .with_block(rules.block_env(&block.header))
        .build_mainnet_with_inspector((
            CreateGate::default(),
            (meter, DebugInspector::new(options)?),
        ));
    let governing = governance::opening(parent.spec, parent.turns, &block.attached);
    // The system calls too: they change the state that the first transaction sees.
    for (contract, input) in opening_calls(&rules, &block.header, Some(governing)) {
        evm.ctx.tx = system_tx(contract, input);
        MainnetHandler::<_, EvmFault, _>::default().run_system_call(&mut evm)?;
        let opened = evm.finalize();
        evm.ctx.journaled_state.database.commit(opened);
    }
    let mut traces = Vec::new();
    let last = only.unwrap_or(usize::MAX);
    for (index, tx) in block.transactions.iter().enumerate().take_while(|(i, _)| *i <= last) {
        let env = tx_env(&rules, tx);
        evm.inspector.0 = governance::create_gate(&rules, parent.state, tx.signer())?;
        let done = if only.is_none_or(|only| only == index) {
            // Clears the tracer, so that one transaction's trace does not continue in the
            // next.
            evm.inspector.1.0.begin();
            evm.inspector.1.1.fuse()?;
            let done = evm.inspect_tx(env.clone());
            let meter = &mut evm.inspector.1.0;
            // Whatever became of the execution: it was ended.
            if meter.exceeded() {
                return Err(TraceError::TooLarge(meter.max()));
            }
            let done = done?;
            if shows_state && !meter.fits_state(&done.state) {
                return Err(TraceError::TooLarge(meter.max()));
            }
            let about = TransactionContext {
                block_hash: Some(block.hash),
                tx_index: Some(index),
                tx_hash: Some(*tx.tx_hash()),
            };
            let (context, tracer) = (&mut evm.ctx, &mut evm.inspector.1.1);
            let before = &mut context.journaled_state.database;
            let trace = tracer.get_result(Some(about), &env, &context.block, &done, before)?;
            traces.push((*tx.tx_hash(), trace));
            done
        } else if evm.inspector.0.is_closed() {
            // Not traced, but the gate is an inspector here. The meter did not begin.
            let tracer = mem::replace(&mut evm.inspector.1.1, DebugInspector::Noop(NoOpInspector));
            let done = evm.inspect_tx(env);
            evm.inspector.1.1 = tracer;
            done?
        } else {
            // Not traced: the transactions before the wanted one only prepare its state.
            evm.transact(env)?
        };
        evm.ctx.journaled_state.database.commit(done.state);
    }
    Ok(traces)
}

#[cfg(test)]
mod tests;
