//! A pretend network for swarms: virtual time, links with a rate and a delay,
//! an origin that is a node or an HTTP server, and nodes that misbehave.
//!
//! Bytes carry [`OVERHEAD`] on every link, as the real wire has it; the bound
//! that results are compared with carries none.

mod net;
mod scenario;

#[allow(unused_imports)] // The example and the tests use different parts.
pub use scenario::{Outcome, Scenario};
