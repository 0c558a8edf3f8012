//! A reader's view of the chain at one tip. It never blocks the writer, and never changes.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_primitives::{Bytes, U256};
use revm::state::Bytecode;
use trefoil_types::{
    Address, B256, Certificate, CertifiedBlock, Header, Height, Receipt, RecoveredBlock, Turns,
    ValidatorSet, keccak256,
};

use crate::{
    Account, Governed, LedgerError, StateReader,
    chain_view::ChainView,
    codec::{self, BodySize},
    header,
    logs::Wanted,
    overlay::{Generation, Outcome},
    store::Table,
    trie::{
        self, NodeKey, NodeReader,
        proof::{is_on_the_way, prove},
    },
};

/// A block as it is stored, with its receipts.
#[derive(Clone, Debug)]
pub struct StoredBlock {
    pub block: Arc<RecoveredBlock>,
    pub receipts: Arc<Vec<Receipt>>,
}

/// EIP-1186: RLP trie nodes from the root down.
#[derive(Clone, Debug)]
pub struct AccountProof {
    pub account: Option<Account>,
    pub storage_root: B256,
    pub proof: Vec<Bytes>,
    /// Slot key (32 bytes, not hashed), value, nodes from the storage root down.
    pub slots: Vec<(B256, U256, Vec<Bytes>)>,
}

/// Cheap to clone; all methods read as of one tip. `Err` is a failed disk or a
/// state older than the history window ([`LedgerError`]).
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) view: Arc<ChainView>,
}

impl Snapshot {
    pub fn tip(&self) -> &Header {
        &self.view.tip.1
    }

    pub fn tip_hash(&self) -> B256 {
        self.view.tip.0
    }

    pub fn genesis_hash(&self) -> B256 {
        self.view.genesis
    }

    /// The demands of the tip's state on the block after it.
    pub fn governed(&self) -> &Arc<Governed> {
        &self.view.governed
    }

    /// Base fee of the block after the tip, in wei.
    pub fn next_base_fee(&self) -> u64 {
        header::next_base_fee(&self.view.governed.settings, self.tip())
    }

    /// The oldest block that is here whole. Not 0 on a node that joined by a state snapshot
    /// and has not imported the whole history.
    pub fn blocks_from(&self) -> Height {
        self.view.base.blocks_from
    }

    pub fn header(&self, height: Height) -> Result<Option<(B256, Header)>, LedgerError> {
        let view = &self.view;
        if height == view.tip.1.number {
            return Ok(Some((*view.tip).clone()));
        }
        if let Some(committed) = view.committed(height) {
            return Ok(Some((committed.block.hash, committed.block.header.clone())));
        }
        let header = view.base.rlp::<Header>(Table::Headers, &codec::height_key(height))?;
        Ok(header.map(|header| (header.hash_slow(), header)))
    }

    pub fn height_of(&self, block: &B256) -> Result<Option<Height>, LedgerError> {
        let on_disk =
            || self.view.base.read(Table::Heights, block.as_slice(), codec::decode_height);
        self.view.memory(|g| g.heights.get(block).copied()).map_or_else(on_disk, |h| Ok(Some(h)))
    }

    /// A block with its receipts. Genesis has neither transactions nor receipts. `None` for
    /// blocks before [`Snapshot::blocks_from`].
    pub fn block(&self, height: Height) -> Result<Option<StoredBlock>, LedgerError> {
        if let Some(committed) = self.view.committed(height) {
            let (block, receipts) = (committed.block.clone(), committed.receipts.clone());
            return Ok(Some(StoredBlock { block, receipts }));
        }
        let Some(block) = self.block_on_disk(height)? else { return Ok(None) };
        let key = codec::height_key(height);
        let receipts = self.view.base.read(Table::Receipts, &key, codec::decode_receipts)?;
        let lost = || LedgerError::damaged(format!("block {height} lacks its receipts"));
        let receipts = Arc::new(receipts.ok_or_else(lost)?);
        Ok(Some(StoredBlock { block: Arc::new(block), receipts }))
    }

