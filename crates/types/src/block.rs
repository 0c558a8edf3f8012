//! Ethereum's blocks and transactions, and a block with its proof of finality.

use std::sync::Arc;

use alloy_consensus::{EthereumTxEnvelope, TxEip4844, transaction::Recovered};
use alloy_eips::Decodable2718;
use alloy_primitives::Bytes;
use alloy_rlp::{RlpDecodable, RlpEncodable};
use trefoil_crypto::{B256, keccak256};

use crate::{Certificate, Evidence, limits};

pub use alloy_consensus::Header;

/// A signed transaction of any EIP-2718 type, without blob sidecars.
pub type TxEnvelope = EthereumTxEnvelope<TxEip4844>;

/// A transaction whose sender has been recovered: once per node, at the door.
pub type Transaction = Arc<Recovered<TxEnvelope>>;

/// A block as Ethereum encodes it.
pub type Block = alloy_consensus::Block<TxEnvelope>;

/// A receipt with its bloom, as it enters the receipts root.
pub type Receipt = alloy_consensus::ReceiptEnvelope;

/// What lies beside a block, since Ethereum's encoding has no place for it, and
/// is bound by the block's header.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing)]
pub struct Attached {
    /// Who is convicted by this block, ascending by validator, each once. keccak256
    /// of the list's RLP is the header's `extra_data`; for no evidence that is empty.
    pub evidence: Vec<Evidence>,
    /// keccak256 of this is the header's `parent_beacon_block_root`.
    /// Absent at height 1 only: genesis needs no certificate.
    pub parent_certificate: Option<Certificate>,
}

impl Attached {
    /// The header's `extra_data`.
    pub fn extra_data(&self) -> Bytes {
        if self.evidence.is_empty() {
            return Bytes::new();
        }
        keccak256(alloy_rlp::encode(&self.evidence)).into()
    }

    /// The header's `parent_beacon_block_root`.
    pub fn certificate_hash(&self) -> B256 {
        self.parent_certificate.as_ref().map_or(B256::ZERO, Certificate::hash)
    }

    /// Whether it is what `header` binds.
    pub fn is_bound_by(&self, header: &Header) -> bool {
        header.parent_beacon_block_root == Some(self.certificate_hash())
            && header.extra_data == self.extra_data()
    }
}

/// A final block with its certificate: what catch-up sends.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct CertifiedBlock {
    pub block: Block,
    pub certificate: Certificate,
    pub attached: Attached,
}

/// A block whose senders are known: what is executed, what the journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredBlock {
    /// keccak256 of the header; checked by [`RecoveredBlock::new`].
    pub hash: B256,
    pub header: Header,
    pub transactions: Vec<Transaction>,
    pub attached: Attached,
}

impl RecoveredBlock {
    pub fn new(header: Header, transactions: Vec<Transaction>, attached: Attached) -> Self {
        Self { hash: header.hash_slow(), header, transactions, attached }
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
