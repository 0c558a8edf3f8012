//! What a peer can do wrong, and what comes of it: one table. A misdeed is
//! data, never an error of ours.

use crate::Millis;

/// A peer whose misdeeds add up to this is disconnected and banned.
pub const BAN_AT: u32 = 100;

/// A peer's misdeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offence {
    /// A frame or message that does not decode, or exceeds a limit.
    Malformed,
    /// A vote, proposal, certificate or peer record whose signature is wrong.
    BadSignature,
    /// A block that breaks the chain's rules, with a proposer's signature.
    InvalidBlock,
    /// A transaction that no correct node would have relayed.
    InvalidTransaction,
    /// An answer that nobody asked for, or not what was asked.
    Unsolicited,
    /// Bytes of a resource that are not what its hash says. A node verifies what
    /// it serves, so nobody honest sends them.
    BadContent,
    /// More messages than the lane allows.
    Flood,
    /// A handshake that was begun and proved no identity. Held against the
    /// address, as there is no peer yet.
    Handshake,
}

/// What a misdeed leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub offence: Offence,
    /// Its name for people and programs.
    pub name: &'static str,
    pub what: &'static str,
    /// What it adds to the peer's score.
    pub cost: u32,
    /// How long one point of it lasts.
    pub point_fades: Millis,
    /// How long the peer is refused, if this brings it to [`BAN_AT`].
    pub ban: Millis,
}

const S: u64 = 1_000;
const MIN: u64 = 60 * S;

/// Every misdeed, the gravest first. What an honest node never does costs its
/// place at once. What may happen to it by accident (its view of the chain is
/// a little behind ours, a question was answered late) fades: ten bad
/// transactions in a quarter of an hour are forgiven, more are not.
pub const RULES: [Rule; 8] = [
    Rule {
        offence: Offence::InvalidBlock,
        name: "invalid block",
        what: "a signed proposal of a block that breaks the chain's rules",
        cost: 100,
        point_fades: Millis(10 * S),
        ban: Millis(60 * MIN),
    },
    Rule {
        offence: Offence::BadSignature,
        name: "bad signature",
        what: "a vote, proposal, certificate or peer record signed wrongly",
        cost: 100,
        point_fades: Millis(10 * S),
        ban: Millis(10 * MIN),
    },
    Rule {
        offence: Offence::Malformed,
        name: "malformed",
        what: "a frame or message that does not decode or exceeds a limit",
        cost: 100,
        point_fades: Millis(10 * S),
        ban: Millis(10 * MIN),
    },
    Rule {
        offence: Offence::BadContent,
        name: "bad content",
        what: "bytes of a resource that are not what its hash says",
        cost: 100,
        point_fades: Millis(10 * S),
        ban: Millis(60 * MIN),
    },
    Rule {
        offence: Offence::InvalidTransaction,
        name: "invalid transaction",
        what: "a transaction that no correct node relays",
        cost: 10,
        point_fades: Millis(10 * S),
        ban: Millis(10 * MIN),
    },
    Rule {
        offence: Offence::Unsolicited,
        name: "unsolicited",
        what: "an answer that nobody asked for, or not what was asked",
        cost: 2,
        point_fades: Millis(10 * S),
        ban: Millis(10 * MIN),
    },
    Rule {
        offence: Offence::Flood,
        name: "flood",
        what: "more messages than the lane allows",
        cost: 2,
        point_fades: Millis(10 * S),
        ban: Millis(10 * MIN),
    },
    Rule {
        offence: Offence::Handshake,
        name: "handshake",
        what: "a handshake that was begun and proved no identity; held against the address",
        cost: 2,
        point_fades: Millis(S),
        ban: Millis(MIN),
    },
];

impl Offence {
    /// Its row in the table.
    pub fn rule(self) -> &'static Rule {
        RULES.iter().find(|rule| rule.offence == self).expect("every offence has its row")
    }

    /// What it adds to a peer's score; at [`BAN_AT`] the peer is banned.
    pub fn cost(self) -> u32 {
        self.rule().cost
    }
}
