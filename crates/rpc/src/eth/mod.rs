//! The `eth_` methods, by what they are about.

pub mod blocks;
pub mod config;
pub mod execute;
pub mod fees;
pub mod filters;
pub mod logs;
pub mod send;
pub mod simulate;
pub mod state;