    /// A block without its receipts, which can be many times as long.
    pub fn body(&self, height: Height) -> Result<Option<Arc<RecoveredBlock>>, LedgerError> {
        match self.view.committed(height) {
            Some(committed) => Ok(Some(committed.block.clone())),
            None => Ok(self.block_on_disk(height)?.map(Arc::new)),
        }
    }

    /// A block that a checkpoint wrote, without its receipts.
    fn block_on_disk(&self, height: Height) -> Result<Option<RecoveredBlock>, LedgerError> {
        self.read_on_disk(height, codec::decode_body)
    }

    fn read_on_disk<T>(
        &self,
        height: Height,
        decode: impl FnOnce(Header, &[u8]) -> Option<T>,
    ) -> Result<Option<T>, LedgerError> {
        let (base, key) = (&self.view.base, codec::height_key(height));
        let Some(header) = base.rlp::<Header>(Table::Headers, &key)? else { return Ok(None) };
        // Headers of handovers and ancestors are here without their bodies: not kept, which
        // is not damage.
        if height > 0 && height < base.blocks_from {
            return Ok(None);
        }
        let block = base.read(Table::Bodies, &key, |row| decode(header, row))?;
        let lost = || LedgerError::damaged(format!("block {height} lacks its body"));
        block.map(Some).ok_or_else(lost)
    }

    // Attack: requests of peers for large blocks, each of which would be read to learn that it
    // does not fit in an answer.
    /// The size of a block's body, which is not read for it. `None` where [`Snapshot::block`] has
    /// none.
    pub fn body_size(&self, height: Height) -> Result<Option<BodySize>, LedgerError> {
        if let Some(committed) = self.view.committed(height) {
            return Ok(Some(BodySize::of(&committed.block)));
        }
        let key = codec::height_key(height);
        self.view.base.read(Table::BodySizes, &key, codec::decode_body_size)
    }

    pub fn certificate(&self, height: Height) -> Result<Option<Certificate>, LedgerError> {
        let on_disk = || self.view.base.rlp(Table::Certificates, &codec::height_key(height));
        let held = self.view.memory(|g| g.certificates.get(&height).cloned());
        held.map_or_else(on_disk, |certificate| Ok(Some(certificate)))
    }

    /// The unit of block sync.
    pub fn certified_block(&self, height: Height) -> Result<Option<CertifiedBlock>, LedgerError> {
        let Some(certificate) = self.certificate(height)? else { return Ok(None) };
        // Not by way of a recovered block: who asks for many pays for no hash of them.
        let found = match self.view.committed(height) {
            Some(Outcome { block, .. }) => Some((block.to_block(), block.attached.clone())),
            None => self.read_on_disk(height, codec::decode_sent_body)?,
        };
        Ok(found.map(|(block, attached)| CertifiedBlock { block, certificate, attached }))
    }

    /// The validators of the block at `height`; known up to the block after the tip.
    pub fn validators(&self, height: Height) -> Result<Option<ValidatorSet>, LedgerError> {
        let view = &self.view;
        if height == 0 || height > view.tip.1.number.saturating_add(1) {
            return Ok(None);
        }
        let newest = |g: &Generation| g.validators.get_prev(&height).map(|(_, set)| set.clone());
        if let Some(set) = view.memory(newest) {
            return Ok(Some(set));
        }
        let Some((_, row)) = view.newest_row(Table::Validators, height)? else { return Ok(None) };
        let set = alloy_rlp::decode_exact(&row);
        set.map(Some).map_err(|_| LedgerError::damaged("table `validators`"))
    }

