//! The fixtures' names of forks, and the rules that they stand for.

use alloy_eips::{eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS, eip7840::BlobParams};
use revm::primitives::hardfork::SpecId;
use trefoil_ledger::BlockRules;

use crate::fixture::Config;

/// The forks of a case: one from the start, perhaps another one from a time on.
#[derive(Debug, PartialEq, Eq)]
pub struct Schedule<'a> {
    first: &'a str,
    /// Timestamp in seconds.
    then: Option<(u64, &'a str)>,
}

impl<'a> Schedule<'a> {
    /// Reads `Cancun` or `CancunToPragueAtTime15k`.
    pub fn read(network: &'a str) -> Result<Self, String> {
        let unknown = || format!("network {network} is not known");
        let Some((first, rest)) = network.split_once("To") else {
            fork(network).ok_or_else(unknown)?;
            return Ok(Self { first: network, then: None });
        };
        let (second, time) = rest.split_once("AtTime").ok_or_else(unknown)?;
        let time = match time.strip_suffix('k') {
            Some(thousands) => thousands.parse::<u64>().map(|k| k * 1000),
            None => time.parse(),
        };
        let time = time.map_err(|_| unknown())?;
        fork(first).and(fork(second)).ok_or_else(unknown)?;
        Ok(Self { first, then: Some((time, second)) })
    }

    /// The newest fork of the case, by which it is run or skipped.
    pub fn newest(&self) -> SpecId {
        fork(self.then.map_or(self.first, |(_, second)| second)).expect("checked by read")
    }

    /// The oldest fork of the case.
    pub fn oldest(&self) -> SpecId {
        fork(self.first).expect("checked by read")
    }

    pub fn rules_at(&self, timestamp: u64, config: &Config) -> BlockRules {
        let name = match self.then {
            Some((time, second)) if timestamp >= time => second,
            _ => self.first,
        };
        let fork = fork(name).expect("checked by read");
        BlockRules {
            chain_id: config.chainid.to(),
            fork,
            blobs: blobs(name, fork, config),
            blob_txs: true,
            gas_free: false,
            deposits: Some(MAINNET_DEPOSIT_CONTRACT_ADDRESS),
            accounts_listed: false,
            deployers_listed: false,
            code_bytes_max: None,
            tx_gas_max: None,
        }
    }
}

fn fork(name: &str) -> Option<SpecId> {
    Some(match name {
        "Frontier" => SpecId::FRONTIER,
        "Homestead" => SpecId::HOMESTEAD,
        "EIP150" => SpecId::TANGERINE,
        "EIP158" => SpecId::SPURIOUS_DRAGON,
        "Byzantium" => SpecId::BYZANTIUM,
        "Constantinople" | "ConstantinopleFix" => SpecId::PETERSBURG,
        "Istanbul" => SpecId::ISTANBUL,
        "Berlin" => SpecId::BERLIN,
        "London" => SpecId::LONDON,
        "Paris" | "Merge" => SpecId::MERGE,
        "Shanghai" => SpecId::SHANGHAI,
        "Cancun" => SpecId::CANCUN,
        "Prague" => SpecId::PRAGUE,
        // Blob parameter only forks change nothing but the blob schedule.
        "Osaka" | "BPO1" | "BPO2" | "BPO3" | "BPO4" | "BPO5" => SpecId::OSAKA,
        _ => return None,
    })
}

fn blobs(name: &str, fork: SpecId, config: &Config) -> Option<BlobParams> {
    let mut blobs = match fork {
        SpecId::CANCUN => BlobParams::cancun(),
        SpecId::PRAGUE => BlobParams::prague(),
        SpecId::OSAKA => BlobParams::osaka(),
        _ => return None,
    };
    if let Some(given) = config.blob_schedule.get(name) {
        blobs.target_blob_count = given.target.to();
        blobs.max_blob_count = given.max.to();
        blobs.update_fraction = given.base_fee_update_fraction.to();
        if fork < SpecId::OSAKA {
            blobs.max_blobs_per_tx = blobs.max_blob_count;
        }
    }
    Some(blobs)
}
