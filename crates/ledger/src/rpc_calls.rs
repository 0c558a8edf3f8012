//! Execution for JSON-RPC callers, on a state that it does not change: `eth_call` and its
//! like, `eth_simulateV1`, traces.
//!
//! What always holds: nothing here changes the chain, and no transaction need be signed or is
//! kept. The answers are those of geth (the texts too, since wallets match on them).

mod call;
mod overrides;
pub mod simulate_v1;
pub mod trace;

use std::sync::Arc;

use alloy_primitives::{Bytes, Log};
use alloy_rpc_types_eth::{AccessList, BlockOverrides, state::StateOverride};
use trefoil_types::{Attached, B256, ChainSpec, Header, Height};

use crate::{Draft, Governed, LedgerError, Snapshot, StateAt, governance, header};

/// The place where a call is run: the context of a block, and a state.
#[derive(Debug)]
pub struct CallSite<'a> {
    spec: &'a ChainSpec,
    governed: Arc<Governed>,
    state: StateAt,
    /// The block that the call sees as its own.
    header: Header,
}

/// The caller's overrides, and the gas that a call may take.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    pub state: Option<StateOverride>,
    pub block: Option<BlockOverrides>,
    // A call costs the caller nothing, so its work must be bounded.
    /// The most gas of a call, and its default gas. 0: no cap.
    pub gas_cap: u64,
}

/// How a call that could be run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// `output`: what was returned, or the deployed code.
    Success { output: Bytes, gas_used: u64, logs: Vec<Log> },
    /// JSON-RPC code 3, text `execution reverted` (with the reason, if it is
    /// one), data: `output`.
    Revert { output: Bytes, gas_used: u64 },
    /// Out of gas, invalid opcode …; JSON-RPC code -32000 with `reason`.
    Halt { reason: String, gas_used: u64 },
}

/// Why a call could not be run.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request is wrong as it stands: JSON-RPC code -32000 and this text,
    /// in geth's words.
    #[error("{0}")]
    Invalid(String),
    /// No block at this height.
    #[error("header not found")]
    NoBlock(Height),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The outcome of `estimate_gas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// The least gas limit with which the transaction succeeds.
    Gas(u64),
    /// It fails with any gas: [`CallOutcome::Revert`] or [`CallOutcome::Halt`].
    Fails(CallOutcome),
}

/// The outcome of `create_access_list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessListOutcome {
    pub access_list: AccessList,
    pub gas_used: u64,
    /// Why the call fails even with the list, if it does.
    pub error: Option<String>,
}

/// The demands of the tip's state, but for the list of deployers: that is as `state` has it, which
/// is the state after the block with `header`.
fn governed_at(
    spec: &ChainSpec,
    snapshot: &Snapshot,
    header: &Header,
    state: &StateAt,
) -> Result<Arc<Governed>, LedgerError> {
    let mut governed = snapshot.governed().clone();
    if header.number != snapshot.tip().number {
        let deployers_listed = governance::lists_deployers(spec, header, state)?;
        if deployers_listed != governed.settings.deployers_listed {
            Arc::make_mut(&mut governed).settings.deployers_listed = deployers_listed;
        }
    }
    Ok(governed)
}

impl<'a> CallSite<'a> {
    /// On the state after the block at `height`, in that block's context.
    pub fn at(spec: &'a ChainSpec, snapshot: &Snapshot, height: Height) -> Result<Self, CallError> {
        let (_, header) = snapshot.header(height)?.ok_or(CallError::NoBlock(height))?;
        let state = snapshot.state(height)?;
        Ok(Self { spec, governed: governed_at(spec, snapshot, &header, &state)?, state, header })
    }

    /// On the tip's state, in the context of the block after it ("pending"), as far as it
    /// is known. Its timestamp is taken to be the tip's plus one second, its randomness the
    /// tip's.
    pub fn pending(spec: &'a ChainSpec, snapshot: &Snapshot) -> Result<Self, CallError> {
        let tip = snapshot.tip();
        let draft = Draft {
            timestamp: tip.timestamp.saturating_add(1),
            fee_recipient: tip.beneficiary,
            attached: Attached::default(),
        };
        let governed = snapshot.governed().clone();
        let hash = snapshot.tip_hash();
        let mut header = header::draft_header(&governed.settings, hash, tip, &draft, B256::ZERO);
        header.mix_hash = tip.mix_hash;
        Ok(Self { spec, governed, state: snapshot.state(tip.number)?, header })
    }

    /// The block that calls see as their own.
    pub fn header(&self) -> &Header {
        &self.header
    }
}
