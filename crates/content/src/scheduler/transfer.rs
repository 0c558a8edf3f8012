//! One resource: its state, and how an input changes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use trefoil_types::{Millis, Offence, Time};

use super::{
    Common, Effect, Failure, Input, Manner, Refusal, RequestId, Resource, Role, Source,
    announcements::{GATHER, insert_sorted, push_piece},
    flow::Flow,
    peer::{Asked, Peer},
    rarity::Rarity,
    upload::Given,
};
use crate::{Bits, Layout, News, Part};

// Each source has a have-map: 256 bytes for a file, 16 KiB for a directory of the most
// files. With 256 sources that is at most 4 MiB a resource.
/// The most sources of one resource. A newcomer beyond them is not used.
pub const SOURCES_MAX: usize = 256;

// Looking over all requests at every input would cost more than it finds: a 64 KiB piece
// takes 10 ms at 50 Mbit/s, and stalls are judged in seconds.
/// How often open requests are examined for stalls and for faster sources.
pub(super) const LOOK: Millis = Millis(100);

// A source that took a request and sends nothing blocks its piece, since a piece is
// requested from one source at a time.
/// A request that receives nothing for this time has stalled.
const STALL: Millis = Millis(3_000);

/// The rate that a source without a measurement is expected to have at least, bytes a
/// second.
const SLOWEST: u64 = 64 * 1024;

// A source that fails repeatedly is asked more and more seldom, up to every 8 s (500 ms
// times 16). It is not given up: a peer behind a broken link may come back.
/// How long a source rests after a failure, times its failures in a row.
const REST: Millis = Millis(500);
const STRIKES_MAX: u32 = 16;

#[derive(Debug)]
pub(crate) struct Transfer {
    pub resource: Resource,
    pub layout: Layout,
    pub manner: Manner,
    /// This node is the origin: the others spare it, and it gives each piece to one peer
    /// first.
    pub origin: bool,
    pub have: Bits,
    pub wanted: Bits,
    pub sequential: bool,
    /// Pieces with a request open.
    pub busy: Bits,
    // Kept when a request is cancelled: another source goes on where the last one stopped.
    /// Groups that are here of pieces that are not whole, counted from the start of the
    /// piece.
    pub begun: BTreeMap<u32, u64>,
    pub peers: BTreeMap<Source, Peer>,
    pub requests: BTreeMap<RequestId, Request>,
    pub rarity: Rarity,
    /// Pieces that peers are fetching from the origin: by which peer, and since when.
    pub claims: BTreeMap<u32, Vec<(Source, Time)>>,
    pub claimed: Bits,
    /// This node's share of the origin's pieces. `None`: peers came or went since it was
    /// computed.
    pub share: Option<Bits>,
    pub news: News,
    pub tell_at: Option<Time>,
    pub told_at: Time,
    pub look_at: Time,
    pub choose_at: Time,
    pub choosings: u64,
    pub turns: u64,
    /// Peers that are being served.
    pub serving: usize,
    /// Which peer was first given a piece that no other peer had.
    pub given: BTreeMap<u32, Given>,
    /// When a peer last gave anything.
    pub fed_at: Time,
    /// When a wanted piece was last held by no peer.
    pub lacked_at: Time,
    /// The origin also gives pieces that peers have.
    pub helped: bool,
    pub flow: Flow,
    pub done: bool,
}

/// One open request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub source: Source,
    pub piece: u32,
    /// The groups that have not arrived.
    pub part: Part,
    pub asked_at: Time,
    pub moved_at: Time,
    /// Bytes open at the source when this request was made, this one included.
    pub open: u64,
    /// Whether peers were told that it is fetched from the origin.
    pub claim: bool,
}

