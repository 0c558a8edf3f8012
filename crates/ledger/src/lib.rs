//! The state machine of the chain and its storage: everything that the chain remembers, on
//! one disk, and how a block changes it.
//!
//! Owns: the journal (the node's write-ahead log); the state trie and flat tables, blocks,
//! receipts, certificates and validator sets on redb; execution on revm; the governing
//! contract as the node calls it; state snapshots and history archives (state sync).
//!
//! What always holds: a block is executed once, and that outcome is the one committed; the
//! tip in memory can always be rebuilt from the last checkpoint and the journal, to the
//! same root; the same block on the same state has the same effect on every node.
//!
//! What it must never know: peers, messages, rounds and votes (the records of consensus are
//! bytes to it), the machine's clock, and which transactions a proposer should prefer.

pub mod build;
pub mod checkpoint;
mod codec;
mod evidence;
mod evm;
pub mod execute;
mod fault;
mod genesis;
pub mod governance;
mod header;
pub mod journal;
pub mod ledger;
mod logs;
mod overlay;
mod precompiles;
pub mod rpc_calls;
pub mod rules;
pub mod run;
pub mod snapshot;
pub mod state;
pub mod state_sync;
mod store;
mod trie;

pub use build::{Built, build};
pub use checkpoint::{Checkpoint, CheckpointDone, PROOFS_WINDOW};
pub use execute::{EthereumBlock, ExecuteError, Parent, execute, execute_ethereum};
pub use genesis::genesis_hash;
pub use governance::{ChainSettings, Governed, Permissions};
pub use header::{next_base_fee, transactions_root};
pub use journal::{Journal, JournalError, Record, Recovered};
pub use ledger::{Account, BlockError, Draft, History, Ledger, LedgerError, TxRefusal};
pub use overlay::Outcome;
pub use rpc_calls::{
    AccessListOutcome, CallError, CallOptions, CallOutcome, CallSite, Estimate,
    trace::{TraceError, trace_block, trace_transaction},
};
pub use rules::BlockRules;
pub use run::{BlockRun, Executed};
pub use snapshot::{AccountProof, Snapshot, StateAt, StoredBlock};
pub use state::{AccountDiff, StateDiff, StateReader};
pub use store::FILE as DATABASE_FILE;
pub use trie::MemoryTrie;

#[cfg(test)]
extern crate self as trefoil_ledger;
#[cfg(test)]
mod testing;
