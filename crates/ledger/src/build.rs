//! Builds a block from offered transactions.
//!
//! What always holds: a transaction that is refused leaves no trace; the block is executed
//! while it is built, once, and that outcome is the one committed.

use revm::context::result::InvalidTransaction;
use trefoil_types::{B256, Header, RecoveredBlock, Transaction, limits};

use crate::{
    Draft, Executed, LedgerError, StateDiff, StateReader,
    execute::{Parent, block_bytes, tx_bytes},
    fault::{BlockFault, TxFault},
    governance, header,
    run::BlockRun,
};

// With less room no transaction can follow, so looking at more of them is wasted.
/// The least gas of a transaction (yellow paper, G_transaction).
const TX_GAS_MIN: u64 = 21_000;

// Attack, or bad luck: a mempool full of transactions that do not fit would be walked
// through to its end at every block, while the round's time runs.
// None of the 64 is executed: size and gas limit are compared before.
/// This many transactions in a row that find no room end a block: the next one will hardly
/// fit either.
const NO_ROOM_MAX: usize = 64;

/// Why a transaction was left out of a block that was being built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxRefusal {
    /// It is invalid on this state and on every later one: drop it.
    Invalid(String),
    /// It has no room or a nonce gap at present: keep it.
    NotNow,
}

/// A built block, with its effect.
#[derive(Debug)]
pub struct Built {
    pub block: RecoveredBlock,
    pub executed: Executed,
    /// Transactions that were tried and left out.
    pub refused: Vec<(B256, TxRefusal)>,
}

/// Builds the block after `parent` from `txs`, in their order, until it is full.
/// `state_root` completes a diff and returns the root of the parent's state with it.
///
/// # Errors
/// The state cannot be read.
pub fn build<S: StateReader>(
    parent: &Parent<'_, S>,
    draft: Draft,
    txs: &mut dyn Iterator<Item = Transaction>,
    state_root: impl FnOnce(&mut StateDiff) -> Result<B256, LedgerError>,
) -> Result<Built, LedgerError> {
    let settings = &parent.governed.settings;
    let turns = parent.next_turns().hash();
    let mut header = header::draft_header(settings, parent.hash, parent.header, &draft, turns);
    let rules = parent.governed.rules(parent.spec, &header)?;
    let mut run = BlockRun::new(rules, &header, parent.state);
    let opening = governance::opening(parent.spec, parent.turns, &draft.attached);
    run.open(&header, Some(opening)).map_err(broken)?;
    let filled = fill(&mut run, &header, txs)?;
    let mut executed = run.close().map_err(broken)?;
    let transactions_root = header::transactions_root(&filled.transactions);
    header::seal(&mut header, &executed, transactions_root);
    header.state_root = state_root(&mut executed.diff)?;
    let block = RecoveredBlock::new(header, filled.transactions, draft.attached);
    Ok(Built { block, executed, refused: filled.refused })
}

/// A system contract cannot break a rule on Trefoil's networks: genesis sets them all, and
/// no transaction can change them.
fn broken(fault: BlockFault) -> LedgerError {
    match fault {
        BlockFault::Ledger(error) => error,
        BlockFault::Rule(rule) => LedgerError::Storage(format!("the state is damaged: {rule}")),
    }
}

#[derive(Default)]
struct Filled {
    transactions: Vec<Transaction>,
    refused: Vec<(B256, TxRefusal)>,
}

fn fill<S: StateReader>(
    run: &mut BlockRun<'_, S>,
    header: &Header,
    txs: &mut dyn Iterator<Item = Transaction>,
) -> Result<Filled, LedgerError> {
    let mut filled = Filled::default();
    // The sealed header is up to 41 bytes longer than the draft: gas used, requests hash.
    let empty = block_bytes(header, 0, &[]) + 64;
    let (mut bytes, mut no_room) = (0, 0);
    while run.room() >= TX_GAS_MIN
        && filled.transactions.len() < limits::BLOCK_TXS_MAX
        && no_room < NO_ROOM_MAX
    {
        let Some(tx) = txs.next() else { break };
        // Size before execution: a transaction that does not fit must not cost its gas.
        let len = tx_bytes(&tx);
        if empty + bytes + len > limits::BLOCK_BYTES_MAX {
            filled.refused.push((*tx.tx_hash(), TxRefusal::NotNow));
            no_room += 1;
            continue;
        }
        match run.transact(&tx) {
            Ok(()) => {
                bytes += len;
                no_room = 0;
                filled.transactions.push(tx);
            }
            Err(TxFault::Ledger(error)) => return Err(error),
            Err(fault) => {
                no_room += usize::from(matches!(fault, TxFault::NoRoom { .. }));
                filled.refused.push((*tx.tx_hash(), refusal(fault, header.gas_limit)));
            }
        }
    }
    Ok(filled)
}

// A nonce gap closes and the base fee falls: such transactions stay in the mempool. One
// whose gas limit is more than a whole block's never fits.
/// Whether a refused transaction may be valid later.
fn refusal(fault: TxFault, gas_limit: u64) -> TxRefusal {
    match fault {
        TxFault::NoRoom { gas, .. } if gas <= gas_limit => TxRefusal::NotNow,
        TxFault::Invalid(
            InvalidTransaction::NonceTooHigh { .. } | InvalidTransaction::GasPriceLessThanBasefee,
        ) => TxRefusal::NotNow,
        fault => TxRefusal::Invalid(fault.to_string()),
    }
}
