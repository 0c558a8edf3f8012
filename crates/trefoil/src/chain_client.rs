//! The chain as a command sees it: over a node's JSON-RPC.

pub mod account_key;
pub mod client;
pub mod contract;
pub mod governance;
pub mod registry;
mod revert_reasons;
pub mod utc;

use alloy_primitives::utils::{ParseUnits, format_ether};

/// An amount of wei in ether, without zeros at its end: `1.5`.
pub fn ether(wei: impl Into<ParseUnits>) -> String {
    let text = format_ether(wei);
    text.trim_end_matches('0').trim_end_matches('.').into()
}
