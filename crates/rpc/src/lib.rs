//! JSON-RPC over HTTP and WebSocket on one port, with health and metrics.
//!
//! Owns: the wire rules of JSON-RPC 2.0, the table of methods, subscriptions
//! and filters, and the limits on all of them. What always holds: it reads a
//! published [`trefoil_ledger::Snapshot`] and asks the node's thread through
//! [`RpcBackend`], so no caller can delay consensus; when a caller has heard of
//! block N from this node, the receipts, logs and state of N are readable here.

pub mod backend;
mod caches;
pub mod content;
mod context;
mod convert;
mod counters;
mod debug;
mod dispatch;
mod error;
mod eth;
mod event_hub;
mod filter_table;
mod heavy;
mod http;
mod limits;
mod lookup;
mod metrics;
mod net;
mod params;
mod server;
mod subscriptions;
mod trace;
mod trefoil;
mod txpool;
mod ws;

#[cfg(test)]
mod tests;

pub use self::{
    error::RpcError,
    eth::simulate::simulate_on,
    http::{RemoteAddr, accept},
    limits::{HttpAccess, Limits},
    server::serve,
};
