//! The ledger: the tip of the chain, and the only writer of all that the chain remembers.
//!
//! Blocks since the last checkpoint live in memory (ADR 2). A durable redb commit of one
//! block's 21,000 small trie nodes took about half a second, as long as a block interval.
//! A worker writes each value once, however many blocks changed it, while the chain goes on.

use std::sync::Arc;

use alloy_primitives::U256;
use trefoil_types::{
    Address, Admission, B256, Certificate, ChainSpec, Disk, Header, Height, Offence,
    RecoveredBlock, Transaction, Turns, ValidatorSet, ValidatorSignature, Vote, VoteKind,
};

use crate::{
    Account, BlockError, Built, Checkpoint, CheckpointDone, Draft, ExecuteError, Executed,
    Governed, History, LedgerError, Parent, Permissions, Snapshot, StateAt, StateDiff, TxRefusal,
    build,
    chain_view::ChainView,
    checkpoint, execute,
    genesis::genesis,
    overlay::{Generation, Outcome},
    state_sync,
    store::Store,
    trie::{self, TrieChange},
};

// Blocks bound the time of a restart, which executes them again. Bytes bound the memory,
// since 64 full blocks change far more than 64 empty ones.
/// A checkpoint is due after this many blocks or bytes (32 MiB) in memory.
const CHECKPOINT_BLOCKS: usize = 64;
const CHECKPOINT_BYTES: usize = 32 << 20;

// 2 KB for 128 validators: less than a hundredth of the certificates between. Those of the heights
// between are found by counting on, which takes 100 µs at most.
/// The turns of each so many heights are stored, and of the first height of each set.
const TURNS_EVERY: Height = 256;
// A disk without room, or one that is far too slow: the chain must not go on in memory for as long
// as that lasts. 128 MiB, or 1,024 blocks, which a restart executes again.
/// As many times what makes a checkpoint due may gather while another one is written.
const OVERFULL_TIMES: usize = 4;
const OVERFULL_BLOCKS_TIMES: usize = 16;

#[derive(Debug)]
pub struct Ledger {
    spec: Arc<ChainSpec>,
    history: History,
    store: Arc<Store>,
    view: Arc<ChainView>,
    certificate: Option<Certificate>,
    /// The turns of the tip's height; `None` at genesis.
    tip_turns: Option<Turns>,
    checkpoint_blocks: usize,
}

impl Ledger {
    /// Opens the last durable checkpoint. On an empty disk, founds the chain. The blocks
    /// after the checkpoint come back from the journal through `execute` and `commit`.
    ///
    /// # Errors
    /// A disk of another chain, a failed disk or a damaged database, or founders that the
    /// governing contract refuses.
    pub fn open(
        disk: Arc<dyn Disk>,
        spec: Arc<ChainSpec>,
        history: History,
    ) -> Result<Self, LedgerError> {
        let store = Store::open(&*disk)?;
        let genesis = genesis(&spec)?;
        let wanted = genesis.block.hash;
        let mut governed = genesis.governed.clone().expect("genesis has read what it founds");
        let mut base = store.base()?;
        // Before anything else is read: a state that is restored in part is no state.
        if base.is_restoring()? {
            return Err(LedgerError::Unfinished);
        }
        if base.genesis.is_none() {
            checkpoint::found(&store, genesis, governed.validators.clone())?;
            base = store.base()?;
        }
        if let Some(found) = base.genesis.filter(|found| *found != wanted) {
            return Err(LedgerError::OtherChain { found, wanted });
        }
        let height = base.tip;
        let mut snapshot = Snapshot {
            view: Arc::new(ChainView {
                genesis: wanted,
                tip: Arc::new((B256::ZERO, Header { number: Height::MAX, ..Default::default() })),
                governed: governed.clone(),
                current: Generation::default(),
                flushing: None,
                base: Arc::new(base),
                codes: Arc::default(),
            }),
        };
        let tip = snapshot.header(height)?;
        let tip = tip.ok_or_else(|| LedgerError::damaged("the tip has no header"))?;
        Arc::make_mut(&mut snapshot.view).tip = Arc::new(tip);
        let certificate = snapshot.certificate(height)?;
        let tip_turns = snapshot.turns(height)?;
        if height > 0 {
            governed = Arc::new(Governed::read(&spec, snapshot.tip(), &snapshot.state(height)?)?);
        }
        // The set is stored by height too, for certificates of past blocks. If the two
        // differ, the database is damaged: better to stop here than to vote by a wrong set.
        if snapshot.validators(height + 1)?.as_ref() != Some(&governed.validators) {
            return Err(LedgerError::damaged("table `validators`"));
        }
        let (store, mut view) = (Arc::new(store), snapshot.view);
        Arc::make_mut(&mut view).governed = governed;
        let checkpoint_blocks = CHECKPOINT_BLOCKS;
        Ok(Self { spec, history, store, view, certificate, tip_turns, checkpoint_blocks })
    }

