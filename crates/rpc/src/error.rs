//! The errors of failed requests: one enum, mapped once to codes.
//!
//! Clients classify errors by their text, hardly by code, so the texts are
//! geth's words where geth has some (docs/rpc.md has the table). Nothing here
//! names a Rust type.

use alloy_primitives::{B256, Bytes};
use alloy_sol_types::{Panic, PanicKind, Revert, SolError as _};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::{RawValue, to_raw_value};
use trefoil_ledger::LedgerError;
use trefoil_mempool::MempoolError;
use trefoil_types::{Height, TxError};

/// A finished answer: JSON text, written once.
pub type Json = Box<RawValue>;

pub type RpcResult<T = Json> = Result<T, RpcError>;

/// Writes an answer.
pub fn json<T: Serialize + ?Sized>(value: &T) -> RpcResult {
    to_raw_value(value).map_err(|e| RpcError::Internal(e.to_string()))
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    #[error("parse error: the body is not valid JSON")]
    Parse,
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    #[error("the method {0} does not exist/is not available")]
    UnknownMethod(String),
    // Wallets know the code and the first words; the operator needs the rest.
    /// A method that this node's settings do not serve.
    #[error(
        "the method {0} does not exist/is not available: `rpc.debug` is off; set it to true on a node of your own"
    )]
    DebugOff(&'static str),
    #[error("{0}")]
    InvalidParams(String),
    /// An `admin_*` method without the token, or from another machine.
    #[error("admin methods are for this machine and need the token in data/admin.token")]
    NotAdmitted,
    /// The caller's own doing, in a plain sentence.
    #[error("{0}")]
    Rejected(String),
    #[error("block not found: {asked} (the head is {head})")]
    BlockNotFound { asked: String, head: Height },
    /// The call ran and reverted with this data.
    #[error("{}", revert_text(.0))]
    Reverted(Bytes),
    /// A code that only `eth_simulateV1` knows (execution-apis).
    #[error("{text}")]
    Simulation { code: i64, text: String },
    /// EIP-7966: the transaction is in the pool but in no block yet.
    #[error("the transaction was added to the pool but was in no block within {waited_ms} ms")]
    NotIncluded { hash: B256, waited_ms: u64 },
    /// Too much at once; the same request may work later.
    #[error("{0}")]
    Busy(String),
    /// Too much by itself, whoever asks for how little beside it.
    #[error("{0}")]
    TooLarge(String),
    /// The node's fault.
    #[error("{0}")]
    Internal(String),
}

impl RpcError {
    pub fn code(&self) -> i64 {
        match self {
            Self::Parse => -32700,
            Self::InvalidRequest(_) => -32600,
            Self::UnknownMethod(_) | Self::DebugOff(_) => -32601,
            Self::InvalidParams(_) => -32602,
            Self::Rejected(_) | Self::BlockNotFound { .. } => -32000,
            Self::NotAdmitted => -32001,
            Self::Reverted(_) => 3,
            Self::Simulation { code, .. } => *code,
            Self::NotIncluded { .. } => 4,
            Self::Busy(_) | Self::TooLarge(_) => -32005,
            Self::Internal(_) => -32603,
        }
    }

    /// Hex text that goes with the message, if any.
    pub fn data(&self) -> Option<String> {
        match self {
            Self::Reverted(data) => Some(data.to_string()),
            Self::NotIncluded { hash, .. } => Some(hash.to_string()),
            _ => None,
        }
    }
}

impl Serialize for RpcError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.code())?;
        map.serialize_entry("message", &self.to_string())?;
        if let Some(data) = self.data() {
            map.serialize_entry("data", &data)?;
        }
        map.end()
    }
}

impl From<LedgerError> for RpcError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Unknown { .. }
            | LedgerError::Pruned { .. }
            | LedgerError::Unproven { .. }
            | LedgerError::NoBlock { .. }
            | LedgerError::UnknownFork { .. }
            | LedgerError::CallMemory(_) => Self::Rejected(error.to_string()),
            LedgerError::OtherChain { .. }
            | LedgerError::Storage(_)
            | LedgerError::NoRoom(_)
            | LedgerError::Damaged(_)
            | LedgerError::Unfinished
            | LedgerError::Founding(_)
            | LedgerError::Governing(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<MempoolError> for RpcError {
    fn from(error: MempoolError) -> Self {
        Self::Rejected(error.to_string())
    }
}

impl From<TxError> for RpcError {
    fn from(error: TxError) -> Self {
        match error {
            TxError::Malformed(_) => Self::InvalidParams(error.to_string()),
            TxError::TooLarge(_) | TxError::Blob | TxError::Signature => {
                Self::Rejected(error.to_string())
            }
        }
    }
}

/// `execution reverted`, with the reason that Solidity encoded, if it did.
fn revert_text(data: &Bytes) -> String {
    match revert_reason(data) {
        Some(reason) => format!("execution reverted: {reason}"),
        None => "execution reverted".into(),
    }
}

/// Decodes `Error(string)` and `Panic(uint256)` (Solidity ABI), in geth's words.
fn revert_reason(data: &[u8]) -> Option<String> {
    // Validated: text that is not UTF-8 is no reason that anybody could read.
    if let Ok(Revert { reason }) = Revert::abi_decode_validate(data) {
        return Some(reason);
    }
    let code = Panic::abi_decode(data).ok()?.code;
    let kind = u32::try_from(code).ok().and_then(PanicKind::from_number);
    Some(match kind {
        Some(kind) => kind.as_geth_str().into(),
        None => format!("unknown panic code: {code:#x}"),
    })
}
