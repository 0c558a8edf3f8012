//! The simulated network: which machines are connected, and what becomes of a message on
//! its way.
//!
//! Connections are as TCP's: both machines learn of the end, and messages on their way are
//! gone. Within one, a lane keeps its order unless `reorder` is on.

use std::collections::{BTreeMap, BTreeSet};

use trefoil_types::{Millis, Time, message::Lane};

use crate::{
    rng::Rng,
    uplink::{UplinkRate, Uplinks},
};

/// A machine, by its number from 0.
pub type Id = usize;

/// How bad the wire is, for all links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    pub delay_min: Millis,
    pub delay_max: Millis,
    /// So many of a thousand messages are lost.
    pub loss_permille: u32,
    /// So many of a thousand arrive twice.
    pub twice_permille: u32,
    /// So many of a thousand are overtaken by later ones of their lane.
    pub reorder_permille: u32,
}

impl Weather {
    // At most 20 ms: far below the time-outs of consensus (400 ms and more), so that no round
    // fails in fair weather.
    pub const FAIR: Self = Self {
        delay_min: Millis(1),
        delay_max: Millis(20),
        loss_permille: 0,
        twice_permille: 0,
        reorder_permille: 0,
    };
}

#[derive(Debug)]
pub struct SimWire {
    pub weather: Weather,
    rng: Rng,
    /// The session of each live connection, by its two ends in order.
    links: BTreeMap<(Id, Id), u64>,
    sessions: u64,
    /// Pairs of a sender and a receiver: nothing arrives.
    pub blocked: BTreeSet<(Id, Id)>,
    /// When the last message of a lane arrives, so that order is kept.
    last: BTreeMap<(Id, Id, Lane), Time>,
    /// None: a byte costs nothing.
    uplinks: Option<Uplinks>,
}

impl SimWire {
    pub fn new(weather: Weather, rate: Option<UplinkRate>, rng: Rng) -> Self {
        Self {
            weather,
            rng,
            links: BTreeMap::new(),
            sessions: 0,
            blocked: BTreeSet::new(),
            last: BTreeMap::new(),
            uplinks: rate.map(Uplinks::new),
        }
    }

    /// The session of the connection between two machines, if there is one.
    pub fn session(&self, a: Id, b: Id) -> Option<u64> {
        self.links.get(&ends(a, b)).copied()
    }

    /// Connects two machines, unless they are connected or blocked; whether it did.
    pub fn connect(&mut self, a: Id, b: Id) -> bool {
        if self.is_blocked(a, b) || self.links.contains_key(&ends(a, b)) {
            return false;
        }
        self.sessions += 1;
        self.links.insert(ends(a, b), self.sessions);
        true
    }

    /// Ends a connection; whether there was one.
    pub fn disconnect(&mut self, a: Id, b: Id) -> bool {
        for lane in [Lane::Consensus, Lane::CatchUp, Lane::Gossip] {
            self.last.remove(&(a, b, lane));
            self.last.remove(&(b, a, lane));
        }
        self.links.remove(&ends(a, b)).is_some()
    }

    pub fn is_blocked(&self, a: Id, b: Id) -> bool {
        self.blocked.contains(&(a, b)) || self.blocked.contains(&(b, a))
    }

    /// When a message of so many bytes that is sent now arrives: never, once or twice.
    pub fn arrivals(
        &mut self,
        now: Time,
        (from, to): (Id, Id),
        lane: Lane,
        bytes: usize,
    ) -> Vec<Time> {
        let weather = self.weather;
        let leaves = match &mut self.uplinks {
            Some(uplinks) => uplinks.leaves(now, from, to, bytes as u64),
            None => Some(now),
        };
        let Some(now) = leaves else { return vec![] };
        if self.blocked.contains(&(from, to)) || self.rng.permille(weather.loss_permille) {
            return vec![];
        }
        let copies = if self.rng.permille(weather.twice_permille) { 2 } else { 1 };
        (0..copies).map(|_| self.arrival(now, from, to, lane)).collect()
    }

    fn arrival(&mut self, now: Time, from: Id, to: Id, lane: Lane) -> Time {
        let weather = self.weather;
        let delay = self.rng.range(weather.delay_min.0, weather.delay_max.0);
        // It does not move `last`: what comes after it in the lane may overtake it.
        if self.rng.permille(weather.reorder_permille) {
            return now + Millis(delay * 3);
        }
        let last = self.last.entry((from, to, lane)).or_default();
        *last = (now + Millis(delay)).max(*last);
        *last
    }
}

fn ends(a: Id, b: Id) -> (Id, Id) {
    (a.min(b), a.max(b))
}
