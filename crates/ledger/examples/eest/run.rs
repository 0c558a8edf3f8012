//! Runs one case on the ledger's execution and judges it.

use std::sync::Arc;

use alloy_consensus::{Header, transaction::SignerRecoverable};
use alloy_eips::Decodable2718;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::Decodable;
use revm::primitives::hardfork::SpecId;
use trefoil_ledger::{BlockRun, EthereumBlock, ExecuteError, execute_ethereum};
use trefoil_types::{Block, Transaction, TxEnvelope};

use crate::{
    Verdict,
    fixture::{self, BlockchainCase, Env, Post, StateCase},
    forks::Schedule,
    state::State,
};

/// Why a case is not run, if it is not.
fn skipped(schedule: &Schedule<'_>, all: bool) -> Option<Verdict> {
    let before = |fork| schedule.oldest() < fork && schedule.newest() < SpecId::CANCUN;
    if before(SpecId::MERGE) {
        return Some(Verdict::Skipped("fork before Paris (proof of work)"));
    }
    if before(SpecId::CANCUN) && !all {
        return Some(Verdict::Skipped("fork before Cancun"));
    }
    None
}

fn verdict(result: Result<(), String>) -> Verdict {
    match result {
        Ok(()) => Verdict::Passed,
        Err(reason) => Verdict::Failed(reason),
    }
}

/// A state test is a case for each of its forks.
pub fn state_case(name: &str, case: &StateCase, all: bool) -> Vec<(String, Verdict)> {
    let mut verdicts = Vec::new();
    for (fork, posts) in &case.post {
        for (index, post) in posts.iter().enumerate() {
            let name = match case.post.len() * posts.len() {
                1 => name.to_owned(),
                _ => format!("{name}[{fork}/{index}]"),
            };
            let verdict = match Schedule::read(fork) {
                Ok(schedule) => skipped(&schedule, all)
                    .unwrap_or_else(|| verdict(state_post(case, &schedule, post))),
                Err(error) => Verdict::Failed(error),
            };
            verdicts.push((name, verdict));
        }
    }
    verdicts
}

fn state_post(case: &StateCase, schedule: &Schedule<'_>, post: &Post) -> Result<(), String> {
    let header = env_header(&case.env);
    let rules = schedule.rules_at(header.timestamp, &case.config);
    let mut state = State::new(&case.pre);
    let mut run = BlockRun::new(rules, &header, &state.world);
    let refused = recover(&post.txbytes).and_then(|tx| run.include(&tx)).err();
    let executed = run.finish();
    match (&refused, &post.expect_exception) {
        (Some(reason), None) => return Err(format!("refused: {reason}")),
        (None, Some(exception)) => return Err(format!("not refused for {exception}")),
        _ => {}
    }
    state.apply(executed.diff)?;
    let logs: Vec<_> = executed.receipts.iter().flat_map(|r| r.logs().to_vec()).collect();
    state.check_root(post.hash)?;
    equal("logs hash", keccak256(alloy_rlp::encode(&logs)), post.logs)
}

fn env_header(env: &Env) -> Header {
    Header {
        beneficiary: env.current_coinbase,
        gas_limit: env.current_gas_limit.to(),
        number: env.current_number.to(),
        timestamp: env.current_timestamp.to(),
        mix_hash: env.current_random.unwrap_or_default().into(),
        base_fee_per_gas: env.current_base_fee.map(|fee| fee.to()),
        excess_blob_gas: env.current_excess_blob_gas.map(|gas| gas.to()),
        ..Default::default()
    }
}

fn recover(bytes: &[u8]) -> Result<Transaction, String> {
    let tx = TxEnvelope::decode_2718_exact(bytes).map_err(|error| error.to_string())?;
    recovered(tx)
}

fn recovered(tx: TxEnvelope) -> Result<Transaction, String> {
    tx.try_into_recovered().map(Arc::new).map_err(|error| error.to_string())
}

