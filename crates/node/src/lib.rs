//! The whole node as one value: an input goes in, effects come out.
//!
//! [`Node::step`] never waits, reads no clock, touches no socket and draws no
//! randomness that it was not handed; the simulator runs this same code.
//!
//! What always holds: a block is executed once, and that outcome is what is
//! committed; a block is journalled before it is voted for; every map keyed by
//! a peer's bytes has a bound.

mod bodies;
mod calls;
mod candidates;
mod catchup;
mod commit;
mod evidence;
mod gossip;
mod hearing;
mod height;
pub mod io;
mod node;
mod peers;
mod proposal;

pub use io::{Call, Done, Effects, Event, Input, Job, Order, Reply, Status, To};
pub use node::{Config, Node, OpenError};
