//! The chain's state machine: executes blocks, and stores their effects on one disk.
//!
//! Owns: the journal (the node's write-ahead log); execution on revm; the governing contract
//! as the node calls it. On redb: the state trie and flat tables, blocks, receipts,
//! certificates and validator sets. Also state snapshots and history archives (state sync).
//!
//! What always holds: a block is executed once, and that outcome is the one committed. The
//! tip in memory can always be rebuilt from the last checkpoint and the journal, to the
//! same root. The same block on the same state has the same effect on every node.
//!
//! What it must never know: peers, messages, rounds and votes (the records of consensus are
//! bytes to it), the machine's clock, and which transactions a proposer should prefer.

mod block_parts;
pub mod build;
mod call_memory;
mod chain_view;
pub mod checkpoint;
mod code_cache;
mod codec;
mod create_gate;
mod error;
mod evidence;
mod evm;
pub mod execute;
mod fault;
mod genesis;
pub mod governance;
mod header;
mod history;
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

pub use build::{Built, TxRefusal, build};
pub use call_memory::{CALL_FREE_BYTES, CallMemory};
pub use checkpoint::{Checkpoint, CheckpointDone};
pub use codec::BodySize;
pub use error::LedgerError;
pub use execute::{EthereumBlock, Parent, execute, execute_ethereum};
pub use fault::{BlockError, ExecuteError};
pub use genesis::genesis_hash;
pub use governance::{ChainSettings, Governed, Parameters, Permissions};
pub use header::{Draft, next_base_fee, raw_transactions_root, transactions_root};
pub use history::{History, PROOFS_WINDOW};
pub use journal::{Journal, JournalError, Record, Recovered};
pub use ledger::Ledger;
pub use overlay::Outcome;
pub use rpc_calls::{
    AccessListOutcome, CallError, CallOptions, CallOutcome, CallSite, Estimate,
    trace::{TraceError, trace_block, trace_transaction},
};
pub use rules::BlockRules;
pub use run::{BlockRun, Executed};
pub use snapshot::{AccountProof, Snapshot, StateAt, StoredBlock};
pub use state::{Account, AccountDiff, StateDiff, StateReader};
pub use store::FILE as DATABASE_FILE;
pub use trie::memory::MemoryTrie;

#[cfg(test)]
extern crate self as trefoil_ledger;
#[cfg(test)]
mod testing;
