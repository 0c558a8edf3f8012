//! Bugs put in on purpose, at the seams between the node and its world, to see
//! that the judges find them. Nothing of them is in the product's code.

use std::{collections::BTreeMap, fmt, sync::Arc};

use clap::ValueEnum;
use trefoil_crypto::{B256, SecretKey};
use trefoil_ledger::Record;
use trefoil_types::{ChainSpec, Height, Message, Round, Vote, VoteKind};

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
}

impl InjectedBug {
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

/// The validator that ignores its lock: it prevotes for the proposal where the honest node
/// under it prevotes for none.
#[derive(Debug, Default)]
pub struct LockSkipper {
    proposed: BTreeMap<(Height, Round), B256>,
    /// Its prevote of each round, so that it repeats the same.
    voted: BTreeMap<(Height, Round), Option<B256>>,
}

impl LockSkipper {
    /// Notes a proposal that reached the machine.
    pub fn on_message(&mut self, message: &Message) {
        if let Message::Proposal(proposed) = message {
            let p = &proposed.proposal;
            self.proposed.entry((p.height, p.round)).or_insert(p.block);
        }
    }

    /// Replaces a prevote of the node of `key`; any other message stays.
    pub fn alter(
        &mut self,
        key: &SecretKey,
        network: &B256,
        message: Arc<Message>,
    ) -> Arc<Message> {
        let Message::Vote(vote) = &*message else { return message };
        if vote.validator != key.public() || vote.kind != VoteKind::Prevote {
            return message;
        }
        let place = (vote.height, vote.round);
        // It repeats its first vote. The judge of double signatures would find a second vote in
        // a round, and this bug is for the judge of locks.
        let wish = vote.block.or_else(|| self.proposed.get(&place).copied());
        let block = *self.voted.entry(place).or_insert(wish);
        let Vote { kind, height, round, .. } = *vote;
        Arc::new(Message::Vote(Vote::sign(key, network, kind, height, round, block)))
    }
}

impl fmt::Display for InjectedBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name_of(self))
    }
}
