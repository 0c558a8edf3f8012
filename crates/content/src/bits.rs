//! A set of small numbers, one bit each: which pieces or groups are here.

use std::ops::Range;

/// A set of numbers below `len`. Takes `len / 8` bytes, whatever is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    len: u64,
    words: Vec<u64>,
}

impl Bits {
    /// None of the numbers below `len`.
    pub fn none(len: u64) -> Self {
        Self { len, words: vec![0; len.div_ceil(64) as usize] }
    }

    /// All of the numbers below `len`.
    pub fn all(len: u64) -> Self {
        let mut bits = Self::none(len);
        bits.insert_range(0..len);
        bits
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub fn is_full(&self) -> bool {
        self.count() == self.len
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether `at` is in it. Numbers from `len` on are not.
    pub fn has(&self, at: u64) -> bool {
        let word = self.words.get((at / 64) as usize);
        word.is_some_and(|word| word & bit(at) != 0)
    }

    /// Whether it was not there. `at` is below `len`.
    pub fn insert(&mut self, at: u64) -> bool {
        assert!(at < self.len, "{at} is not below {}", self.len);
        let word = &mut self.words[(at / 64) as usize];
        let new = *word & bit(at) == 0;
        *word |= bit(at);
        new
    }

    pub fn remove(&mut self, at: u64) {
        if let Some(word) = self.words.get_mut((at / 64) as usize) {
            *word &= !bit(at);
        }
    }

    /// `range` ends at `len` or before.
    pub fn insert_range(&mut self, range: Range<u64>) {
        assert!(range.end <= self.len, "{} is beyond {}", range.end, self.len);
        let mut at = range.start;
        while at < range.end {
            let upto = range.end.min((at / 64 + 1) * 64);
            self.words[(at / 64) as usize] |= mask(at % 64, upto - at);
            at = upto;
        }
    }

    /// Adds all that is in `other`, which is as long.
    pub fn insert_all(&mut self, other: &Bits) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// The numbers in it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        ones(self.words.iter().copied())
    }

    /// The runs of neighbours in it, ascending and apart.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = self.next(from, true)?;
            let end = self.next(start, false).unwrap_or(self.len);
            from = end;
            Some(start..end)
        })
    }

    /// The numbers in this and in no one of `others`, ascending.
    pub fn minus<'a, const N: usize>(
        &'a self,
        others: [&'a Bits; N],
    ) -> impl Iterator<Item = u64> + 'a {
        ones(self.words_minus(others))
    }

    /// The set of [`Bits::minus`].
    #[must_use]
    pub fn without<const N: usize>(&self, others: [&Bits; N]) -> Self {
        Self { len: self.len, words: self.words_minus(others).collect() }
    }

    fn words_minus<'a, const N: usize>(
        &'a self,
        others: [&'a Bits; N],
    ) -> impl Iterator<Item = u64> + 'a {
        self.words.iter().enumerate().map(move |(at, word)| {
            others.iter().fold(*word, |left, other| left & !other.words.get(at).unwrap_or(&0))
        })
    }

    /// The numbers that are in this and in `other`, which is as long.
    #[must_use]
    pub fn shared(&self, other: &Bits) -> Self {
        let words = self.words.iter().zip(&other.words).map(|(word, other)| word & other);
        Self { len: self.len, words: words.collect() }
    }

    /// The first number from `from` on that is in this and in `other`, which is as
    /// long; after the last comes 0 again.
    pub fn first_shared(&self, other: &Bits, from: u64) -> Option<u64> {
        let shared = |at: usize| Some(self.words.get(at)? & other.words.get(at)?);
        let before = |at: usize| shared(at).filter(|_| at as u64 <= from / 64);
        first_one(shared, from).or_else(|| first_one(before, 0))
    }

    /// How many of `range` are in it from its start, without a gap.
    pub fn prefix(&self, range: Range<u64>) -> u64 {
        let gap = self.next(range.start, false).unwrap_or(self.len);
        gap.min(range.end).saturating_sub(range.start)
    }

    /// Whether all of `range` is in it, which an empty one always is.
    pub fn has_all(&self, range: Range<u64>) -> bool {
        self.prefix(range.clone()) == range.end.saturating_sub(range.start)
    }

    /// `len / 8` bytes, the lowest number in the lowest bit of the first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = self.words.iter().flat_map(|word| word.to_le_bytes());
        bytes.take(self.len.div_ceil(8) as usize).collect()
    }

    /// The set of [`Bits::to_bytes`]; `None` for other bytes.
    pub fn from_bytes(len: u64, bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 != len.div_ceil(8) {
            return None;
        }
        let word = |part: &[u8]| {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            u64::from_le_bytes(word)
        };
        let bits = Self { len, words: bytes.chunks(8).map(word).collect() };
        // A bit beyond the end would make two encodings of one set.
        let last = bits.words.last().copied().unwrap_or_default();
        (len.is_multiple_of(64) || last >> (len % 64) == 0).then_some(bits)
    }

    /// The first number from `from` on that is in it (or is not).
    fn next(&self, from: u64, present: bool) -> Option<u64> {
        let word = |at: usize| self.words.get(at).map(|word| if present { *word } else { !*word });
        first_one(word, from).filter(|found| *found < self.len)
    }
}

/// The first bit from `from` on that is one, among the words that `word` gives.
fn first_one(word: impl Fn(usize) -> Option<u64>, from: u64) -> Option<u64> {
    let (mut at, mut keep) = ((from / 64) as usize, !0u64 << (from % 64));
    loop {
        match word(at)? & keep {
            0 => (at, keep) = (at + 1, !0),
            found => return Some(at as u64 * 64 + u64::from(found.trailing_zeros())),
        }
    }
}

fn bit(at: u64) -> u64 {
    1 << (at % 64)
}

/// `count` ones from bit `from` on; together they are 64 or less.
fn mask(from: u64, count: u64) -> u64 {
    (!0 >> (64 - count)) << from
}

fn ones(words: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
    words.enumerate().filter(|(_, word)| *word != 0).flat_map(|(at, word)| {
        let base = at as u64 * 64;
        std::iter::successors(Some(word), |left| left.checked_sub(1).map(|less| left & less))
            .take_while(|left| *left != 0)
            .map(move |left| base + u64::from(left.trailing_zeros()))
    })
}
