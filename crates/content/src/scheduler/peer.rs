//! State of one source of one resource.

use std::collections::VecDeque;

use trefoil_types::{Millis, Time};

use super::{Source, SourceRole, Ticket, window::Window};
use crate::Bits;

// Attack: a peer queues requests without end. 256 sources of 1,024 requests of 24 bytes are
// 6 MiB. The same bound holds for our own requests, since pieces of small files never fill
// the window.
/// The most requests of one peer that wait here; more are refused. Also the most requests
/// that are open at one source.
pub(crate) const ASKED_MAX: usize = 1_024;

// Attack: a peer queues as many at each of hundreds of resources. A newcomer fetches eight files
// at a time.
/// The most requests of one peer that are here, of all resources together, about: it is looked at
/// with each 16th request of a resource, since counting takes time.
pub(crate) const ASKED_IN_ALL_MAX: usize = 8 * ASKED_MAX;
pub(crate) const ASKED_STEP: usize = 16;

// Attack: four identities that read 2 KiB a second, or cancel what they are sent and ask anew, held
// all slots of a resource, and nobody else was served.
/// A peer that had a slow turn holds no slot before it had so many quick ones: a MiB at least.
pub(crate) const QUICK_TURNS: u32 = 16;

#[derive(Clone, Debug, Default)]
pub(crate) struct PeerState {
    pub role: SourceRole,
    pub have: Bits,
    pub window: Window,
    /// Bytes requested from it that have not arrived.
    pub open: u64,
    /// Requests open at it.
    pub asks: usize,
    /// It serves us nothing at present.
    pub chokes_us: bool,
    /// We serve it nothing at present.
    pub choked: bool,
    /// It is asked for nothing before this time.
    pub resting_until: Time,
    /// Failures in a row.
    pub strikes: u32,
    /// Its requests that wait, oldest first.
    pub asked: VecDeque<UploadRequest>,
    /// Its requests that are being served.
    pub serving: Vec<Ticket>,
    /// The turn in which it was last served.
    pub turn: u64,
    /// When that turn began, and how long it is a quick one.
    pub turn_at: Time,
    pub quick_for: Millis,
    /// How long its turns took, since as long as the others' that wait beside it.
    pub slot_time: Millis,
    /// Quick turns that it owes before it holds a slot again.
    pub owes_turns: u32,
    /// Bytes that came from it; faded at each choking round.
    pub given: u64,
    pub ever_gave: bool,
    /// Bytes that it took from us.
    pub taken: u64,
    /// How many of the pieces that it had first from us have since appeared at others.
    pub spread: u64,
    /// How many pieces it claims at the origin.
    pub claims: u32,
    /// When it last began or ceased to choke us.
    pub choking_since: Time,
}

/// One request of a peer to us.
#[derive(Clone, Debug)]
pub(crate) struct UploadRequest {
    pub ticket: Ticket,
    pub piece: u32,
    /// The first group of the piece that it lacks.
    pub from: u64,
}

/// A piece that one peer had from us before any other peer had it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// `None`: it did not want it after all.
    pub to: Option<Source>,
    pub at: Time,
    /// It has since appeared at another peer.
    pub spread: bool,
}

impl PeerState {
    pub fn new(role: SourceRole, pieces: u32, piece: u64, choked: bool, now: Time) -> Self {
        let have = match role {
            SourceRole::Origin => Bits::all(pieces.into()),
            SourceRole::Peer => Bits::none(pieces.into()),
        };
        Self {
            role,
            have,
            window: Window::new(piece),
            choked,
            choking_since: now,
            ..Default::default()
        }
    }

    pub fn is_origin(&self) -> bool {
        self.role == SourceRole::Origin
    }

    /// Whether it may be asked for one more piece.
    pub fn has_room(&self, now: Time) -> bool {
        let room = self.open < self.window.bytes && self.asks < ASKED_MAX;
        !self.chokes_us && self.resting_until <= now && room
    }

    pub fn holds_slot(&self) -> bool {
        !self.serving.is_empty() && self.owes_turns == 0
    }

    /// Its requests that wait or are being served.
    pub fn requests(&self) -> usize {
        self.asked.len() + self.serving.len()
    }

    /// How full its window is, in thousandths.
    pub fn fill(&self) -> u64 {
        self.open * 1_000 / self.window.bytes.max(1)
    }
}
