//! Turns of scans and executions, of which so many run at once.
//!
//! What always holds: a turn that ends goes to the waiting source that has the fewest, and of
//! equals to the one whose last turn was the earliest. So whoever has many connections, or asks for
//! much at once, waits behind itself, and another source waits for the next turn that ends.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{
    RpcError, RpcResult,
    source_places::{SourcePlace, SourcePlaces},
};

pub struct HeavyTurns {
    /// Of callers that wait for their turn.
    waits: Arc<SourcePlaces>,
    table: Mutex<TurnTable>,
}

#[derive(Default)]
struct TurnTable {
    /// Nobody waits while a turn is free.
    free: usize,
    /// How many turns were given.
    given: u64,
    /// Those that have a turn or wait for one.
    sources: BTreeMap<Option<IpAddr>, SourceTurns>,
}

#[derive(Default)]
struct SourceTurns {
    running: usize,
    /// The number of its last turn; 0: it had none of late.
    last: u64,
    /// The oldest first.
    waiting: VecDeque<oneshot::Sender<HeavyTurn>>,
}

/// A turn, which the next one has when this is dropped.
pub struct HeavyTurn {
    turns: Arc<HeavyTurns>,
    source: Option<IpAddr>,
}

impl HeavyTurns {
    /// So many turns, and places for callers that wait for one.
    pub fn new(turns: usize, waits: usize) -> Arc<Self> {
        let table = TurnTable { free: turns, ..TurnTable::default() };
        Arc::new(Self { waits: SourcePlaces::new(waits), table: Mutex::new(table) })
    }

    fn table(&self) -> MutexGuard<'_, TurnTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// Too many wait already: in all, or from the same source.
    pub async fn take(self: &Arc<Self>, source: Option<IpAddr>) -> RpcResult<HeavyTurn> {
        let full = || {
            let text =
                "too many requests of yours, or of all, wait for their turn; try again later";
            RpcError::Busy(text.into())
        };
        let _place: SourcePlace = self.waits.take(source).ok_or_else(full)?;
        let turn = {
            let mut table = self.table();
            if table.free > 0 {
                table.free -= 1;
                table.give(source);
                return Ok(HeavyTurn { turns: self.clone(), source });
            }
            table.wait(source)
        };
        Ok(turn.await.expect("it is dropped only when nobody waits for it"))
    }

    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.table().free
    }

    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.table().sources.values().map(|own| own.waiting.len()).sum()
    }
}

impl TurnTable {
    /// Counts a turn of a source.
    fn give(&mut self, source: Option<IpAddr>) {
        self.given += 1;
        let own = self.sources.entry(source).or_default();
        (own.running, own.last) = (own.running + 1, self.given);
    }

    fn wait(&mut self, source: Option<IpAddr>) -> oneshot::Receiver<HeavyTurn> {
        self.forget();
        let (told, turn) = oneshot::channel();
        self.sources.entry(source).or_default().waiting.push_back(told);
        turn
    }

    // Attack: callers that hang up while they wait, from another address each time.
    /// Forgets callers that are gone, and sources that have nothing here any more.
    fn forget(&mut self) {
        self.sources.retain(|_, own| {
            own.waiting.retain(|told| !told.is_closed());
            own.running > 0 || !own.waiting.is_empty()
        });
    }

    /// A turn of a source has ended; whose turn is next.
    fn next(
        &mut self,
        ended: Option<IpAddr>,
    ) -> Option<(Option<IpAddr>, oneshot::Sender<HeavyTurn>)> {
        if let Some(own) = self.sources.get_mut(&ended) {
            own.running -= 1;
        }
        self.forget();
        let waiting = self.sources.iter_mut().filter(|(_, own)| !own.waiting.is_empty());
        let next = waiting.min_by_key(|(_, own)| (own.running, own.last));
        let Some((source, told)) = next.and_then(|(it, own)| Some((*it, own.waiting.pop_front()?)))
        else {
            self.free += 1;
            return None;
        };
        self.give(source);
        Some((source, told))
    }
}

