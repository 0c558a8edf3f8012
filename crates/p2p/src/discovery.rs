//! Which other nodes there are, and which of them this node dials.

pub mod address_book;
pub mod address_book_file;
pub(crate) mod finder;
pub mod outbound;
pub mod peer_record;
pub(crate) mod providers;
pub(crate) mod reachability;
pub(crate) mod redial;