    /// The number of blocks after which a checkpoint is due (64 by default). More blocks
    /// cost less each; fewer make a restart faster.
    pub fn set_checkpoint_blocks(&mut self, blocks: usize) {
        self.checkpoint_blocks = blocks;
    }

    pub fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    pub fn genesis_hash(&self) -> B256 {
        self.view.genesis
    }

    /// The chain's state, by which peers are admitted. `None`: a public network, where
    /// every peer is.
    pub fn admission(&self) -> Option<Admission> {
        let (tip, governed) = (self.tip(), self.governed());
        self.spec.kind.has_members().then(|| Admission {
            genesis: self.genesis_hash(),
            height: tip.number,
            time: tip.timestamp,
            members: governed.members.clone(),
        })
    }

    pub fn tip(&self) -> &Header {
        &self.view.tip.1
    }

    pub fn tip_hash(&self) -> B256 {
        self.view.tip.0
    }

    /// This node's certificate of the tip; `None` at genesis.
    pub fn tip_certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    // A certificate is complete with the first quorum. A devnet once showed "3/4 signing"
    // for four healthy validators, and the governing contract counts absence by it.
    /// Adds a precommit that arrived after the quorum to the tip's certificate: the fuller
    /// it is, the better it shows which validators are present.
    ///
    /// # Errors
    /// [`Offence::BadSignature`]: its validator did not sign the vote.
    pub fn add_precommit(&mut self, vote: &Vote) -> Result<(), Offence> {
        let Some(certificate) = &mut self.certificate else { return Ok(()) };
        let same = (VoteKind::Precommit, certificate.height, certificate.round)
            == (vote.kind, vote.height, vote.round);
        let at = certificate.signatures.binary_search_by_key(&vote.validator, |s| s.validator);
        let (true, Err(at)) = (same && vote.block == Some(certificate.block), at) else {
            return Ok(());
        };
        let set = self.tip_turns.as_ref().map(Turns::validators);
        // Votes of strangers and repeated votes are dropped before their signature costs
        // anything.
        if set.is_none_or(|set| set.get(&vote.validator).is_none()) {
            return Ok(());
        }
        if !vote.verify(&self.view.genesis) {
            return Err(Offence::BadSignature);
        }
        let Vote { validator, signature, .. } = *vote;
        certificate.signatures.insert(at, ValidatorSignature { validator, signature });
        let certificates = &mut Arc::make_mut(&mut self.view).current.certificates;
        certificates.insert(vote.height, certificate.clone());
        Ok(())
    }

    /// The validators of the block after the tip.
    pub fn next_validators(&self) -> &ValidatorSet {
        &self.view.governed.validators
    }

    /// The turns to propose the block after the tip.
    pub fn next_turns(&self) -> Turns {
        execute::turns_after(self.tip_turns.as_ref(), self.next_validators())
    }

    /// The demands of the tip's state on the block after it.
    pub fn governed(&self) -> &Arc<Governed> {
        &self.view.governed
    }

