//! One rule for each kind of frame of `/trefoil/content/1`: how often a peer may send it, and
//! how much this node may have to answer. `docs/wire.md` has the same table; a test compares.

use crate::{
    ORIGIN_BYTES_MAX, ORIGINS_MAX,
    message::{OTHERS_MAX, PROOF_BYTES_MAX},
};

/// What one peer may cost by one kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwarmMessageRule {
    pub name: &'static str,
    /// Frames a second for ever, and at once. A peer that sends more is not read for a while,
    /// and each such pause is an offence ([`trefoil_types::Offence::Flood`]).
    pub rate: u32,
    pub burst: u32,
    /// Bytes of messages that one frame may make this node send. (Content itself is not
    /// counted: it is read from the disk when the peer takes it.)
    pub answer_bytes_max: usize,
}

/// Entries of IPv6: peer id, kind, address, port.
const OTHERS_ANSWER: usize = OTHERS_MAX * (32 + 1 + 16 + 2);
const ORIGINS_ANSWER: usize = ORIGINS_MAX * (ORIGIN_BYTES_MAX + 2);

/// Bytes of a message without its list or proof, at most: the type, the resource, and three
/// numbers.
const HEAD: usize = 1 + 32 + 3 * 10;

/// The rule of a message that is not answered. The other rows say in what they differ.
const USUAL: SwarmMessageRule =
    SwarmMessageRule { name: "", rate: 100, burst: 512, answer_bytes_max: 0 };

/// The places of kinds in [`RULES`].
pub const FIND: usize = 0;
pub const NEWS: usize = 2;
pub const ASK: usize = 4;
pub const UNASK: usize = 5;
pub const REFUSE: usize = 6;

/// All of them, in the order of their type bytes, which begin with 1.
pub const RULES: [SwarmMessageRule; 11] = [
    // A node asks each peer once for what it seeks, and again at most once a second. A
    // newcomer seeks eight files at a time, some hundreds a second where they are small: it waits.
    // Each may cost the reading of a group and a proof.
    SwarmMessageRule {
        name: "Find",
        burst: 256,
        answer_bytes_max: PROOF_BYTES_MAX + OTHERS_ANSWER + ORIGINS_ANSWER + 3 * HEAD,
        ..USUAL
    },
    // The answer to a Find, and to an earlier one when a resource comes to be here.
    SwarmMessageRule { name: "Offer", rate: 200, ..USUAL },
    // One each 30 ms of a resource: 264 a second while eight files are fetched. What a flood
    // costs is mostly the pieces that it names, so the node counts those too. Without a limit a
    // flood cost 0.7 of a core (issue 15).
    SwarmMessageRule { name: "News", rate: 400, burst: 2_000, ..USUAL },
    // At each choking round, a second, of a resource: small files begin and end by the hundred.
    SwarmMessageRule { name: "Choke", rate: 400, burst: 2_000, ..USUAL },
    // Files below 16 KiB have a piece each: 100,000 of them were fetched in 5.8 s, from one
    // peer 17,000 a second, all of them answered.
    SwarmMessageRule { name: "Ask", rate: 40_000, burst: 40_000, answer_bytes_max: HEAD },
    // Only while a fetch ends: 1,024 requests can be open at a peer, of a resource.
    SwarmMessageRule { name: "Unask", rate: 2_000, burst: 4_096, ..USUAL },
    // Of what is open too; an origin refuses pieces that it gave to others.
    SwarmMessageRule { name: "Refuse", rate: 8_000, burst: 8_192, ..USUAL },
    SwarmMessageRule { name: "Others", ..USUAL },
    SwarmMessageRule { name: "Data", rate: 40_000, burst: 40_000, ..USUAL },
    SwarmMessageRule { name: "Origins", ..USUAL },
    // One for each snapshot that is made, which takes blocks.
    SwarmMessageRule { name: "Snapshot", rate: 5, burst: 16, ..USUAL },
];

impl SwarmMessageRule {
    // Half, since messages that were on their way for some seconds arrive at once: what waited
    // and what comes then is still within the rule.
    /// The rate and the burst to which this node itself keeps.
    pub const fn sent(&self) -> (u32, u32) {
        (self.rate / 2, self.burst / 2)
    }

    /// The place in [`RULES`] of the frame with this body; `None`: there is no such frame.
    pub fn index(body: &[u8]) -> Option<usize> {
        let kind = usize::from(*body.first()?);
        kind.checked_sub(1).filter(|index| *index < RULES.len())
    }
}
