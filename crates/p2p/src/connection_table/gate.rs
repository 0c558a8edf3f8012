//! Which inbound connection gets a place, and which one is disconnected for it: decided
//! when a socket is accepted, before any cryptography, and again at each stage.
//!
//! What always holds: no source and no subnet has more than its share of any stage; a full
//! stage gives a newcomer the place of the most crowded subnet's oldest; who proved to be a
//! favoured peer (configured, or a validator) is never refused for want of room. Loopback is
//! like any other place.
//!
//! All counts are of the table's entries as they are: a few hundred, looked through in some
//! microseconds, so that nothing can be counted twice or forgotten.

use std::{
    cmp::Reverse, collections::BTreeMap, net::SocketAddr, sync::atomic::Ordering, time::Instant,
};

use trefoil_types::{Offence, OrganisationId, PeerId, Standing};

use super::{Connection, ConnectionTable, Stage};
use crate::inbound_limits::{
    slots::{self, Full, SlotLimits, SocketId, SocketSlot},
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

/// Admitted strangers of whom one may lose its place.
type EvictionCandidates<'a> = Vec<(SocketId, &'a Connection)>;

/// The half that stands longest stays.
// Attack: a flood of new connections that takes all places at once. Time cannot be had
// after the fact, so a flood never displaces more than the younger half.
fn protect_longest_standing(candidates: &mut EvictionCandidates<'_>) {
    candidates.sort_by_key(|(id, socket)| (socket.since, *id));
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
// Attack: connections that only sit there. A transaction that a block includes was paid
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
    candidates.sort_by_key(|(id, socket)| (socket.since, *id));
    let mut subnets: BTreeMap<_, (usize, SocketId)> = BTreeMap::new();
    for (id, socket) in candidates {
        let subnet = subnets.entry(SourceIp::of(socket.address.ip()).subnet()).or_default();
        *subnet = (subnet.0 + 1, id);
    }
    subnets.into_values().max()
}

impl Connection {
    /// Whether it is a socket of others' that has no place of its own.
    fn is_at(&self, stage: Stage, favoured: bool) -> bool {
        self.socket && self.is_inbound() && self.stage == stage && self.favoured == favoured
    }

    /// In whose share of places it counts.
    const fn organisation(&self) -> Option<OrganisationId> {
        match self.standing {
            Standing::Member(organisation) => Some(organisation),
            Standing::Public | Standing::Validator | Standing::Unjudged => None,
        }
    }
}

impl ConnectionTable {
    /// Keeps places for the configured peers and these from now on. Who is
    /// connected keeps what it has.
    pub fn favour(&mut self, validators: impl IntoIterator<Item = PeerId>) {
        let known = std::mem::take(&mut self.favoured);
        let proven = |peer: &PeerId| known.get(peer).copied().flatten();
        let validators = validators.into_iter().map(|peer| (peer, proven(&peer)));
        let configured = self.configured.iter();
        let configured = configured.map(|(peer, source)| (*peer, proven(peer).or(Some(*source))));
        self.favoured = validators.chain(configured).collect();
        for connection in self.connections.values() {
            let favoured = connection.peer.is_some_and(|peer| self.is_favoured(peer));
            let budget = connection.budget.as_ref().filter(|_| favoured);
            let judged = budget.filter(|_| connection.standing != Standing::Unjudged);
            judged.into_iter().for_each(|budget| budget.favour());
        }
    }

    pub fn is_favoured(&self, peer: PeerId) -> bool {
        self.favoured.contains_key(&peer)
    }

    /// A socket was accepted: it has a place from now on, if need be another's.
    ///
    /// # Errors
    /// There is no room: close it.
    pub fn accept(&mut self, address: SocketAddr, now: Instant) -> Result<SocketId, Full> {
        let favoured = match self.strangers {
            Some(_) => self.make_room(address, now).inspect_err(|_| self.turned_away += 1)?,
            None => false,
        };
        let mut connection = Connection::new(address, Stage::HalfOpen, self.standing(), now);
        (connection.favoured, connection.socket) = (favoured, true);
        let id = self.insert(connection);
        self.by_address.insert(address, id);
        Ok(id)
    }

    /// Room for a half-open socket; whether it is one where a favoured peer lives.
    fn make_room(&mut self, address: SocketAddr, now: Instant) -> Result<bool, Full> {
        let leaving =
            self.connections.values().filter(|it| it.socket && it.stage == Stage::Leaving);
        let leaving = leaving.count();
        if leaving >= LEAVING_MAX {
            // Else each eviction would free a place but no descriptor.
            return Err(Full::Leaving(leaving));
        }
        let source = SourceIp::of(address.ip());
        // A ban of a source stops no favoured peer that lives there: an attacker behind the same
        // address could otherwise have a validator banned by failing handshakes.
        let favoured = self.favoured.values().any(|known| *known == Some(source));
        let limits = if favoured {
            &HALF_OPEN_FAVOURED
        } else if let Some(left) = self.failed.banned_for(source, now) {
            return Err(Full::Banned(left.as_secs()));
        } else {
            &HALF_OPEN
        };
        let taken = self.slots(Stage::HalfOpen, favoured);
        if let Some(id) = slots::make_room(limits, &taken, source, now)? {
            self.evict(id);
        }
        Ok(favoured)
    }

    /// The first byte of a socket has come.
    pub fn on_first_byte(&mut self, id: SocketId) {
        if let Some(connection) = self.get_mut(id) {
            connection.spoke = true;
        }
    }

