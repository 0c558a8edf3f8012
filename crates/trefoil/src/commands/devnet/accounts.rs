//! The accounts that every Ethereum development tool knows.

use alloy_primitives::B256;
use alloy_signer_local::MnemonicBuilder;
use trefoil_types::Address;

pub const MNEMONIC: &str = "test test test test test test test test test test test junk";

#[derive(Clone, Debug)]
pub struct DevAccount {
    pub address: Address,
    /// The secret key.
    pub key: B256,
}

/// The ten that own ether.
pub fn well_known() -> Vec<DevAccount> {
    (0..10).map(derive).collect()
}

/// Account `index` of the mnemonic, by BIP-39 and the path `m/44'/60'/0'/0/index`.
pub fn derive(index: u32) -> DevAccount {
    let signer = MnemonicBuilder::from_phrase_nth(MNEMONIC, index);
    DevAccount { address: signer.address(), key: signer.to_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_account_is_the_one_that_tools_know() {
        let accounts = well_known();
        assert_eq!(accounts.len(), 10);
        let address = accounts[0].address.to_string();
        assert_eq!(address, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        let key = accounts[0].key.to_string();
        assert_eq!(key, "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    }
}
