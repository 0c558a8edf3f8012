//! Simulated blocks (`eth_simulateV1`): each with overrides and calls, one after the other,
//! on the state after a block of the chain.
//!
//! What always holds: nothing here changes the chain; a simulated block is whole, with the
//! hash and roots that it would have; order, defaults, refusals and their texts are geth's.

mod call;
mod error;
mod ground;
mod logs;

use alloy_consensus::EMPTY_OMMER_ROOT_HASH;
use alloy_eips::{eip1559::BaseFeeParams, eip4895::Withdrawal};
use alloy_primitives::Bytes;
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::StateOverride};
use alloy_trie::root::ordered_trie_root_with_encoder;
use revm::{context::BlockEnv, primitives::hardfork::SpecId};
use trefoil_types::{Attached, B256, Header, RecoveredBlock};

use crate::{
    AccountDiff, BlockRules, CallError, CallOutcome, StateDiff, StateReader,
    call_memory::CallMemory,
    evm::VirtualMachine,
    execute::block_bytes,
    fault::BlockFault,
    header,
    precompiles::Precompiles,
    rpc_calls::call::outcome,
    rpc_calls::overrides::{Changes, Overridden},
    run::BlockRun,
    trie::memory::PretendedTrie,
};
use call::{Pretended, Terms};
use error::OUTPUT_BYTES_MAX;
pub use error::{BLOCKS_MAX, CALLS_MAX, RefusedFor, SimulateError};
pub use ground::Ground;
use logs::LogTrace;

/// The bytes that a log counts in [`OUTPUT_BYTES_MAX`], besides its data. It is printed with
/// its address, up to four topics and the hashes of block and transaction: 212 bytes.
const LOG_BYTES: usize = 256;

// geth's default, which clients compare with: Ethereum's slot time.
/// The time from a block to the next, unless the caller gives one.
const BLOCK_SECONDS: u64 = 12;

/// One block as the caller describes it.
#[derive(Clone, Debug, Default)]
pub struct PretendedBlock {
    pub block: BlockOverrides,
    pub withdrawals: Vec<Withdrawal>,
    pub state: StateOverride,
    pub calls: Vec<TransactionRequest>,
}

#[derive(Clone, Copy, Debug)]
pub struct SimulateOptions {
    /// Whether nonces and the base fee count, as for real transactions.
    pub validation: bool,
    /// Whether transfers of value are shown as logs.
    pub transfers: bool,
    /// Gas of all calls together.
    pub gas_cap: u64,
}

#[derive(Clone, Debug)]
pub struct SimulatedBlock {
    pub block: RecoveredBlock,
    pub withdrawals: Vec<Withdrawal>,
    /// The length of its RLP, bytes.
    pub bytes: usize,
    pub calls: Vec<SimulatedCall>,
}

#[derive(Clone, Debug)]
pub struct SimulatedCall {
    pub outcome: CallOutcome,
    /// The number in the block of each log in `outcome`.
    pub log_numbers: Vec<u64>,
    /// The most gas that it had used at any time, before refunds.
    pub gas_max: u64,
}

/// Simulates `blocks` on `ground`, each of which holds no more than `memory` has, if one is given.
///
/// # Errors
/// The first thing that is wrong with any of them: there is no half an answer.
pub fn simulate_blocks<S: StateReader>(
    ground: &Ground<'_, S>,
    blocks: Vec<PretendedBlock>,
    options: SimulateOptions,
    memory: Option<&CallMemory<'_>>,
) -> Result<Vec<SimulatedBlock>, SimulateError> {
    let blocks = in_order(&ground.header, blocks)?;
    let mut simulator = Simulator {
        ground,
        state: Overridden::new(&ground.state, ground.rules(&ground.header)?.fork),
        trie: PretendedTrie::new(&*ground.trie),
        parent_hash: ground.hash,
        parent: ground.header.clone(),
        gas_left: options.gas_cap,
        output_left: OUTPUT_BYTES_MAX,
        options,
        memory,
    };
    blocks.into_iter().map(|block| simulator.block(block)).collect()
}