impl Transfer {
    pub fn new(
        resource: Resource,
        layout: Layout,
        have: Bits,
        manner: Manner,
        origin: bool,
    ) -> Self {
        let pieces = u64::from(layout.pieces());
        let none = Bits::none(pieces);
        Self {
            resource,
            manner,
            origin,
            have,
            wanted: none.clone(),
            sequential: false,
            busy: none.clone(),
            begun: BTreeMap::new(),
            peers: BTreeMap::new(),
            requests: BTreeMap::new(),
            rarity: Rarity::new(pieces),
            claims: BTreeMap::new(),
            claimed: none,
            share: None,
            news: News::default(),
            tell_at: None,
            told_at: Time(0),
            look_at: Time(0),
            choose_at: Time(0),
            choosings: 0,
            turns: 0,
            serving: 0,
            given: BTreeMap::new(),
            fed_at: Time(0),
            lacked_at: Time(0),
            helped: false,
            flow: Flow::default(),
            // Nothing is wanted yet, so nothing is missing.
            done: true,
            layout,
        }
    }

    /// Applies one input. Returns the only source at which something changed, if there is
    /// only one.
    pub fn input(
        &mut self,
        now: Time,
        input: Input,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) -> Option<Source> {
        match input {
            Input::Want { pieces, sequential, .. } => {
                self.want(now, pieces, sequential, common, effects);
            }
            Input::Joined { source, role, .. } => self.joined(now, source, role, effects),
            Input::Told { peer, news, .. } => {
                self.told(now, peer, &news, common, effects);
                return Some(Source::Peer(peer));
            }
            Input::Choked { peer, choked, .. } => self.choked(now, peer, choked, common),
            Input::Arrived { request, groups, .. } => {
                return self.arrived(now, request, groups, effects);
            }
            Input::Failed { request, failure, .. } => {
                self.failed(now, request, failure, common, effects);
            }
            Input::Lost { pieces, .. } => self.lost(now, &pieces),
            Input::Asked { peer, ticket, piece, from, .. } => {
                self.asked(now, peer, Asked { ticket, piece, from }, effects);
                return Some(Source::Peer(peer));
            }
            Input::Unasked { peer, ticket, .. } => self.unasked(peer, ticket),
            Input::Served { peer, ticket, .. } => {
                self.served(peer, ticket);
                return Some(Source::Peer(peer));
            }
            Input::Tick | Input::Open { .. } | Input::Left { .. } | Input::Close { .. } => {}
        }
        None
    }

    /// Does everything that can be done now. With `only`, nothing has changed except at
    /// this source.
    pub fn pump(
        &mut self,
        now: Time,
        mut only: Option<Source>,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        if self.look_at <= now {
            only = None;
            self.look_at = now + LOOK;
            self.look(now, common, effects);
        }
        self.choose(now, common, effects);
        self.serve(now, common, effects);
        self.fill(now, only, common, effects);
        self.tell(now, effects);
    }

    pub fn deadline(&self, common: &Common) -> Option<Time> {
        let busy = !self.requests.is_empty() || !self.done;
        let look = (busy && !self.peers.is_empty()).then_some(self.look_at);
        let choose =
            (self.manner == Manner::TitForTat && !self.peers.is_empty()).then_some(self.choose_at);
        let up = common.up.opens();
        let down = common.down.opens().filter(|_| !self.done);
        let up = up.filter(|_| self.peers.values().any(|peer| !peer.asked.is_empty()));
        [self.tell_at, look, choose, up, down].into_iter().flatten().min()
    }

    /// Cancels all requests, and refuses those of peers.
    pub fn close(self, effects: &mut Vec<Effect>) {
        for (request, open) in self.requests {
            effects.push(Effect::Cancel { request, source: open.source });
        }
        for (source, peer) in self.peers {
            let Source::Peer(to) = source else { continue };
            effects.extend(peer.asked.into_iter().map(|asked| Effect::Refuse {
                resource: self.resource,
                peer: to,
                ticket: asked.ticket,
                why: Refusal::Missing,
            }));
        }
    }

