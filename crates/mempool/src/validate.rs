//! The checks of a transaction that do not depend on the other pooled ones.
//!
//! Owns the checks that need only the transaction, the chain's rules and the
//! sender's account. What always holds: a transaction that passes can be
//! executed in some block, unless the state changes first.

use alloy_consensus::Transaction as _;
use alloy_primitives::U256;
use trefoil_types::{Transaction, TxEnvelope, Unlisted, spec::Fork};

use crate::MempoolError;

// Attack: transactions far behind a gap never run, so they cost their sender nothing and
// would hold room in every pool. So one account holds at most 1,000 places behind a gap, a
// hundredth of a pool.
/// How far ahead of the sender's next nonce a transaction may wait.
pub const NONCE_AHEAD_MAX: u64 = 1_000;

/// EIP-7825: the most gas of one transaction from Osaka on (2^24), unless a network sets its own.
const TX_GAS_MAX: u64 = 1 << 24;
/// EIP-170: the most code of a contract, bytes, unless a network sets its own.
const CODE_BYTES_MAX: u64 = 24_576;

/// The demands of the block after the tip on its transactions.
#[derive(Clone, Copy, Debug)]
pub struct TxRules {
    pub chain_id: u64,
    pub fork: Fork,
    /// Gas that one block may use.
    pub gas_limit: u64,
    /// Wei per gas; 0 on a gas-free network.
    pub base_fee: u64,
    /// Gas is free, so a sender needs no funds for it.
    pub gas_free: bool,
    /// The most gas of one transaction; `None`: the fork's.
    pub tx_gas_max: Option<u64>,
    /// The most code of a contract, bytes; `None`: the fork's.
    pub code_bytes_max: Option<u64>,
}

/// The sender's account at the tip.
#[derive(Clone, Copy, Debug, Default)]
pub struct SenderState {
    pub nonce: u64,
    pub balance: U256,
    /// It has code other than an EIP-7702 delegation (EIP-3607).
    pub is_contract: bool,
    /// The network lists the accounts that may send transactions, and this account is not listed.
    pub is_barred: bool,
    /// The network lists the accounts that may deploy contracts, and this account is not listed.
    pub deploys_nothing: bool,
}

impl TxRules {
    /// Checks all that needs no state.
    ///
    /// # Errors
    /// The first rule that the transaction breaks.
    pub fn check(&self, tx: &TxEnvelope) -> Result<(), MempoolError> {
        // The cheapest checks first; the chain's number comes first of all, since a peer that
        // sends transactions of another chain is blamed for it.
        if let Some(got) = tx.chain_id().filter(|id| *id != self.chain_id) {
            return Err(MempoolError::ChainId { got, want: self.chain_id });
        }
        self.check_shape(tx)?;
        let limit = match (self.tx_gas_max, self.fork) {
            (Some(most), _) => self.gas_limit.min(most),
            (None, Fork::Osaka) => self.gas_limit.min(TX_GAS_MAX),
            (None, Fork::Cancun | Fork::Prague) => self.gas_limit,
        };
        if tx.gas_limit() > limit {
            return Err(MempoolError::GasLimit { got: tx.gas_limit(), limit });
        }
        let (cap, tip) = (tx.max_fee_per_gas(), tx.priority_fee_or_price());
        if tip > cap {
            return Err(MempoolError::TipAboveFeeCap { tip, cap });
        }
        let min = self.intrinsic_gas(tx);
        if tx.gas_limit() < min {
            return Err(MempoolError::IntrinsicGas { got: tx.gas_limit(), min });
        }
        if cap < u128::from(self.base_fee) {
            return Err(MempoolError::FeeCapTooLow { got: cap, base_fee: self.base_fee });
        }
        Ok(())
    }

    fn check_shape(&self, tx: &TxEnvelope) -> Result<(), MempoolError> {
        let invalid = |reason: String| Err(MempoolError::Invalid(reason));
        if tx.is_eip4844() {
            return invalid("blob transactions (type 3) are not supported by this network".into());
        }
        if tx.is_eip7702() {
            if self.fork < Fork::Prague {
                return invalid("transaction type not supported before Prague".into());
            }
            if tx.authorization_list().is_none_or(<[_]>::is_empty) {
                return invalid("EIP-7702 transaction with empty auth list".into());
            }
        }
        // EIP-3860: init code has twice the bytes of code.
        let (got, most) =
            (tx.input().len() as u64, 2 * self.code_bytes_max.unwrap_or(CODE_BYTES_MAX));
        if tx.is_create() && got > most {
            return invalid(format!("max initcode size exceeded: code size {got}, limit {most}"));
        }
        if tx.nonce() == u64::MAX {
            return invalid("nonce has max value".into()); // EIP-2681
        }
        Ok(())
    }

    /// The least gas limit a transaction needs: what it pays before its first
    /// instruction (EIP-2028, 2930, 3860, 7702), and the calldata floor of EIP-7623.
    fn intrinsic_gas(&self, tx: &TxEnvelope) -> u64 {
        let input = tx.input();
        let zeros = input.iter().filter(|byte| **byte == 0).count() as u64;
        let tokens = zeros + 4 * (input.len() as u64 - zeros);
        let mut gas = 21_000 + 4 * tokens;
        if tx.is_create() {
            gas += 32_000 + 2 * (input.len() as u64).div_ceil(32);
        }
        for item in tx.access_list().into_iter().flat_map(|list| list.iter()) {
            gas += 2_400 + 1_900 * item.storage_keys.len() as u64;
        }
        gas += 25_000 * tx.authorization_list().map_or(0, |list| list.len() as u64);
        if self.fork >= Fork::Prague { gas.max(21_000 + 10 * tokens) } else { gas }
    }

    /// Checks the sender's permissions, nonce, funds and nature.
    ///
    /// # Errors
    /// The first rule that the transaction breaks on this account.
    pub fn check_sender(&self, tx: &Transaction, sender: &SenderState) -> Result<(), MempoolError> {
        let address = tx.signer();
        if sender.is_barred {
            return Err(Unlisted::Account(address).into());
        }
        if sender.deploys_nothing && tx.is_create() {
            return Err(Unlisted::Deployer(address).into());
        }
        let (next, got) = (sender.nonce, tx.nonce());
        if got < next {
            return Err(MempoolError::NonceTooLow { next, got });
        }
        if got - next > NONCE_AHEAD_MAX {
            return Err(MempoolError::NonceTooHigh { next, got, max: NONCE_AHEAD_MAX });
        }
        let want = self.cost(tx);
        if want > sender.balance {
            return Err(MempoolError::InsufficientFunds { have: sender.balance, want });
        }
        if sender.is_contract {
            return Err(MempoolError::Invalid("sender not an eoa".into()));
        }
        Ok(())
    }

    /// The most wei that the transaction can take from its sender.
    pub fn cost(&self, tx: &TxEnvelope) -> U256 {
        if self.gas_free {
            return tx.value();
        }
        // Fits: 2^64 gas times 2^128 wei is less than 2^256.
        let gas = U256::from(tx.gas_limit()) * U256::from(tx.max_fee_per_gas());
        tx.value().saturating_add(gas)
    }
}

/// Whether the transaction could be replayed on another chain (before EIP-155).
pub fn is_unprotected(tx: &Transaction) -> bool {
    tx.is_legacy() && tx.chain_id().is_none()
}
