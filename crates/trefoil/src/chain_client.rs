//! The chain as a command sees it: over a node's JSON-RPC.

pub mod client;
pub mod contract;
pub mod governance;
pub mod registry;
pub mod wallet;
