//! Announcements of a peer: pieces that it has, pieces that it is fetching from the origin,
//! and pieces that it no longer fetches there.
//!
//! Encoded as three lists of runs: a count, then a gap and a length for each run. A whole
//! file takes 4 bytes, one new piece about 6.

use std::ops::Range;

use crate::{
    runs::{put_run, take_run},
    varint,
};

/// A change since the last announcement. The first one of a connection has everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Ascending and apart.
    pub have: Vec<Range<u32>>,
    /// Ascending. Other nodes leave these pieces of the origin alone.
    pub claims: Vec<u32>,
    /// Ascending.
    pub released: Vec<u32>,
}

/// An announcement that does not decode, or names pieces that the resource does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed news of a resource")]
pub struct NewsError;

impl News {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_runs(&mut out, &self.have);
        put_runs(&mut out, &runs(&self.claims));
        put_runs(&mut out, &runs(&self.released));
        out
    }

    // Before it is decoded: claims take memory by their number, and not by their bytes.
    /// How many pieces an encoded announcement names, which is what it costs; `None`: it does not
    /// decode.
    pub fn count_pieces(mut bytes: &[u8]) -> Option<u32> {
        let mut named = 0;
        for _ in 0..3 {
            let runs = take_runs(&mut bytes, u32::MAX)?;
            named += runs.iter().map(|run| u64::from(run.end - run.start)).sum::<u64>();
        }
        Some(u32::try_from(named).unwrap_or(u32::MAX))
    }

    /// One announcement that says what this and the `next` one of the same peer say.
    // Whoever gets it takes the pieces first, then what is released, and then the claims.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        let comes = |piece: u32| {
            let at = next.have.partition_point(|run| run.end <= piece);
            next.have.get(at).is_some_and(|run| run.contains(&piece))
        };
        let stays = |piece: &u32| next.released.binary_search(piece).is_err() && !comes(*piece);
        self.claims.retain(stays);
        for (pieces, more) in [(&mut self.claims, next.claims), (&mut self.released, next.released)]
        {
            pieces.extend(more);
            pieces.sort_unstable();
            pieces.dedup();
        }
        self.have.extend(next.have);
        self.have.sort_unstable_by_key(|run| run.start);
        self.have.dedup_by(|run, before| {
            let touches = run.start <= before.end;
            if touches {
                before.end = before.end.max(run.end);
            }
            touches
        });
        self
    }

    /// Decodes an announcement for a resource of `pieces` pieces.
    pub fn decode(mut bytes: &[u8], pieces: u32) -> Result<Self, NewsError> {
        let mut list = || take_runs(&mut bytes, pieces).ok_or(NewsError);
        let (have, claims, released) = (list()?, list()?, list()?);
        let each = |runs: Vec<Range<u32>>| runs.into_iter().flatten().collect();
        let news = Self { have, claims: each(claims), released: each(released) };
        if bytes.is_empty() { Ok(news) } else { Err(NewsError) }
    }
}

fn runs(pieces: &[u32]) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for piece in pieces {
        match runs.last_mut() {
            Some(run) if run.end == *piece => run.end += 1,
            _ => runs.push(*piece..piece + 1),
        }
    }
    runs
}

fn put_runs(out: &mut Vec<u8>, runs: &[Range<u32>]) {
    varint::put(out, runs.len() as u64);
    let mut from = 0;
    for run in runs {
        put_run(out, &mut from, run.start.into()..run.end.into());
    }
}

fn take_runs(bytes: &mut &[u8], pieces: u32) -> Option<Vec<Range<u32>>> {
    let count = varint::take(bytes)?;
    // A run has at least two bytes: a larger count is a lie, and would only make the loop
    // long.
    if count > bytes.len() as u64 / 2 {
        return None;
    }
    let mut from = 0;
    let runs = (0..count).map(|_| take_run(bytes, &mut from, pieces.into()));
    runs.map(|run| run.map(|run| run.start as u32..run.end as u32)).collect()
}

/// Adds a piece to ascending, separate runs.
pub(crate) fn push_piece(runs: &mut Vec<Range<u32>>, piece: u32) {
    let at = runs.partition_point(|run| run.end < piece);
    match runs.get_mut(at) {
        Some(run) if run.contains(&piece) => return,
        Some(run) if run.end == piece => run.end += 1,
        Some(run) if run.start == piece + 1 => run.start -= 1,
        _ => runs.insert(at, piece..piece + 1),
    }
    if runs.get(at + 1).is_some_and(|next| next.start == runs[at].end) {
        runs[at].end = runs.remove(at + 1).end;
    }
}

/// Adds a piece to ascending pieces.
pub(crate) fn insert_sorted(pieces: &mut Vec<u32>, piece: u32) {
    if let Err(at) = pieces.binary_search(&piece) {
        pieces.insert(at, piece);
    }
}
