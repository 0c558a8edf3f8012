//! What tests and benches run on.

pub mod chain;
pub mod world;
