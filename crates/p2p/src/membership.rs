//! Private and consortium networks: what a peer must show, and how long one is borne that
//! cannot be judged yet. Who is admitted says the table (`connection_table/admission.rs`).

pub(crate) mod handshake;
pub mod proof;
pub(crate) mod trial;
