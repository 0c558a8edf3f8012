//! Faults of a block or of a transaction in it, kept apart from a state that cannot be read.

use revm::context::result::InvalidTransaction;
use trefoil_types::{B256, Header, Height, Unlisted};

use crate::{
    LedgerError,
    evm::{EvmFault, invalid},
};

// A value and not an error of the node: an invalid block is an offence of its proposer.
/// The rule of the chain that a block breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {height} ({hash}) is invalid: {reason}")]
pub struct BlockError {
    pub height: Height,
    pub hash: B256,
    pub reason: String,
}

// An unreadable state must never be held against a block: its proposer would be banned for
// this node's disk.
/// Why a block was not executed to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The block breaks a rule.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The state could not be read, which is no fault of the block.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A broken rule, or a state that could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockFault {
    #[error("{0}")]
    Rule(String),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<String> for BlockFault {
    fn from(rule: String) -> Self {
        Self::Rule(rule)
    }
}

impl BlockFault {
    pub(crate) fn of(self, header: &Header, hash: B256) -> ExecuteError {
        match self {
            Self::Rule(reason) => BlockError { height: header.number, hash, reason }.into(),
            Self::Ledger(error) => error.into(),
        }
    }
}

/// Why a transaction cannot follow those before it in a block.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TxFault {
    #[error("{0}")]
    Invalid(InvalidTransaction),
    #[error("gas limit {gas} is more than the {room} left in the block")]
    NoRoom { gas: u64, room: u64 },
    #[error("the block's blobs are more than the {max} allowed")]
    TooManyBlobs { max: u64 },
    #[error("blob transactions (type 3) are not supported by this network")]
    Blob,
    #[error(transparent)]
    Unlisted(#[from] Unlisted),
    #[error(transparent)]
    Ledger(LedgerError),
}

impl From<EvmFault> for TxFault {
    fn from(fault: EvmFault) -> Self {
        invalid(fault).map_or_else(Self::Ledger, Self::Invalid)
    }
}
