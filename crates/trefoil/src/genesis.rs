//! How a network begins and how others come to it.

pub mod declaration;
pub mod founding;
pub mod invite;
