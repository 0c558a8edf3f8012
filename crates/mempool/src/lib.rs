//! The transaction pool: keeps the valid transactions that wait for a block.
//!
//! Owns: every pooled transaction, the order in which they are offered to a block, and
//! the order in which they are given up when room is short. What always holds: counts and
//! bytes are within [`MempoolLimits`]; what a transaction must satisfy is decided here, for
//! wallets and peers alike. It must never know: peers' connections, consensus, the ledger.

mod error;
mod pool;
mod validate;

pub use error::MempoolError;
pub use pool::{Best, Mempool, MempoolLimits, Pooled};
pub use validate::{NONCE_AHEAD_MAX, SenderState, TxRules, is_unprotected};
