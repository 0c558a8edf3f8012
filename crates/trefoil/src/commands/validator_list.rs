//! `trefoil validator list`: the validators of the next block, and those to come or to go.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use serde_json::{Value, json};
use trefoil_types::{Kind, PublicKey};

use super::status::QueryArgs;
use crate::{
    chain_client::{
        contract::Contract,
        governance::{
            self, Organisations,
            abi::{
                Governance::{pendingChangeCall, validatorsCall},
                GovernanceActions::standbyCall as seatStandbyCall,
                IMembership::Validator as ContractValidator,
                IStaking::Candidate,
                Staking::{candidatesCall, standbyCall},
            },
            peer,
        },
    },
    error::CommandError,
};

/// One of the validators of the next block, or one that is to come or to go.
struct ValidatorRow {
    key: PublicKey,
    power: u64,
    /// Other values, by name, in the order of printing.
    more: Vec<(&'static str, Value)>,
}

pub async fn list(node: &QueryArgs) -> Result<(), CommandError> {
    let contract = Contract::governing(node.client()?);
    let kind = contract.kind().await?;
    let set = contract.view(validatorsCall {}).await?;
    let signed = last_signatures(&contract).await?;
    let rows = match kind {
        Kind::Public => staked(&contract, &set).await?,
        Kind::Private | Kind::Consortium => registered(&contract, &set).await?,
    };
    let signed = |row: &ValidatorRow| signed.get(&row.key).copied();
    if node.json {
        println!("{:#}", rows.iter().map(|row| as_json(row, signed(row))).collect::<Value>());
        return Ok(());
    }
    rows.iter().for_each(|row| print(row, signed(row)));
    println!("{} validate the next block", set.len());
    Ok(())
}

/// `signed`: whether it signed the last block; `None`: it was not asked to.
fn as_json(row: &ValidatorRow, signed: Option<bool>) -> Value {
    let mut value = json!({ "key": row.key, "power": row.power, "signedLast": signed });
    for (name, more) in &row.more {
        value[name] = more.clone();
    }
    value
}

/// `signed` as of [`as_json`].
fn print(row: &ValidatorRow, signed: Option<bool>) {
    let signed = match signed {
        Some(true) => "signed",
        Some(false) => "MISSED",
        None => "-",
    };
    println!("{}  power {}  {signed}", row.key, row.power);
    let known = row.more.iter().filter(|(_, value)| !value.is_null());
    let known: Vec<String> = known
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            value => format!("{name} {value}"),
        })
        .collect();
    println!("    {}", known.join("  "));
}

/// Of each validator of the block before the newest: whether the certificate that
/// the newest one binds has its signature. (The newest's own may still grow.)
async fn last_signatures(contract: &Contract) -> Result<BTreeMap<PublicKey, bool>, CommandError> {
    let client = &contract.client;
    let method = "trefoil_getCertificate";
    let newest = contract.number("eth_blockNumber", json!([])).await?;
    let before = newest.saturating_sub(1);
    let certificate = client.call(method, json!([format!("{before:#x}")])).await?;
    // Genesis has none.
    if certificate["height"].is_null() {
        return Ok(BTreeMap::new());
    }
    let height = contract.quantity(method, certificate["height"].clone())?;
    let odd = || client.odd(method);
    let signatures = certificate["signatures"].as_array().ok_or_else(odd)?;
    let signers = signatures.iter().filter_map(|signed| signed["validator"].as_str()?.parse().ok());
    let signers: BTreeSet<B256> = signers.collect();
    // The set that decides a block is the one after its parent.
    let parent = format!("{:#x}", height.saturating_sub(1)).into();
    let set = contract.view_at(validatorsCall {}, parent).await?;
    Ok(set.iter().map(|v| (PublicKey(v.key), signers.contains(&v.key))).collect())
}

/// Where organisations govern: the registered validators, also those to come.
async fn registered(
    contract: &Contract,
    set: &[ContractValidator],
) -> Result<Vec<ValidatorRow>, CommandError> {
    let organisations = Organisations::read(contract).await?;
    let nodes = governance::nodes(contract).await?;
    let mut rows = Vec::new();
    // The list also has revoked nodes, which validate no more.
    for node in nodes.iter().filter(|node| !node.revoked && node.power > 0) {
        let change = contract.view(pendingChangeCall { peer: node.peer }).await?;
        let standby = contract.view(seatStandbyCall { peer: node.peer }).await?;
        // A change to power 0 is a removal, which `until` shows.
        let pending = (change.height != 0 && change.power != 0).then_some(&change);
        let state = match set.iter().any(|member| member.key == node.validatorKey) {
            true => "validates",
            false => "does not validate yet, or is suspended",
        };
        rows.push(ValidatorRow {
            key: PublicKey(node.validatorKey),
            power: node.power,
            more: vec![
                ("peer", json!(peer(&node.peer).to_string())),
                ("organisation", json!(organisations.label(node.organisation))),
                ("state", json!(state)),
                ("from", json!(node.from)),
                ("until", json!((node.until != 0).then_some(node.until))),
                ("changesAt", json!(pending.map(|change| change.height))),
                ("changesToKey", json!(pending.map(|change| change.key))),
                ("changesToPower", json!(pending.map(|change| change.power))),
                ("standby", named(standby.key)),
                ("feeRecipient", json!(node.feeRecipient)),
            ],
        });
    }
    Ok(rows)
}

/// Where stake governs: the candidates and whether they were chosen; largest first.
async fn staked(
    contract: &Contract,
    set: &[ContractValidator],
) -> Result<Vec<ValidatorRow>, CommandError> {
    let mut candidates: Vec<Candidate> = contract.view(candidatesCall {}).await?;
    candidates.sort_by_key(|candidate| std::cmp::Reverse((candidate.power, candidate.stake)));
    let known: BTreeSet<B256> = candidates.iter().map(|candidate| candidate.key).collect();
    // One that left is in the set until the epoch ends.
    let leaving =
        set.iter().filter(|member| !known.contains(&member.key)).map(|member| ValidatorRow {
            key: PublicKey(member.key),
            power: member.power,
            more: vec![
                ("state", json!("leaves at the end of the epoch")),
                ("feeRecipient", json!(member.feeRecipient)),
            ],
        });
    let leaving: Vec<ValidatorRow> = leaving.collect();
    let mut rows = Vec::new();
    for candidate in &candidates {
        let standby = contract.view(standbyCall { owner: candidate.owner }).await?;
        rows.push(ValidatorRow {
            key: PublicKey(candidate.key),
            power: candidate.power,
            more: vec![
                ("owner", json!(candidate.owner)),
                ("stakeWei", json!(candidate.stake.to_string())),
                ("state", json!(standing(candidate))),
                ("standby", named(standby.key)),
                ("feeRecipient", json!(candidate.feeRecipient)),
            ],
        });
    }
    rows.extend(leaving);
    Ok(rows)
}

/// A standby's key; nothing, if there is none.
fn named(key: B256) -> Value {
    json!((!key.is_zero()).then_some(key))
}

fn standing(candidate: &Candidate) -> String {
    match (candidate.jailedUntil, candidate.power) {
        (u64::MAX, _) => "jailed for ever".into(),
        (0, 0) => "waits for its probation".into(),
        (0, _) if candidate.active => "validates".into(),
        (0, _) => "on probation: it must sign half of an epoch".into(),
        (height, _) => format!("jailed: `trefoil validator unjail` from height {height} on"),
    }
}