    fn want(
        &mut self,
        now: Time,
        pieces: Range<u32>,
        sequential: bool,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        let end = pieces.end.min(self.layout.pieces());
        self.wanted = Bits::none(self.layout.pieces().into());
        self.wanted.insert_range(u64::from(pieces.start.min(end))..u64::from(end));
        (self.sequential, self.done) = (sequential, false);
        (self.fed_at, self.lacked_at) = (now, now);
        let unwanted = |request: &Request| !self.wanted.has(request.piece.into());
        let open = self.requests.iter().filter(|(_, request)| unwanted(request));
        for id in open.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.cancel(now, id, common, effects);
        }
        self.finish_if_all(effects);
    }

    // Peers keep these pieces in their have-map: there is no message that takes an
    // announcement back. They are refused when they ask, which corrects the map.
    /// Pieces whose bytes have changed on disk. Wanted ones are fetched again.
    fn lost(&mut self, now: Time, pieces: &BTreeSet<u32>) {
        for piece in pieces {
            self.have.remove((*piece).into());
            self.begun.remove(piece);
            self.given.remove(piece);
            if self.done && self.wanted.has((*piece).into()) {
                (self.done, self.fed_at, self.lacked_at) = (false, now, now);
            }
        }
        // What is not announced yet must not be announced any more.
        let told = std::mem::take(&mut self.news.have).into_iter().flatten();
        for piece in told.filter(|piece| !pieces.contains(piece)) {
            push_piece(&mut self.news.have, piece);
        }
    }

    fn joined(&mut self, now: Time, source: Source, role: Role, effects: &mut Vec<Effect>) {
        if self.peers.len() >= SOURCES_MAX || self.peers.contains_key(&source) {
            return;
        }
        let choked = self.manner == Manner::TitForTat;
        let piece = self.layout.piece_bytes_max();
        let peer = Peer::new(role, self.layout.pieces(), piece, choked, now);
        self.peers.insert(source, peer);
        self.share = None;
        // A newcomer must not wait for the next choking round: while it waits, its uplink
        // idles too.
        self.choose_at = self.choose_at.min(now + GATHER);
        let Source::Peer(to) = source else { return };
        if choked {
            effects.push(Effect::Choke { resource: self.resource, peer: to, choked });
        }
        let runs = self.have.runs().map(|run| run.start as u32..run.end as u32);
        let claims = self.requests.values().filter(|request| request.claim);
        let mut claims: Vec<u32> = claims.map(|request| request.piece).collect();
        claims.sort_unstable();
        let news = News { have: runs.collect(), claims, released: vec![] };
        if news != News::default() {
            effects.push(Effect::Tell { resource: self.resource, to: Some(to), news });
        }
    }

    pub fn left(&mut self, now: Time, source: Source) {
        let Some(peer) = self.peers.remove(&source) else { return };
        if !peer.serving.is_empty() {
            self.serving -= 1;
        }
        if !peer.is_origin() {
            for piece in peer.have.iter() {
                self.rarity.lose(piece);
            }
        }
        self.drop_claims(|holder, _| holder == source);
        self.given.retain(|_, given| given.to != source);
        let open = self.requests.iter().filter(|(_, request)| request.source == source);
        for id in open.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_request(now, id);
        }
        self.share = None;
    }

    fn arrived(
        &mut self,
        now: Time,
        id: RequestId,
        groups: u64,
        effects: &mut Vec<Effect>,
    ) -> Option<Source> {
        // The request may have been cancelled while the groups were on their way.
        let request = self.requests.get_mut(&id)?;
        let groups = groups.min(request.part.groups.end - request.part.groups.start);
        let came = request.part.groups.start..request.part.groups.start + groups;
        let bytes = self.layout.part_bytes(&Part { file: request.part.file, groups: came.clone() });
        request.part.groups.start = came.end;
        request.moved_at = now;
        let (piece, source, left) = (request.piece, request.source, request.part.groups.clone());
        *self.begun.entry(piece).or_default() += groups;
        self.flow.add(now, bytes);
        if let Some(peer) = self.peers.get_mut(&source) {
            peer.open -= bytes;
            peer.given += bytes;
            peer.ever_gave = true;
            // Only failures in a row count.
            peer.strikes = 0;
            if !peer.is_origin() {
                self.fed_at = now;
            }
        }
        if left.is_empty() {
            self.finished(now, id, effects);
        }
        Some(source)
    }

    fn finished(&mut self, now: Time, id: RequestId, effects: &mut Vec<Effect>) {
        let Some(request) = self.requests.remove(&id) else { return };
        if let Some(peer) = self.peers.get_mut(&request.source) {
            let piece = self.layout.piece_bytes_max();
            peer.asks -= 1;
            peer.window.finished(request.open, now.since(request.asked_at), piece);
        }
        self.busy.remove(request.piece.into());
        self.begun.remove(&request.piece);
        self.have.insert(request.piece.into());
        self.say(now, |news| push_piece(&mut news.have, request.piece));
        self.finish_if_all(effects);
    }

    fn finish_if_all(&mut self, effects: &mut Vec<Effect>) {
        if !self.done && self.wanted.minus([&self.have]).next().is_none() {
            self.done = true;
            effects.push(Effect::Done { resource: self.resource });
        }
    }

    fn failed(
        &mut self,
        now: Time,
        id: RequestId,
        failure: Failure,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        let Some(request) = self.end_request(now, id) else { return };
        let source = request.source;
        match failure {
            // At the first bad group, without a warning: a node verifies what it serves, so
            // no honest peer sends one.
            Failure::Corrupt { .. } => {
                if let Source::Peer(peer) = source {
                    effects.push(Effect::Blame { peer, offence: Offence::BadContent });
                }
                self.leave(now, source, failure, common, effects);
            }
            // The peer's have-map was wrong, and with it the rarity of the piece. No
            // offence: its bytes may have changed on disk.
            Failure::Refused(Refusal::Missing) => {
                let lied = self.peers.get_mut(&source).is_some_and(|peer| {
                    let had = peer.have.has(request.piece.into()) && !peer.is_origin();
                    peer.have.remove(request.piece.into());
                    had
                });
                if lied {
                    self.rarity.lose(request.piece.into());
                }
                self.strike(now, source);
            }
            Failure::Refused(Refusal::Given) => self.note_given(now, request.piece, source),
            Failure::Refused(Refusal::Choked) | Failure::Closed => self.strike(now, source),
        }
    }

    /// Forgets a source for good.
    fn leave(
        &mut self,
        now: Time,
        source: Source,
        failure: Failure,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        let open = self.requests.iter().filter(|(_, request)| request.source == source);
        for id in open.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.cancel(now, id, common, effects);
        }
        self.left(now, source);
        effects.push(Effect::Leave { resource: self.resource, source, failure });
    }

    fn strike(&mut self, now: Time, source: Source) {
        if let Some(peer) = self.peers.get_mut(&source) {
            peer.strikes = (peer.strikes + 1).min(STRIKES_MAX);
            peer.resting_until = now + Millis(REST.0 * u64::from(peer.strikes));
        }
    }

    /// Cancels stalled requests, forgets old claims, and moves requests from slow sources
    /// to idle ones.
    fn look(&mut self, now: Time, common: &mut Common, effects: &mut Vec<Effect>) {
        let stalled = self.requests.iter().filter(|(_, request)| {
            let peer = self.peers.get(&request.source);
            // By what was open, not by this piece alone: a request waits for all those
            // before it.
            let slowest = request.open * 1_000 / SLOWEST;
            let expected = match peer.filter(|peer| peer.window.rate > 0) {
                Some(peer) => peer.window.wait(request.open).0.min(slowest),
                None => slowest,
            };
            now.since(request.moved_at).0 > STALL.0.max(4 * expected)
        });
        let stalled: Vec<_> = stalled.map(|(id, request)| (*id, request.source)).collect();
        for (id, source) in stalled {
            self.cancel(now, id, common, effects);
            self.strike(now, source);
            if let Some(peer) = self.peers.get_mut(&source) {
                peer.window.stalled(self.layout.piece_bytes_max());
            }
        }
        self.expire_claims(now);
        self.steal(now, common, effects);
    }

    /// Cancels a request.
    pub fn cancel(
        &mut self,
        now: Time,
        id: RequestId,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(request) = self.end_request(now, id) {
            let left = self.layout.part_bytes(&request.part);
            common.down.give_back(left);
            effects.push(Effect::Cancel { request: id, source: request.source });
        }
    }

    /// Forgets a request that will bring nothing more.
    pub(super) fn end_request(&mut self, now: Time, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        self.busy.remove(request.piece.into());
        if let Some(peer) = self.peers.get_mut(&request.source) {
            peer.open -= self.layout.part_bytes(&request.part);
            peer.asks -= 1;
        }
        if request.claim {
            self.say(now, |news| {
                news.claims.retain(|piece| *piece != request.piece);
                insert_sorted(&mut news.released, request.piece);
            });
        }
        Some(request)
    }
}
