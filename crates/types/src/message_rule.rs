//! One rule for every message between nodes: who may send it, what it costs to verify, what
//! it may make the node hold and send in bytes, what happens at the bound, and who is
//! blamed for what.
//!
//! The parts of the node read their limits here, and `docs/wire.md` prints them (a test
//! compares). What always holds: only who can be shown to have made a fault himself is
//! blamed for it, never a relay of what was undecidable.

use crate::{Offence, limits};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How many bytes: of one peer, and of all peers together.
///
/// Half of what is for all goes to whoever comes first. The other half is shared out
/// equally, so that no crowd of peers takes the whole of it. Of answers, peers that are not
/// favoured have half of all this: validators never wait for strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteBudget {
    pub peer: usize,
    pub all: usize,
}

impl ByteBudget {
    const NONE: Self = Self { peer: 0, all: 0 };

    /// For one of two uses, or of two kinds of peers.
    pub const fn half(self) -> Self {
        Self { peer: self.peer / 2, all: self.all / 2 }
    }
}

/// Who may send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedSender {
    /// Any peer; what it says is a claim, or proves itself by a hash.
    Anyone,
    /// Any peer, if validators signed what is inside.
    Signed,
    /// Only a peer that was asked for it.
    Asked,
}

impl AllowedSender {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Signed => "signed by validators",
            Self::Asked => "as an answer",
        }
    }
}

/// The rule of one type of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRule {
    /// The byte that it begins with.
    pub kind: u8,
    pub name: &'static str,
    pub from: AllowedSender,
    /// The longest, encoded.
    pub bytes_max: usize,
    /// Signatures of validators to verify, at most: 32 µs each.
    pub signatures: usize,
    /// Senders of transactions to recover, at most: 40 µs each, on a worker.
    pub recoveries: usize,
    /// What the node holds of it after it was handled.
    pub held: ByteBudget,
    /// How long that is held.
    pub until: &'static str,
    /// What the node sends in answer to it, in one second.
    pub answers: ByteBudget,
    /// Sent on to all other peers, once, when it is verified.
    pub relayed: bool,
    pub at_bound: &'static str,
    /// What its sender is blamed for, beside bytes that do not decode.
    pub offences: &'static [Offence],
}

/// What the other rows say in what they differ from.
const ROW: MessageRule = MessageRule {
    kind: 0,
    name: "",
    from: AllowedSender::Anyone,
    bytes_max: 0,
    signatures: 0,
    recoveries: 0,
    held: ByteBudget::NONE,
    until: "",
    answers: ByteBudget::NONE,
    relayed: false,
    at_bound: "dropped",
    offences: &[],
};

// An answer may be late, so that one that nothing waits for is no offence.
const UNASKED: &str = "dropped; an answer that nothing waits for slows its lane";

// Messages of the next height cannot be verified yet, since its validators may change: a
// little is kept unread. 256 KiB are three rounds of two votes of 128 validators, with a
// certificate of each.
const EARLY: ByteBudget = ByteBudget { peer: 256 * KIB, all: 16 * MIB };

pub const VOTE: MessageRule = MessageRule {
    kind: 1,
    name: "Vote",
    from: AllowedSender::Signed,
    bytes_max: 256,
    signatures: 1,
    held: EARLY,
    until: "its height begins",
    relayed: true,
    offences: &[Offence::BadSignature],
    ..ROW
};

pub const PROPOSAL: MessageRule = MessageRule {
    kind: 2,
    name: "Proposal",
    from: AllowedSender::Signed,
    // 30,000 hashes of 33 bytes (990 kB), 16 pieces of evidence, a certificate of 128
    // signatures (13 kB), a header.
    bytes_max: MIB + 64 * KIB,
    // Itself, the parent's certificate, two for each piece of evidence.
    signatures: 1 + limits::VALIDATORS_MAX + 2 * limits::BLOCK_EVIDENCE_MAX,
    // One half for proposals of the next height: one is honest, and one more if its round
    // failed. The other for lists of hashes that differ from the one that is followed. (That
    // one is part of its candidate, of which there are 16.)
    held: ByteBudget { peer: 5 * MIB, all: 64 * MIB },
    until: "its height begins; other lists of hashes: it ends",
    relayed: true,
    offences: &[Offence::Malformed, Offence::BadSignature, Offence::InvalidBlock],
    ..ROW
};

