//! How many peers have each piece: the basis of rarest first.

use crate::Bits;

// Counts alone would make each pick look at up to 100,000 of them (directories of small
// files).
/// The pieces are also kept by count, as bit sets: the rarest of 100,000 pieces is found 64
/// at a time instead of one by one.
#[derive(Debug)]
pub(crate) struct Rarity {
    // `u16` is enough: a resource has at most 256 sources.
    /// Peers that have each piece. Origins are not counted.
    counts: Vec<u16>,
    /// For each count, the pieces that this many peers have.
    ranks: Vec<Bits>,
}

impl Rarity {
    pub fn new(pieces: u64) -> Self {
        Self { counts: vec![0; pieces as usize], ranks: vec![Bits::all(pieces)] }
    }

    /// One more peer has this piece.
    pub fn gain(&mut self, piece: u64) {
        let count = self.counts[piece as usize];
        self.shift(piece, count, count + 1);
    }

    /// One peer fewer has this piece.
    pub fn lose(&mut self, piece: u64) {
        let count = self.counts[piece as usize];
        self.shift(piece, count, count - 1);
    }

    fn shift(&mut self, piece: u64, from: u16, to: u16) {
        if self.ranks.len() <= to.into() {
            self.ranks.push(Bits::none(self.counts.len() as u64));
        }
        self.ranks[usize::from(from)].remove(piece);
        self.ranks[usize::from(to)].insert(piece);
        self.counts[piece as usize] = to;
    }

    /// Pieces that no peer has.
    pub fn unheld(&self) -> &Bits {
        &self.ranks[0]
    }

    pub fn count(&self, piece: u64) -> u16 {
        self.counts[piece as usize]
    }

    /// The rarest of these pieces. Among equals, the first from `turn` on, cyclically.
    pub fn rarest(&self, pieces: &Bits, turn: u64) -> Option<u64> {
        if pieces.is_empty() {
            return None;
        }
        self.ranks.iter().find_map(|rank| pieces.first_shared(rank, turn))
    }
}
