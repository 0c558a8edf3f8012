//! Private and consortium networks: who is admitted, and who is cut when the chain
//! changes.

pub(crate) mod admission;
pub(crate) mod handshake;
pub mod proof;
pub(crate) mod trial;