/// Gives each block its number and time, and fills gaps with empty blocks.
fn in_order(
    base: &Header,
    blocks: Vec<PretendedBlock>,
) -> Result<Vec<PretendedBlock>, SimulateError> {
    if blocks.is_empty() {
        return Err(SimulateError::Empty);
    }
    if blocks.len() as u64 > BLOCKS_MAX {
        return Err(SimulateError::TooManyBlocks);
    }
    let mut all: Vec<PretendedBlock> = Vec::with_capacity(blocks.len());
    let (mut last, mut last_time) = (base.number, base.timestamp);
    for mut block in blocks {
        if block.calls.len() > CALLS_MAX {
            return Err(SimulateError::TooManyCalls(block.calls.len()));
        }
        let number = block.block.number.map_or(last + 1, |number| number.saturating_to());
        if number <= last {
            return Err(SimulateError::Number { number, before: last });
        }
        if number - base.number > BLOCKS_MAX {
            return Err(SimulateError::TooManyBlocks);
        }
        for number in last + 1..number {
            last_time = last_time.saturating_add(BLOCK_SECONDS);
            let block = BlockOverrides::default().with_number(alloy_primitives::U256::from(number));
            all.push(PretendedBlock { block: block.with_time(last_time), ..Default::default() });
        }
        let time = block.block.time.unwrap_or(last_time.saturating_add(BLOCK_SECONDS));
        if time <= last_time {
            return Err(SimulateError::Timestamp { time, before: last_time });
        }
        block.block.number = Some(alloy_primitives::U256::from(number));
        block.block.time = Some(time);
        (last, last_time) = (number, time);
        all.push(block);
    }
    Ok(all)
}

struct Simulator<'a, S> {
    ground: &'a Ground<'a, S>,
    state: Overridden<'a, S>,
    trie: PretendedTrie<'a>,
    parent_hash: B256,
    parent: Header,
    gas_left: u64,
    output_left: usize,
    options: SimulateOptions,
    memory: Option<&'a CallMemory<'a>>,
}

impl<S: StateReader> Simulator<'_, S> {
    fn block(&mut self, pretended: PretendedBlock) -> Result<SimulatedBlock, SimulateError> {
        let PretendedBlock { block: over, withdrawals, state, calls } = pretended;
        let (rules, mut header) = self.draft(&over, &withdrawals)?;
        self.state.precompiles = Precompiles::new(rules.fork);
        self.state.apply(&state)?;
        let mut env = rules.block_env(&header);
        self.state.apply_block(&over, &mut env);
        let (executed, ran) = self.run(&rules, &header, env, &withdrawals, &calls)?;
        let raw: Vec<&Bytes> = ran.iter().map(|(call, _)| &call.raw).collect();
        let root = ordered_trie_root_with_encoder(&raw, |raw, out| out.extend_from_slice(raw));
        header::seal(&mut header, &executed, root);
        header.state_root = self.state_root(executed.diff)?;
        let txs_bytes = ran.iter().map(|(call, _)| call.bytes()).sum();
        let bytes = block_bytes(&header, txs_bytes, &withdrawals);
        let (txs, calls) = ran.into_iter().map(|(call, outcome)| (call.tx, outcome)).unzip();
        let block = RecoveredBlock::new(header, txs, Attached::default());
        self.state.hashes.insert(block.header.number, block.hash);
        (self.parent_hash, self.parent) = (block.hash, block.header.clone());
        Ok(SimulatedBlock { block, withdrawals, bytes, calls })
    }

    /// The header of a block before it is executed, and the block's rules.
    fn draft(
        &self,
        over: &BlockOverrides,
        withdrawals: &[Withdrawal],
    ) -> Result<(BlockRules, Header), CallError> {
        let parent = &self.parent;
        let mut header = Header {
            parent_hash: self.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: over.coinbase.unwrap_or(parent.beneficiary),
            number: over.number.map_or(parent.number + 1, |number| number.saturating_to()),
            timestamp: over.time.unwrap_or(parent.timestamp),
            gas_limit: over.gas_limit.unwrap_or(parent.gas_limit),
            mix_hash: over.random.unwrap_or_default(),
            ..Default::default()
        };
        let rules = self.ground.rules(&header)?;
        if rules.is(SpecId::LONDON) {
            let next = || match self.options.validation && !rules.gas_free {
                true => parent.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or(0),
                false => 0,
            };
            let fee = over.base_fee.map_or_else(next, |fee| fee.saturating_to());
            header.base_fee_per_gas = Some(fee);
        }
        if rules.is(SpecId::SHANGHAI) {
            let root = alloy_consensus::proofs::calculate_withdrawals_root(withdrawals);
            header.withdrawals_root = Some(root);
        }
        if rules.is(SpecId::CANCUN) {
            header.parent_beacon_block_root = Some(over.beacon_root.unwrap_or_default());
            header.excess_blob_gas = header::excess_blob_gas(&rules, parent);
        }
        Ok((rules, header))
    }

    fn run(
        &mut self,
        rules: &BlockRules,
        header: &Header,
        env: BlockEnv,
        withdrawals: &[Withdrawal],
        calls: &[TransactionRequest],
    ) -> Result<(crate::Executed, Vec<(Pretended, SimulatedCall)>), SimulateError> {
        let blob_price = env.blob_excess_gas_and_price.map_or(0, |blobs| blobs.blob_gasprice);
        // Everything that `Terms::complete` checks is left to it, so that the texts are geth's.
        let mut cfg = rules.call_cfg();
        cfg.disable_base_fee = true;
        let machine = VirtualMachine::new(&self.state, cfg, env)
            .with_precompiles(self.state.precompiles.clone())
            .within(self.memory)
            .with_inspector(LogTrace::new(self.options.transfers));
        let mut run = BlockRun::on(machine, &self.state, rules.clone(), header.gas_limit);
        // A simulated block has no certificate and no evidence, so the governing contract
        // is not called.
        run.open(header, None).map_err(broken)?;
        let mut ran = Vec::with_capacity(calls.len());
        for request in calls {
            let from = request.from.unwrap_or_default();
            let sender = run.machine.account(from).map_err(|error| broken(error.into()))?;
            let terms = Terms {
                rules,
                header,
                blob_price,
                validation: self.options.validation,
                sender,
                gas_used: run.gas_used,
                gas_left: self.gas_left,
            };
            let call = terms.complete(request)?;
            let done = simulate_call(&mut run, &call, sender.nonce)?;
            self.gas_left -= done.gas_used();
            let output = self.output_left.checked_sub(done.output_bytes());
            self.output_left = output.ok_or(SimulateError::TooMuchOutput)?;
            ran.push((call, done));
        }
        run.pay(withdrawals).map_err(broken)?;
        Ok((run.close().map_err(broken)?, ran))
    }

    /// The state root after the overrides and the block that made `diff`.
    fn state_root(&mut self, diff: StateDiff) -> Result<B256, SimulateError> {
        self.state.absorb(diff);
        let Changes { wiped, slots } = std::mem::take(&mut self.state.news);
        wiped.iter().for_each(|address| self.trie.wipe(*address));
        let mut diff = StateDiff::default();
        for (address, mut slots) in slots {
            if wiped.contains(&address) {
                // The storage root changes even if no slot is left to write.
                slots.insert(Default::default());
            }
            let value = |slot| {
                let value = self.state.storage(&address, slot).map_err(CallError::Ledger)?;
                Ok((slot, (Default::default(), value)))
            };
            let storage = slots.into_iter().map(value).collect::<Result<_, CallError>>()?;
            let after = self.state.account(&address).map_err(CallError::Ledger)?;
            diff.accounts.insert(address, AccountDiff { after, storage, ..Default::default() });
        }
        Ok(self.trie.apply(&diff).map_err(CallError::Ledger)?)
    }
}

