//! The key of an account, which signs transactions.

use std::path::Path;

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{B256, Signature, hex};
use secp256k1::{Message, SECP256K1, SecretKey};
use trefoil_os::keystore::{self, KeysError, PasswordSource};
use trefoil_types::Address;

/// A secp256k1 key and the address that follows from it.
#[derive(Debug)]
pub struct AccountKey {
    secret: SecretKey,
    address: Address,
}

/// A transaction ready for `eth_sendRawTransaction`.
#[derive(Clone, Debug)]
pub struct SignedTx {
    pub hash: B256,
    /// 0x-prefixed hex.
    pub raw: String,
}

impl AccountKey {
    /// # Errors
    /// When the secret is zero or not below the curve's order.
    pub fn new(secret: &[u8; 32]) -> Result<Self, KeysError> {
        let address = keystore::account_address(secret)?;
        let secret = SecretKey::from_byte_array(*secret).expect("it has an address");
        Ok(Self { secret, address })
    }

    /// Opens the key of an account.
    ///
    /// # Errors
    /// No password, a wrong one, or a file that holds no such key.
    pub fn open(file: &Path, source: &PasswordSource) -> Result<Self, KeysError> {
        let password = source.get(&file.display().to_string())?;
        Self::new(&*keystore::open(file, &password)?)
    }

    pub fn address(&self) -> Address {
        self.address
    }

    pub fn sign(&self, tx: TxEip1559) -> SignedTx {
        let digest = Message::from_digest(tx.signature_hash().0);
        let (parity, bytes) =
            SECP256K1.sign_ecdsa_recoverable(digest, &self.secret).serialize_compact();
        let signature = Signature::from_bytes_and_parity(&bytes, i32::from(parity) == 1);
        let envelope = TxEnvelope::from(tx.into_signed(signature));
        SignedTx { hash: *envelope.tx_hash(), raw: hex::encode_prefixed(envelope.encoded_2718()) }
    }
}

#[cfg(test)]
mod tests {
    use alloy_consensus::transaction::SignerRecoverable as _;
    use alloy_eips::Decodable2718 as _;

    use super::*;

    /// The first account of the `test test … junk` mnemonic.
    const SECRET: [u8; 32] =
        hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");

    #[test]
    fn what_it_signs_comes_from_it() {
        let wallet = AccountKey::new(&SECRET).unwrap();
        let signed = wallet.sign(TxEip1559 { chain_id: 7, nonce: 3, ..Default::default() });
        let raw = hex::decode(&signed.raw).unwrap();
        let tx = TxEnvelope::decode_2718(&mut raw.as_slice()).unwrap();
        assert_eq!(tx.recover_signer().unwrap(), wallet.address());
        assert_eq!(*tx.tx_hash(), signed.hash);
        assert!(AccountKey::new(&[0; 32]).is_err());
    }
}
