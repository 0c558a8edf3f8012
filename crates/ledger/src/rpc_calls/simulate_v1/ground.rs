//! The ground of simulated blocks: a block of the chain and the state after it.

use std::fmt;

use trefoil_types::{B256, ChainSpec, Header, Height};

use crate::{
    BlockRules, CallError, CallMemory, Governed, LedgerError, MemoryTrie, Snapshot, StateAt,
    rpc_calls::governed_at, trie::NodeReader,
};

/// What a changed row of an older trie takes besides its key and itself, bytes.
const ROW_BYTES: usize = 200;

/// Returns the rules of a block of which number and timestamp are known.
type RulesOf<'a> = dyn Fn(&Header) -> Result<BlockRules, LedgerError> + 'a;

/// A block, the state after it, and the rules of the blocks to come.
pub struct Ground<'a, S> {
    pub(super) hash: B256,
    pub(super) header: Header,
    pub(super) state: S,
    pub(super) trie: Box<dyn NodeReader + 'a>,
    rules: Box<RulesOf<'a>>,
}

impl<S> fmt::Debug for Ground<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl<'a> Ground<'a, StateAt> {
    /// The block at `height` of this chain, which holds no more than `memory` has.
    ///
    /// # Errors
    /// There is none, or its state or state trie is no longer kept, or takes too much memory.
    pub fn at(
        spec: &'a ChainSpec,
        snapshot: &'a Snapshot,
        height: Height,
        memory: &CallMemory<'_>,
    ) -> Result<Self, CallError> {
        let (hash, header) = snapshot.header(height)?.ok_or(CallError::NoBlock(height))?;
        let state = snapshot.state(height)?;
        let governed = governed_at(spec, snapshot, &header, &state)?;
        // A simulation may look at any row that the blocks since have changed.
        let mut held = 0;
        let hold = |key: &[u8], bytes| {
            held += key.len() + bytes + ROW_BYTES;
            memory.hold(held).map(|()| true)
        };
        Ok(Self {
            hash,
            header,
            state,
            trie: Box::new(snapshot.view.trie_at(height, hold)?),
            rules: Box::new(move |header| rules_of_chain(spec, &governed, header)),
        })
    }
}

/// The rules of a simulated block. It has no base fee yet, so the settings decide whether gas
/// is free.
pub(super) fn rules_of_chain(
    spec: &ChainSpec,
    governed: &Governed,
    header: &Header,
) -> Result<BlockRules, LedgerError> {
    let gas_free = governed.settings.is_gas_free();
    Ok(BlockRules { gas_free, ..governed.rules(spec, header)? })
}

impl<'a, S> Ground<'a, S> {
    /// A block of any chain, with its state in memory. `rules` returns the rules of a
    /// block of which number and timestamp are known.
    pub fn in_memory(
        header: Header,
        state: S,
        trie: MemoryTrie,
        rules: impl Fn(&Header) -> BlockRules + 'a,
    ) -> Self {
        let hash = header.hash_slow();
        let rules = Box::new(move |header: &Header| Ok(rules(header)));
        Self { hash, header, state, trie: Box::new(trie), rules }
    }

    pub(super) fn rules(&self, header: &Header) -> Result<BlockRules, CallError> {
        Ok((self.rules)(header)?)
    }
}
