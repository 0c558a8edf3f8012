//! Why a file of state sync is not made or not believed.

use trefoil_types::{B256, Height, room_cure};

use crate::LedgerError;

// A pure rule on overlapping validator sets (Tendermint's skipping verification) would be
// unsound here: these headers do not commit to the validator set, so a signature vouches
// for no set.
/// Why a file was not written, or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot read or write the file: {0}")]
    File(#[from] std::io::Error),
    #[error("this is no {wanted} of a format that this program knows")]
    NotOurs { wanted: &'static str },
    #[error("the file ends in the middle, at byte {offset}: fetch it again")]
    Truncated { offset: u64 },
    #[error("the file is damaged at byte {offset} ({why}): fetch it again")]
    Damaged { offset: u64, why: &'static str },
    #[error("the file is of another chain: genesis {found}, the specification's is {wanted}")]
    OtherChain { found: B256, wanted: B256 },
    #[error("the file is not proven: {0}; do not rely on where it came from")]
    Unproven(String),
    #[error("the directory holds a chain already, up to block {tip}; restore into a new one")]
    Taken { tip: Height },
    #[error(
        "this node cannot make it: {0}; nodes that were there, or have imported the history, can"
    )]
    Missing(String),
    #[error(
        "the archive ends at block {last}, and what this node lacks ends at {wanted}: import archives from the newest to the oldest"
    )]
    NotNext { last: Height, wanted: Height },
}

impl JoinError {
    /// Whether there was no room on the disk for what the file brings.
    pub fn lacks_room(&self) -> bool {
        match self {
            Self::Ledger(error) => matches!(error, LedgerError::NoRoom(_)),
            Self::File(error) => room_cure(error).is_some(),
            _ => false,
        }
    }
}

pub(super) fn unproven(why: impl Into<String>) -> JoinError {
    JoinError::Unproven(why.into())
}
