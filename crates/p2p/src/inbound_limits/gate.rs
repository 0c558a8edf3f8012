//! Which inbound connection gets a place, and which one is disconnected for it: decided
//! when a socket is accepted, before any cryptography, and again at each stage.
//!
//! Owns the count of connections that others made to us, by stage and by
//! where they come from. What always holds: no source and no subnet has more
//! than its share of any stage; a full stage gives a newcomer the place of the
//! most crowded subnet's oldest; who proved to be a favoured peer (configured,
//! or a validator) is never refused for want of room. Loopback is like any
//! other place. Time is handed in.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use trefoil_types::{Offence, OrganisationId, PeerId};

use crate::inbound_limits::{
    peer_score::PeerScores,
    slots::{Full, SlotLimits, Slots, SocketId, SocketSlot},
    subnet::SourceIp,
};

/// Sockets that have not proven an identity.
// With a cap on all alone, 64 idle sockets of one address stopped every newcomer; with
// one a source and a subnet, an attacker needs more subnets than there are places, and
// more than 160 sockets within one handshake (ADR 13). 8 a source: a household or an
// office behind one address may start that many nodes at once.
const HALF_OPEN: SlotLimits = SlotLimits { source: 8, subnet: 32, all: 160 };

/// The same, from where a favoured peer is known to live.
// Before its proof a validator looks like anybody else: without places of their own, a
// flood that fills the common ones would keep validators out.
const HALF_OPEN_FAVOURED: SlotLimits = SlotLimits { source: 16, subnet: 32, all: 32 };

/// Authenticated strangers that are at their hello.
// Identities are free, so a proven one is worth no more room: the shares of a source and of a
// subnet keep one attacker with many identities from holding all 64.
const GREETING: SlotLimits = SlotLimits { source: 8, subnet: 16, all: 64 };

/// Sockets that lost their place and are being closed.
// A socket counts until the system has closed it: without this bound an attacker who is
// evicted over and over would hold as many descriptors as he can open in a second.
const LEAVING_MAX: usize = 64;

/// Connections that one peer may have at their hello.
// A peer may dial again before it knows that its last dial was lost. More than that would let
// a favoured identity, whose hellos count in no crowd, hold any number of sockets.
const GREETING_PER_PEER: usize = 2;

/// Admitted nodes of one organisation that are not favoured.
// One organisation issues itself as many certificates as it likes; this keeps half of
// the default 128 places for the others.
const ORGANISATION_MAX: usize = 64;

/// One in so many strangers keeps its place for being near, and one in so many
/// for having been useful.
// Few, since each protection is also a way in: an attacker with one machine nearby gets a
// sixteenth of the places by it and no more (ADR 13).
const FEW: usize = 16;

/// Room for so many favoured peers is there in any case.
// The limit of open files is set once, at the start, and the chain may name more validators
// any time after that.
const FAVOURED_MIN: usize = 64;

/// The most sockets that others can make us hold: all stages together, and of
/// each favoured peer a link and two at their hello.
pub(crate) fn sockets_max(inbound_max: usize, favoured: usize) -> usize {
    let strangers = HALF_OPEN.all + HALF_OPEN_FAVOURED.all + GREETING.all + LEAVING_MAX;
    let of_favoured = favoured.max(FAVOURED_MIN).saturating_mul(1 + GREETING_PER_PEER);
    strangers.saturating_add(inbound_max).saturating_add(of_favoured)
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    HalfOpen,
    HalfOpenFavoured,
    Greeting,
    /// A favoured peer's: it takes nobody's place.
    GreetingFavoured,
    Admitted(Option<OrganisationId>),
    AdmittedFavoured,
    /// It lost its place, and its socket is being closed.
    Leaving,
}

#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    stage: Stage,
    slot: SocketSlot,
    peer: Option<PeerId>,
    /// How long its handshake took: it cannot be shorter than its way.
    took: Duration,
    /// When it last was the first to tell of something good.
    useful: Option<Instant>,
}

/// Admitted strangers of whom one may lose its place.
type EvictionCandidates<'a> = Vec<(&'a SocketId, &'a Socket)>;

/// The half that stands longest stays.
// Attack: a flood of new connections that takes all places at once. Time cannot be had
// after the fact, so a flood never displaces more than the younger half.
fn protect_longest_standing(candidates: &mut EvictionCandidates<'_>) {
    candidates.sort_by_key(|(id, socket)| (socket.slot.since, **id));
    candidates.drain(..candidates.len().div_ceil(2));
}

