//! The JSON of the fixtures, as far as it is looked at.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;

pub type File = BTreeMap<String, Case>;

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Case {
    State(StateCase),
    Blockchain(BlockchainCase),
}

pub type Alloc = BTreeMap<Address, Account>;

#[derive(Debug, Deserialize)]
pub struct Account {
    pub nonce: U256,
    pub balance: U256,
    pub code: Bytes,
    pub storage: BTreeMap<U256, U256>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    pub chainid: U256,
    #[serde(default)]
    pub blob_schedule: BTreeMap<String, Blobs>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blobs {
    pub target: U256,
    pub max: U256,
    pub base_fee_update_fraction: U256,
}

#[derive(Debug, Deserialize)]
pub struct StateCase {
    pub env: Env,
    pub pre: Alloc,
    /// By fork.
    pub post: BTreeMap<String, Vec<Post>>,
    pub config: Config,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Env {
    pub current_coinbase: Address,
    pub current_gas_limit: U256,
    pub current_number: U256,
    pub current_timestamp: U256,
    pub current_random: Option<U256>,
    pub current_base_fee: Option<U256>,
    pub current_excess_blob_gas: Option<U256>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Post {
    /// The state root.
    pub hash: B256,
    /// keccak256 of the RLP of the logs.
    pub logs: B256,
    pub txbytes: Bytes,
    pub expect_exception: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockchainCase {
    pub network: String,
    pub config: Config,
    #[serde(rename = "genesisRLP")]
    pub genesis_rlp: Bytes,
    pub genesis_block_header: GenesisHeader,
    pub pre: Alloc,
    pub blocks: Vec<Block>,
    pub lastblockhash: B256,
    pub post_state: Option<Alloc>,
    /// In place of `post_state` where that would be large.
    pub post_state_hash: Option<B256>,
}

#[derive(Debug, Deserialize)]
pub struct GenesisHeader {
    pub hash: B256,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    pub rlp: Bytes,
    pub expect_exception: Option<String>,
}
