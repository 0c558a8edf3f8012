//! JSON-RPC over HTTP and WebSocket on one port, with health and metrics.
//!
//! Owns: the wire rules of JSON-RPC 2.0, the one table of methods (`dispatch`), the
//! subscriptions and filters, the gateway to content, and the limits on all of them.
//!
//! What always holds: a handler reads a published [`trefoil_ledger::Snapshot`] and asks the
//! node's thread through [`backend::RpcBackend`], so no caller can delay consensus. When
//! this node has named block N to a caller, the receipts, logs and state of N are
//! readable here. An `admin_*` method runs only for a caller on this machine with the token.
//! What callers make the server hold is counted in bytes, in one [`MemoryAccount`].
//!
//! It must never know a secret key, since any web page may call the open port; and it
//! changes no state of the chain by itself.

mod access;
mod answer;
mod answer_body;
pub mod backend;
mod block_logs;
mod caches;
mod connections;
pub mod content;
mod context;
mod convert;
mod counters;
mod debug;
mod dispatch;
mod error;
mod eth;
mod event_hub;
mod event_ring;
mod filter_table;
mod heavy;
mod heavy_turns;
mod http;
mod http_connection;
mod limits;
mod log_filter;
mod log_orders;
mod lookup;
mod memory;
mod metrics;
mod net;
mod open_files;
mod params;
mod pool_view;
mod recent_tips;
mod remote_addr;
mod source_places;
mod subscriptions;
mod sync_progress;
mod trace;
mod trefoil;
mod txpool;
mod watched_stream;
mod ws;
mod ws_input;

#[cfg(test)]
mod tests;

pub use self::{
    access::HttpAccess,
    connections::HttpConnectionTable,
    error::RpcError,
    eth::simulate::simulate_on,
    http::{accept, guarded, serve},
    memory::{MEMORY_DEFAULT, MemoryAccount},
    remote_addr::RemoteAddr,
};
use self::{
    context::Rpc,
    error::{Json, RpcResult, json},
    limits::Limits,
    params::Params,
};
