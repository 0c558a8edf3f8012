//! `trefoil validator`: who validates, and who asks to.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{B256, U256, aliases::U96};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use trefoil_os::keystore::{self, KeyKind};
use trefoil_types::{Address, Kind, PeerId, PublicKey};

use super::{
    arguments::{account, ether},
    block_on,
    status::Node,
    transaction::{Write, Writer},
};
use crate::{
    chain_client::{
        contract::Contract,
        governance::{
            Organisations,
            abi::{
                Governance::{nodesCall, pendingChangeCall, validatorsCall},
                GovernanceActions::{
                    addValidatorCall, removeValidatorCall, rotateValidatorKeyCall,
                    setFeeRecipientCall as setNodeFeeRecipientCall, setPowerCall,
                },
                IGovernance::Node as Entry,
                IMembership::Validator as Member,
                IStaking::Candidate,
                Staking::{
                    addStakeCall, candidateCall, candidatesCall, depositCall, setFeeRecipientCall,
                    unbondCall, unjailCall, withdrawCall,
                },
            },
        },
    },
    failure::Failure,
};

#[derive(Debug, Subcommand)]
pub enum Validator {
    /// Who validates, with what power, and who signed the last block
    List(List),
    /// Propose a validator: a node of an organisation and its key
    ProposeAdd(ProposeAdd),
    /// Propose that a node validates no more
    ProposeRemove(Peer),
    /// Propose another voting power of a validator
    ProposePower(Power),
    /// Let your validator sign with another key
    RotateKey(RotateKey),
    /// Say where the fees of your validator's blocks go
    SetFeeRecipient(SetFeeRecipient),
    /// Public networks: become a candidate, with a stake
    Stake(Stake),
    /// Public networks: add to your stake
    AddStake(Amount),
    /// Public networks: take stake back; it can be withdrawn when it is unbonded
    Unstake(Unstake),
    /// Public networks: be paid what was unbonded long enough ago
    Withdraw(Own),
    /// Public networks: end your jail, when its time is over
    Unjail(Own),
}

impl Validator {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(command) => block_on(command.run()),
            Self::ProposeAdd(command) => block_on(command.run()),
            Self::ProposeRemove(Peer { peer, write }) => block_on(async {
                let action = removeValidatorCall { peer: peer.0.0 };
                write.for_members().await?.propose(action).await
            }),
            Self::ProposePower(Power { peer, power, write }) => block_on(async {
                let action = setPowerCall { peer: peer.0.0, power };
                write.for_members().await?.propose(action).await
            }),
            Self::RotateKey(command) => block_on(command.run()),
            Self::SetFeeRecipient(command) => block_on(command.run()),
            Self::Stake(command) => block_on(command.run()),
            Self::AddStake(Amount { amount, write }) => {
                block_on(async { write.for_stake().await?.act(addStakeCall {}, amount).await })
            }
            Self::Unstake(command) => block_on(command.run()),
            Self::Withdraw(Own { write }) => {
                block_on(async { write.for_stake().await?.act(withdrawCall {}, U256::ZERO).await })
            }
            Self::Unjail(Own { write }) => {
                block_on(async { write.for_stake().await?.act(unjailCall {}, U256::ZERO).await })
            }
        }
    }
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    node: Node,
}

/// One of the validators of the next block, or one that is to come or to go.
struct Row {
    key: PublicKey,
    power: u64,
    /// Whether it signed the last block; `None`: it was not asked to.
    signed: Option<bool>,
    /// What else is known, by name, in the order of printing.
    more: Vec<(&'static str, Value)>,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let contract = Contract::governing(self.node.client()?);
        let kind = contract.kind().await?;
        let set = contract.view(validatorsCall {}).await?;
        let signed = last_signatures(&contract).await?;
        let rows = match kind {
            Kind::Public => staked(&contract, &set).await?,
            Kind::Private | Kind::Consortium => registered(&contract, &set).await?,
        };
        let rows = rows.into_iter().map(|mut row| {
            row.signed = signed.get(&row.key).copied();
            row
        });
        let rows: Vec<Row> = rows.collect();
        if self.node.json {
            println!("{:#}", rows.iter().map(as_json).collect::<Value>());
            return Ok(());
        }
        rows.iter().for_each(print);
        println!("{} validate the next block", set.len());
        Ok(())
    }
}

fn as_json(row: &Row) -> Value {
    let mut value = json!({ "key": row.key, "power": row.power, "signedLast": row.signed });
    for (name, more) in &row.more {
        value[name] = more.clone();
    }
    value
}

