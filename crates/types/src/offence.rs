//! Offences of peers and what follows from each: one table. An offence is data, never an
//! error of this node.

use crate::Millis;

// A hundred, so that a cost reads as a percentage of a ban.
/// The score at which a peer is disconnected and banned.
pub const BAN_AT: u32 = 100;

/// An offence of a peer.
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
    /// An answer to no request of this node, or to another request.
    Unsolicited,
    /// Bytes of a resource that do not have its hash. A node verifies what it serves, so no
    /// honest peer sends them.
    BadContent,
    /// More messages than the lane allows, or requests beyond what one peer is given.
    Flood,
    /// A handshake that was begun and proved no identity. Held against the
    /// address, as there is no peer yet.
    Handshake,
}

/// The consequences of an offence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub offence: Offence,
    /// Its name, for operators and programs.
    pub name: &'static str,
    pub what: &'static str,
    /// Points that it adds to the peer's score.
    pub cost: u32,
    /// How long one point lasts.
    pub point_fades: Millis,
    /// How long the peer is refused, if this offence brings it to [`BAN_AT`].
    pub ban: Millis,
}

const S: u64 = 1_000;
const MIN: u64 = 60 * S;

// One such offence bans at once, so the rate at which its points fade decides nothing here; it
// is for rows that cost less. Ten minutes, since a longer ban gains little: on a public network
// a new peer id is free (`docs/security.md`). An hour is for rows that no accident explains.
/// The rule for offences that no honest node commits. The other rows state only where they
/// differ.
const USUAL: Rule = Rule {
    offence: Offence::Malformed,
    name: "malformed",
    what: "a frame or message that does not decode or exceeds a limit",
    cost: 100,
    point_fades: Millis(10 * S),
    ban: Millis(10 * MIN),
};

// Honest nodes stay below: in the simulator no seed may end with an honest peer banned, and
// at its busiest a validator uses half of a lane's rate (`docs/security.md`).
/// Every offence, the gravest first. An offence that no honest node commits costs a peer its
/// place at once. One that may happen by accident fades: the peer's view of the chain is a
/// little behind ours, or its answer was late. Ten bad transactions that are spread over a
/// quarter of an hour are forgiven, ten at once are not.
pub const RULES: [Rule; 8] = [
    Rule {
        // It needs a proposer's signature, so no accident on the wire explains it.
        offence: Offence::InvalidBlock,
        name: "invalid block",
        what: "a signed proposal of a block that breaks the chain's rules",
        ban: Millis(60 * MIN),
        ..USUAL
    },
    Rule {
        // A node verifies a signature before it relays it, so a wrong one is the sender's
        // own.
        offence: Offence::BadSignature,
        name: "bad signature",
        what: "a vote, proposal, certificate or peer record signed wrongly",
        ..USUAL
    },
    USUAL,
    Rule {
        // Poisoning a swarm costs its receivers time and rate; the first bad group is proof
        // enough.
        offence: Offence::BadContent,
        name: "bad content",
        what: "bytes of a resource that are not what its hash says",
        ban: Millis(60 * MIN),
        ..USUAL
    },
    Rule {
        // Ten of them at once ban. The sender's state may be some blocks older than ours,
        // so a single one proves nothing.
        offence: Offence::InvalidTransaction,
        name: "invalid transaction",
        what: "a transaction that no correct node relays",
        cost: 10,
        ..USUAL
    },
    Rule {
        // Fifty of them at once ban: an answer may come late, when its request is
        // forgotten.
        offence: Offence::Unsolicited,
        name: "unsolicited",
        what: "an answer that nobody asked for, or not what was asked",
        cost: 2,
        ..USUAL
    },
    Rule {
        // Charged each time that reading is paused for 100 ms, so a steady flood is over
        // within seconds.
        offence: Offence::Flood,
        name: "flood",
        what: "more messages than the lane allows, or requests beyond a budget",
        cost: 2,
        ..USUAL
    },
    Rule {
        // No identity is proven yet, so it is held against the address, and a ban is short.
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

    /// The points that it adds to a peer's score; at [`BAN_AT`] the peer is banned.
    pub fn cost(self) -> u32 {
        self.rule().cost
    }
}
