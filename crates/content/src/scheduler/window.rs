//! The request window of one source: bandwidth times delay, both measured on finished
//! requests.

use trefoil_types::Millis;

// Enough that the path never runs dry, little enough that one source does not tie up many
// pieces (ADR 15).
/// How long a request may queue at a source beyond the shortest time seen.
const QUEUE: Millis = Millis(150);

// A source that measures well must not tie up the whole resource.
/// The most bytes that are open at one source: 1 Gbit/s at 130 ms.
pub(crate) const WINDOW_MAX: u64 = 16 * 1024 * 1024;

#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// Bytes that may be open.
    pub bytes: u64,
    /// The shortest time from a request to its last byte.
    base: Option<Millis>,
    /// Bytes a second while something was open, smoothed; 0: unknown.
    pub rate: u64,
}

impl Window {
    /// Two pieces: while one travels, the next is being asked for.
    pub fn new(piece: u64) -> Self {
        Self { bytes: 2 * piece, base: None, rate: 0 }
    }

    /// A request took `latency`; when it was made, `open` bytes were open with
    /// it. By Little's law `open / latency` is what the source gives, and the
    /// window that lets a request wait for `base + QUEUE` follows.
    pub fn finished(&mut self, open: u64, latency: Millis, piece: u64) {
        let latency = latency.0.max(1);
        let base = self.base.map_or(latency, |base| base.0.min(latency));
        // The minimum, not the mean: the time that a request queues at the source is our
        // own doing, and must not widen the window further.
        self.base = Some(Millis(base));
        let rate = open.saturating_mul(1_000) / latency;
        // One odd measurement moves the rate by a quarter at most.
        self.rate = if self.rate == 0 { rate } else { (3 * self.rate + rate) / 4 };
        let fits = self.rate.saturating_mul(base + QUEUE.0) / 1_000;
        let aim = fits.saturating_add(piece).min(WINDOW_MAX.max(2 * piece));
        self.bytes = (3 * self.bytes + aim) / 4;
    }

    /// A request stalled: one piece at a time until a request finishes.
    pub fn stalled(&mut self, piece: u64) {
        (self.bytes, self.rate) = (piece, self.rate / 2);
    }

    /// How long until `bytes` that are open now will have arrived; very long if nothing
    /// ever arrived.
    pub fn wait(&self, bytes: u64) -> Millis {
        let rate = self.rate.max(1);
        Millis(self.base.unwrap_or_default().0.saturating_add(bytes.saturating_mul(1_000) / rate))
    }
}
