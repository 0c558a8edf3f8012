//! `trefoil org list`: the organisations, their accounts and keys.

use serde_json::json;
use trefoil_os::keystore::SealingKey;

use super::status::QueryArgs;
use crate::{
    chain_client::{
        governance::{
            self, SealingKeys, SeatOffer,
            abi::{
                GovernanceActions::recoveryKeyCall,
                IGovernance::{CaKey, Node as NodeEntry, Organisation},
            },
        },
        utc::utc,
    },
    error::CommandError,
};

pub async fn list(node: &QueryArgs) -> Result<(), CommandError> {
    let (contract, organisations) = node.members().await?;
    let nodes = governance::nodes(&contract).await?;
    let sealing = SealingKeys::read(&contract).await?;
    if node.json {
        let mut list = vec![];
        for o in &organisations.0 {
            let mut o_json = as_json(o, sealing.of(o.id), &nodes);
            o_json["offer"] = SeatOffer::read(&contract, o.id).await?.as_json();
            let recovery = contract.view(recoveryKeyCall { organisation: o.id }).await?;
            let account = Some(recovery.account).filter(|account| !account.is_zero());
            // When it may be given other keys: whoever holds its own must know before.
            let ready = Some(recovery.ready).filter(|ready| *ready != 0);
            o_json["recovery"] = json!({ "account": account, "ready": ready });
            list.push(o_json);
        }
        println!("{:#}", json!(list));
        return Ok(());
    }
    for o in &organisations.0 {
        println!("{:>3}  {}  {}", o.id, o.name, governance::status(o));
        if !o.keys.is_empty() {
            println!("     votes with {}", governance::keys(o.threshold, &o.keys));
        }
        let offer = SeatOffer::read(&contract, o.id).await?;
        offer.lines().iter().for_each(|line| println!("     {line}"));
        let recovery = contract.view(recoveryKeyCall { organisation: o.id }).await?;
        if !recovery.account.is_zero() {
            println!("     recovery key {}", recovery.account);
        }
        if recovery.ready != 0 {
            println!("     to be given new keys by it from {} on", utc(recovery.ready));
        }
        for ca in &o.caKeys {
            println!("     CA key {}, {}", ca.key, validity(ca));
        }
        if let Some(key) = sealing.of(o.id) {
            println!("     sealing key {key}");
        }
        let (known, revoked) = counts(o.id, &nodes);
        println!("     {known} validators, {revoked} revoked nodes");
    }
    Ok(())
}

fn as_json(
    o: &Organisation,
    sealing: Option<SealingKey>,
    nodes: &[NodeEntry],
) -> serde_json::Value {
    let (validators, revoked) = counts(o.id, nodes);
    let ca = |ca: &CaKey| json!({ "key": ca.key, "from": ca.from, "until": end(ca.until) });
    json!({
        "id": o.id,
        "name": o.name,
        "status": governance::status(o),
        "threshold": o.threshold,
        "keys": o.keys,
        "caKeys": o.caKeys.iter().map(ca).collect::<Vec<_>>(),
        "sealingKey": sealing.map(|key| key.to_string()),
        "validators": validators,
        "revokedNodes": revoked,
    })
}

/// An organisation's nodes that the chain knows: validators, and what was revoked.
fn counts(id: u32, nodes: &[NodeEntry]) -> (usize, usize) {
    let own = nodes.iter().filter(|node| node.organisation == id);
    let (revoked, validators): (Vec<_>, Vec<_>) = own.partition(|node| node.revoked);
    (validators.len(), revoked.len())
}

/// The contract's 0 is no end.
fn end(until: u64) -> Option<u64> {
    (until != 0).then_some(until)
}

fn validity(ca: &CaKey) -> String {
    match end(ca.until) {
        None => format!("from height {} on", ca.from),
        Some(until) => format!("from height {} to {}", ca.from, until.saturating_sub(1)),
    }
}
