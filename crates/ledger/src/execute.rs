//! Executes a block on its parent's state, and checks that it keeps every rule.
//!
//! What always holds: Trefoil's networks and Ethereum's fixtures run through the same
//! [`BlockRun`]; a rule that a block breaks is another error than a state that could not be
//! read.

use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::Bytes;
use alloy_rlp::Encodable;
use revm::primitives::hardfork::SpecId;
use trefoil_types::{
    B256, ChainSpec, Header, RecoveredBlock, Transaction, Turns, ValidatorSet, limits,
};

use crate::{
    BlockRules, BlockRun, ExecuteError, Executed, Governed, StateReader,
    fault::{BlockFault, TxFault},
    governance, header,
};

/// The parent of a block, and the demands of its state.
#[derive(Debug)]
pub struct Parent<'a, S> {
    pub spec: &'a ChainSpec,
    pub hash: B256,
    pub header: &'a Header,
    /// The state after it.
    pub state: &'a S,
    /// The demands of `state` on the next block.
    pub governed: &'a Governed,
    /// The turns of its height; `None` at genesis.
    pub turns: Option<&'a Turns>,
}

impl<S> Parent<'_, S> {
    /// The turns of the block after it.
    pub fn next_turns(&self) -> Turns {
        turns_after(self.turns, &self.governed.validators)
    }
}

/// The turns of the height after one with `turns`, or after genesis, with these validators.
pub(crate) fn turns_after(turns: Option<&Turns>, validators: &ValidatorSet) -> Turns {
    let first = || Turns::first(validators.clone());
    turns.map_or_else(first, |turns| turns.clone().next(validators))
}

// Header and size first: they cost nothing, and the execution may cost a full block.
/// Executes a block on the state of its parent, and checks it. The caller checks the state root,
/// which follows from the diff, the signatures of the parent's certificate, and whether the
/// evidence convicts.
pub fn execute<S: StateReader>(
    parent: &Parent<'_, S>,
    block: &RecoveredBlock,
) -> Result<Executed, ExecuteError> {
    let RecoveredBlock { header, transactions, .. } = block;
    let run = || -> Result<Executed, BlockFault> {
        let turns = parent.next_turns().hash();
        header::check_draft(&parent.governed.settings, parent.hash, parent.header, turns, block)?;
        parent.governed.check_beneficiary(&header.beneficiary)?;
        check_size(block)?;
        let rules = parent.governed.rules(parent.spec, header)?;
        let opening = Some(governance::opening(parent.spec, parent.turns, &block.attached));
        run_block(&rules, header, transactions, &[], opening, parent.state)
    };
    run().map_err(|fault| fault.of(&block.header, block.hash))
}

/// A block of Ethereum, from Paris on.
#[derive(Clone, Copy, Debug)]
pub struct EthereumBlock<'a> {
    pub hash: B256,
    pub header: &'a Header,
    pub transactions: &'a [Transaction],
    /// From Shanghai on.
    pub withdrawals: Option<&'a [Withdrawal]>,
    /// The length of its RLP, bytes.
    pub bytes: usize,
}

/// Executes a block of Ethereum, as [`execute`] does one of Trefoil's. The state root and
/// the absence of ommers are left to the caller.
pub fn execute_ethereum<S: StateReader>(
    rules: &BlockRules,
    parent_hash: B256,
    parent: &Header,
    state: &S,
    block: EthereumBlock<'_>,
) -> Result<Executed, ExecuteError> {
    let EthereumBlock { hash, header, transactions, withdrawals, bytes } = block;
    let run = || -> Result<Executed, BlockFault> {
        header::check_ethereum(rules, parent_hash, parent, header, withdrawals)?;
        if rules.is(SpecId::OSAKA) && bytes > limits::BLOCK_BYTES_MAX {
            return Err(too_long(bytes).into());
        }
        let withdrawals = withdrawals.unwrap_or_default();
        run_block(rules, header, transactions, withdrawals, None, state)
    };
    run().map_err(|fault| fault.of(header, hash))
}

/// The bytes of a transaction in a block's RLP.
pub(crate) fn tx_bytes(tx: &Transaction) -> usize {
    tx.inner().length()
}

/// The length of a block without ommers, bytes.
pub(crate) fn block_bytes(header: &Header, txs: usize, withdrawals: &[Withdrawal]) -> usize {
    let list = |payload| payload + alloy_rlp::length_of_length(payload);
    let withdrawals = withdrawals.iter().map(Encodable::length).sum();
    list(header.length() + list(txs) + list(0) + list(withdrawals))
}

fn too_long(bytes: usize) -> String {
    format!("block of {bytes} bytes is over the limit of {} (EIP-7934)", limits::BLOCK_BYTES_MAX)
}

fn check_size(block: &RecoveredBlock) -> Result<(), BlockFault> {
    let count = block.transactions.len();
    if count > limits::BLOCK_TXS_MAX {
        return Err(format!("{count} transactions, at most {}", limits::BLOCK_TXS_MAX).into());
    }
    let txs_bytes = block.transactions.iter().map(tx_bytes).sum();
    let bytes = block_bytes(&block.header, txs_bytes, &[]);
    if bytes > limits::BLOCK_BYTES_MAX {
        return Err(too_long(bytes).into());
    }
    Ok(())
}

/// Runs a block, and checks the header's fields that follow from the execution, except the
/// state root.
fn run_block<S: StateReader>(
    rules: &BlockRules,
    header: &Header,
    transactions: &[Transaction],
    withdrawals: &[Withdrawal],
    governing: Option<Bytes>,
    state: &S,
) -> Result<Executed, BlockFault> {
    // Attack: another list of transactions than the one that was signed costs the sender one
    // message, and would cost this node a whole block.
    let transactions_root = header::transactions_root(transactions);
    header::same(header, &Header { transactions_root, ..header.clone() })?;
    let mut run = BlockRun::new(rules.clone(), header, state);
    run.open(header, governing)?;
    for (index, tx) in transactions.iter().enumerate() {
        run.transact(tx).map_err(|fault| match fault {
            TxFault::Ledger(error) => BlockFault::Ledger(error),
            rule => BlockFault::Rule(format!("transaction {index} ({}): {rule}", tx.tx_hash())),
        })?;
    }
    run.pay(withdrawals)?;
    let executed = run.close()?;
    let mut wanted = header.clone();
    header::seal(&mut wanted, &executed, transactions_root);
    header::same(header, &wanted)?;
    Ok(executed)
}

#[cfg(test)]
mod tests;