/// The few with the shortest handshake stay.
// Attack: a botnet far away. A handshake cannot be shorter than the way to the peer, so
// nearness cannot be feigned; being near to many victims costs a machine near each.
fn protect_nearest(candidates: &mut EvictionCandidates<'_>, few: usize) {
    candidates.sort_by_key(|(id, socket)| (socket.took, *id));
    candidates.drain(..few.min(candidates.len()));
}

/// The few that were useful last stay.
// Attack: connections that only sit there. A transaction that entered the pool was paid
// for, and only the first to tell of it has the credit.
fn protect_useful(candidates: &mut EvictionCandidates<'_>, few: usize) {
    candidates.sort_by_key(|(id, socket)| (Reverse(socket.useful), *id));
    let useful = candidates.iter().take(few).filter(|(_, s)| s.useful.is_some()).count();
    candidates.drain(..useful);
}

/// How large the most crowded subnet is, and its youngest connection.
// Attack: many addresses of one hoster. Its own crowd is what grows largest, so that it
// displaces itself; the youngest goes, since a churning attacker is young.
fn youngest_of_largest_subnet(mut candidates: EvictionCandidates<'_>) -> Option<(usize, SocketId)> {
    candidates.sort_by_key(|(id, socket)| (socket.slot.since, **id));
    let mut subnets: BTreeMap<_, (usize, SocketId)> = BTreeMap::new();
    for (id, socket) in candidates {
        let subnet = subnets.entry(SourceIp::of(socket.address.ip()).subnet()).or_default();
        *subnet = (subnet.0 + 1, *id);
    }
    subnets.into_values().max()
}

/// Counts connections that others made to us.
#[derive(Debug)]
pub(crate) struct Gate {
    half_open: Slots,
    half_open_favoured: Slots,
    greeting: Slots,
    admitted: Slots,
    organisations: BTreeMap<OrganisationId, usize>,
    sockets: BTreeMap<SocketId, Socket>,
    by_address: BTreeMap<SocketAddr, SocketId>,
    leaving: usize,
    next: SocketId,
    /// Sources of handshakes that proved no identity, and what is held against them.
    pub failed: PeerScores<SourceIp>,
    configured: BTreeMap<PeerId, SourceIp>,
    /// Configured peers and validators, and where each was last known to be.
    favoured: BTreeMap<PeerId, Option<SourceIp>>,
}

impl Gate {
    /// Admits `inbound_max` strangers, of one source at most `of_source`, and
    /// all `configured` peers.
    pub fn new(
        inbound_max: usize,
        of_source: usize,
        configured: impl IntoIterator<Item = (PeerId, SocketAddr)>,
    ) -> Self {
        let admitted = SlotLimits { source: of_source, subnet: 2 * of_source, all: inbound_max };
        let configured =
            configured.into_iter().map(|(peer, address)| (peer, SourceIp::of(address.ip())));
        let mut gate = Self {
            half_open: Slots::new(HALF_OPEN),
            half_open_favoured: Slots::new(HALF_OPEN_FAVOURED),
            greeting: Slots::new(GREETING),
            admitted: Slots::new(admitted),
            organisations: BTreeMap::new(),
            sockets: BTreeMap::new(),
            by_address: BTreeMap::new(),
            leaving: 0,
            next: 0,
            failed: PeerScores::default(),
            configured: configured.collect(),
            favoured: BTreeMap::new(),
        };
        gate.favour([]);
        gate
    }

    /// Keeps places for the configured peers and these from now on. Who is
    /// connected keeps what it has.
    pub fn favour(&mut self, validators: impl IntoIterator<Item = PeerId>) {
        let known = std::mem::take(&mut self.favoured);
        let proven = |peer: &PeerId| known.get(peer).copied().flatten();
        let validators = validators.into_iter().map(|peer| (peer, proven(&peer)));
        let configured = self.configured.iter();
        let configured = configured.map(|(peer, source)| (*peer, proven(peer).or(Some(*source))));
        self.favoured = validators.chain(configured).collect();
    }

    pub fn is_favoured(&self, peer: PeerId) -> bool {
        self.favoured.contains_key(&peer)
    }

