//! Ethereum's blocks and transactions, and a block with its proof of finality.

use std::sync::Arc;

use alloy_consensus::{EthereumTxEnvelope, TxEip4844, transaction::Recovered};
use alloy_eips::Decodable2718;
use alloy_rlp::{RlpDecodable, RlpEncodable};

use trefoil_crypto::B256;

use crate::{Certificate, limits};

pub use alloy_consensus::Header;

/// A signed transaction of any EIP-2718 type, without blob sidecars.
pub type TxEnvelope = EthereumTxEnvelope<TxEip4844>;

/// A transaction whose sender has been recovered: once per node, at the door.
pub type Transaction = Arc<Recovered<TxEnvelope>>;

/// A block as Ethereum encodes it.
pub type Block = alloy_consensus::Block<TxEnvelope>;

/// A receipt with its bloom, as it enters the receipts root.
pub type Receipt = alloy_consensus::ReceiptEnvelope;

/// A final block with its certificate, and the certificate of its parent that
/// its header binds: what catch-up sends.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing)]
pub struct CertifiedBlock {
    pub block: Block,
    pub certificate: Certificate,
    /// keccak256 of this is the header's `parent_beacon_block_root`.
    /// Absent at height 1 only: genesis needs no certificate.
    pub parent_certificate: Option<Certificate>,
}

/// A block whose senders are known: what is executed, what the journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredBlock {
    /// keccak256 of the header; checked by [`RecoveredBlock::new`].
    pub hash: B256,
    pub header: Header,
    pub transactions: Vec<Transaction>,
    /// See [`CertifiedBlock::parent_certificate`].
    pub parent_certificate: Option<Certificate>,
}

impl RecoveredBlock {
    pub fn new(
        header: Header,
        transactions: Vec<Transaction>,
        parent_certificate: Option<Certificate>,
    ) -> Self {
        Self { hash: header.hash_slow(), header, transactions, parent_certificate }
    }

    /// The block in Ethereum's encoding, without senders. Its body has an
    /// empty list of withdrawals and no ommers, as all blocks of our chains.
    pub fn to_block(&self) -> Block {
        let transactions = self.transactions.iter().map(|tx| tx.inner().clone()).collect();
        let withdrawals = Some(Default::default());
        let body = alloy_consensus::BlockBody { transactions, ommers: vec![], withdrawals };
        Block { header: self.header.clone(), body }
    }
}

/// Why bytes are no transaction that this chain could take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    #[error("transaction of {0} bytes is over the limit of {max}", max = limits::TX_BYTES_MAX)]
    TooLarge(usize),
    #[error("transaction cannot be decoded: {0}")]
    Malformed(String),
    #[error("blob transactions (type 3) are not supported by this network")]
    Blob,
    #[error("transaction signature is invalid")]
    Signature,
}

/// Decodes a raw EIP-2718 transaction as a wallet or a peer sends it.
///
/// # Errors
/// Too large, malformed, trailing bytes, or of type 3 (EIP-4844).
pub fn decode_tx(bytes: &[u8]) -> Result<TxEnvelope, TxError> {
    if bytes.len() > limits::TX_BYTES_MAX {
        return Err(TxError::TooLarge(bytes.len()));
    }
    if bytes.first() == Some(&3) {
        return Err(TxError::Blob);
    }
    let mut rest = bytes;
    let tx = TxEnvelope::decode_2718(&mut rest).map_err(|e| TxError::Malformed(e.to_string()))?;
    if !rest.is_empty() {
        return Err(TxError::Malformed(format!("{} bytes follow it", rest.len())));
    }
    Ok(tx)
}
