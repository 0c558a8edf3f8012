//! Restores a state snapshot into a fresh directory. The file is streamed, and the trie is
//! built again; the state is accepted only when its root is that of a block that is proven
//! final.

use std::{io::Read, sync::Arc};

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_primitives::Bytes;
use trefoil_types::{B256, ChainSpec, Disk, Header, Height, Turns, ValidatorSet};

use super::{
    error::{JoinError, unproven},
    frames::FrameReader,
    sorter::{self, Sorted, Sorter},
    state_file::{ANCESTORS, STATE_FILE, StateCounts, StateFileHeader, kind},
    state_rows::{BATCH_BYTES, StateRows},
    trail::{Handover, Trail, check_block},
    trie_builder::TrieBuilder,
};
use crate::{
    Governed, Snapshot,
    chain_view::ChainView,
    checkpoint, codec,
    genesis::genesis,
    header,
    overlay::{Generation, Outcome},
    store::{Base, Batch, FILE, FORMAT, RESTORING, Store, Table},
};

/// The block and the size of a restored snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    pub height: Height,
    /// The hash of the block.
    pub hash: B256,
    pub state_root: B256,
    pub counts: StateCounts,
}

/// The block that a snapshot claims: height and hash. It proves nothing.
///
/// # Errors
/// The file does not begin as a snapshot.
pub fn peek(file: impl Read) -> Result<(Height, B256), JoinError> {
    let StateFileHeader { block, .. } = begin(file)?.decode(kind::HEAD)?;
    Ok((block.header.number, block.header.hash_slow()))
}

// Attack: a file of gigabytes whose block nobody signed. Whoever fetches it reads its beginning
// first, which is short.
/// The block of a snapshot, proven final by the beginning of its file: height and hash. What
/// follows, the state, is not read and not proven.
///
/// # Errors
/// A file that is damaged, of another chain, not proven, or that ends within its beginning.
pub fn prove(spec: &ChainSpec, file: impl Read) -> Result<(Height, B256), JoinError> {
    let genesis = genesis(spec)?;
    let way = Way::read(&mut begin(file)?, spec, &genesis, None, |_| Ok(()))?;
    Ok((way.block.number, way.hash()))
}

/// The part of a chain that a disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainOnDisk {
    /// Nothing, or a restore that did not finish.
    Nothing { unfinished: bool },
    /// A chain up to block `tip`, whose blocks before `blocks_from` are not here.
    Chain { tip: Height, blocks_from: Height },
}

/// Reads the disk and changes nothing.
///
/// # Errors
/// A failed disk, or a database of another format.
pub fn standing(disk: &dyn Disk) -> Result<ChainOnDisk, JoinError> {
    let listed = disk.list()?;
    if !listed.iter().any(|name| name == FILE) {
        // A journal without a database belongs to a chain too: its votes must not be lost
        // under a restore.
        let journal = listed.iter().any(|name| name.starts_with("journal-"));
        return Ok(match journal {
            true => ChainOnDisk::Chain { tip: 0, blocks_from: 0 },
            false => ChainOnDisk::Nothing { unfinished: false },
        });
    }
    let base = Store::open(disk)?.base()?;
    Ok(match (base.is_restoring()?, base.genesis) {
        (true, _) => ChainOnDisk::Nothing { unfinished: true },
        (false, None) => ChainOnDisk::Nothing { unfinished: false },
        (false, Some(_)) => ChainOnDisk::Chain { tip: base.tip, blocks_from: base.blocks_from },
    })
}

// Attack: a long-range fork. The keys of a former set can still sign, and their owners have
// no stake left to lose. `trusted` is the answer (weak subjectivity).
/// Reads a state snapshot into a disk that holds no chain yet. Afterwards the ledger opens
/// at its block. Memory is bounded, whatever the file holds.
///
/// With `trusted`, the block must have that hash too. Without it, the block is proven by
/// the validators alone: the holder of the keys of more than two thirds of a former set
/// could prove another chain.
///
/// # Errors
/// A file that is damaged, of another chain or not proven; a disk that holds a chain or
/// fails. Afterwards the directory cannot be opened until a restore has succeeded, which
/// begins from nothing, or was given up ([`abandon`]).
pub fn restore(
    disk: &dyn Disk,
    spec: &ChainSpec,
    file: impl Read,
    trusted: Option<B256>,
) -> Result<Restored, JoinError> {
    let genesis = genesis(spec)?;
    let mut file = begin(file)?;
    let mut begun = None;
    // The way is short, so that it is read before the disk is touched: a file of another chain
    // leaves an empty directory empty. A long one is written while it is read.
    let mut way = Way::read(&mut file, spec, &genesis, trusted, |rows| {
        let store = match begun.take() {
            Some(store) => store,
            None => begin_store(disk)?,
        };
        store.write(rows)?;
        begun = Some(store);
        Ok(())
    })?;
    let store = match begun {
        Some(store) => store,
        None => begin_store(disk)?,
    };
    let mut sorter = Sorter::begin(disk)?;
    let counts = StateRows::new(&store, &mut sorter).read(file)?;
    build_trie(disk, &store, sorter, &way.block)?;
    store.write(way.take_rows(&genesis))?;
    // The mark is removed last, after every check.
    way.check_next(spec, &store, &genesis)?;
    let mut batch = Batch::default();
    batch.remove(Table::Meta, RESTORING);
    store.write(batch)?;
    let Header { number: height, state_root, .. } = way.block;
    Ok(Restored { height, hash: way.hash(), state_root, counts })
}

