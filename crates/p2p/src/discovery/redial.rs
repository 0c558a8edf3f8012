//! When the configured peers are dialled: each of them, for ever, with backoff.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use trefoil_types::PeerId;

use crate::config::Timing;

/// A peer that we keep connected to.
#[derive(Debug)]
struct Target {
    address: SocketAddr,
    /// Dials that led to nothing since the last good hello.
    failures: u32,
    /// When to dial next; `None` while a dial or a connection is under way.
    next: Option<Instant>,
}

/// The configured peers.
#[derive(Debug)]
pub(crate) struct Redialer {
    targets: BTreeMap<PeerId, Target>,
    min: Duration,
    max: Duration,
}

impl Redialer {
    /// Every peer is due at once.
    pub fn new(
        peers: impl IntoIterator<Item = (PeerId, SocketAddr)>,
        timing: &Timing,
        now: Instant,
    ) -> Self {
        let target = |address| Target { address, failures: 0, next: Some(now) };
        let targets = peers.into_iter().map(|(peer, address)| (peer, target(address))).collect();
        Self { targets, min: timing.redial_min, max: timing.redial_max }
    }

    pub fn is_configured(&self, peer: PeerId) -> bool {
        self.targets.contains_key(&peer)
    }

    /// When the next dial is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.targets.values().filter_map(|target| target.next).min()
    }

    /// Takes the peers that are due; each counts as under way from now on.
    pub fn due(&mut self, now: Instant) -> Vec<(PeerId, SocketAddr)> {
        let due = self.targets.iter_mut().filter(|(_, t)| t.next.is_some_and(|next| next <= now));
        due.map(|(peer, target)| {
            target.next = None;
            (*peer, target.address)
        })
        .collect()
    }

    /// A connection with the peer is under way or there: do not dial.
    pub fn hold(&mut self, peer: PeerId) {
        if let Some(target) = self.targets.get_mut(&peer) {
            target.next = None;
        }
    }

    /// The peer sent a valid hello: backoff starts afresh.
    pub fn succeeded(&mut self, peer: PeerId) {
        if let Some(target) = self.targets.get_mut(&peer) {
            target.failures = 0;
        }
    }

    /// Nothing with the peer is under way any more. `jitter` of 0 to 1 spreads the wait over
    /// 3/4 to 5/4. Returns how many failures in a row this makes.
    // Without the jitter two nodes that dial each other at the same time do so for ever.
    pub fn retry(&mut self, peer: PeerId, now: Instant, jitter: f64) -> u32 {
        let Some(target) = self.targets.get_mut(&peer) else { return 0 };
        // 16 doublings are 65,536 first waits: far more than `max`, and no overflow.
        let wait = self.min.saturating_mul(1 << target.failures.min(16)).min(self.max);
        target.failures = target.failures.saturating_add(1);
        target.next = Some(now + wait.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0));
        target.failures
    }
}
