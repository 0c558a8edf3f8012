//! What JSON-RPC callers execute on a state without changing it: `eth_call` and its
//! like, `eth_simulateV1`, traces.

mod call;
mod call_types;
mod overrides;
pub mod simulate_v1;
pub mod trace;

pub use call_types::{AccessListOutcome, CallError, CallOptions, CallOutcome, CallSite, Estimate};
