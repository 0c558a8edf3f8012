//! Faults of a block or of a transaction in it, told apart from a state that cannot be
//! read.

use revm::context::result::InvalidTransaction;
use trefoil_types::{Address, B256, Header};

use crate::{
    BlockError, ExecuteError, LedgerError,
    evm::{EvmFault, invalid},
};

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
    #[error("sender {0} is not admitted to this network")]
    NotAdmitted(Address),
    #[error("sender {0} may not deploy contracts on this network")]
    NoDeployer(Address),
    #[error(transparent)]
    Ledger(LedgerError),
}

impl From<EvmFault> for TxFault {
    fn from(fault: EvmFault) -> Self {
        invalid(fault).map_or_else(Self::Ledger, Self::Invalid)
    }
}
