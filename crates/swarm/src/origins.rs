//! The HTTP servers that the service knows as origins: of which resource, who named them,
//! and whether they are asked.
//!
//! What always holds: a server that a peer named is asked only as far as the operator allows,
//! and named to others only after right bytes came from it. The servers that are known of one
//! resource are bounded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::AbortHandle};
use trefoil_content::{
    ORIGINS_MAX, Origin, Part,
    scheduler::{RequestId, Resource, Source},
};

use crate::{
    events::TaskEvent,
    http::{Fetcher, Http, PartRequest, Reach, Server},
    store::OpenStore,
};

// A transfer that only this server can serve tries again this often, with six requests each
// time (`FAILURES_MAX` in fetching.rs).
/// An origin that failed is asked again after this time.
const REST: Duration = Duration::from_secs(60);

// Remembered, so that a peer cannot bring a bad server back by naming it again. Bounded,
// since peers could name bad servers without end: URLs of at most 32 KiB.
/// The most origins of one resource that are remembered as left for good.
const LEFT_MAX: usize = 32;

#[derive(Debug)]
struct Known {
    origin: Origin,
    /// The operator put it.
    own: bool,
    /// Right bytes came from it.
    right: bool,
    state: OriginState,
}

#[derive(Debug)]
enum OriginState {
    /// May be asked from then on.
    From(Instant),
    /// Is asked, under this number in the swarm.
    Asked(u16, Fetcher),
    /// Is not asked any more.
    Left,
}

#[derive(Debug)]
pub struct Origins {
    http: Arc<Http>,
    /// Which of the servers that peers named are asked; `None`: none.
    reach: Option<Reach>,
    events: mpsc::Sender<TaskEvent>,
    known: BTreeMap<Resource, Vec<Known>>,
    /// Tasks that wait for hashes, without which bare bytes cannot be verified.
    waiting: BTreeMap<Resource, AbortHandle>,
    last: u16,
}

impl Origins {
    pub fn new(http: Arc<Http>, reach: Option<Reach>, events: mpsc::Sender<TaskEvent>) -> Self {
        let (known, waiting) = (BTreeMap::new(), BTreeMap::new());
        Self { http, reach, events, known, waiting, last: 0 }
    }

    /// The operator put these.
    pub fn add_configured(&mut self, resource: Resource, origins: Vec<Origin>) {
        let all = self.known.entry(resource).or_default();
        for origin in origins {
            match all.iter_mut().find(|known| known.origin == origin) {
                Some(known) => {
                    known.own = true;
                    if !matches!(known.state, OriginState::Asked(..)) {
                        known.state = OriginState::From(Instant::now());
                    }
                }
                None => all.push(Known::new(origin, true)),
            }
        }
    }

    /// A peer named these.
    pub fn add_named(&mut self, resource: Resource, origins: Vec<Origin>) {
        if self.reach.is_none() {
            return;
        }
        let (now, all) = (Instant::now(), self.known.entry(resource).or_default());
        for origin in origins {
            if all.iter().any(|known| known.origin == origin) {
                continue;
            }
            if all.iter().filter(|known| !known.is_left()).count() >= ORIGINS_MAX {
                // One that never gave anything makes room.
                let idle = |known: &Known| !known.is_good() && known.rests(now);
                let Some(idle) = all.iter().position(idle) else { return };
                all.remove(idle);
            }
            all.push(Known::new(origin, false));
        }
    }

    // Not those that a peer named and nothing proved: one peer could otherwise send the whole
    // swarm to a server of its choice (ADR 20).
    /// The origins that are named to peers.
    pub fn announceable(&self, resource: Resource) -> Vec<Origin> {
        let known = self.known.get(&resource).into_iter().flatten();
        let good = known.filter(|known| known.is_good() && !known.is_left());
        good.map(|known| known.origin.clone()).take(ORIGINS_MAX).collect()
    }

    /// Whether one that is not asked yet could be asked now.
    pub fn has_ready(&self, resource: Resource) -> bool {
        let now = Instant::now();
        self.known.get(&resource).into_iter().flatten().any(|known| known.is_ready(now))
    }