fn print(row: &Row) {
    let signed = match row.signed {
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
async fn last_signatures(contract: &Contract) -> Result<BTreeMap<PublicKey, bool>, Failure> {
    let client = contract.client();
    let method = "trefoil_getCertificate";
    let newest = client.call("eth_blockNumber", json!([])).await?;
    let newest = newest.as_str().and_then(|hex| u64::from_str_radix(hex.get(2..)?, 16).ok());
    let before = newest.ok_or_else(|| client.odd("eth_blockNumber"))?.saturating_sub(1);
    let certificate = client.call(method, json!([format!("{before:#x}")])).await?;
    // Genesis has none.
    let Some(height) = certificate["height"].as_str() else { return Ok(BTreeMap::new()) };
    let odd = || client.odd(method);
    let digits = height.trim_start_matches("0x");
    let height = u64::from_str_radix(digits, 16).map_err(|_| odd())?;
    let signatures = certificate["signatures"].as_array().ok_or_else(odd)?;
    let signers = signatures.iter().filter_map(|signed| signed["validator"].as_str()?.parse().ok());
    let signers: BTreeSet<B256> = signers.collect();
    let parent = format!("{:#x}", height.saturating_sub(1)).into();
    let set = contract.view_at(validatorsCall {}, parent).await?;
    Ok(set.iter().map(|v| (PublicKey(v.key), signers.contains(&v.key))).collect())
}

/// Where organisations govern: the registered validators, also those to come.
async fn registered(contract: &Contract, set: &[Member]) -> Result<Vec<Row>, Failure> {
    let organisations = Organisations::read(contract).await?;
    let nodes = contract.view(nodesCall {}).await?;
    let mut rows = Vec::new();
    for node in nodes.iter().filter(|node| !node.revoked && node.power > 0) {
        let change = contract.view(pendingChangeCall { peer: node.peer }).await?;
        let pending = (change.height != 0 && change.power != 0).then_some(&change);
        let state = match set.iter().any(|member| member.key == node.validatorKey) {
            true => "validates",
            false => "does not validate yet, or is suspended",
        };
        rows.push(Row {
            key: PublicKey(node.validatorKey),
            power: node.power,
            signed: None,
            more: vec![
                ("peer", json!(peer(node).to_string())),
                ("organisation", json!(organisations.label(node.organisation))),
                ("state", json!(state)),
                ("from", json!(node.from)),
                ("until", json!((node.until != 0).then_some(node.until))),
                ("changesAt", json!(pending.map(|change| change.height))),
                ("changesToKey", json!(pending.map(|change| change.key))),
                ("changesToPower", json!(pending.map(|change| change.power))),
                ("feeRecipient", json!(node.feeRecipient)),
            ],
        });
    }
    Ok(rows)
}

fn peer(node: &Entry) -> PeerId {
    PeerId(PublicKey(node.peer))
}

/// Where stake governs: the candidates, and who was chosen of them; largest first.
async fn staked(contract: &Contract, set: &[Member]) -> Result<Vec<Row>, Failure> {
    let mut candidates: Vec<Candidate> = contract.view(candidatesCall {}).await?;
    candidates.sort_by_key(|candidate| std::cmp::Reverse((candidate.power, candidate.stake)));
    let known: BTreeSet<B256> = candidates.iter().map(|candidate| candidate.key).collect();
    // One that left is in the set until the epoch ends.
    let leaving = set.iter().filter(|member| !known.contains(&member.key)).map(|member| Row {
        key: PublicKey(member.key),
        power: member.power,
        signed: None,
        more: vec![
            ("state", json!("leaves at the end of the epoch")),
            ("feeRecipient", json!(member.feeRecipient)),
        ],
    });
    let leaving: Vec<Row> = leaving.collect();
    let rows = candidates.iter().map(|candidate| Row {
        key: PublicKey(candidate.key),
        power: candidate.power,
        signed: None,
        more: vec![
            ("owner", json!(candidate.owner)),
            ("stakeWei", json!(candidate.stake.to_string())),
            ("state", json!(standing(candidate))),
            ("feeRecipient", json!(candidate.feeRecipient)),
        ],
    });
    Ok(rows.chain(leaving).collect())
}

fn standing(candidate: &Candidate) -> String {
    match (candidate.jailedUntil, candidate.power) {
        (u64::MAX, _) => "jailed for ever".into(),
        (0, 0) => "waits to be chosen".into(),
        (0, _) => "validates".into(),
        (height, _) => format!("jailed: `trefoil validator unjail` from height {height} on"),
    }
}

#[derive(Debug, Args)]
pub struct ProposeAdd {
    /// The node's peer id
    peer: PeerId,
    /// The organisation whose node it is, by name or number
    #[arg(long)]
    org: String,
    /// Its Ed25519 consensus key; `trefoil keys list` on that node shows it
    #[arg(long, value_name = "KEY")]
    key: PublicKey,
    /// Voting power
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 60))]
    power: u64,
    /// Where the fees of its blocks go
    #[arg(long, value_name = "ADDRESS", value_parser = account, default_value_t = Address::ZERO)]
    fee_recipient: Address,
    #[command(flatten)]
    write: Write,
}

impl ProposeAdd {
    async fn run(self) -> Result<(), Failure> {
        let writer = self.write.for_members().await?;
        let action = addValidatorCall {
            peer: self.peer.0.0,
            organisation: writer.organisation(Some(&self.org)).await?,
            validatorKey: self.key.0,
            power: self.power,
            feeRecipient: self.fee_recipient,
        };
        writer.propose(action).await
    }
}

