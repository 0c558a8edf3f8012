//! States and chains for tests and benches.

pub mod chain;
pub mod world;
