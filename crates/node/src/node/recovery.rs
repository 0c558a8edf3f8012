//! A node after a restart: its journal's final blocks executed again, and the height
//! that was under way resumed.

use std::{collections::BTreeMap, sync::Arc};

use trefoil_ledger::{BlockError, Record};
use trefoil_types::{B256, RecoveredBlock, Time};

use crate::{
    Effects,
    node::{Node, OpenError},
};

impl Node {
    /// Recovers from the journal's records: first the final blocks that the last checkpoint
    /// lacks, then the height that was under way. An entry of consensus of a height that is over
    /// is dropped, whatever height the journal's record names.
    pub(super) fn recover(
        &mut self,
        now: Time,
        records: Vec<Record>,
        effects: &mut Effects,
    ) -> Result<(), OpenError> {
        let mut blocks: BTreeMap<B256, Arc<RecoveredBlock>> = BTreeMap::new();
        let mut consensus_records = Vec::new();
        for record in records {
            match record {
                Record::Block(block) => _ = blocks.insert(block.hash, block),
                Record::Consensus { height, bytes } => {
                    // Early programs named the node's height, not the record's own.
                    let height = trefoil_consensus::record_height(&bytes).unwrap_or(height);
                    consensus_records.push((height, bytes));
                }
                Record::Decided(certificate) => {
                    let (next, height) = (self.next_height(), certificate.height);
                    if height > next {
                        return Err(OpenError::Gap { height, next });
                    }
                    if height == next {
                        let hash = certificate.block;
                        let block =
                            blocks.remove(&hash).ok_or(OpenError::Block { height, hash })?;
                        let outcome = self.ledger.execute(block);
                        let invalid =
                            |e: BlockError| OpenError::Invalid { height, hash, reason: e.reason };
                        self.apply(now, outcome.map_err(invalid)?, certificate, effects);
                    }
                    let next = self.next_height();
                    blocks.retain(|_, block| block.header.number >= next);
                    consensus_records.retain(|(height, _)| *height >= next);
                }
            }
        }
        let (next, tip) = (self.next_height(), self.ledger.tip_hash());
        let is_child =
            |block: &RecoveredBlock| block.header.number == next && block.header.parent_hash == tip;
        let children = blocks.into_values().filter(|block| is_child(block));
        children.for_each(|block| self.height.candidates.restore(block));
        let of_next = consensus_records.into_iter().filter(|(height, _)| *height == next);
        let of_next: Vec<Vec<u8>> = of_next.map(|(_, bytes)| bytes).collect();
        if of_next.is_empty() {
            return Ok(());
        }
        Ok(self.begin_height(now, &of_next)?)
    }
}

#[cfg(test)]
mod tests;
