//! How often a peer may send each kind of frame. Time is handed in.

use std::time::{Duration, Instant};

use trefoil_content::{
    News,
    message_rule::{NEWS, RULES, SwarmMessageRule},
};
use trefoil_p2p::RateLimiter;

// Attack: news of a few bytes that name all pieces of a directory, again and again; a flood of
// them cost 0.7 of a core (issue 15). An honest peer names a piece when it comes to have it:
// 50,000 a second are 3 GB/s of a large file, and four of the largest directories at once are
// 530,000. As of messages, a peer takes twice that.
/// Pieces that one peer's news may name, a second and at once.
const NEWS_PIECES: (u32, u32) = (100_000, 1_200_000);

/// The rate limiters of one peer.
#[derive(Debug)]
pub struct MessageRates {
    /// One for each row of [`RULES`].
    kinds: [RateLimiter; RULES.len()],
    /// For the pieces that news names.
    pieces: RateLimiter,
    pieces_max: u32,
}

impl Default for MessageRates {
    /// Those to which a peer is held.
    fn default() -> Self {
        let (rate, pieces_max) = NEWS_PIECES;
        Self {
            kinds: RULES.map(|rule| RateLimiter::new(rule.rate, rule.burst)),
            pieces: RateLimiter::new(rate, pieces_max),
            pieces_max,
        }
    }
}

impl MessageRates {
    /// Those to which this node keeps.
    pub fn sent() -> Self {
        let (rate, pieces_max) = (NEWS_PIECES.0 / 2, NEWS_PIECES.1 / 2);
        Self {
            kinds: RULES.map(|rule| {
                let (rate, burst) = rule.sent();
                RateLimiter::new(rate, burst)
            }),
            pieces: RateLimiter::new(rate, pieces_max),
            pieces_max,
        }
    }

    /// One more frame, with this body. Without a rule it is no frame, which the decoder says.
    ///
    /// # Errors
    /// It is too early, by so much.
    pub fn take(&mut self, body: &[u8], now: Instant) -> Result<(), Duration> {
        let Some(index) = SwarmMessageRule::index(body) else { return Ok(()) };
        let pieces = match index {
            NEWS => body.get(33..).and_then(News::count_pieces).unwrap_or(0),
            _ => 0,
        };
        // The most at once, which more may not be: it would wait for ever.
        let pieces = pieces.min(self.pieces_max);
        let early = self.kinds[index].early(1, now).max(self.pieces.early(pieces, now));
        if !early.is_zero() {
            return Err(early);
        }
        self.kinds[index].take(1, now)?;
        self.pieces.take(pieces, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_passes_at_its_own_rate() {
        let body = |index: usize| vec![index as u8 + 1];
        for (index, rule) in RULES.iter().enumerate() {
            let (mut rates, start) = (MessageRates::default(), Instant::now());
            let passed = |rates: &mut MessageRates, now| {
                let one = body(index);
                (0..2 * rule.burst).filter(|_| rates.take(&one, now).is_ok()).count() as u32
            };
            let name = rule.name;
            assert_eq!(passed(&mut rates, start), rule.burst, "{name} at once");
            let later = start + Duration::from_secs(1);
            let second = passed(&mut rates, later);
            assert!(second.abs_diff(rule.rate.min(rule.burst)) <= 1, "{name}: {second} a second");
            // Another kind is not held up by it.
            assert_eq!(rates.take(&body((index + 1) % RULES.len()), start), Ok(()));
        }
    }

    #[test]
    fn news_is_counted_by_the_pieces_that_it_names() {
        let news = |pieces: u32| {
            let news = News { have: std::iter::once(0..pieces).collect(), ..News::default() };
            [&[NEWS as u8 + 1][..], &[7; 32], &news.encode()].concat()
        };
        let (mut rates, now) = (MessageRates::default(), Instant::now());
        let large = news(300_000);
        let passed = (0..10).filter(|_| rates.take(&large, now).is_ok()).count();
        assert_eq!(passed, 4);
        let early = rates.take(&large, now).unwrap_err();
        assert_eq!(rates.take(&large, now + early), Ok(()), "after {early:?}");
        // Of more pieces than may come at once: it waits, but not for ever.
        let largest = news(u32::MAX - 1);
        let early = rates.take(&largest, now).unwrap_err();
        assert!(early <= Duration::from_secs(20), "{early:?}");
        assert_eq!(rates.take(&largest, now + early), Ok(()));
    }

    #[test]
    fn more_tokens_than_there_ever_are_leave_the_bucket_as_it_was() {
        let (mut tokens, now) = (RateLimiter::new(100_000, 1_000_000), Instant::now());
        assert!(tokens.take(u32::MAX, now).is_err());
        assert_eq!(tokens.take(1_000_000, now), Ok(()));
        assert!(tokens.take(1, now).is_err());
    }
}
