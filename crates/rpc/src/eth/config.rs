//! The rules that hold (`eth_config`, EIP-7910) and the data that this node keeps
//! (`eth_capabilities`).

use alloy_eips::{
    eip2124::ForkHash, eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
};
use alloy_primitives::{Address, Bytes};
use revm::precompile::{PrecompileSpecId, Precompiles};
use serde_json::{Map, Value, json as value};
use trefoil_ledger::{LedgerError, PROOFS_WINDOW};
use trefoil_types::{Height, spec::Fork};

use crate::{Params, Rpc, RpcResult, convert, json};

/// System contracts and the fork that brought them.
const SYSTEM_CONTRACTS: [(&str, Fork, Address); 4] = [
    ("BEACON_ROOTS_ADDRESS", Fork::Cancun, BEACON_ROOTS_ADDRESS),
    ("HISTORY_STORAGE_ADDRESS", Fork::Prague, HISTORY_STORAGE_ADDRESS),
    ("WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS", Fork::Prague, WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS),
    (
        "CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS",
        Fork::Prague,
        CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
    ),
];

/// The rules of the tip and those before. `next` is always `null`: forks are
/// set for heights here, and the time of a height to come is not known.
pub fn config(rpc: &Rpc, _: &Params) -> RpcResult {
    let snapshot = rpc.backend.snapshot();
    let (spec, forks) = (&rpc.backend.spec, &snapshot.governed().forks);
    let reached = forks.iter().filter(|(_, from)| **from <= snapshot.tip().number);
    // Forks at one height come into force together: the newest counts.
    let mut eras: Vec<(Fork, Height)> = vec![];
    for (fork, from) in reached {
        eras.retain(|(_, height)| height != from);
        eras.push((*fork, *from));
    }
    let mut hash = ForkHash::from(rpc.backend.genesis_hash);
    let mut configs = vec![];
    for (fork, from) in eras {
        let since = match from {
            0 => 0,
            _ => snapshot.header(from)?.map_or(0, |(_, header)| header.timestamp),
        };
        // EIP-2124: forks of the genesis block are part of its hash and are not summed.
        if from > 0 {
            hash += from;
        }
        configs.push(era(spec.chain_id, fork, since, hash));
    }
    let current = configs.pop();
    json(&value!({ "current": current, "next": null, "last": configs.pop() }))
}

fn era(chain_id: u64, fork: Fork, since: u64, hash: ForkHash) -> Value {
    // revm names them as EIP-7910 does.
    let precompiles = Precompiles::new(match fork {
        Fork::Cancun => PrecompileSpecId::CANCUN,
        Fork::Prague => PrecompileSpecId::PRAGUE,
        Fork::Osaka => PrecompileSpecId::OSAKA,
    });
    let mut precompiles: Vec<_> = precompiles.inner().values().collect();
    precompiles.sort_unstable_by_key(|held| *held.address());
    let named =
        precompiles.iter().map(|held| (held.id().name().to_owned(), value!(held.address())));
    let precompiles: Map<String, Value> = named.collect();
    let contracts: Map<String, Value> = SYSTEM_CONTRACTS
        .iter()
        .filter(|(_, from, _)| *from <= fork)
        .map(|(name, _, at)| ((*name).into(), value!(at)))
        .collect();
    value!({
        "activationTime": since,
        // Blob transactions are refused, so a block has room for none.
        "blobSchedule": { "baseFeeUpdateFraction": 5_007_716, "max": 0, "target": 0 },
        "chainId": convert::quantity(chain_id),
        "forkId": Bytes::from(hash.0),
        "precompiles": precompiles,
        "systemContracts": contracts,
    })
}

/// The data that this node can answer about, and from which block on.
pub fn capabilities(rpc: &Rpc, _: &Params) -> RpcResult {
    let snapshot = rpc.backend.snapshot();
    let state = match snapshot.state(0) {
        Ok(_) => 0,
        Err(LedgerError::Pruned { oldest, .. }) => oldest,
        Err(error) => return Err(error.into()),
    };
    let proofs = match snapshot.proof(state, &Address::ZERO, &[]) {
        Ok(_) => state,
        Err(LedgerError::Unproven { oldest, .. }) => oldest,
        Err(error) => return Err(error.into()),
    };
    let from = |oldest| value!({ "disabled": false, "oldestBlock": convert::quantity(oldest) });
    json(&value!({
        "head": { "number": convert::quantity(snapshot.tip().number), "hash": snapshot.tip_hash() },
        "state": from(state),
        "tx": from(0),
        "logs": from(0),
        "receipts": from(0),
        "blocks": from(0),
        "stateproofs": {
            "disabled": false,
            "oldestBlock": convert::quantity(proofs),
            "deleteStrategy": {
                "type": "window",
                "retentionBlocks": convert::quantity(PROOFS_WINDOW),
            },
        },
    }))
}
