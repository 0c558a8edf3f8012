//! What a byte costs: the line of a machine sends so many bytes a millisecond, one message after
//! the other, to whomever they go.

use std::collections::{BTreeMap, VecDeque};

use trefoil_types::{Millis, Time};

/// The line of every machine of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UplinkRate {
    pub bytes_per_ms: u64,
    /// More than this does not wait for one peer: it is dropped, as `p2p` drops it.
    pub queue_max: u64,
}

/// The lines of all machines, by their numbers, as far as something waits for them.
#[derive(Debug)]
pub struct Uplinks {
    rate: UplinkRate,
    /// Bytes that waited at an instant, by sender.
    waiting: BTreeMap<usize, (Time, u64)>,
    /// When each message to a peer has left, and its bytes.
    queues: BTreeMap<(usize, usize), VecDeque<(Time, u64)>>,
}

impl Uplinks {
    pub fn new(rate: UplinkRate) -> Self {
        Self { rate, waiting: BTreeMap::new(), queues: BTreeMap::new() }
    }

    /// When a message that is sent now has left; none if too much waits for its receiver.
    pub fn leaves(&mut self, now: Time, from: usize, to: usize, bytes: u64) -> Option<Time> {
        let queue = self.queues.entry((from, to)).or_default();
        while queue.pop_front_if(|(left, _)| *left <= now).is_some() {}
        let queued: u64 = queue.iter().map(|(_, bytes)| bytes).sum();
        if queued + bytes > self.rate.queue_max {
            return None;
        }
        let (at, waiting) = self.waiting.entry(from).or_insert((now, 0));
        let sent = now.since(*at).0.saturating_mul(self.rate.bytes_per_ms);
        (*at, *waiting) = (now, waiting.saturating_sub(sent) + bytes);
        let leaves = now + Millis(*waiting / self.rate.bytes_per_ms);
        queue.push_back((leaves, bytes));
        Some(leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_leave_one_after_the_other_whomever_they_are_for() {
        let mut lines = Uplinks::new(UplinkRate { bytes_per_ms: 100, queue_max: 1_000 });
        let mut leaves = |now, from, to, bytes| lines.leaves(Time(now), from, to, bytes);
        assert_eq!(leaves(0, 0, 1, 950), Some(Time(9)));
        assert_eq!(leaves(0, 0, 1, 100), None, "of one peer no more waits");
        assert_eq!(leaves(0, 0, 2, 100), Some(Time(10)), "behind those of the other");
        assert_eq!(leaves(0, 3, 1, 100), Some(Time(1)), "another line");
        assert_eq!(leaves(9, 0, 1, 100), Some(Time(11)));
        assert_eq!(leaves(20, 0, 1, 10), Some(Time(20)));
    }
}
