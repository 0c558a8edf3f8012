//! The vocabulary of the chain, in its one encoding.
//!
//! Owns: transactions and blocks (Ethereum's own types, from alloy); votes, proposals and
//! certificates; the validator set; the chain specification; every message between nodes;
//! the limits on all of them; the table of offences; and the [`Disk`] trait.
//!
//! What always holds: one value has one encoding (RLP), and a decoder compares every length
//! with a limit before it takes memory. A light client needs nothing but this crate to
//! judge a [`Certificate`].
//!
//! What it must never know: how a block is executed, how consensus decides, how messages
//! travel, and where files lie. It reads no clock: [`Time`] is handed in.

pub mod block;
pub mod certificate;
pub mod disk;
pub mod evidence;
mod key_proof;
pub mod limits;
pub mod members;
pub mod message;
mod message_lists;
pub mod message_rule;
pub mod offence;
pub mod spec;
pub mod time;
pub mod turns;
mod unlisted;
pub mod validator;
pub mod vote;

pub use block::{
    Attached, Block, CertifiedBlock, Header, Receipt, RecoveredBlock, Transaction, TxEnvelope,
    TxError, decode_tx,
};
pub use certificate::{Certificate, CommitCertificateError};
pub use disk::{Disk, DiskFile, MemDisk, room_cure};
pub use evidence::{Evidence, EvidenceError};
pub use key_proof::{BadKeyProof, KeyClaimer, KeyProof, KeyRole};
pub use members::{
    Admission, CaKey, MemberNode, Members, NotAMember, Organisation, OrganisationId, Standing,
};
pub use message::{Message, MessageError, ProposedBlock};
pub use message_lists::{decoded_bytes, least_gas, unpacked_bytes};
pub use message_rule::{ByteBudget, MessageRule};
pub use offence::{BAN_AT, Offence};
pub use spec::{ChainSpec, Kind, SpecError};
pub use time::{Millis, Time};
pub use turns::Turns;
pub use unlisted::Unlisted;
pub use validator::{Validator, ValidatorSet};
pub use vote::{
    PolkaCertificate, Proposal, RoundCertificate, RoundVote, ValidatorSignature, Vote, VoteKind,
};

pub use trefoil_crypto::{Address, B256, PeerId, PublicKey, Signature, keccak256};

/// A block's place in the chain; genesis is 0.
pub type Height = u64;

/// A consensus round within a height, from 0.
pub type Round = u32;

#[cfg(test)]
mod tests;
