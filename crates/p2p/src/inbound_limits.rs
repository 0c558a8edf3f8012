//! What other nodes may take of this one: sockets, requests a second, misdeeds.

pub(crate) mod peer_rates;
pub(crate) mod peer_score;
pub(crate) mod rate_limit;
pub(crate) mod slots;
pub(crate) mod socket;
pub(crate) mod subnet;
