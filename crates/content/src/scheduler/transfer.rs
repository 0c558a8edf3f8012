//! One resource: its state, and how an input changes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use trefoil_types::{Millis, Time};

use super::{
    Common, Effect, RejectReason, RequestId, Resource, SchedulerInput, Source, SourceRole,
    UploadPolicy,
    flow::Flow,
    peer::{Given, PeerState, UploadRequest},
    rarity::Rarity,
};
use crate::{Bits, Layout, News, Part, news::push_piece};

// Each source has a have-map: 256 bytes for a file, 16 KiB for a directory of the most
// files. With 256 sources that is at most 4 MiB a resource.
/// The most sources of one resource. A newcomer beyond them is not used.
pub const SOURCES_MAX: usize = 256;

// Each piece that arrives would otherwise be a message to every peer. 30 ms is short beside
// the time of a piece, and long enough to join the pieces of small files in one message.
/// Announcements are gathered for this time and sent together.
pub(super) const GATHER: Millis = Millis(30);

// Looking over all requests at every input would cost more than it finds: a 64 KiB piece
// takes 10 ms at 50 Mbit/s, and stalls are judged in seconds.
/// How often open requests are examined for stalls and for faster sources.
pub(super) const LOOK: Millis = Millis(100);

#[derive(Debug)]
pub(crate) struct Transfer {
    pub resource: Resource,
    pub layout: Layout,
    pub upload_policy: UploadPolicy,
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
    pub peers: BTreeMap<Source, PeerState>,
    pub requests: BTreeMap<RequestId, OpenRequest>,
    pub rarity: Rarity,
    /// Pieces that peers are fetching from the origin: by which peer, and since when.
    pub claims: BTreeMap<u32, Vec<(Source, Time)>>,
    pub claimed: Bits,
    /// This node's share of the origin's pieces. `None`: peers came or went since it was
    /// computed.
    pub share: Option<Bits>,
    pub news: News,
    pub announce_at: Option<Time>,
    pub announced_at: Time,
    pub look_at: Time,
    pub choose_at: Time,
    pub choosings: u64,
    pub turns: u64,
    /// When the last turn ended.
    pub turn_end: Time,
    /// The slot time of the peers that are served, at the beginning of their turns: who asks for
    /// nothing does not save up more.
    pub slot_time: Millis,
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
pub(crate) struct OpenRequest {
    pub source: Source,
    pub piece: u32,
    /// The groups that have not arrived.
    pub part: Part,
    pub asked_at: Time,
    pub moved_at: Time,
    /// Bytes open at the source when this request was made, this one included.
    pub open: u64,
    /// Whether it is announced to peers as a claim: it is fetched from the origin.
    pub claim: bool,
}

impl Transfer {
    pub fn new(
        resource: Resource,
        layout: Layout,
        have: Bits,
        upload_policy: UploadPolicy,
        origin: bool,
    ) -> Self {
        let pieces = u64::from(layout.pieces());
        let none = Bits::none(pieces);
        Self {
            resource,
            upload_policy,
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
            announce_at: None,
            announced_at: Time(0),
            look_at: Time(0),
            choose_at: Time(0),
            choosings: 0,
            turns: 0,
            turn_end: Time(0),
            slot_time: Millis(0),
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
        input: SchedulerInput,
        common: &mut Common,
        effects: &mut Vec<Effect>,
    ) -> Option<Source> {
        match input {
            SchedulerInput::Want { pieces, sequential, .. } => {
                self.want(now, pieces, sequential, common, effects);
            }
            SchedulerInput::Joined { source, role, .. } => self.joined(now, source, role, effects),
            SchedulerInput::Announced { peer, news, .. } => {
                self.on_announcement(now, peer, &news, common, effects);
                return Some(Source::Peer(peer));
            }
            SchedulerInput::Choked { peer, choked, .. } => {
                self.on_choke(now, peer, choked, common, effects);
            }
            SchedulerInput::Arrived { request, groups, .. } => {
                return self.arrived(now, request, groups, effects);
            }
            SchedulerInput::Failed { request, failure, .. } => {
                self.failed(now, request, failure, common, effects);
            }
            SchedulerInput::Lost { pieces, .. } => self.lost(now, &pieces),
            SchedulerInput::Asked { peer, ticket, piece, from, .. } => {
                self.on_request(now, peer, UploadRequest { ticket, piece, from }, effects);
                return Some(Source::Peer(peer));
            }
            SchedulerInput::Unasked { peer, ticket, .. } => self.on_cancel(peer, ticket),
            SchedulerInput::Served { peer, ticket, .. } => {
                self.served(now, peer, ticket);
                return Some(Source::Peer(peer));
            }
            SchedulerInput::Tick
            | SchedulerInput::Open { .. }
            | SchedulerInput::Left { .. }
            | SchedulerInput::Close { .. } => {}
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
        self.send_news(now, effects);
    }

    pub fn deadline(&self, common: &Common) -> Option<Time> {
        let busy = !self.requests.is_empty() || !self.done;
        let look = (busy && !self.peers.is_empty()).then_some(self.look_at);
        let choose = (self.upload_policy == UploadPolicy::TitForTat && !self.peers.is_empty())
            .then_some(self.choose_at);
        let up = common.up.opens();
        let down = common.down.opens().filter(|_| !self.done);
        let up = up.filter(|_| self.peers.values().any(|peer| !peer.asked.is_empty()));
        [self.announce_at, look, choose, up, down, self.slot_free_at()].into_iter().flatten().min()
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
                why: RejectReason::Missing,
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
        for id in self.open_requests(|request| !self.wanted.has(request.piece.into())) {
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
        // The next announcement must not name these pieces.
        let queued = std::mem::take(&mut self.news.have).into_iter().flatten();
        for piece in queued.filter(|piece| !pieces.contains(piece)) {
            push_piece(&mut self.news.have, piece);
        }
    }

    fn joined(&mut self, now: Time, source: Source, role: SourceRole, effects: &mut Vec<Effect>) {
        if self.peers.len() >= SOURCES_MAX || self.peers.contains_key(&source) {
            return;
        }
        let choked = self.upload_policy == UploadPolicy::TitForTat;
        let piece = self.layout.piece_bytes_max();
        let peer = PeerState::new(role, self.layout.pieces(), piece, choked, now);
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
            effects.push(Effect::Announce { resource: self.resource, to: Some(to), news });
        }
    }

    pub fn left(&mut self, now: Time, source: Source) {
        let Some(peer) = self.peers.remove(&source) else { return };
        if !peer.is_origin() {
            for piece in peer.have.iter() {
                self.rarity.lose(piece);
            }
        }
        self.drop_claims(|holder, _| holder == source);
        self.given.retain(|_, given| given.to != Some(source));
        for id in self.open_requests(|request| request.source == source) {
            self.end_request(now, id);
        }
        self.share = None;
    }
}