impl Drop for HeavyTurn {
    fn drop(&mut self) {
        let next = self.turns.table().next(self.source);
        if let Some((source, told)) = next {
            // If that caller has gone just now, this is dropped, and the turn goes on to the next.
            let _ = told.send(Self { turns: self.turns.clone(), source });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::{FutureExt as _, future::BoxFuture, poll};

    use super::*;

    fn source(n: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(10, 0, 0, n).into())
    }

    /// A caller that waits.
    async fn waiting(turns: &Arc<HeavyTurns>, n: u8) -> BoxFuture<'static, RpcResult<HeavyTurn>> {
        let turns = turns.clone();
        let mut turn = async move { turns.take(source(n)).await }.boxed();
        assert!(poll!(&mut turn).is_pending());
        turn
    }

    #[tokio::test]
    async fn one_source_keeps_no_turns_from_another() {
        let turns = HeavyTurns::new(2, 64);
        let mut running = vec![];
        for _ in 0..2 {
            running.push(turns.take(source(1)).await.unwrap());
        }
        let mut many = vec![];
        for _ in 0..20 {
            many.push(waiting(&turns, 1).await);
        }
        let mut late = waiting(&turns, 2).await;
        // The next that ends is the other's, and the one after it the first's own again.
        running.pop();
        let other = late.as_mut().now_or_never().expect("its turn").unwrap();
        assert!(!many.iter_mut().any(|own| own.now_or_never().is_some()));
        let mut again = waiting(&turns, 2).await;
        running.pop();
        running.push(many.remove(0).now_or_never().expect("the oldest of those").unwrap());
        drop(other);
        drop(again.as_mut().now_or_never().expect("it has none now").unwrap());
        drop((running, many));
        assert_eq!(turns.free(), 2);
        assert!(turns.table().sources.is_empty());
    }

    #[tokio::test]
    async fn sources_that_wait_take_turns() {
        let turns = HeavyTurns::new(1, 64);
        let mut running = Some(turns.take(source(1)).await.unwrap());
        let mut all = vec![];
        for n in [1, 1, 1, 2, 2, 3] {
            all.push((n, waiting(&turns, n).await));
        }
        let mut order = vec![];
        while !all.is_empty() {
            drop(running.take());
            let ready = all
                .iter_mut()
                .enumerate()
                .find_map(|(at, (_, turn))| turn.now_or_never().map(|turn| (at, turn.unwrap())));
            let (at, turn) = ready.expect("somebody's turn");
            order.push(all.remove(at).0);
            running = Some(turn);
        }
        assert_eq!(order, [2, 3, 1, 2, 1, 1]);
    }

    #[tokio::test]
    async fn who_hangs_up_keeps_no_turn_and_no_memory() {
        let turns = HeavyTurns::new(1, 8);
        let running = turns.take(source(1)).await.unwrap();
        for n in 0..200 {
            drop(waiting(&turns, n).await);
        }
        assert!(turns.table().sources.len() <= 2);
        // One whose turn came, and who never looked.
        let (unheard, mut next) = (waiting(&turns, 2).await, waiting(&turns, 3).await);
        drop(running);
        assert!(next.as_mut().now_or_never().is_none());
        drop(unheard);
        assert!(next.as_mut().now_or_never().is_some());
        assert_eq!(turns.free(), 1);
    }

    #[tokio::test]
    async fn those_that_wait_are_bounded_for_each_source_and_in_all() {
        let turns = HeavyTurns::new(1, 8);
        let _running = turns.take(source(1)).await.unwrap();
        let mut all = vec![];
        for (n, places) in [(1, 4), (2, 2), (3, 1)] {
            for _ in 0..places {
                all.push(waiting(&turns, n).await);
            }
            let refused = turns.take(source(n)).now_or_never().expect("at once");
            assert!(matches!(refused, Err(RpcError::Busy(_))));
        }
    }
}