    /// The turns of the block at `height`; `None` at genesis and after the tip.
    pub fn turns(&self, height: Height) -> Result<Option<Turns>, LedgerError> {
        let view = &self.view;
        if height == 0 || height > view.tip.1.number {
            return Ok(None);
        }
        let newest = |g: &Generation| g.turns.get_prev(&height).map(|(at, t)| (*at, t.clone()));
        let (from, turns) = view.memory(newest).map_or_else(|| self.stored_turns(height), Ok)?;
        // The same validators since: those of others are stored.
        let pass = |turns: Turns, _| {
            let validators = turns.validators().clone();
            turns.next(&validators)
        };
        Ok(Some((from..height).fold(turns, pass)))
    }

    /// The newest turns in the database up to `height`, and of which height they are.
    fn stored_turns(&self, height: Height) -> Result<(Height, Turns), LedgerError> {
        let damaged = || LedgerError::damaged("table `turns`");
        let (key, row) = self.view.newest_row(Table::Turns, height)?.ok_or_else(damaged)?;
        let from = codec::decode_height(&key).ok_or_else(damaged)?;
        let validators = self.validators(from)?.ok_or_else(damaged)?;
        Turns::resume(validators, &row).map(|turns| (from, turns)).ok_or_else(damaged)
    }

    /// Height and index of a transaction.
    pub fn transaction(&self, hash: &B256) -> Result<Option<(Height, usize)>, LedgerError> {
        let on_disk =
            || self.view.base.read(Table::Transactions, hash.as_slice(), codec::decode_place);
        let place = self.view.memory(|g| g.transactions.get(hash).copied());
        let place = place.map_or_else(on_disk, |place| Ok(Some(place)))?;
        Ok(place.map(|(height, index)| (height, index as usize)))
    }

    /// Heights in `range` whose blocks may hold logs of any of `addresses` with `topics` (at
    /// each position any of the list), ascending. An empty list matches all. They come from
    /// the log index; the caller filters exactly.
    ///
    /// # Errors
    /// [`LedgerError::NoBlock`] if the range begins before the blocks that are here.
    pub fn log_candidates(
        &self,
        range: RangeInclusive<Height>,
        addresses: &[Address],
        topics: &[Vec<B256>],
    ) -> Result<Vec<Height>, LedgerError> {
        if range.is_empty() {
            return Ok(vec![]);
        }
        let (height, oldest) = ((*range.start()).max(1), self.blocks_from());
        // An error and not an empty answer: "not kept" must never look like "no such log".
        if height < oldest {
            return Err(LedgerError::NoBlock { height, oldest });
        }
        let wanted = Wanted { addresses, topics };
        let mut heights = wanted.on_disk(&self.view.base, &range)?;
        for generation in self.view.generations() {
            heights.extend(wanted.in_memory(generation, &range));
        }
        Ok(heights.into_iter().collect())
    }

    /// The state after the block at `height`.
    ///
    /// # Errors
    /// [`LedgerError::Unknown`] after the tip, [`LedgerError::Pruned`] before
    /// the history window.
    pub fn state(&self, height: Height) -> Result<StateAt, LedgerError> {
        let (tip, oldest) = (self.tip().number, self.view.base.state_from);
        if height > tip {
            return Err(LedgerError::Unknown { height, tip });
        }
        if height < oldest {
            return Err(LedgerError::Pruned { height, oldest });
        }
        Ok(StateAt { snapshot: self.clone(), height })
    }

    pub fn code(&self, hash: &B256) -> Result<Option<Bytes>, LedgerError> {
        if let Some(code) = self.view.memory(|g| g.codes.get(hash).cloned()) {
            return Ok(Some(code));
        }
        Ok(self.view.base.get(Table::Codes, hash.as_slice())?.map(Bytes::from))
    }

