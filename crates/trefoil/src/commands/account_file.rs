//! Which of a node's accounts signs.

use std::path::Path;

use trefoil_os::keystore::{self, KeyFile, KeyKind};
use trefoil_types::Address;

use crate::error::CommandError;

/// The key file of `wanted` in a node's directory; of the only account there, if
/// none is named.
///
/// # Errors
/// No such account, none at all, or several to choose from.
pub fn find_account(
    dir: &Path,
    wanted: Option<Address>,
) -> Result<(Address, KeyFile), CommandError> {
    let files = keystore::list(dir)?.into_iter().filter(|file| file.kind == KeyKind::Account);
    let accounts = files.filter_map(|file| Some((file.public.parse().ok()?, file)));
    let mut accounts: Vec<(Address, KeyFile)> = accounts.collect();
    accounts.retain(|(address, _)| wanted.is_none_or(|wanted| wanted == *address));
    let keys = dir.join("keys");
    match (accounts.len(), wanted) {
        // With several, guessing would let the wrong one sign and pay.
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
    use alloy_primitives::hex;
    use trefoil_os::keystore::ScryptCost;

    use super::*;

    /// The first account of the `test test … junk` mnemonic.
    const SECRET: [u8; 32] =
        hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");

    #[test]
    fn the_only_account_signs_unless_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let say = |wanted| find_account(dir.path(), wanted).map(|(address, _)| address);
        let refusal = |wanted| say(wanted).unwrap_err().to_string();
        assert!(refusal(None).contains("trefoil keys new account"));
        keystore::store(dir.path(), KeyKind::Validator, &[1; 32], "x", ScryptCost::Light).unwrap();
        keystore::store(dir.path(), KeyKind::Account, &SECRET, "x", ScryptCost::Light).unwrap();
        let first = keystore::account_address(&SECRET).unwrap();
        assert_eq!(say(None).unwrap(), first);
        assert!(refusal(Some(Address::ZERO)).contains("--dry-run"));
        keystore::store(dir.path(), KeyKind::Account, &[2; 32], "x", ScryptCost::Light).unwrap();
        assert!(refusal(None).contains("--account"));
        assert_eq!(say(Some(first)).unwrap(), first);
    }
}
