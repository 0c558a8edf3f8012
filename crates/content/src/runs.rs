//! A set of numbers, kept as runs: its memory follows from how scattered the set is, never
//! from how large the numbers are. Sizes are claims of peers, and one bit for each group of
//! 2^50 bytes would take 8 GiB.

use std::{collections::BTreeMap, ops::Range};

use crate::varint;

/// Numbers below `len`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    len: u64,
    /// The start of each run and its end. Runs do not touch.
    runs: BTreeMap<u64, u64>,
}

impl Runs {
    /// None of the numbers below `len`.
    pub fn none(len: u64) -> Self {
        Self { len, runs: BTreeMap::new() }
    }

    /// All of the numbers below `len`.
    pub fn all(len: u64) -> Self {
        let mut all = Self::none(len);
        all.insert(0..len);
        all
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.has_all(0..self.len)
    }

    /// The runs, ascending and apart.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.runs.iter().map(|(start, end)| *start..*end)
    }

    /// How many of `range` are in it from its start, without a gap.
    pub fn prefix(&self, range: Range<u64>) -> u64 {
        let run = self.runs.range(..=range.start).next_back();
        let end = run.map_or(range.start, |(_, end)| *end);
        end.min(range.end).saturating_sub(range.start)
    }

    /// Whether all of `range` is in it, which an empty one always is.
    pub fn has_all(&self, range: Range<u64>) -> bool {
        self.prefix(range.clone()) == range.end.saturating_sub(range.start)
    }

    /// `range` ends at `len` or before.
    pub fn insert(&mut self, range: Range<u64>) {
        assert!(range.end <= self.len, "{} is beyond {}", range.end, self.len);
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        // Runs that touch become one, so that one set has one form and comparing two sets
        // is cheap.
        while let Some((from, upto)) = self.before(end).filter(|(_, upto)| *upto >= start) {
            self.runs.remove(&from);
            (start, end) = (start.min(from), end.max(upto));
        }
        self.runs.insert(start, end);
    }

    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((from, upto)) =
            self.before(range.end - 1).filter(|(_, upto)| *upto > range.start)
        {
            self.runs.remove(&from);
            for (from, upto) in [(from, range.start), (range.end, upto)] {
                if from < upto {
                    self.runs.insert(from, upto);
                }
            }
        }
    }

    /// The last run that begins at `at` or before.
    fn before(&self, at: u64) -> Option<(u64, u64)> {
        self.runs.range(..=at).next_back().map(|(start, end)| (*start, *end))
    }

    /// A gap and a length for each run.
    pub fn encode(&self) -> Vec<u8> {
        let (mut out, mut from) = (Vec::new(), 0);
        self.iter().for_each(|run| put_run(&mut out, &mut from, run));
        out
    }

    /// The set of [`Runs::encode`]; `None` for other bytes.
    pub fn decode(len: u64, mut bytes: &[u8]) -> Option<Self> {
        let (mut runs, mut from) = (Self::none(len), 0u64);
        while !bytes.is_empty() {
            let run = take_run(&mut bytes, &mut from, len)?;
            runs.runs.insert(run.start, run.end);
        }
        Some(runs)
    }

    /// Adds the ones of a map of bits that begins at `first`, the lowest in the lowest
    /// bit; `false`: one is beyond the end.
    pub fn insert_bits(&mut self, first: u64, bits: &[u8]) -> bool {
        let ones = bits.iter().enumerate().filter(|(_, byte)| **byte != 0);
        for (at, byte) in ones {
            let first = first + at as u64 * 8;
            if *byte == u8::MAX && first + 8 <= self.len {
                self.insert(first..first + 8);
                continue;
            }
            for number in (0..8).filter(|bit| byte >> bit & 1 == 1).map(|bit| first + bit) {
                if number >= self.len {
                    return false;
                }
                self.insert(number..number + 1);
            }
        }
        true
    }

    /// A bit for each number.
    pub fn to_bits(&self) -> Vec<u8> {
        let mut bits = crate::Bits::none(self.len);
        self.iter().for_each(|run| bits.insert_range(run));
        bits.to_bytes()
    }
}

/// Appends the gap from the run before, which ended at `from`, and the length of a run.
pub(crate) fn put_run(out: &mut Vec<u8>, from: &mut u64, run: Range<u64>) {
    varint::put(out, run.start - *from);
    varint::put(out, run.end - run.start);
    *from = run.end;
}

/// Takes a run of numbers below `len` off the front.
pub(crate) fn take_run(bytes: &mut &[u8], from: &mut u64, len: u64) -> Option<Range<u64>> {
    let (gap, count) = (varint::take(bytes)?, varint::take(bytes)?);
    // An empty run, or two runs that touch, would be a second encoding of one set.
    if count == 0 || (gap == 0 && *from > 0) {
        return None;
    }
    let start = from.checked_add(gap)?;
    *from = start.checked_add(count).filter(|end| *end <= len)?;
    Some(start..*from)
}