fn simulate_call<S: StateReader>(
    run: &mut BlockRun<'_, S, LogTrace>,
    call: &Pretended,
    nonce: u64,
) -> Result<SimulatedCall, SimulateError> {
    let gas = call.env.gas_limit;
    let result =
        run.pretend(&call.tx, call.env.clone()).map_err(|fault| call::refused(fault, gas))?;
    if nonce == u64::MAX && call.env.kind.is_call() {
        // Only an override can make such a nonce. geth's counter wraps around, so this one
        // does too.
        run.machine.set_nonce(call.env.caller, 0);
    }
    let gas_max = result.gas().total_gas_spent().max(result.gas().floor_gas());
    let (log_numbers, traced) = run.machine.inspector().take();
    let mut outcome = outcome(result);
    if let CallOutcome::Success { logs, .. } = &mut outcome {
        *logs = traced;
    }
    Ok(SimulatedCall { outcome, log_numbers, gas_max })
}

impl SimulatedCall {
    pub fn gas_used(&self) -> u64 {
        match &self.outcome {
            CallOutcome::Success { gas_used, .. }
            | CallOutcome::Revert { gas_used, .. }
            | CallOutcome::Halt { gas_used, .. } => *gas_used,
        }
    }

    fn output_bytes(&self) -> usize {
        match &self.outcome {
            CallOutcome::Success { output, logs, .. } => {
                let logs = logs.iter().map(|log| log.data.data.len() + LOG_BYTES);
                output.len() + logs.sum::<usize>()
            }
            CallOutcome::Revert { output, .. } => output.len(),
            CallOutcome::Halt { .. } => 0,
        }
    }
}

/// A block that cannot be opened or closed. If the state can be read, an override took a
/// system contract away.
fn broken(fault: BlockFault) -> SimulateError {
    match fault {
        BlockFault::Rule(rule) => CallError::Invalid(rule).into(),
        BlockFault::Ledger(error) => CallError::Ledger(error).into(),
    }
}

#[cfg(test)]
mod tests;