fn equal(what: &str, got: B256, wanted: B256) -> Result<(), String> {
    if got != wanted {
        return Err(format!("{what} is {got}, should be {wanted}"));
    }
    Ok(())
}

pub fn blockchain_case(case: &BlockchainCase, all: bool) -> Verdict {
    match Schedule::read(&case.network) {
        Ok(schedule) => {
            skipped(&schedule, all).unwrap_or_else(|| verdict(run_chain(case, &schedule)))
        }
        Err(error) => Verdict::Failed(error),
    }
}

fn run_chain(case: &BlockchainCase, schedule: &Schedule<'_>) -> Result<(), String> {
    let genesis = decode(&case.genesis_rlp).map_err(|error| format!("genesis: {error}"))?;
    let mut chain = Chain {
        case,
        schedule,
        state: State::new(&case.pre),
        tip_hash: genesis.header.hash_slow(),
        tip: genesis.header,
    };
    equal("genesis hash", chain.tip_hash, case.genesis_block_header.hash)?;
    chain.state.check_root(chain.tip.state_root).map_err(|error| format!("genesis: {error}"))?;
    chain.state.world.blocks.insert(chain.tip.number, chain.tip_hash);
    for (index, block) in case.blocks.iter().enumerate() {
        chain.block(block).map_err(|error| format!("block {index}: {error}"))?;
    }
    equal("last block hash", chain.tip_hash, case.lastblockhash)?;
    if let Some(hash) = case.post_state_hash {
        chain.state.check_root(hash)?;
    }
    let post = case.post_state.as_ref().map(State::new);
    match post.and_then(|post| chain.state.difference(&post)) {
        Some(difference) => Err(difference),
        None => Ok(()),
    }
}

fn decode(mut bytes: &[u8]) -> Result<Block, String> {
    let block = Block::decode(&mut bytes).map_err(|error| error.to_string())?;
    if !bytes.is_empty() {
        return Err(format!("{} bytes follow the block", bytes.len()));
    }
    Ok(block)
}

struct Chain<'a> {
    case: &'a BlockchainCase,
    schedule: &'a Schedule<'a>,
    state: State,
    tip: Header,
    tip_hash: B256,
}

impl Chain<'_> {
    fn block(&mut self, block: &fixture::Block) -> Result<(), String> {
        match (self.execute(&block.rlp), &block.expect_exception) {
            (Ok((header, state)), None) => {
                self.tip_hash = header.hash_slow();
                self.state = state;
                self.state.world.blocks.insert(header.number, self.tip_hash);
                self.tip = header;
                Ok(())
            }
            (Ok(_), Some(exception)) => Err(format!("not refused for {exception}")),
            (Err(_), Some(_)) => Ok(()),
            (Err(reason), None) => Err(format!("refused: {reason}")),
        }
    }

    /// The block's header and the state after it.
    fn execute(&self, bytes: &[u8]) -> Result<(Header, State), String> {
        let block = decode(bytes)?;
        if !block.body.ommers.is_empty() {
            return Err("the block has ommers".into());
        }
        let (header, body) = (block.header, block.body);
        let transactions: Vec<Transaction> =
            body.transactions.into_iter().map(recovered).collect::<Result<_, _>>()?;
        let rules = self.schedule.rules_at(header.timestamp, &self.case.config);
        let hash = header.hash_slow();
        let withdrawals = body.withdrawals.as_deref().map(|list| &list[..]);
        let block = EthereumBlock {
            hash,
            header: &header,
            transactions: &transactions,
            withdrawals,
            bytes: bytes.len(),
        };
        let executed = execute_ethereum(&rules, self.tip_hash, &self.tip, &self.state.world, block)
            .map_err(|error| match error {
                ExecuteError::Block(error) => error.to_string(),
                ExecuteError::Ledger(error) => panic!("a state in memory cannot fail: {error}"),
            })?;
        let mut state = self.state.clone();
        state.apply(executed.diff).unwrap_or_else(|error| panic!("block {hash}: {error}"));
        state.check_root(header.state_root)?;
        Ok((header, state))
    }
}
