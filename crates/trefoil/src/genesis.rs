//! How a network begins and how others come to it.

pub mod founding;
pub mod invite;