#[derive(Debug, Args)]
pub struct Peer {
    /// The node's peer id; `trefoil validator list` shows it
    peer: PeerId,
    #[command(flatten)]
    write: Write,
}

#[derive(Debug, Args)]
pub struct Power {
    /// The node's peer id; `trefoil validator list` shows it
    peer: PeerId,
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 60))]
    power: u64,
    #[command(flatten)]
    write: Write,
}

/// Whose validator it is; another organisation's is a matter for all.
async fn owner(writer: &Writer<'_>, peer: PeerId) -> Result<u32, Failure> {
    let nodes = writer.contract.view(nodesCall {}).await?;
    let node = nodes.iter().find(|node| node.peer == peer.0.0 && node.power > 0);
    node.map(|node| node.organisation).ok_or_else(|| {
        Failure::told(
            format!("{peer} is no validator"),
            "name a peer id that `trefoil validator list` shows",
        )
    })
}

#[derive(Debug, Args)]
pub struct RotateKey {
    /// The node's peer id; `trefoil validator list` shows it
    peer: PeerId,
    /// Its new Ed25519 consensus key
    key: PublicKey,
    #[command(flatten)]
    write: Write,
}

impl RotateKey {
    async fn run(self) -> Result<(), Failure> {
        let writer = self.write.for_members().await?;
        let owner = owner(&writer, self.peer).await?;
        let action = rotateValidatorKeyCall { peer: self.peer.0.0, validatorKey: self.key.0 };
        writer.decide(owner, action).await
    }
}

#[derive(Debug, Args)]
pub struct SetFeeRecipient {
    #[arg(value_parser = account)]
    address: Address,
    /// The validator's peer id (private and consortium networks)
    #[arg(long, value_name = "PEER")]
    node: Option<PeerId>,
    #[command(flatten)]
    write: Write,
}

impl SetFeeRecipient {
    async fn run(self) -> Result<(), Failure> {
        let Some(peer) = self.node else {
            let writer = self.write.for_stake().await?;
            let call = setFeeRecipientCall { feeRecipient: self.address };
            return writer.act(call, U256::ZERO).await;
        };
        let writer = self.write.for_members().await?;
        let owner = owner(&writer, peer).await?;
        let action = setNodeFeeRecipientCall { peer: peer.0.0, feeRecipient: self.address };
        writer.decide(owner, action).await
    }
}

#[derive(Debug, Args)]
pub struct Stake {
    /// How much
    #[arg(value_name = "ETHER", value_parser = ether)]
    amount: U256,
    /// The Ed25519 consensus key; without: that of DIR/keys/validator.json
    #[arg(long, value_name = "KEY")]
    key: Option<PublicKey>,
    /// Where the fees of its blocks go; without: to the account that signs
    #[arg(long, value_name = "ADDRESS", value_parser = account)]
    fee_recipient: Option<Address>,
    #[command(flatten)]
    write: Write,
}

impl Stake {
    async fn run(self) -> Result<(), Failure> {
        let writer = self.write.for_stake().await?;
        let key = match (self.key, self.write.dir()) {
            (Some(key), _) => key,
            (None, Some(dir)) => {
                let path = keystore::path(dir, KeyKind::Validator, "");
                keystore::describe(&path)?.public.parse().map_err(
                    |e: trefoil_crypto::KeyError| {
                        Failure::told(e.to_string(), "name the key with --key")
                    },
                )?
            }
            (None, None) => {
                return Err(Failure::told(
                    "it is not known which key will validate",
                    "name it with --key, or the node's directory with --dir",
                ));
            }
        };
        let fee_recipient = self.fee_recipient.or(writer.account()).ok_or_else(|| {
            Failure::told("it is not known where fees go", "name an account with --fee-recipient")
        })?;
        let call = depositCall { validatorKey: key.0, feeRecipient: fee_recipient };
        writer.act(call, self.amount).await
    }
}

#[derive(Debug, Args)]
pub struct Amount {
    #[arg(value_name = "ETHER", value_parser = ether)]
    amount: U256,
    #[command(flatten)]
    write: Write,
}

#[derive(Debug, Args)]
pub struct Own {
    #[command(flatten)]
    write: Write,
}

#[derive(Debug, Args)]
pub struct Unstake {
    /// How much; or --all
    #[arg(value_name = "ETHER", value_parser = ether, required_unless_present = "all", conflicts_with = "all")]
    amount: Option<U256>,
    /// All of it: you are no candidate any more
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    write: Write,
}

impl Unstake {
    async fn run(self) -> Result<(), Failure> {
        let writer = self.write.for_stake().await?;
        let amount = match self.amount {
            // Bounded where it was read.
            Some(amount) => amount.saturating_to::<U96>(),
            None => {
                let owner = writer.account().ok_or_else(|| {
                    Failure::told("it is not known whose stake", "name the account with --account")
                })?;
                writer.contract.view(candidateCall { owner }).await?.stake
            }
        };
        writer.act(unbondCall { amount }, U256::ZERO).await
    }
}
