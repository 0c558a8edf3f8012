//! Which of Ethereum's rules hold when in the fixtures' chain, by its genesis
//! file: at first by height, after the merge by time.

use std::collections::BTreeMap;

use alloy_eips::eip7840::BlobParams;
use alloy_primitives::Address;
use revm::primitives::hardfork::SpecId;
use serde::Deserialize;
use trefoil_ledger::BlockRules;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    chain_id: u64,
    homestead_block: u64,
    eip150_block: u64,
    eip158_block: u64,
    byzantium_block: u64,
    constantinople_block: u64,
    istanbul_block: u64,
    berlin_block: u64,
    london_block: u64,
    merge_netsplit_block: u64,
    shanghai_time: u64,
    cancun_time: u64,
    prague_time: u64,
    osaka_time: u64,
    bpo1_time: u64,
    bpo2_time: u64,
    deposit_contract_address: Address,
    blob_schedule: BTreeMap<String, Blobs>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blobs {
    target: u64,
    max: u64,
    base_fee_update_fraction: u128,
}

impl Config {
    pub fn rules(&self, height: u64, time: u64) -> BlockRules {
        let fork = self.fork(height, time);
        BlockRules {
            chain_id: self.chain_id,
            fork,
            blobs: self.blobs(fork, time),
            blob_txs: true,
            gas_free: false,
            accounts_listed: false,
            deployers_listed: false,
            code_bytes_max: None,
            tx_gas_max: None,
            deposits: Some(self.deposit_contract_address),
        }
    }

    fn fork(&self, height: u64, time: u64) -> SpecId {
        let merged = height >= self.merge_netsplit_block;
        let by_time = [
            (self.osaka_time, SpecId::OSAKA),
            (self.prague_time, SpecId::PRAGUE),
            (self.cancun_time, SpecId::CANCUN),
            (self.shanghai_time, SpecId::SHANGHAI),
            (0, SpecId::MERGE),
        ];
        let by_height = [
            (self.london_block, SpecId::LONDON),
            (self.berlin_block, SpecId::BERLIN),
            (self.istanbul_block, SpecId::ISTANBUL),
            // revm knows Constantinople without EIP-1283 only, which Petersburg took back.
            (self.constantinople_block, SpecId::PETERSBURG),
            (self.byzantium_block, SpecId::BYZANTIUM),
            (self.eip158_block, SpecId::SPURIOUS_DRAGON),
            (self.eip150_block, SpecId::TANGERINE),
            (self.homestead_block, SpecId::HOMESTEAD),
        ];
        let (now, forks) = if merged { (time, &by_time[..]) } else { (height, &by_height[..]) };
        let current = forks.iter().find(|(since, _)| now >= *since);
        current.map_or(SpecId::FRONTIER, |(_, fork)| *fork)
    }

    fn blobs(&self, fork: SpecId, time: u64) -> Option<BlobParams> {
        let (mut blobs, name) = match fork {
            SpecId::CANCUN => (BlobParams::cancun(), "cancun"),
            SpecId::PRAGUE => (BlobParams::prague(), "prague"),
            SpecId::OSAKA if time >= self.bpo2_time => (BlobParams::osaka(), "bpo2"),
            SpecId::OSAKA if time >= self.bpo1_time => (BlobParams::osaka(), "bpo1"),
            SpecId::OSAKA => (BlobParams::osaka(), "osaka"),
            _ => return None,
        };
        if let Some(given) = self.blob_schedule.get(name) {
            blobs.target_blob_count = given.target;
            blobs.max_blob_count = given.max;
            blobs.update_fraction = given.base_fee_update_fraction;
        }
        Some(blobs)
    }
}
