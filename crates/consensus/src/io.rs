//! What goes into consensus and what comes out: plain data.

use trefoil_crypto::SecretKey;
use trefoil_types::{
    B256, Certificate, Evidence, Height, PolkaCertificate, Proposal, PublicKey, Round,
    RoundCertificate, Time, Vote,
};

use crate::Timeouts;

/// What happened, of what concerns consensus.
#[derive(Clone, Debug)]
pub enum ConsensusInput {
    Vote(Vote),
    Proposal(Proposal),
    PolkaCertificate(PolkaCertificate),
    RoundCertificate(RoundCertificate),
    /// The body of a proposed block is here and was executed.
    Candidate {
        height: Height,
        round: Round,
        block: B256,
        proposer: PublicKey,
        valid: bool,
    },
    /// The answer to [`Output::Build`].
    Built {
        height: Height,
        round: Round,
        block: B256,
    },
}

/// What consensus wants done, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Journal this (opaque here; handed back to [`Consensus::start`](crate::Consensus::start)) before
    /// any later [`Output::Send`] is carried out. `height` is the record's own,
    /// whatever height the node is at by then.
    Record { height: Height, bytes: Vec<u8> },
    /// Tell every validator.
    Send(ConsensusMessage),
    /// This node proposes: build a block and answer with [`ConsensusInput::Built`],
    /// by `until` if at all.
    Build { height: Height, round: Round, until: Time },
    /// The height is decided; this is the last output of its call. Commit, then
    /// [`Consensus::start`](crate::Consensus::start) the next. Until then every input of this height is
    /// ignored and no timer runs.
    Decided(Certificate),
    /// Proof that a validator signed two things where one is allowed; each pair once.
    Evidence(Evidence),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsensusMessage {
    Vote(Vote),
    Proposal(Proposal),
    PolkaCertificate(PolkaCertificate),
    RoundCertificate(RoundCertificate),
}

pub struct Config {
    /// This node's validator key; `None` for a full node.
    pub key: Option<SecretKey>,
    /// The genesis hash, which every signature is bound to.
    pub network: B256,
    pub timeouts: Timeouts,
}