    /// A socket was accepted. Returns its id, and whose place it takes.
    ///
    /// # Errors
    /// There is no room: close it.
    pub fn accept(
        &mut self,
        address: SocketAddr,
        now: Instant,
    ) -> Result<(SocketId, Option<SocketId>), Full> {
        if self.leaving >= LEAVING_MAX {
            // Else each eviction would free a place but no descriptor.
            return Err(Full::Leaving(self.leaving));
        }
        let source = SourceIp::of(address.ip());
        // A ban of a source stops no favoured peer that lives there: an attacker behind the same
        // address could otherwise have a validator banned by failing handshakes.
        let (stage, slots) = if self.favoured.values().any(|known| *known == Some(source)) {
            (Stage::HalfOpenFavoured, &self.half_open_favoured)
        } else if let Some(left) = self.failed.banned_for(source, now) {
            return Err(Full::Banned(left.as_secs()));
        } else {
            (Stage::HalfOpen, &self.half_open)
        };
        let evicted = slots.make_room(source, now)?;
        evicted.into_iter().for_each(|id| self.evict(id));
        let id = self.next;
        self.next += 1;
        let slot = SocketSlot { spoke: false, id, since: now };
        self.by_address.insert(address, id);
        let took = Duration::ZERO;
        self.insert(id, Socket { address, stage, slot, peer: None, took, useful: None });
        Ok((id, evicted))
    }

    /// The first byte of a socket has come.
    pub fn on_first_byte(&mut self, id: SocketId) {
        self.change(id, |socket| socket.slot.spoke = true);
    }

    /// The connection from `address` proved to be `peer`'s. Returns its id
    /// and whose places it takes. A connection that we dialled has no id.
    ///
    /// # Errors
    /// There is no room: close it.
    pub fn authenticated(
        &mut self,
        address: SocketAddr,
        peer: PeerId,
        now: Instant,
    ) -> Result<(Option<SocketId>, Vec<SocketId>), Full> {
        let Some(&id) = self.by_address.get(&address) else { return Ok((None, vec![])) };
        let source = SourceIp::of(address.ip());
        let mut evicted = Vec::from_iter(self.lost_dial(peer));
        let stage = match self.favoured.get_mut(&peer) {
            Some(known) => {
                *known = Some(source);
                Stage::GreetingFavoured
            }
            None => {
                evicted.extend(self.greeting.make_room(source, now)?);
                Stage::Greeting
            }
        };
        evicted.iter().for_each(|id| self.evict(*id));
        self.change(id, |socket| {
            socket.peer = Some(peer);
            socket.took = now.saturating_duration_since(socket.slot.since);
            socket.stage = stage;
            socket.slot = SocketSlot { spoke: true, id, since: now };
        });
        Ok((Some(id), evicted))
    }

    /// The oldest of a peer's connections at their hello, if there are too many.
    fn lost_dial(&self, peer: PeerId) -> Option<SocketId> {
        let greets = |socket: &Socket| {
            socket.peer == Some(peer)
                && matches!(socket.stage, Stage::Greeting | Stage::GreetingFavoured)
        };
        let mut own = self.sockets.iter().filter(|(_, socket)| greets(socket));
        own.nth_back(GREETING_PER_PEER - 1).map(|(id, _)| *id)
    }

    /// Whether the connection from `address` may be admitted now.
    ///
    /// # Errors
    /// There is no room.
    pub fn room(
        &self,
        address: SocketAddr,
        organisation: Option<OrganisationId>,
    ) -> Result<(), Full> {
        let socket = self.by_address.get(&address).and_then(|id| self.sockets.get(id));
        if socket.is_none_or(|socket| socket.stage != Stage::Greeting) {
            return Ok(());
        }
        let count = organisation.and_then(|id| self.organisations.get(&id)).copied().unwrap_or(0);
        if count >= ORGANISATION_MAX {
            return Err(Full::Organisation(count));
        }
        let source = SourceIp::of(address.ip());
        match self.admitted.judge(source) {
            // Only when all places are taken: within its own source or subnet a newcomer is
            // refused, since its crowd would only change its faces.
            Err(Full::All(_)) if self.displaced(source).is_some() => Ok(()),
            judged => judged,
        }
    }

    /// A peer was the first to tell of something that it had to pay for.
    pub fn useful(&mut self, peer: PeerId, now: Instant) {
        let own = self.sockets.values_mut().filter(|socket| socket.peer == Some(peer));
        own.for_each(|socket| socket.useful = Some(now));
    }

    /// The admitted stranger whose place one of `source` takes when all are
    /// taken. Protected is who has what an attacker cannot have for nothing; of who
    /// is left, the youngest of the most crowded subnet yields, if that crowd is larger
    /// than the newcomer's.
    fn displaced(&self, source: SourceIp) -> Option<SocketId> {
        let admitted = |socket: &Socket| matches!(socket.stage, Stage::Admitted(_));
        let mut rest: EvictionCandidates =
            self.sockets.iter().filter(|(_, s)| admitted(s)).collect();
        let few = rest.len() / FEW;
        protect_longest_standing(&mut rest);
        protect_nearest(&mut rest, few);
        protect_useful(&mut rest, few);
        let (size, youngest) = youngest_of_largest_subnet(rest)?;
        (size > self.admitted.of_subnet(source.subnet())).then_some(youngest)
    }