pub const POLKA: MessageRule = MessageRule {
    kind: 3,
    name: "PolkaCertificate",
    from: AllowedSender::Signed,
    bytes_max: 16 * KIB,
    signatures: limits::VALIDATORS_MAX,
    held: EARLY,
    until: "its height begins",
    relayed: true,
    offences: &[Offence::BadSignature],
    ..ROW
};

pub const ROUND: MessageRule = MessageRule {
    kind: 4,
    name: "RoundCertificate",
    from: AllowedSender::Signed,
    // A prevote and a precommit of each validator: 256 × 136 bytes.
    bytes_max: 40 * KIB,
    // A validator that stands in it twice spoils it before any signature is looked at.
    signatures: limits::VALIDATORS_MAX,
    held: EARLY,
    until: "its height begins",
    relayed: true,
    offences: &[Offence::BadSignature],
    ..ROW
};

pub const TIP: MessageRule = MessageRule {
    kind: 16,
    name: "Tip",
    bytes_max: 64,
    // A height for each peer, and for 1,024 that left how often they failed us.
    held: ByteBudget { peer: 256, all: 512 * KIB },
    until: "the peer leaves",
    // A peer that is behind is told of our tip: some 40 times a second, 80 if it is favoured. A
    // node that syncs has many tips in a second, and each may be behind ours: that is no fault.
    answers: ByteBudget { peer: 4 * KIB, all: 512 * KIB },
    at_bound: "not answered",
    ..ROW
};

pub const GET_BLOCKS: MessageRule = MessageRule {
    kind: 17,
    name: "GetBlocks",
    bytes_max: 32,
    // Blocks are read and encoded on the node's thread. At an estimated 10 ms for each MiB
    // (not measured) that is two fifths of it. A node that syncs gets 10 MiB/s of each peer, and a
    // validator 20. The half of a peer and the quarter of all have room for the longest block:
    // else no stranger could ever have it.
    answers: ByteBudget { peer: 20 * MIB, all: 40 * MIB },
    at_bound: "not answered",
    offences: &[Offence::Flood],
    ..ROW
};

pub const BLOCKS: MessageRule = MessageRule {
    kind: 18,
    name: "Blocks",
    from: AllowedSender::Asked,
    bytes_max: limits::MESSAGE_BYTES_MAX,
    // One certificate at a time, when the block before it is committed; and the senders of the
    // blocks after it in the same way, so that false blocks cost few recoveries.
    signatures: limits::VALIDATORS_MAX,
    recoveries: limits::CATCH_UP_TXS_READ_MAX,
    // One request is out at a time.
    held: ByteBudget { peer: limits::MESSAGE_BYTES_MAX, all: limits::MESSAGE_BYTES_MAX },
    until: "each is committed, or one does not verify",
    at_bound: UNASKED,
    offences: &[Offence::Malformed, Offence::BadSignature],
    ..ROW
};

pub const GET_BODIES: MessageRule = MessageRule {
    kind: 19,
    name: "GetBodies",
    bytes_max: MIB,
    // What is not here yet is noted: 30,000 hashes of a block, at 64 bytes (an estimate).
    held: ByteBudget { peer: 2 * MIB, all: 16 * MIB },
    until: "the transactions come, or the height ends",
    // To a validator one of the largest blocks a second, with its look-ups (10 MiB), and half of
    // another: at the pace of 500 ms the rest comes of its other peers. Attack: 700 bytes ask for
    // 2 MB; with 300 of them a second no block came in 20 s.
    answers: ByteBudget { peer: 16 * MIB, all: 64 * MIB },
    at_bound: "not answered",
    offences: &[Offence::Flood],
    ..ROW
};

pub const BODIES: MessageRule = MessageRule {
    kind: 20,
    name: "Bodies",
    from: AllowedSender::Asked,
    // Nodes send pieces of 64 KiB or one transaction; a peer may send all of a block at once.
    bytes_max: limits::MESSAGE_BYTES_MAX,
    recoveries: limits::BLOCK_TXS_MAX,
    // Of one block that is not whole yet, for which the sender of its list of hashes answers: no
    // block has more. All of them together as they are when they are decoded: more than any one
    // takes, at 600 million gas. The newest round has the room.
    held: ByteBudget { peer: limits::BLOCK_BYTES_MAX, all: 64 * MIB },
    until: "the block is whole, or the height ends",
    at_bound: UNASKED,
    offences: &[Offence::Unsolicited],
    ..ROW
};

