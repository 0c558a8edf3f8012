//! Messages of consensus, its settings and its outputs: plain data.

use trefoil_crypto::SecretKey;
use trefoil_types::{
    B256, Certificate, Evidence, Height, PolkaCertificate, Proposal, PublicKey, Round,
    RoundCertificate, Time, Vote,
};

use crate::Timeouts;

/// An order of consensus to the node; the node carries them out in their order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Journal this before any later [`Output::Send`] is carried out. It is opaque here;
    /// [`Consensus::start`](crate::Consensus::start) gets it back. `height` is the record's
    /// own, whatever height the node is at by then.
    Record { height: Height, bytes: Vec<u8> },
    /// Send it to every validator.
    Send(ConsensusMessage),
    /// This node proposes: build a block and answer with
    /// [`Consensus::built`](crate::Consensus::built), by `until` if at all.
    Build { height: Height, round: Round, until: Time },
    /// The height is decided; this is the last output of its call. Commit, then
    /// [`Consensus::start`](crate::Consensus::start) the next. Until then every input of this
    /// height is ignored and no timer runs.
    Decided(Certificate),
    /// Proof that a validator signed two statements where one is allowed; each pair once.
    Evidence(Evidence),
    /// A statement by this node's own key that this node did not make: another machine signs
    /// with the key, or this disk is an old copy. The node signs nothing up to this round.
    Elsewhere { height: Height, round: Round },
}

/// A message of consensus between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsensusMessage {
    Vote(Vote),
    Proposal(Proposal),
    PolkaCertificate(PolkaCertificate),
    RoundCertificate(RoundCertificate),
}

impl ConsensusMessage {
    /// Its height and round.
    pub fn place(&self) -> (Height, Round) {
        match self {
            Self::Vote(vote) => (vote.height, vote.round),
            Self::Proposal(proposal) => (proposal.height, proposal.round),
            Self::PolkaCertificate(polka) => (polka.height, polka.round),
            Self::RoundCertificate(certificate) => (certificate.height, certificate.round),
        }
    }

    /// The validators that signed it, as it says.
    pub(crate) fn signers(&self) -> Vec<PublicKey> {
        match self {
            Self::Vote(vote) => vec![vote.validator],
            Self::Proposal(proposal) => vec![proposal.proposer],
            Self::PolkaCertificate(polka) => polka.signatures.iter().map(|s| s.validator).collect(),
            Self::RoundCertificate(round) => round.votes.iter().map(|v| v.validator).collect(),
        }
    }
}

pub struct Config {
    /// This node's validator keys, oldest first: two during a rotation, none for a full node. A
    /// height is signed with the oldest that its validator set names.
    pub keys: Vec<SecretKey>,
    /// The genesis hash, which every signature is bound to.
    pub network: B256,
    pub timeouts: Timeouts,
}
