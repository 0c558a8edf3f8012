//! A sequence of choices for a state machine, read from the fuzzer's bytes.

/// The sequence, byte by byte; zeros where there is no more.
pub struct Words<'a>(pub &'a [u8]);

impl Words<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// As many bytes as the next one says, at most `max`.
    pub fn take(&mut self, max: usize) -> Vec<u8> {
        let length = usize::from(self.byte()).min(max).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }
}
