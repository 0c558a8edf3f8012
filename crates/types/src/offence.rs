//! What a peer can do wrong. A misdeed is data, never an error of ours.

/// A peer's misdeed, with its cost in [`Offence::cost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offence {
    /// A frame or message that does not decode, or exceeds a limit.
    Malformed,
    /// A vote, proposal or certificate whose signature is wrong.
    BadSignature,
    /// A block that breaks the chain's rules, with a proposer's signature.
    InvalidBlock,
    /// A transaction that no correct node would have relayed.
    InvalidTransaction,
    /// An answer that nobody asked for, or not what was asked.
    Unsolicited,
    /// More messages than the lane allows.
    Flood,
}

impl Offence {
    /// How much of a peer's good name it costs; at 100 the peer is banned.
    pub const fn cost(self) -> u32 {
        match self {
            Self::Malformed | Self::BadSignature | Self::InvalidBlock => 100,
            Self::InvalidTransaction => 10,
            Self::Unsolicited | Self::Flood => 2,
        }
    }
}
