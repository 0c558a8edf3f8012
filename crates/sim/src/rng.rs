//! The random numbers of a run: named ChaCha8 streams, each made from the seed. One more draw
//! from one stream changes no other.

use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use trefoil_crypto::keccak256;

#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The stream called `name` of a seed.
    pub fn new(seed: u64, name: &str) -> Self {
        let key = keccak256([&seed.to_be_bytes()[..], name.as_bytes()].concat());
        Self(ChaCha8Rng::from_seed(key.0))
    }

    /// Any number from `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    /// An index into `len` things, of which there is at least one.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.random_range(0..len)
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, times: u32) -> bool {
        times > 0 && self.0.random_range(0..1000) < times
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }
}
