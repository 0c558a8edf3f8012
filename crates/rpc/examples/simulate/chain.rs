//! The fixtures' chain, executed from its genesis: blocks of proof of work with
//! the rewards of their time, those after the merge through the product's own
//! block execution. Every state root is checked.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::transaction::SignerRecoverable;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rlp::Decodable;
use revm::primitives::hardfork::SpecId;
use serde::Deserialize;
use trefoil_ledger::{
    Account, AccountDiff, BlockRules, BlockRun, EthereumBlock, StateDiff, StateReader,
    execute_ethereum, rpc_calls::simulate_v1::Ground,
};
use trefoil_types::{Block, Header, Transaction};

use crate::{forks::Config, state::State, world::World};

/// Wei that a miner was paid for a block, in turn: at first, from Byzantium,
/// from Constantinople on (EIP-649, EIP-1234).
const REWARDS: [u64; 3] = [5, 3, 2];
const ETHER: u64 = 1_000_000_000_000_000_000;

pub type Alloc = BTreeMap<Address, GenesisAccount>;

#[derive(Debug, Deserialize)]
pub struct GenesisAccount {
    #[serde(default)]
    pub nonce: U256,
    pub balance: U256,
    #[serde(default)]
    pub code: Bytes,
    #[serde(default)]
    pub storage: BTreeMap<U256, U256>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Genesis {
    config: Config,
    alloc: Alloc,
    timestamp: U64,
    extra_data: Bytes,
    gas_limit: U64,
    difficulty: U256,
    mix_hash: B256,
    coinbase: Address,
}

/// Every block's header and the state after it.
pub struct Chain {
    config: Config,
    blocks: Vec<(Header, State)>,
}

impl Chain {
    pub fn replay(genesis: &[u8], mut blocks: &[u8]) -> Result<Self, String> {
        let genesis: Genesis =
            serde_json::from_slice(genesis).map_err(|error| format!("genesis.json: {error}"))?;
        let mut state = State::new(&genesis.alloc);
        let header = genesis_header(&genesis, state.root);
        state.world.blocks.insert(0, header.hash_slow());
        let mut chain = Self { config: genesis.config, blocks: vec![(header, state)] };
        while !blocks.is_empty() {
            let before = blocks.len();
            let block = Block::decode(&mut blocks).map_err(|error| error.to_string())?;
            let (height, bytes) = (block.header.number, before - blocks.len());
            chain.block(block, bytes).map_err(|error| format!("block {height}: {error}"))?;
        }
        Ok(chain)
    }

    /// The block at `height`, or the last one, to simulate on.
    pub fn ground(&self, height: Option<u64>) -> Option<Ground<'_, World>> {
        let height = height.map_or(self.blocks.len() - 1, |height| height as usize);
        let (header, state) = self.blocks.get(height)?;
        let rules = |header: &Header| self.config.rules(header.number, header.timestamp);
        let State { world, trie, .. } = state.clone();
        Some(Ground::in_memory(header.clone(), world, trie, rules))
    }

    fn block(&mut self, block: Block, bytes: usize) -> Result<(), String> {
        let (parent, before) = self.blocks.last().expect("genesis is there");
        let (header, body) = (block.header, block.body);
        let recovered =
            body.transactions.into_iter().map(|tx| tx.try_into_recovered().map(Arc::new));
        let txs: Vec<Transaction> =
            recovered.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let rules = self.config.rules(header.number, header.timestamp);
        let mut state = before.clone();
        let hash = header.hash_slow();
        if rules.is(SpecId::MERGE) {
            let withdrawals = body.withdrawals.as_deref().map(|list| &list[..]);
            let (header, transactions) = (&header, &txs[..]);
            let block = EthereumBlock { hash, header, transactions, withdrawals, bytes };
            let (world, parent_hash) = (&before.world, parent.hash_slow());
            let executed = execute_ethereum(&rules, parent_hash, parent, world, block);
            state.apply(executed.map_err(|error| error.to_string())?.diff)?;
        } else {
            let mut run = BlockRun::new(rules.clone(), &header, &before.world);
            txs.iter().try_for_each(|tx| run.include(tx))?;
            state.apply(run.finish().diff)?;
            reward(&rules, &header, &body.ommers, &mut state)?;
        }
        state.check_root(header.state_root)?;
        state.world.blocks.insert(header.number, hash);
        self.blocks.push((header, state));
        Ok(())
    }
}

fn genesis_header(genesis: &Genesis, state_root: B256) -> Header {
    Header {
        state_root,
        timestamp: genesis.timestamp.to(),
        extra_data: genesis.extra_data.clone(),
        gas_limit: genesis.gas_limit.to(),
        difficulty: genesis.difficulty,
        mix_hash: genesis.mix_hash,
        beneficiary: genesis.coinbase,
        ..Default::default()
    }
}

/// Pays the miners of a block and of its ommers (yellow paper, section 11.3).
fn reward(
    rules: &BlockRules,
    header: &Header,
    ommers: &[Header],
    state: &mut State,
) -> Result<(), String> {
    let era =
        [SpecId::BYZANTIUM, SpecId::PETERSBURG].iter().filter(|fork| rules.is(**fork)).count();
    let reward = U256::from(REWARDS[era]) * U256::from(ETHER);
    let nephew = reward / U256::from(32) * U256::from(ommers.len());
    let mut paid = vec![(header.beneficiary, reward + nephew)];
    for ommer in ommers {
        let age = header.number - ommer.number;
        paid.push((ommer.beneficiary, reward * U256::from(8 - age) / U256::from(8)));
    }
    for (to, wei) in paid {
        let before = state.world.account(&to).map_err(|error| error.to_string())?;
        let code_hash = alloy_primitives::KECCAK256_EMPTY;
        let mut after = before.unwrap_or(Account { nonce: 0, balance: U256::ZERO, code_hash });
        after.balance += wei;
        let change = AccountDiff { before, after: Some(after), ..Default::default() };
        state.apply(StateDiff { accounts: [(to, change)].into(), ..Default::default() })?;
    }
    Ok(())
}
