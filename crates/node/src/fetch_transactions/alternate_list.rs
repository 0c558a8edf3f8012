//! A list of hashes in reserve.

use std::collections::BTreeSet;

use alloy_rlp::Encodable as _;
use trefoil_types::{PeerId, message::ProposedBlock};

/// A copy of a proposal with another list of hashes than the one that is followed.
#[derive(Debug)]
pub struct AlternateList {
    pub from: PeerId,
    /// Its sender is favoured, so less likely to be the liar.
    pub favoured: bool,
    /// It had its turn, and nobody could complete it.
    pub is_tried: bool,
    /// The peers that had their turn to be asked for what it names.
    pub asked: BTreeSet<PeerId>,
    pub proposed: ProposedBlock,
    /// The bytes of the copy, which are counted once.
    pub bytes: usize,
}

impl AlternateList {
    pub fn new(from: PeerId, favoured: bool, proposed: ProposedBlock) -> Self {
        let bytes = proposed.length();
        Self { from, favoured, is_tried: false, asked: BTreeSet::new(), proposed, bytes }
    }
}