    // A clone of persistent maps and a redb read transaction: readers never wait for the
    // writer.
    /// A view of the tip for readers on any thread. Cheap to make and to clone.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { view: self.view.clone() }
    }

    /// An account at the tip.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn account(&self, address: &Address) -> Option<Account> {
        readable(self.view.account(address))
    }

    /// The permissions of an account in the block after the tip.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn permissions(&self, account: &Address) -> Permissions {
        let settings = &self.view.governed.settings;
        let (accounts, deployers) = (settings.accounts_listed, settings.deployers_listed);
        readable(Permissions::in_force(&self.state(), account, accounts, deployers))
    }

    /// Base fee of the block after the tip, in wei.
    pub fn next_base_fee(&self) -> u64 {
        self.snapshot().next_base_fee()
    }

    /// Builds a block on the tip from `txs`, in the given order, until it is full. Also
    /// returns the transactions that were left out, and why.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn build(
        &self,
        draft: Draft,
        txs: &mut dyn Iterator<Item = Transaction>,
    ) -> (Outcome, Vec<(B256, TxRefusal)>) {
        let state = self.state();
        let mut trie = TrieChange::new();
        let built = build::build(&self.parent(&state), draft, txs, |diff| {
            let (root, changed) = self.effect(diff)?;
            trie = changed;
            Ok(root)
        });
        let Built { block, executed, refused } = readable(built);
        (self.outcome(Arc::new(block), &state, executed, trie), refused)
    }

    /// Executes a block on the tip and checks every header field against it.
    ///
    /// # Errors
    /// The rule that the block breaks.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn execute(&self, block: Arc<RecoveredBlock>) -> Result<Outcome, BlockError> {
        // Here, so that a proposal, a replay from the journal and block sync take the same
        // path (ADR 16).
        self.check_block_evidence(&block)?;
        let state = self.state();
        let mut executed = match execute::execute(&self.parent(&state), &block) {
            Ok(executed) => executed,
            Err(ExecuteError::Block(error)) => return Err(error),
            Err(ExecuteError::Ledger(error)) => readable(Err(error)),
        };
        // The root last: it is the most expensive check, and needs the whole effect.
        let (root, trie) = readable(self.effect(&mut executed.diff));
        if root != block.header.state_root {
            let reason = format!("state_root is {}, must be {root}", block.header.state_root);
            return Err(BlockError { height: block.header.number, hash: block.hash, reason });
        }
        Ok(self.outcome(block, &state, executed, trie))
    }

    /// The state after the tip.
    pub(crate) fn state(&self) -> StateAt {
        readable(self.snapshot().state(self.tip().number))
    }

    /// The tip as the parent of the next block.
    fn parent<'a>(&'a self, state: &'a StateAt) -> Parent<'a, StateAt> {
        Parent {
            spec: &self.spec,
            hash: self.tip_hash(),
            header: self.tip(),
            state,
            governed: &self.view.governed,
            turns: self.tip_turns.as_ref(),
        }
    }

    fn outcome(
        &self,
        block: Arc<RecoveredBlock>,
        state: &StateAt,
        executed: Executed,
        trie: TrieChange,
    ) -> Outcome {
        let Executed { diff, receipts, .. } = executed;
        let governed = Governed::read_if_changed(&self.spec, &block.header, state, &diff);
        let (receipts, governed) = (Arc::new(receipts), readable(governed));
        Outcome { block, receipts, diff, trie, governed }
    }

    /// The state root after `diff` on the tip.
    ///
    /// # Errors
    /// A failed disk or a damaged database.
    pub fn state_root(&self, mut diff: StateDiff) -> Result<B256, LedgerError> {
        self.effect(&mut diff).map(|(root, _)| root)
    }

    // `SELFDESTRUCT` of before EIP-6780, and accounts that end, drop storage that the EVM
    // never read.
    /// Lists in `diff` the storage of accounts that end, as zeros. Returns the root after
    /// it on the tip, and the changes of the trie.
    fn effect(&self, diff: &mut StateDiff) -> Result<(B256, TrieChange), LedgerError> {
        for (address, change) in &mut diff.accounts {
            if change.before.is_none() || !(change.wiped || change.after.is_none()) {
                continue;
            }
            for (slot, value) in self.view.all_storage(address)? {
                let after = change.storage.get(&slot).map_or(U256::ZERO, |(_, after)| *after);
                change.storage.insert(slot, (value, after));
            }
        }
        trie::state_root(&*self.view, diff)
    }

    /// Makes an outcome the tip, in memory. Later snapshots show it. It is durable once the
    /// journal holds the block and its certificate.
    ///
    /// # Panics
    /// The outcome is not of the tip's child: a broken invariant.
    pub fn commit(&mut self, outcome: Outcome, certificate: Certificate) {
        let block = outcome.block.clone();
        let height = block.header.number;
        assert_eq!(block.header.parent_hash, self.tip_hash(), "block {height} is not of the tip");
        assert_eq!(certificate.block, block.hash, "the certificate is of another block");
        let turns = self.next_turns();
        let view = Arc::make_mut(&mut self.view);
        view.tip = Arc::new((block.hash, block.header.clone()));
        let before = self.tip_turns.as_ref().map(Turns::validators);
        if before != Some(turns.validators()) || height.is_multiple_of(TURNS_EVERY) {
            view.current.turns.insert(height, turns.clone());
        }
        self.tip_turns = Some(turns);
        let mut others_follow = false;
        if let Some(governed) = &outcome.governed {
            if governed.validators != view.governed.validators {
                view.current.validators.insert(height + 1, governed.validators.clone());
                others_follow = true;
            }
            view.governed = governed.clone();
        }
        view.current.insert(Arc::new(outcome));
        view.current.certificates.insert(height, certificate.clone());
        // Nodes hold different certificates of one block. The one that its child binds
        // replaces this node's own, so that all nodes keep the same for every block but the
        // tip (ADR 3).
        if let Some(parent) = &block.attached.parent_certificate {
            view.current.certificates.insert(height - 1, parent.clone());
        }
        self.certificate = Some(certificate);
        if others_follow {
            // Now, while the trie of this block can be read: a later snapshot needs the
            // proof, and the trie is kept for 128 blocks only.
            let witness = readable(state_sync::prove_validators(&self.spec, &self.snapshot()));
            Arc::make_mut(&mut self.view).current.handovers.insert(height, witness);
        }
    }

    /// A checkpoint for a worker, if enough has gathered in memory (`force`: anything at
    /// all).
    pub fn checkpoint(&mut self, force: bool) -> Option<Checkpoint> {
        let current = &self.view.current;
        let (blocks, bytes) = (current.blocks.len(), current.bytes);
        let due = blocks >= self.checkpoint_blocks || bytes >= CHECKPOINT_BYTES || force;
        // One at a time: readers look in two generations, the current one and the one that
        // is being written. A second would have to wait for redb's single writer anyway.
        if self.view.flushing.is_some() || blocks == 0 || !due {
            return None;
        }
        let view = Arc::make_mut(&mut self.view);
        let generation = std::mem::take(&mut view.current);
        view.flushing = Some(generation.clone());
        let (store, base, height) = (self.store.clone(), view.base.clone(), view.tip.1.number);
        Some(Checkpoint { store, base, generation, history: self.history, height })
    }

    /// Whether no block should be added before the checkpoint that is being written is done: too
    /// much is in memory alone.
    pub fn is_overfull(&self) -> bool {
        let current = &self.view.current;
        self.view.flushing.is_some()
            && (current.blocks.len() >= OVERFULL_BLOCKS_TIMES * self.checkpoint_blocks
                || current.bytes >= OVERFULL_TIMES * CHECKPOINT_BYTES)
    }

    pub fn checkpointed(&mut self, done: CheckpointDone) {
        let view = Arc::make_mut(&mut self.view);
        view.base = done.base;
        view.flushing = None;
    }
}

// Going on would mean to vote on a state that cannot be read. The journal makes the restart
// safe.
/// A node whose disk fails must end: it can no longer vouch for anything.
pub(crate) fn readable<T>(read: Result<T, LedgerError>) -> T {
    read.unwrap_or_else(|error| panic!("the ledger cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