    /// EIP-1186 proof of an account and some of its slots.
    ///
    /// # Errors
    /// [`LedgerError::Unproven`] before the proofs' window, else as
    /// [`Snapshot::state`].
    pub fn proof(
        &self,
        height: Height,
        address: &Address,
        slots: &[B256],
    ) -> Result<AccountProof, LedgerError> {
        let state = self.state(height)?;
        let account = state.account(address)?;
        let owner = keccak256(address);
        let hashed: BTreeSet<B256> = slots.iter().map(keccak256).collect();
        // 128 blocks may have changed a gigabyte of others.
        let is_needed = |key: &[u8], _| Ok(is_on_the_way(key, &owner, &hashed));
        let nodes = self.view.trie_at(height, is_needed)?;
        let (proof, _) = prove(&nodes, None, owner)?;
        let storage_root = trie::storage_root(&nodes, address)?;
        let prove_slot = |slot: &B256| {
            let (proof, _) = prove(&nodes, Some(owner), keccak256(slot))?;
            Ok((*slot, state.storage(address, (*slot).into())?, proof))
        };
        let slots = slots.iter().map(prove_slot).collect::<Result<_, LedgerError>>()?;
        Ok(AccountProof { account, storage_root, proof, slots })
    }
}

/// The state after one block.
#[derive(Clone, Debug)]
pub struct StateAt {
    snapshot: Snapshot,
    /// The block after which this was the state.
    height: Height,
}

impl StateReader for StateAt {
    fn account(&self, address: &Address) -> Result<Option<Account>, LedgerError> {
        let (view, height) = (&self.snapshot.view, self.height);
        if height < view.base.tip {
            let row = view.base.before(Table::AccountHistory, address.as_slice(), height)?;
            if let Some(row) = row {
                let damaged = || LedgerError::damaged("table `account_history`");
                return codec::decode_account(&row).ok_or_else(damaged);
            }
        }
        // The oldest change after `height` holds the value at `height`: first the database,
        // which is older, then the blocks in memory, in order.
        let before = |c: &Outcome| c.diff.accounts.get(address).map(|change| change.before);
        view.undone(height, before).map_or_else(|| view.account(address), Ok)
    }

    fn storage(&self, address: &Address, slot: U256) -> Result<U256, LedgerError> {
        let (view, height) = (&self.snapshot.view, self.height);
        if height < view.base.tip {
            let key = codec::storage_key(address, &slot);
            if let Some(row) = view.base.before(Table::StorageHistory, &key, height)? {
                let damaged = || LedgerError::damaged("table `storage_history`");
                return codec::decode_slot(&row).ok_or_else(damaged);
            }
        }
        let before = |c: &Outcome| {
            let change = c.diff.accounts.get(address)?;
            change.storage.get(&slot).map(|(before, _)| *before)
        };
        view.undone(height, before).map_or_else(|| view.storage(address, slot), Ok)
    }

    fn code(&self, hash: &B256) -> Result<Option<Bytes>, LedgerError> {
        self.snapshot.code(hash)
    }

    fn bytecode(&self, hash: &B256) -> Result<Option<Bytecode>, LedgerError> {
        self.snapshot.view.codes.get(hash, || self.snapshot.code(hash))
    }

    fn block_hash(&self, height: Height) -> Result<Option<B256>, LedgerError> {
        if height > self.height {
            return Ok(None);
        }
        Ok(self.snapshot.header(height)?.map(|(hash, _)| hash))
    }

    // By the trie of the tip: that of an older state is known for a few blocks only. An account of
    // genesis that EIP-7610 means has neither nonce nor code to this day, and so the storage that
    // it always had. An account that has either got its storage later: no contract would have been
    // created on storage, and whoever sends transactions has an address that no contract gets.
    fn has_storage(&self, address: &Address) -> Result<bool, LedgerError> {
        let view = &self.snapshot.view;
        let root = NodeKey { owner: Some(keccak256(address)), path: None };
        let there = view.node(&root)?.is_some();
        if !there || self.height == view.tip.1.number {
            return Ok(there);
        }
        let unused = |now: Account| now.nonce == 0 && now.code_hash == KECCAK_EMPTY;
        Ok(view.account(address)?.is_none_or(unused))
    }
}