    /// An inbound connection proved to be `peer`'s, and takes a place at the next stage.
    ///
    /// # Errors
    /// There is no room: close it.
    pub fn authenticated(&mut self, id: SocketId, peer: PeerId, now: Instant) -> Result<(), Full> {
        let Some(address) = self.get(id).map(|it| it.address) else { return Ok(()) };
        let source = SourceIp::of(address.ip());
        let lost_dial = self.lost_dial(peer);
        let known = self.favoured.get_mut(&peer);
        let favoured = known.is_some();
        let mut evicted = None;
        match known {
            Some(known) => *known = Some(source),
            None if self.strangers.is_some() => {
                let taken = self.slots(Stage::Greeting, false);
                evicted = slots::make_room(&GREETING, &taken, source, now)?;
            }
            None => {}
        }
        [lost_dial, evicted].into_iter().flatten().for_each(|id| self.evict(id));
        let Some(connection) = self.get_mut(id) else { return Ok(()) };
        connection.peer = Some(peer);
        connection.took = now.saturating_duration_since(connection.since);
        (connection.stage, connection.since) = (Stage::Greeting, now);
        (connection.favoured, connection.spoke) = (favoured, true);
        connection.kill_switch.proven.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The oldest of a peer's connections at their hello, if there are too many.
    fn lost_dial(&self, peer: PeerId) -> Option<SocketId> {
        let greets = |it: &Connection| {
            it.socket && it.is_inbound() && it.peer == Some(peer) && it.stage == Stage::Greeting
        };
        let mut own = self.iter().filter(|(_, connection)| greets(connection));
        own.nth_back(GREETING_PER_PEER - 1).map(|(id, _)| id)
    }

    /// Whether a connection may be admitted now.
    ///
    /// # Errors
    /// There is no room.
    pub fn room(&self, id: SocketId) -> Result<(), Full> {
        let Some(limits) = &self.strangers else { return Ok(()) };
        let Some(connection) = self.get(id).filter(|it| it.is_at(Stage::Greeting, false)) else {
            return Ok(());
        };
        let organisation = connection.organisation();
        let strangers = self.connections.values().filter(|it| it.is_at(Stage::Admitted, false));
        let count = strangers.filter(|it| it.organisation() == organisation).count();
        if organisation.is_some() && count >= ORGANISATION_MAX {
            return Err(Full::Organisation(count));
        }
        let source = SourceIp::of(connection.address.ip());
        match slots::judge(limits, &self.slots(Stage::Admitted, false), source) {
            // Only when all places are taken: within its own source or subnet a newcomer is
            // refused, since its crowd would only change its faces.
            Err(Full::All(_)) if self.displaced(source).is_some() => Ok(()),
            judged => judged,
        }
    }

    /// The admitted stranger whose place one of `source` takes when all are
    /// taken. Protected is who has what an attacker cannot have for nothing; of who
    /// is left, the youngest of the most crowded subnet yields, if that crowd is larger
    /// than the newcomer's.
    fn displaced(&self, source: SourceIp) -> Option<SocketId> {
        let mut rest: EvictionCandidates =
            self.iter().filter(|(_, it)| it.is_at(Stage::Admitted, false)).collect();
        let few = rest.len() / FEW;
        let subnet = |it: &Connection| SourceIp::of(it.address.ip()).subnet();
        let of_subnet = rest.iter().filter(|(_, it)| subnet(it) == source.subnet()).count();
        protect_longest_standing(&mut rest);
        protect_nearest(&mut rest, few);
        protect_useful(&mut rest, few);
        let (size, youngest) = youngest_of_largest_subnet(rest)?;
        (size > of_subnet).then_some(youngest)
    }

    /// A connection is admitted, if need be in another's place. That there is
    /// [`room`] is for the caller to see; who takes its own former place needs none.
    ///
    /// [`room`]: Self::room
    pub fn admit(&mut self, id: SocketId, now: Instant) {
        let Some(connection) = self.get(id) else { return };
        let source = SourceIp::of(connection.address.ip());
        if connection.is_at(Stage::Greeting, false)
            && let Some(limits) = &self.strangers
            && let Err(Full::All(_)) =
                slots::judge(limits, &self.slots(Stage::Admitted, false), source)
            && let Some(displaced) = self.displaced(source)
        {
            self.evict(displaced);
        }
        let Some(connection) = self.get_mut(id) else { return };
        if connection.stage == Stage::Greeting {
            connection.stage = Stage::Admitted;
        }
        connection.since = now;
    }

    // A source that makes the node begin handshakes and does not end them has had its
    // cryptography for nothing: it is blamed. A socket that said nothing cost none. Where a
    // favoured peer lives nobody is blamed, since a ban would not be looked at there.
    /// A socket is closed.
    pub(super) fn blame_failed_handshake(&mut self, id: SocketId, now: Instant) {
        let Some(connection) = self.get(id) else { return };
        let half_open = connection.stage == Stage::HalfOpen && !connection.favoured;
        if connection.spoke && half_open && self.strangers.is_some() {
            self.failed.blame(SourceIp::of(connection.address.ip()), Offence::Handshake, now);
        }
    }

    fn evict(&mut self, id: SocketId) {
        if let Some(connection) = self.get_mut(id) {
            connection.stage = Stage::Leaving;
            connection.kill_switch.evict();
        }
    }

    /// The places of a stage that are taken.
    fn slots(&self, stage: Stage, favoured: bool) -> Vec<SocketSlot> {
        let taken = self.iter().filter(|(_, it)| it.is_at(stage, favoured));
        let slot = |(id, it): (SocketId, &Connection)| SocketSlot {
            spoke: it.spoke,
            id,
            since: it.since,
            source: SourceIp::of(it.address.ip()),
        };
        taken.map(slot).collect()
    }
}
