//! Virtual time: what happens next is what is due first; of what is due at the
//! same instant, what was put in first.

use std::{cmp::Reverse, collections::BinaryHeap};

use trefoil_types::Time;

#[derive(Debug)]
pub struct EventQueue<E> {
    heap: BinaryHeap<Entry<E>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<E> {
    due: Reverse<(Time, u64)>,
    event: E,
}

impl<E> EventQueue<E> {
    pub fn put(&mut self, due: Time, event: E) {
        // The number breaks ties: a heap gives equals in no order, and a run must have one.
        self.heap.push(Entry { due: Reverse((due, self.next)), event });
        self.next += 1;
    }

    /// The next event and when it is due, if that is not after `ends`.
    pub fn take(&mut self, ends: Time) -> Option<(Time, E)> {
        self.heap.peek().filter(|next| next.due.0.0 <= ends)?;
        self.heap.pop().map(|Entry { due: Reverse((due, _)), event }| (due, event))
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}
