//! Why a contract that genesis places reverted, in words.
//!
//! The words are the `@notice` of each error in `contracts/src/*.sol`, so that the error
//! and its cure stand in one place; `contracts/build.mjs` accepts no error without.

use std::{collections::BTreeMap, sync::LazyLock};

use alloy_dyn_abi::{DynSolValue, ErrorExt as _};
use alloy_json_abi::Error as AbiError;
use alloy_primitives::{Selector, hex};
use alloy_sol_types::{Revert, SolError as _};
use trefoil_types::{PeerId, PublicKey};

use crate::chain_client::{ether, utc::utc};

/// Each error by its selector, with its notice. A notice names arguments as `{name}`;
/// `{name:peer}` is an identity key as a peer id, `{name:ether}` an amount of wei in ether,
/// `{name:time}` Unix seconds as a date, 0 never.
static REASONS: LazyLock<BTreeMap<Selector, (AbiError, String)>> = LazyLock::new(|| {
    let json = include_str!("../../../../contracts/artifacts/revert_reasons.json");
    let notices: BTreeMap<String, String> = serde_json::from_str(json).expect("build.mjs wrote it");
    let described = notices.into_iter().map(|(signature, notice)| {
        let error = AbiError::parse(&signature).expect("the compiler's signature");
        (error.selector(), (error, notice))
    });
    described.collect()
});

/// A revert's data in words. Never fails: data that no contract of genesis raises is
/// printed in hex.
pub fn revert_reason(data: &[u8]) -> String {
    notice(data)
        // Most contracts give the reason by `require(condition, text)`.
        .or_else(|| Some(Revert::abi_decode(data).ok()?.reason))
        .unwrap_or_else(|| format!("it reverted with {}", hex::encode_prefixed(data)))
}

/// `NameInUse: there is an organisation acme; choose another name`.
fn notice(data: &[u8]) -> Option<String> {
    let (error, notice) = REASONS.get(data.get(..4)?)?;
    // Data with a known selector that does not decode is printed in hex.
    let arguments = error.decode_error(data).ok()?.body;
    let mut parts = notice.split('{');
    let mut text = format!("{}: {}", error.name, parts.next()?);
    for part in parts {
        let (placeholder, after) = part.split_once('}')?;
        let (name, form) = placeholder.split_once(':').unwrap_or((placeholder, ""));
        let index = error.inputs.iter().position(|input| input.name == name)?;
        text += &format_argument(arguments.get(index)?, form)?;
        text += after;
    }
    Some(text)
}

fn format_argument(value: &DynSolValue, form: &str) -> Option<String> {
    Some(match (value, form) {
        (DynSolValue::Uint(wei, _), "ether") => ether(*wei),
        (DynSolValue::Uint(number, _), "time") if number.is_zero() => "never".into(),
        (DynSolValue::Uint(seconds, _), "time") => utc(u64::try_from(*seconds).ok()?),
        (DynSolValue::Uint(number, _), _) => number.to_string(),
        (DynSolValue::FixedBytes(key, _), "peer") => PeerId(PublicKey(*key)).to_string(),
        (DynSolValue::FixedBytes(word, _), _) => word.to_string(),
        (DynSolValue::Address(account), _) => account.to_string(),
        // Escaped, because another account may have chosen it: the terminal must not
        // obey control characters in it.
        (DynSolValue::String(text), _) => text.escape_debug().to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use alloy_dyn_abi::{DynSolType, Specifier as _};

    use super::*;

    /// Every placeholder names an argument and a form that fits its type.
    #[test]
    fn every_error_is_told_in_words() {
        for (selector, (error, _)) in REASONS.iter() {
            let types = error.inputs.iter().map(|input| input.resolve().unwrap()).collect();
            let zeros = DynSolType::Tuple(types);
            let zeros = zeros.abi_decode_params(&[0; 32 * 16]).unwrap().abi_encode_params();
            let text = revert_reason(&[selector.as_slice(), &zeros].concat());
            assert!(text.starts_with(&format!("{}: ", error.name)), "{text}");
            assert!(!text.contains(['{', '}']), "{text}");
        }
    }
}
