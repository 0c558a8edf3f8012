//! The key of an account, which signs transactions.

use std::path::Path;

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{B256, Signature, hex};
use secp256k1::{Message, SECP256K1, SecretKey};
use trefoil_os::keystore::{self, KeyFile, KeyKind, KeysError, PasswordSource};
use trefoil_types::Address;

use crate::error::CommandError;

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

/// The key file of `wanted` in a node's directory; of the only account there, if
/// none is named.
///
/// # Errors
/// No such account, none at all, or several to choose from.
pub fn account(dir: &Path, wanted: Option<Address>) -> Result<(Address, KeyFile), CommandError> {
    let files = keystore::list(dir)?.into_iter().filter(|file| file.kind == KeyKind::Account);
    let accounts = files.filter_map(|file| Some((file.public.parse().ok()?, file)));
    let mut accounts: Vec<(Address, KeyFile)> = accounts.collect();
    accounts.retain(|(address, _)| wanted.is_none_or(|wanted| wanted == *address));
    let keys = dir.join("keys");
    match (accounts.len(), wanted) {
        (1, _) => Ok(accounts.remove(0)),
        (0, Some(wanted)) => Err(CommandError::with_cure(
            format!("{} has no key of account {wanted}", keys.display()),
            "take it in with `trefoil keys import account`, or use another wallet: --dry-run prints what to send",
        )),
        (0, None) => Err(CommandError::with_cure(
            format!("{} has no account to sign with", keys.display()),
            "make one with `trefoil keys new account`, or take one in with `trefoil keys import account`",
        )),
        (count, _) => Err(CommandError::with_cure(
            format!("{} has {count} accounts", keys.display()),
            "say which one signs with --account ADDRESS; `trefoil keys list` shows them",
        )),
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

    #[test]
    fn the_only_account_signs_unless_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let say = |wanted| account(dir.path(), wanted).map(|(address, _)| address);
        let refusal = |wanted| say(wanted).unwrap_err().to_string();
        assert!(refusal(None).contains("trefoil keys new account"));
        keystore::store(dir.path(), KeyKind::Validator, &[1; 32], "x").unwrap();
        keystore::store(dir.path(), KeyKind::Account, &SECRET, "x").unwrap();
        let first = AccountKey::new(&SECRET).unwrap().address();
        assert_eq!(say(None).unwrap(), first);
        assert!(refusal(Some(Address::ZERO)).contains("--dry-run"));
        keystore::store(dir.path(), KeyKind::Account, &[2; 32], "x").unwrap();
        assert!(refusal(None).contains("--account"));
        assert_eq!(say(Some(first)).unwrap(), first);
    }
}
