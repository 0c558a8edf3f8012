//! Which offences of peers the log shows.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use trefoil_types::PeerId;

// Attack: a validator, which is not banned for what it relays, sends 4,000 bad votes a second, and
// each is a line.
/// One line for each peer in this time.
const EVERY: Duration = Duration::from_secs(1);

// Attack: offences under ever new names, which are free.
/// Of more peers only those are remembered of which a line was shown within that time.
const PEERS_MAX: usize = 1_024;

/// When each peer's offence was shown last, and how many were not since then.
#[derive(Debug, Default)]
pub struct OffenceLog(BTreeMap<PeerId, (Instant, u64)>);

impl OffenceLog {
    /// Notes an offence. If it is to be shown: how many of the peer before it were not.
    pub fn note(&mut self, peer: PeerId, now: Instant) -> Option<u64> {
        let mut unshown = 0;
        if let Some((shown, count)) = self.0.get_mut(&peer) {
            if now < *shown + EVERY {
                *count += 1;
                return None;
            }
            unshown = *count;
        } else if self.0.len() >= PEERS_MAX {
            self.0.retain(|_, (shown, _)| now < *shown + EVERY);
        }
        self.0.insert(peer, (now, 0));
        Some(unshown)
    }
}

#[cfg(test)]
mod tests {
    use trefoil_crypto::SecretKey;

    use super::*;

    #[test]
    fn each_peer_has_a_line_a_second_that_counts_the_others() {
        let peer = |n: u8| PeerId(SecretKey::from_seed(&[n; 32]).public());
        let (mut log, begin) = (OffenceLog::default(), Instant::now());
        let lines =
            (0..8_000).filter_map(|n| log.note(peer(1), begin + Duration::from_micros(250 * n)));
        assert_eq!(lines.collect::<Vec<_>>(), [0, 3_999]);
        assert_eq!(log.note(peer(2), begin), Some(0));
        assert_eq!(log.note(peer(1), begin + 2 * EVERY), Some(3_999));
    }
}
