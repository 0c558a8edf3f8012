//! Why a transaction is refused.

use alloy_primitives::U256;
use trefoil_types::Unlisted;

/// Why a transaction was not taken into the pool. The texts are those by which
/// wallets classify errors (geth's words; see docs/rpc.md).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MempoolError {
    #[error("already known")]
    AlreadyKnown,
    #[error("nonce too low: next nonce {next}, tx nonce {got}")]
    NonceTooLow { next: u64, got: u64 },
    #[error("nonce too high: next nonce {next}, tx nonce {got}, at most {max} ahead")]
    NonceTooHigh { next: u64, got: u64, max: u64 },
    #[error("insufficient funds for gas * price + value: have {have} want {want}")]
    InsufficientFunds { have: U256, want: U256 },
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    #[error("intrinsic gas too low: gas {got}, minimum needed {min}")]
    IntrinsicGas { got: u64, min: u64 },
    #[error("max fee per gas less than block base fee: maxFeePerGas: {got}, baseFee: {base_fee}")]
    FeeCapTooLow { got: u128, base_fee: u64 },
    #[error(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, maxFeePerGas: {cap}"
    )]
    TipAboveFeeCap { tip: u128, cap: u128 },
    #[error("exceeds block gas limit: gas {got}, limit {limit}")]
    GasLimit { got: u64, limit: u64 },
    #[error("invalid chain id for signer: have {got} want {want}")]
    ChainId { got: u64, want: u64 },
    #[error("only replay-protected (EIP-155) transactions allowed over RPC")]
    Unprotected,
    #[error(transparent)]
    Unlisted(#[from] Unlisted),
    #[error("txpool is full")]
    PoolFull,
    #[error("{0}")]
    Invalid(String),
}