    /// Begins to ask those that are ready, of a resource whose hashes are here.
    pub fn start(&mut self, resource: Resource) -> Vec<Source> {
        let now = Instant::now();
        let (mut sources, mut last) = (Vec::new(), self.last);
        let numbers = self.known.values().flatten().filter_map(|known| match known.state {
            OriginState::Asked(number, _) => Some(number),
            _ => None,
        });
        let taken: BTreeSet<u16> = numbers.collect();
        let known = self.known.get_mut(&resource).into_iter().flatten();
        for known in known.filter(|known| known.is_ready(now)) {
            // The operator's origins are always asked. A server that a peer named is a way
            // to make this node connect somewhere (ADR 20).
            let Some(reach) = (if known.own { Some(Reach::All) } else { self.reach }) else {
                continue;
            };
            last = last.wrapping_add(1);
            while taken.contains(&last) {
                last = last.wrapping_add(1);
            }
            let server = Server::new(self.http.clone(), known.origin.clone(), reach);
            let fetcher = Fetcher::start(last, server, resource, self.events.clone());
            known.state = OriginState::Asked(last, fetcher);
            sources.push(Source::Web(last));
        }
        self.last = last;
        sources
    }

    /// `false`: it cannot be asked just now.
    #[must_use]
    pub fn ask(&self, web: u16, request: RequestId, opened: Arc<OpenStore>, part: Part) -> bool {
        let fetcher =
            self.known.get(&opened.resource).into_iter().flatten().find_map(|k| k.asked(web));
        fetcher.is_some_and(|fetcher| fetcher.ask(PartRequest { request, opened, part }))
    }

    pub fn cancel(&self, web: u16, request: RequestId) {
        if let Some(fetcher) = self.known.values().flatten().find_map(|known| known.asked(web)) {
            fetcher.cancel(request);
        }
    }

    /// Right bytes came. Returns whether these were the first, so that the origin can be
    /// named to peers.
    pub fn on_verified(&mut self, resource: Resource, web: u16) -> bool {
        let mut known = self.known.get_mut(&resource).into_iter().flatten();
        let giver = known.find(|known| known.asked(web).is_some());
        giver.is_some_and(|known| !std::mem::replace(&mut known.right, true) && !known.own)
    }

    /// It is asked no more, or not for a while.
    pub fn on_left(&mut self, resource: Resource, web: u16, for_good: bool) {
        let Some(all) = self.known.get_mut(&resource) else { return };
        let Some(known) = all.iter_mut().find(|known| known.asked(web).is_some()) else { return };
        known.state =
            if for_good { OriginState::Left } else { OriginState::From(Instant::now() + REST) };
        if all.iter().filter(|known| known.is_left()).count() > LEFT_MAX
            && let Some(oldest) = all.iter().position(Known::is_left)
        {
            all.remove(oldest);
        }
    }

    /// `wait` ends when the hashes of a resource are here.
    pub fn await_hashes(&mut self, resource: Resource, wait: AbortHandle) {
        if let Some(before) = self.waiting.insert(resource, wait) {
            before.abort();
        }
    }

    /// The resource is closed.
    pub fn close(&mut self, resource: Resource) {
        self.known.remove(&resource);
        if let Some(wait) = self.waiting.remove(&resource) {
            wait.abort();
        }
    }
}

impl Known {
    fn new(origin: Origin, own: bool) -> Self {
        Self { origin, own, right: false, state: OriginState::From(Instant::now()) }
    }

    fn is_good(&self) -> bool {
        self.own || self.right
    }

    fn is_left(&self) -> bool {
        matches!(self.state, OriginState::Left)
    }

    fn rests(&self, now: Instant) -> bool {
        matches!(self.state, OriginState::From(at) if at > now)
    }

    fn is_ready(&self, now: Instant) -> bool {
        matches!(self.state, OriginState::From(at) if at <= now)
    }

    fn asked(&self, web: u16) -> Option<&Fetcher> {
        match &self.state {
            OriginState::Asked(number, fetcher) if *number == web => Some(fetcher),
            _ => None,
        }
    }
}