pub const TX_HASHES: MessageRule = MessageRule {
    kind: 32,
    name: "TxHashes",
    bytes_max: 136 * KIB,
    // Each hash that is asked for is noted, at 128 bytes (an estimate): of a peer the 16,384
    // of a greeting.
    held: ByteBudget { peer: 2 * MIB, all: 16 * MIB },
    until: "the transaction comes, or 0.7 s for each of at most four peers that have it",
    ..ROW
};

pub const GET_TXS: MessageRule = MessageRule {
    kind: 33,
    name: "GetTxs",
    bytes_max: 136 * KIB,
    // Full blocks of 8 MiB each half second come to 16 MiB/s, from two peers or more.
    answers: ByteBudget { peer: 8 * MIB, all: 64 * MIB },
    at_bound: "not answered",
    offences: &[Offence::Flood],
    ..ROW
};

pub const TXS: MessageRule = MessageRule {
    kind: 34,
    name: "Txs",
    // The longest frame of the gossip lane.
    bytes_max: 2 * limits::TXS_BYTES_MAX,
    recoveries: limits::TX_HASHES_MAX,
    // One of the longest messages of a peer is with the workers, or two of what a node sends.
    held: ByteBudget { peer: 4 * MIB, all: 32 * MIB },
    until: "the sender is recovered; then the pool's limits",
    relayed: true,
    offences: &[Offence::InvalidTransaction],
    ..ROW
};

pub const EVIDENCE: MessageRule = MessageRule {
    kind: 35,
    name: "Evidence",
    from: AllowedSender::Signed,
    bytes_max: KIB,
    signatures: 2,
    // One piece against each validator.
    held: ByteBudget { peer: limits::VALIDATORS_MAX * KIB, all: limits::VALIDATORS_MAX * KIB },
    until: "a block carries it, or it is too old",
    relayed: true,
    offences: &[Offence::BadSignature],
    ..ROW
};

// The rows together would come to more than twice as much. 512 Mbit/s, of which a stranger has
// at most a quarter.
/// What a node sends in answers of every type together, in one second.
pub const ANSWERS: ByteBudget = ByteBudget { peer: 32 * MIB, all: 64 * MIB };

/// How much work that comes to nothing peers may cost: so much a second, and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkBudget {
    pub a_second: u32,
    pub at_once: u32,
}

// Attack: random signatures are those of some sender whose account is empty, so that transactions
// are free to make, and their peer cannot be blamed. 40 to 50 µs each: a quarter of a core at most.
/// Recoveries of gossiped senders, for all peers together that have no credit.
pub const UNPAID_RECOVERIES: WorkBudget = WorkBudget { a_second: 5_000, at_once: 512 };

// 3 ms of one core for a transaction that has paid: those of which one in 64 comes into a block pay for
// themselves.
/// Recoveries for which a peer has credit by each transaction that it brought and that a final block
/// includes.
pub const RECOVERIES_OF_CREDIT: usize = 64;

// Two of the longest messages: 0.3 s of one core. Between two blocks, 16,000 a second.
/// The most recoveries for which a peer has credit.
pub const CREDIT_MAX: usize = 2 * limits::TX_HASHES_MAX;

// A validator or a configured peer is not banned for what others made: 8 ms a second of each, a
// third of a core for a third of 128 validators.
/// Signatures verified in vain for one peer that is not banned for it, on one lane. Beyond, the
/// lane is not read.
pub const VAIN_SIGNATURES: WorkBudget = WorkBudget { a_second: 256, at_once: 1_024 };

/// Every rule, by type.
pub const RULES: [MessageRule; 13] = [
    VOTE, PROPOSAL, POLKA, ROUND, TIP, GET_BLOCKS, BLOCKS, GET_BODIES, BODIES, TX_HASHES, GET_TXS,
    TXS, EVIDENCE,
];

/// The rule of the messages that begin with this byte.
pub fn of_kind(kind: u8) -> Option<&'static MessageRule> {
    RULES.iter().find(|rule| rule.kind == kind)
}
