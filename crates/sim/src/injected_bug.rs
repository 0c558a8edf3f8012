//! Bugs put in on purpose, at the seams between the node and its world, to see
//! that the judges find them. Nothing of them is in the product's code.

mod bad_voter;

use std::fmt;

use clap::ValueEnum;
use trefoil_ledger::Record;
use trefoil_types::ChainSpec;

pub use self::bad_voter::BadVoter;
use crate::value_name::name_of;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InjectedBug {
    /// The journal's sync does nothing.
    ForgottenSync,
    /// Effects are carried out before the journal is written.
    SpeechFirst,
    /// A restart does not read what consensus had recorded.
    Amnesia,
    /// A restart does not see the newest decision.
    LostDecision,
    /// The journal drops more than the checkpoint covers.
    PruneTooFar,
    /// A checkpoint is reported done and was never made durable.
    FalseCheckpoint,
    /// One bit of a balance flips on one machine's disk.
    BitRot,
    /// A restart takes a certificate that is one signature short.
    ShortCertificate,
    /// A validator prevotes for what is proposed, whatever it is locked on.
    SkipLock,
    /// The wire changes bits and nobody notices.
    NoisyWire,
    /// The node's deadlines are not kept.
    DeafTimers,
    /// Inputs of the block sync lane are dropped.
    LostLane,
    /// Somebody else signs with an honest validator's key.
    StolenKey,
    /// A validator goes on to sign when its seat has moved to its standby.
    MovedKey,
    /// A validator precommits what was proposed, whether a quorum prevoted for it or not.
    BlindPrecommit,
    /// A validator prevotes for a second proposal of a round, too.
    SecondPrevote,
    /// Half of the validators pass for a quorum.
    HalfQuorum,
}

impl InjectedBug {
    /// The bugs of validators' votes, which schedules of twins must find.
    pub const OF_VOTES: [Self; 4] =
        [Self::SkipLock, Self::BlindPrecommit, Self::SecondPrevote, Self::HalfQuorum];

    /// Spoils the journal's records for a restart.
    pub fn spoil_records(self, spec: &ChainSpec, records: &mut Vec<Record>) {
        let decided = |record: &Record| matches!(record, Record::Decided(_));
        match self {
            Self::Amnesia => records.retain(|r| !matches!(r, Record::Consensus { .. })),
            Self::LostDecision => {
                if let Some(at) = records.iter().rposition(decided) {
                    records.truncate(at);
                }
            }
            Self::ShortCertificate => {
                let newest = records.iter_mut().rev().find(|record| decided(record));
                let set = spec.validator_set().expect("a checked specification");
                if let Some(Record::Decided(certificate)) = newest {
                    // One short and not empty: it looks like one that a quorum made.
                    while set.is_quorum(certificate.signatures.len() as u64) {
                        certificate.signatures.pop();
                    }
                }
            }
            _ => {}
        }
    }
}

impl fmt::Display for InjectedBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name_of(self))
    }
}