/// Drops what a restore left that did not finish: the disk is empty again. A chain is left alone.
///
/// # Errors
/// A failed disk, or a database of another format.
pub fn abandon(disk: &dyn Disk) -> Result<(), JoinError> {
    if standing(disk)? == (ChainOnDisk::Nothing { unfinished: true }) {
        disk.remove(sorter::FILE)?;
        // Last, since it says that there is something to drop.
        disk.remove(FILE)?;
    }
    Ok(())
}

fn begin<R: Read>(file: R) -> Result<FrameReader<R>, JoinError> {
    FrameReader::begin(file, &STATE_FILE)
}

/// An empty database in which a restore is under way. The remains of an earlier restore are
/// dropped.
fn begin_store(disk: &dyn Disk) -> Result<Store, JoinError> {
    // Never over a chain: its journal may hold votes that must not be forgotten.
    if let ChainOnDisk::Chain { tip, .. } = standing(disk)? {
        return Err(JoinError::Taken { tip });
    }
    disk.remove(FILE)?;
    let store = Store::open(disk)?;
    let mut batch = Batch::default();
    batch.put(Table::Meta, RESTORING, Bytes::new());
    store.write(batch)?;
    Ok(store)
}

/// The proven way from genesis to the snapshot's block.
struct Way<'a> {
    block: Header,
    trail: Trail<'a>,
    /// What the ledger needs of it and was not written yet.
    rows: Batch,
}

impl<'a> Way<'a> {
    /// `write` takes rows whenever they are many.
    fn read(
        file: &mut FrameReader<impl Read>,
        spec: &'a ChainSpec,
        genesis: &Outcome,
        trusted: Option<B256>,
        mut write: impl FnMut(Batch) -> Result<(), JoinError>,
    ) -> Result<Self, JoinError> {
        let trail = Trail::new(spec, genesis);
        let StateFileHeader { genesis: found, block, turns } = file.decode(kind::HEAD)?;
        // The cheap checks first, before any signature.
        if found != trail.genesis {
            return Err(JoinError::OtherChain { found, wanted: trail.genesis });
        }
        let hash = block.header.hash_slow();
        if let Some(trusted) = trusted.filter(|trusted| *trusted != hash) {
            let height = block.header.number;
            return Err(unproven(format!("block {height} is {hash}, you trust {trusted}")));
        }
        check_block(&block.header, &block.certificate)?;
        let ancestors: Vec<Header> = file.decode(kind::ANCESTORS)?;
        check_ancestors(&ancestors, &block.header, trail.genesis)?;
        let mut way = Self { block: block.header.clone(), trail, rows: Batch::default() };
        ancestors.iter().for_each(|header| put_header(&mut way.rows, header));
        way.put_validators(1);
        while file.peek()? == kind::HANDOVER {
            // Attack: true blocks without end that change nothing, so that a false block after them
            // is never looked at.
            if !way.follow(&file.decode(kind::HANDOVER)?)? {
                return Err(unproven("it has a handover that does not change the validators"));
            }
            if way.rows.bytes() >= BATCH_BYTES {
                write(std::mem::take(&mut way.rows))?;
            }
        }
        // Those of the block itself, before others follow it.
        let validators = way.trail.validators.clone();
        way.follow(&block)?;
        way.put_turns(validators, &turns)?;
        Ok(way)
    }

    /// Checks that the block binds these priorities of its validators.
    fn put_turns(&mut self, of: ValidatorSet, priorities: &[u8]) -> Result<(), JoinError> {
        let header = &self.block;
        let certificate = header.parent_beacon_block_root.unwrap_or_default();
        let binds = |turns: &Turns| {
            header.mix_hash == header::randao(header.parent_hash, certificate, turns.hash())
        };
        if !Turns::resume(of, priorities).as_ref().is_some_and(binds) {
            return Err(unproven("its block does not bind its turns to propose"));
        }
        self.rows.put(Table::Turns, codec::height_key(header.number), priorities.to_vec());
        Ok(())
    }

