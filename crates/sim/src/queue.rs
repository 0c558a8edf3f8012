//! Virtual time: the event that is due first happens next. Of those that are due at the same
//! instant, it is the one that was put in first.

use std::collections::BTreeMap;

use trefoil_types::Time;

#[derive(Debug)]
pub struct EventQueue<E> {
    /// By when each is due, and then by the number of those put in before it.
    events: BTreeMap<(Time, u64), E>,
    next: u64,
}

impl<E> EventQueue<E> {
    pub fn put(&mut self, due: Time, event: E) {
        self.events.insert((due, self.next), event);
        self.next += 1;
    }

    /// The next event and when it is due, if that is not after `ends`.
    pub fn take(&mut self, ends: Time) -> Option<(Time, E)> {
        let first = self.events.first_entry().filter(|first| first.key().0 <= ends)?;
        let ((due, _), event) = first.remove_entry();
        Some((due, event))
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), next: 0 }
    }
}
