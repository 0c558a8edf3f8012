//! Which of the announced snapshots is tried next.

use std::collections::{BTreeMap, BTreeSet};

use trefoil_swarm::Announced;

/// Snapshots that were tried and failed.
// Of snapshots that equally many peers announce the highest is chosen. So one peer could
// announce a great height, send nothing, and be chosen again and again.
#[derive(Default)]
pub struct RejectedSnapshots {
    /// Proven false, or too large for this node: never tried again.
    pub refused: BTreeSet<[u8; 32]>,
    /// Not tried again before all others: the peers that have it may only have been slow.
    pub stalled: BTreeSet<[u8; 32]>,
}

impl RejectedSnapshots {
    pub fn choose(&mut self, announced: impl Iterator<Item = Announced>) -> Option<Announced> {
        let left: Vec<_> = announced.filter(|of| !self.refused.contains(&of.index)).collect();
        let fresh = left.iter().filter(|of| !self.stalled.contains(&of.index));
        most(fresh.copied()).or_else(|| {
            self.stalled.clear();
            most(left.iter().copied())
        })
    }
}

/// The snapshot that most peers announce; of equals the highest.
fn most(announced: impl Iterator<Item = Announced>) -> Option<Announced> {
    let mut counts = BTreeMap::<Announced, usize>::new();
    announced.for_each(|of| *counts.entry(of).or_default() += 1);
    let most = counts.into_iter().max_by_key(|(of, count)| (*count, of.height));
    most.map(|(of, _)| of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_nobody_gives_is_not_chosen_again_by_its_height() {
        let told = |height: u64| Announced { height, index: [height.to_le_bytes()[5]; 32] };
        let (claimed, true_one) = (told(1 << 40), told(2048));
        let mut rejected = RejectedSnapshots::default();
        let both = || [claimed, true_one].into_iter();
        assert_eq!(rejected.choose(both()), Some(claimed));
        rejected.stalled.insert(claimed.index);
        assert_eq!(rejected.choose(both()), Some(true_one));
        rejected.stalled.insert(true_one.index);
        assert_eq!(rejected.choose(both()), Some(claimed), "each had its turn");
        rejected.refused.insert(claimed.index);
        assert_eq!(rejected.choose(both()), Some(true_one));
        assert_eq!(rejected.choose([claimed].into_iter()), None);
    }
}
