//! Places of one kind that callers share, by the source of their connections.
//!
//! What always holds: a source holds at most as many places as it leaves free. So one source finds
//! half of them, whatever number of connections it has, and each other one finds some.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many places each source holds, of so many.
#[derive(Debug)]
pub struct SourcePlaces {
    max: usize,
    held: Mutex<BTreeMap<Option<IpAddr>, usize>>,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub struct SourcePlace {
    places: Arc<SourcePlaces>,
    source: Option<IpAddr>,
}

impl SourcePlaces {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Option<IpAddr>, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // No limit of a number for each: a lone proxy, whose callers all have its address, should find
    // most of them, and many sources at once should all find some.
    /// A place for a caller from there. `None`: no more are free for it.
    pub fn take(self: &Arc<Self>, source: Option<IpAddr>) -> Option<SourcePlace> {
        let mut held = self.held();
        let free = self.max - held.values().sum::<usize>();
        let own = held.entry(source).or_default();
        let takes = *own < free;
        *own += usize::from(takes);
        if *own == 0 {
            held.remove(&source);
        }
        takes.then(|| SourcePlace { places: self.clone(), source })
    }

    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.held().values().sum()
    }
}

impl Drop for SourcePlace {
    fn drop(&mut self) {
        let mut held = self.places.held();
        if let Some(own) = held.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_source_with_many_connections_leaves_places_to_the_others() {
        let places = SourcePlaces::new(64);
        let take_all = |source| {
            let source = Some(Ipv4Addr::from_bits(source).into());
            std::iter::from_fn(|| places.take(source)).collect::<Vec<_>>()
        };
        let held: Vec<_> = (0..10).map(take_all).collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [32, 16, 8, 4, 2, 1, 1, 0, 0, 0]);
        assert_eq!(places.taken(), 64);
        // What one gives back is there for those that hold less.
        drop(held);
        assert_eq!((places.taken(), places.held().len()), (0, 0));
        let _many = take_all(1);
        assert!(places.take(None).is_some());
    }

    #[test]
    fn the_only_place_is_there_for_one() {
        let places = SourcePlaces::new(1);
        let only = places.take(None);
        assert!(only.is_some() && places.take(None).is_none());
        drop(only);
        assert!(places.take(None).is_some());
        assert!(SourcePlaces::new(0).take(None).is_none());
    }
}
