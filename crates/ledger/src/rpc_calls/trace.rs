//! Traces of transactions in blocks, as geth's `debug_trace…` methods give them: the opcode
//! logger and the built-in tracers.
//!
//! What always holds: the transactions before a traced one are executed again on the
//! parent's state, so a trace shows what happened when the block was made. Traces are not
//! stored: they are large, seldom wanted, and follow from the block.

use alloy_rpc_types_trace::geth::{GethDebugTracingOptions, GethTrace};
use revm::{
    DatabaseCommit, ExecuteEvm, InspectEvm, MainBuilder, MainContext, SystemCallEvm,
    context::{Context, result::EVMError},
    database::CacheDB,
};
use revm_inspectors::tracing::{DebugInspector, DebugInspectorError, TransactionContext};
use trefoil_types::{B256, ChainSpec, Height, RecoveredBlock};

use crate::{
    LedgerError, Parent, Snapshot, StateReader,
    evm::{EvmFault, StateRef},
    governance,
    run::{opening_calls, tx_env},
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
) -> Result<Vec<(B256, GethTrace)>, TraceError> {
    traces(spec, snapshot, height, None, options)
}

/// `debug_traceTransaction` of the transaction at `index` of the block at
/// `height`.
pub fn trace_transaction(
    spec: &ChainSpec,
    snapshot: &Snapshot,
    height: Height,
    index: usize,
    options: GethDebugTracingOptions,
) -> Result<GethTrace, TraceError> {
    let traces = traces(spec, snapshot, height, Some(index), options)?;
    let trace = traces.into_iter().next().map(|(_, trace)| trace);
    trace.ok_or_else(|| TraceError::Tracer(format!("block {height} has no transaction {index}")))
}

fn traces(
    spec: &ChainSpec,
    snapshot: &Snapshot,
    height: Height,
    only: Option<usize>,
    options: GethDebugTracingOptions,
) -> Result<Vec<(B256, GethTrace)>, TraceError> {
    // geth's words, since tools match on them.
    let before = height.checked_sub(1).ok_or(TraceError::Genesis)?;
    let stored = snapshot.block(height)?.ok_or(TraceError::NoBlock(height))?;
    let (hash, header) = snapshot.header(before)?.ok_or(TraceError::NoBlock(before))?;
    let (state, validators) = (snapshot.state(before)?, snapshot.validators(before)?);
    let parent = Parent {
        spec,
        hash,
        header: &header,
        state: &state,
        governed: snapshot.governed(),
        validators: validators.as_ref(),
    };
    replay(&parent, &stored.block, only, options)
}

/// Executes a block again on its parent's state, up to the transaction `only` if it is
/// given, and traces that one or all. `parent.governed` may be of a later state.
fn replay<S: StateReader>(
    parent: &Parent<'_, S>,
    block: &RecoveredBlock,
    only: Option<usize>,
    options: GethDebugTracingOptions,
) -> Result<Vec<(B256, GethTrace)>, TraceError> {
    let rules = parent.governed.rules(parent.spec, &block.header)?;
    let mut evm = Context::mainnet()
        .with_db(CacheDB::new(StateRef(parent.state)))
        .with_cfg(rules.cfg())
        .with_block(rules.block_env(&block.header))
        .build_mainnet_with_inspector(DebugInspector::new(options)?);
    let governing = governance::opening(parent.validators, &block.attached);
    // The system calls too: they change the state that the first transaction sees.
    for (contract, input) in opening_calls(&rules, &block.header, Some(governing)) {
        let opened = evm.system_call(contract, input)?;
        evm.ctx.journaled_state.database.commit(opened.state);
    }
    let mut traces = Vec::new();
    let last = only.unwrap_or(usize::MAX);
    for (index, tx) in block.transactions.iter().enumerate().take_while(|(i, _)| *i <= last) {
        let env = tx_env(&rules, tx);
        let done = if only.is_none_or(|only| only == index) {
            // Clears the tracer, so that one transaction's trace does not continue in the
            // next.
            evm.inspector.fuse()?;
            let done = evm.inspect_tx(env.clone())?;
            let about = TransactionContext {
                block_hash: Some(block.hash),
                tx_index: Some(index),
                tx_hash: Some(*tx.tx_hash()),
            };
            let (context, tracer) = (&mut evm.ctx, &mut evm.inspector);
            let before = &mut context.journaled_state.database;
            let trace = tracer.get_result(Some(about), &env, &context.block, &done, before)?;
            traces.push((*tx.tx_hash(), trace));
            done
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
