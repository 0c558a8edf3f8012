//! How bytes are protected and shared out among streams, below every rule about peers.

pub mod clear;
pub(crate) mod kill_switch;
pub mod libp2p_types;
pub(crate) mod mux;
pub(crate) mod public;
