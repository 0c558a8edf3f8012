//! Blocks that were decoded, for callers that ask for them again.
//!
//! What always holds: what a block takes is claimed before it is decoded, and held until the last
//! that uses it is done; what is kept is bounded in bytes, and goes when a caller lacks room.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use trefoil_ledger::{LedgerError, Snapshot, StoredBlock};
use trefoil_types::{Height, RecoveredBlock};

use crate::{
    RpcError, RpcResult,
    memory::{Claim, MemoryAccount},
};

// A log costs 375 gas and a byte of its data 8, so this has at most 2,600 logs or 128 kB of them, and
// 47 transactions: less than a millisecond.
/// Gas with which a block is read at once.
const LIGHT_GAS: u64 = 1_000_000;
// They are looked through one by one.
/// Blocks of a kind that are kept, however small.
const KEPT_MAX: usize = 64;

/// A block or its body, with its claim; clone freely.
#[derive(Clone)]
pub struct HeldBlock<T> {
    block: T,
    /// `None`: it is in memory whether anybody asks for it or not.
    claim: Option<Arc<Claim>>,
}

impl<T> Deref for HeldBlock<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.block
    }
}

impl<T> HeldBlock<T> {
    /// What is claimed for it, bytes.
    pub fn bytes(&self) -> usize {
        self.claim.as_ref().map_or(0, |claim| claim.bytes())
    }
}

// Callers wait for the receipts of a block one by one, and a large one takes a second to decode. A
// final block never changes, so its height names it.
/// The blocks read last, the newest first.
struct RecentBlocks<T>(Mutex<VecDeque<(Height, HeldBlock<T>)>>);

impl<T: Clone> RecentBlocks<T> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Height, HeldBlock<T>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, height: Height) -> Option<HeldBlock<T>> {
        let kept = self.lock();
        kept.iter().find(|(of, _)| *of == height).map(|(_, held)| held.clone())
    }

    /// Keeps a block, and of the others the newest that have room beside it in `max` bytes.
    fn keep(&self, height: Height, held: HeldBlock<T>, max: usize) {
        let mut kept = self.lock();
        kept.retain(|(of, _)| *of != height);
        kept.push_front((height, held));
        kept.truncate(KEPT_MAX);
        let mut bytes = 0;
        kept.retain(|(_, held)| {
            bytes += held.bytes();
            bytes <= max
        });
    }
}

/// Decodes blocks, and keeps those that were read last.
pub struct BlockCache {
    memory: MemoryAccount,
    bodies: RecentBlocks<Arc<RecoveredBlock>>,
    blocks: RecentBlocks<StoredBlock>,
    /// How often callers had been refused when this was last looked at.
    refusals: AtomicUsize,
}

impl BlockCache {
    /// What it decodes draws on `memory`; of what it keeps, bodies and blocks a sixteenth each.
    pub fn new(memory: MemoryAccount) -> Self {
        let (bodies, blocks) = (RecentBlocks(Mutex::default()), RecentBlocks(Mutex::default()));
        Self { memory, bodies, blocks, refusals: AtomicUsize::new(0) }
    }

    /// Whether a block is read and decoded in less than a millisecond, or need not be.
    pub fn is_light(&self, snapshot: &Snapshot, height: Height) -> RpcResult<bool> {
        if snapshot.is_in_memory(height) || self.blocks.get(height).is_some() {
            return Ok(true);
        }
        Ok(snapshot.header(height)?.is_none_or(|(_, header)| header.gas_used <= LIGHT_GAS))
    }

    /// A block with its receipts; it is kept.
    pub fn block(
        &self,
        snapshot: &Snapshot,
        height: Height,
    ) -> RpcResult<Option<HeldBlock<StoredBlock>>> {
        let held = self.block_once(snapshot, height)?;
        self.keep(&self.blocks, height, held.as_ref());
        Ok(held)
    }

    /// As [`BlockCache::block`] for a walk over many: it is not kept.
    pub fn block_once(
        &self,
        snapshot: &Snapshot,
        height: Height,
    ) -> RpcResult<Option<HeldBlock<StoredBlock>>> {
        if let Some(held) = self.blocks.get(height) {
            return Ok(Some(held));
        }
        let bytes = snapshot.body_memory(height)? + snapshot.receipts_memory(height)?;
        self.decode(bytes, || snapshot.block(height))
    }

    /// A block without its receipts; it is kept.
    pub fn body(
        &self,
        snapshot: &Snapshot,
        height: Height,
    ) -> RpcResult<Option<HeldBlock<Arc<RecoveredBlock>>>> {
        let held = self.body_once(snapshot, height)?;
        if self.blocks.get(height).is_none() {
            self.keep(&self.bodies, height, held.as_ref());
        }
        Ok(held)
    }

    /// As [`BlockCache::body`] for a walk over many: it is not kept.
    pub fn body_once(
        &self,
        snapshot: &Snapshot,
        height: Height,
    ) -> RpcResult<Option<HeldBlock<Arc<RecoveredBlock>>>> {
        if let Some(held) = self.bodies.get(height) {
            return Ok(Some(held));
        }
        if let Some(HeldBlock { block, claim }) = self.blocks.get(height) {
            return Ok(Some(HeldBlock { block: block.block, claim }));
        }
        self.decode(snapshot.body_memory(height)?, || snapshot.body(height))
    }

    /// Decodes what takes so many bytes. Under no lock: it may take a second.
    fn decode<T>(
        &self,
        bytes: usize,
        read: impl FnOnce() -> Result<Option<T>, LedgerError>,
    ) -> RpcResult<Option<HeldBlock<T>>> {
        if bytes == 0 {
            return Ok(read()?.map(|block| HeldBlock { block, claim: None }));
        }
        let max = self.memory.answer_max();
        if bytes > max {
            return Err(self.memory.too_large(max));
        }
        let claim = match self.memory.claim(bytes) {
            Err(RpcError::Busy(_)) => {
                self.forget();
                self.memory.claim(bytes)?
            }
            claimed => claimed?,
        };
        Ok(read()?.map(|block| HeldBlock { block, claim: Some(Arc::new(claim)) }))
    }

    fn keep<T: Clone>(&self, among: &RecentBlocks<T>, height: Height, held: Option<&HeldBlock<T>>) {
        let max = self.memory.max() / 16;
        if let Some(held) = held.filter(|held| (1..=max).contains(&held.bytes())) {
            among.keep(height, held.clone(), max);
        }
    }

    fn forget(&self) {
        self.bodies.lock().clear();
        self.blocks.lock().clear();
    }

    /// Keeps nothing of what is kept, if a caller was refused room since this was last called.
    pub fn yield_room(&self) {
        let refusals = self.memory.refusals();
        if self.refusals.swap(refusals, Ordering::Relaxed) != refusals {
            self.forget();
        }
    }
}