    fn hash(&self) -> B256 {
        self.block.hash_slow()
    }

    /// Whether the block changes who validates.
    fn follow(&mut self, handover: &Handover) -> Result<bool, JoinError> {
        let changes = self.trail.follow(handover)?;
        let Handover { header, certificate, witness } = handover;
        let key = codec::height_key(header.number);
        put_header(&mut self.rows, header);
        self.rows.put(Table::Certificates, &key, alloy_rlp::encode(certificate));
        if changes {
            self.rows.put(Table::Handovers, &key, alloy_rlp::encode(witness));
            self.put_validators(header.number + 1);
        }
        Ok(changes)
    }

    fn put_validators(&mut self, from: Height) {
        let set = alloy_rlp::encode(&self.trail.validators);
        self.rows.put(Table::Validators, codec::height_key(from), set);
    }

    /// Everything that the ledger needs besides the state and what was written.
    fn take_rows(&mut self, genesis: &Outcome) -> Batch {
        let mut batch = std::mem::take(&mut self.rows);
        let height = self.block.number;
        batch.put(Table::Meta, "format", vec![FORMAT]);
        batch.put(Table::Meta, "genesis", self.trail.genesis.to_vec());
        batch.put(Table::Meta, "tip", codec::height_key(height));
        batch.put(Table::Meta, "blocks_from", codec::height_key(height + 1));
        checkpoint::put_block(&mut batch, &genesis.block, &genesis.receipts);
        batch
    }

    // Attack: a file that leaves out a change of validators. Its certificates may verify by
    // the old set all the same; but the state itself names the next set.
    /// Checks that the state names the same validators as the way.
    fn check_next(
        &self,
        spec: &ChainSpec,
        store: &Store,
        genesis: &Outcome,
    ) -> Result<(), JoinError> {
        let tip = Arc::new((self.hash(), self.block.clone()));
        let view = ChainView {
            genesis: self.trail.genesis,
            tip,
            governed: genesis.governed.clone().expect("genesis has read what it founds"),
            current: Generation::default(),
            flushing: None,
            base: Arc::new(store.base()?),
            codes: Arc::default(),
        };
        let state = Snapshot { view: Arc::new(view) }.state(self.block.number)?;
        let next = Governed::read_validators(spec, &self.block, &state)?;
        if self.trail.validators != next {
            return Err(unproven("it leaves out a change of validators"));
        }
        Ok(())
    }
}

fn put_header(batch: &mut Batch, header: &Header) {
    let key = codec::height_key(header.number);
    batch.put(Table::Headers, &key, alloy_rlp::encode(header));
    batch.put(Table::Heights, header.hash_slow(), key);
}

// The state root does not cover them, but contracts read them (BLOCKHASH): a wrong one
// would give this node other results than all others.
/// Checks the headers before the block: as many as BLOCKHASH can reach, each the parent of
/// the next.
fn check_ancestors(ancestors: &[Header], block: &Header, genesis: B256) -> Result<(), JoinError> {
    let first = block.number.saturating_sub(ANCESTORS);
    let wrong = || unproven("its headers do not lead to its block");
    if block.number == 0 || ancestors.len() as u64 != block.number - first {
        return Err(wrong());
    }
    let mut child = block;
    for header in ancestors.iter().rev() {
        let follows = child.parent_hash == header.hash_slow() && child.number - 1 == header.number;
        if !follows || header.number == 0 && child.parent_hash != genesis {
            return Err(wrong());
        }
        child = header;
    }
    Ok(())
}

/// Builds the trie and compares its root with the block's.
fn build_trie(
    disk: &dyn Disk,
    store: &Store,
    sorter: Sorter,
    block: &Header,
) -> Result<(), JoinError> {
    let mut builder = TrieBuilder::new(store)?;
    let base = store.base()?;
    sorter.drain(disk, |sorted| {
        if let Sorted::Account(_, account) = &sorted {
            check_code(&base, &account.code_hash)?;
        }
        builder.take(sorted)
    })?;
    let root = builder.finish()?;
    if root != block.state_root {
        let (height, wanted) = (block.number, block.state_root);
        let why = format!("its state has the root {root}, block {height} says {wanted}");
        return Err(unproven(why));
    }
    Ok(())
}

// The root binds the hash of a code, not the code: a missing one would show only when a
// call needs it, as a node that stops.
/// Checks that the code of an account is in the file.
fn check_code(base: &Base, hash: &B256) -> Result<(), JoinError> {
    let here =
        *hash == KECCAK_EMPTY || base.read(Table::Codes, hash.as_slice(), |_| Some(()))?.is_some();
    if here { Ok(()) } else { Err(unproven(format!("it lacks the code {hash}"))) }
}