    /// The connection from `address` is admitted; returns whose place it takes.
    /// That there is [`room`] is for the caller to see; who takes its own former
    /// place needs none.
    ///
    /// [`room`]: Self::room
    pub fn admit(
        &mut self,
        address: SocketAddr,
        organisation: Option<OrganisationId>,
        now: Instant,
    ) -> Option<SocketId> {
        let id = *self.by_address.get(&address)?;
        let source = SourceIp::of(address.ip());
        let greets = self.sockets.get(&id).is_some_and(|s| s.stage == Stage::Greeting);
        let full = greets && matches!(self.admitted.judge(source), Err(Full::All(_)));
        let evicted = full.then(|| self.displaced(source)).flatten();
        evicted.into_iter().for_each(|id| self.evict(id));
        self.change(id, |socket| {
            socket.stage = match socket.stage {
                Stage::Greeting => Stage::Admitted(organisation),
                Stage::GreetingFavoured => Stage::AdmittedFavoured,
                stage => stage,
            };
            socket.slot.since = now;
        });
        evicted
    }

    /// The socket is closed.
    // A source that makes the node begin handshakes and does not end them has had its
    // cryptography for nothing: it is blamed. A socket that said nothing cost none. Where a
    // favoured peer lives nobody is blamed, since a ban would not be looked at there.
    pub fn on_closed(&mut self, id: SocketId, now: Instant) {
        let Some(socket) = self.remove(id) else { return };
        if socket.slot.spoke && socket.stage == Stage::HalfOpen {
            self.failed.blame(SourceIp::of(socket.address.ip()), Offence::Handshake, now);
        }
        // The same address may have come again before this one was seen to close.
        if self.by_address.get(&socket.address) == Some(&id) {
            self.by_address.remove(&socket.address);
        }
    }

    /// Whether nothing is counted.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let all_slots = [&self.half_open, &self.half_open_favoured, &self.greeting, &self.admitted];
        let none = self.sockets.is_empty() && self.by_address.is_empty() && self.leaving == 0;
        none && self.organisations.is_empty() && all_slots.iter().all(|slots| slots.is_empty())
    }

    fn evict(&mut self, id: SocketId) {
        self.change(id, |socket| socket.stage = Stage::Leaving);
    }

    fn change(&mut self, id: SocketId, change: impl FnOnce(&mut Socket)) {
        if let Some(mut socket) = self.remove(id) {
            change(&mut socket);
            self.insert(id, socket);
        }
    }

    /// Puts a socket in and counts it.
    fn insert(&mut self, id: SocketId, socket: Socket) {
        let source = SourceIp::of(socket.address.ip());
        match self.slots(socket.stage) {
            Some(slots) => slots.insert(source, socket.slot),
            None if socket.stage == Stage::Leaving => self.leaving += 1,
            None => {}
        }
        if let Stage::Admitted(Some(id)) = socket.stage {
            *self.organisations.entry(id).or_default() += 1;
        }
        self.sockets.insert(id, socket);
    }

    /// Takes a socket out of all counts.
    fn remove(&mut self, id: SocketId) -> Option<Socket> {
        let socket = self.sockets.remove(&id)?;
        let source = SourceIp::of(socket.address.ip());
        match self.slots(socket.stage) {
            Some(slots) => slots.remove(source, socket.slot),
            None if socket.stage == Stage::Leaving => self.leaving -= 1,
            None => {}
        }
        if let Stage::Admitted(Some(id)) = socket.stage {
            if let Some(count) = self.organisations.get_mut(&id) {
                *count -= 1;
            }
            self.organisations.retain(|_, count| *count > 0);
        }
        Some(socket)
    }

    fn slots(&mut self, stage: Stage) -> Option<&mut Slots> {
        match stage {
            Stage::HalfOpen => Some(&mut self.half_open),
            Stage::HalfOpenFavoured => Some(&mut self.half_open_favoured),
            Stage::Greeting => Some(&mut self.greeting),
            Stage::Admitted(_) => Some(&mut self.admitted),
            Stage::GreetingFavoured | Stage::AdmittedFavoured | Stage::Leaving => None,
        }
    }
}
