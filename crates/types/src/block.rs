//! Ethereum's blocks and transactions, and a block with its proof of finality.
//!
//! A block stays a block of Ethereum's, so that wallets and explorers understand it. The data
//! of consensus lie beside it, bound by header fields that Ethereum has (ADR 3, ADR 16).

use std::sync::Arc;

use alloy_consensus::{EthereumTxEnvelope, TxEip4844, transaction::Recovered};
use alloy_eips::Decodable2718;
use alloy_primitives::Bytes;
use alloy_rlp::{RlpDecodable, RlpEncodable};
use trefoil_crypto::{B256, keccak256};

use crate::{Certificate, Evidence, limits};

pub use alloy_consensus::Header;

// Blobs are kept by Ethereum's consensus layer (EIP-4844), which these networks do not
// have: type 3 is refused everywhere.
/// A signed transaction of any EIP-2718 type, without blob sidecars.
pub type TxEnvelope = EthereumTxEnvelope<TxEip4844>;

// Recovering a sender costs 40 µs, executing a transfer 1.3 µs: it is never done twice.
// Shared by `Arc`, since mempool, block and journal hold the same transaction.
/// A transaction whose sender has been recovered: once per node, when it enters the mempool
/// or arrives in a block.
pub type Transaction = Arc<Recovered<TxEnvelope>>;

/// A block as Ethereum encodes it.
pub type Block = alloy_consensus::Block<TxEnvelope>;

/// A receipt with its bloom, as it enters the receipts root.
pub type Receipt = alloy_consensus::ReceiptEnvelope;

/// Data beside a block: Ethereum's encoding has no place for it. The block's header binds
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
#[rlp(trailing)]
pub struct Attached {
    // One list for each set of convictions: otherwise two blocks with the same content
    // would have two hashes.
    /// Evidence against the validators that this block convicts, ascending by validator,
    /// each once. keccak256 of the list's RLP is the header's `extra_data`, which is empty
    /// if the list is. (web3.py refuses more than 32 bytes there.)
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

    /// Whether `header` binds it.
    pub fn is_bound_by(&self, header: &Header) -> bool {
        header.parent_beacon_block_root == Some(self.certificate_hash())
            && header.extra_data == self.extra_data()
    }
}

/// A final block with its certificate: the unit of block sync.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct CertifiedBlock {
    pub block: Block,
    pub certificate: Certificate,
    pub attached: Attached,
}

/// A block with the senders of its transactions: the form in which it is executed and
/// journalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredBlock {
    /// keccak256 of the header; checked by [`RecoveredBlock::new`].
    pub hash: B256,
    pub header: Header,
    pub transactions: Vec<Transaction>,
    pub attached: Attached,
}

impl RecoveredBlock {
    // The hash is computed here, so that it is always that of the header beside it.
    pub fn new(header: Header, transactions: Vec<Transaction>, attached: Attached) -> Self {
        Self { hash: header.hash_slow(), header, transactions, attached }
    }

    /// The block in Ethereum's encoding, without senders.
    pub fn to_block(&self) -> Block {
        let transactions = self.transactions.iter().map(|tx| tx.inner().clone()).collect();
        ethereum_block(self.header.clone(), transactions)
    }
}

/// A block in Ethereum's encoding. As in all blocks of these chains, its list of withdrawals is
/// empty and it has no ommers.
pub fn ethereum_block(header: Header, transactions: Vec<TxEnvelope>) -> Block {
    let withdrawals = Some(Default::default());
    let body = alloy_consensus::BlockBody { transactions, ommers: vec![], withdrawals };
    Block { header, body }
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
    // Before decoding: a caller of the RPC may send as much as the body limit allows.
    if bytes.len() > limits::TX_BYTES_MAX {
        return Err(TxError::TooLarge(bytes.len()));
    }
    // Before decoding: blobs may have sidecars, which do not decode here. A wallet must get the
    // reason that the type is refused, not that the bytes are malformed.
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
