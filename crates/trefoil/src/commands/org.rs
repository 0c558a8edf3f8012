//! `trefoil org`: the organisations that govern a network, and their decisions.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use clap::{Args, Subcommand};
use serde_json::json;
use trefoil_os::keystore::SealingKey;
use trefoil_types::{Address, KeyRole, PublicKey};

use super::{
    arguments::{account, name},
    org_settings::{OrgSetCommand, OrgSettingsArgs},
    prove::ProofArgs,
    status::QueryArgs,
    transaction::{TransactionArgs, TransactionSender},
};
use crate::{
    chain_client::governance::{
        self, Offer, OpenProposal, Organisations, SealingKeys,
        abi::{
            Governance::{acceptSeatCall, approveCall, nodesCall, withdrawCall},
            GovernanceActions::{
                addCaKeyCall, addOrganisationCall, endCaKeyCall, removeOrganisationCall,
                resumeOrganisationCall, setKeysCall, setSealingKeyCall, suspendOrganisationCall,
            },
            IGovernance::{CaKey, Node as NodeEntry, Organisation},
        },
    },
    error::CommandError,
};

#[derive(Debug, Subcommand)]
pub enum OrgCommand {
    /// The organisations, who speaks for them, and their CA keys
    List(QueryArgs),
    /// The open proposals, who approves, and what is missing
    Proposals(QueryArgs),
    /// Approve a proposal; with enough approvals it is carried out at once
    Vote(VoteArgs),
    /// Take your approval back; the proposer's ends the proposal
    Unvote(VoteArgs),
    /// Take the seat that an organisation offers your account
    Accept(OrgArgs),
    /// Propose a new organisation; it joins when its accounts have accepted
    ProposeAdd {
        #[arg(value_parser = name)]
        name: String,
        /// An account that votes for it; give it once for each
        #[arg(long = "key", value_name = "ADDRESS", required = true, value_parser = account)]
        keys: Vec<Address>,
        /// So many of its keys speak for it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
        threshold: u8,
        /// An Ed25519 key that signs its nodes' certificates; give it once for each
        #[arg(long = "ca", value_name = "KEY", required = true)]
        ca_keys: Vec<PublicKey>,
        #[command(flatten)]
        proofs: ProofArgs,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Propose to remove an organisation, for ever
    ProposeRemove(OrgArgs),
    /// Propose to suspend an organisation: its nodes are refused, it has no vote
    ProposeSuspend(OrgArgs),
    /// Propose to take a suspension back
    ProposeResume(OrgArgs),
    /// Change who speaks for your organisation, as soon as enough of the new accounts have accepted
    RotateKeys {
        /// An account that is to vote; give it once for each, the old ones go
        #[arg(long = "key", value_name = "ADDRESS", required = true, value_parser = account)]
        keys: Vec<Address>,
        /// So many of the keys speak for it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
        threshold: u8,
        #[command(flatten)]
        own: OwnArgs,
    },
    /// Add or end a CA key of your organisation
    RotateCa(RotateCaArgs),
    /// Say to which key members seal content for your organisation
    // Its nodes that shall open what is sealed keep the other half; keep old ones too, for
    // what was sealed to them.
    SealingKey {
        /// The key that `trefoil keys new sealing` printed, age1…; none: nothing is sealed to it any more
        key: Option<SealingKey>,
        #[command(flatten)]
        own: OwnArgs,
    },
    /// Gas, fees, lists of accounts, rule sets, and how votes pass
    Settings(OrgSettingsArgs),
    /// Propose to change one of these
    #[command(subcommand)]
    Set(OrgSetCommand),
}

impl OrgCommand {
    pub async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::List(node) => list(&node).await,
            Self::Proposals(node) => list_proposals(&node).await,
            Self::Vote(VoteArgs { id, transaction }) => {
                transaction.for_members().await?.decision(approveCall { id: U256::from(id) }).await
            }
            Self::Unvote(VoteArgs { id, transaction }) => {
                transaction.for_members().await?.decision(withdrawCall { id: U256::from(id) }).await
            }
            Self::Accept(org) => org.accept().await,
            Self::ProposeAdd { name, keys, threshold, ca_keys, proofs, transaction } => {
                let sender = transaction.for_members().await?;
                let claims: Vec<_> = ca_keys.iter().map(|key| (*key, KeyRole::Ca)).collect();
                proofs.bring(&sender, &name, &claims).await?;
                let ca_keys = ca_keys.iter().map(|key| key.0).collect();
                let action = addOrganisationCall { name, threshold, keys, caKeys: ca_keys };
                sender.propose(action).await
            }
            Self::ProposeRemove(org) => org.propose(|id| removeOrganisationCall { id }).await,
            Self::ProposeSuspend(org) => org.propose(|id| suspendOrganisationCall { id }).await,
            Self::ProposeResume(org) => org.propose(|id| resumeOrganisationCall { id }).await,
            Self::RotateKeys { keys, threshold, own } => {
                let (sender, id) = own.sender().await?;
                sender.decide(id, setKeysCall { id, threshold, keys }).await
            }
            Self::RotateCa(command) => command.run().await,
            Self::SealingKey { key, own } => {
                let (sender, id) = own.sender().await?;
                // The contract stores 0 for an organisation without a key.
                let key = key.map_or([0; 32], |key| key.0).into();
                sender.decide(id, setSealingKeyCall { id, key }).await
            }
            Self::Settings(command) => command.run().await,
            Self::Set(command) => command.run().await,
        }
    }
}

async fn list(node: &QueryArgs) -> Result<(), CommandError> {
    let (contract, organisations) = node.members().await?;
    let nodes = contract.view(nodesCall {}).await?;
    let sealing = SealingKeys::read(&contract).await?;
    if node.json {
        let mut list = vec![];
        for o in &organisations.0 {
            let mut o_json = as_json(o, sealing.of(o.id), &nodes);
            o_json["offer"] = Offer::read(&contract, o.id).await?.as_json();
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
        let offer = Offer::read(&contract, o.id).await?;
        offer.lines().iter().for_each(|line| println!("     {line}"));
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

async fn list_proposals(node: &QueryArgs) -> Result<(), CommandError> {
    let (contract, organisations) = node.members().await?;
    let open = contract.open_proposals(&organisations).await?;
    if node.json {
        let list: Vec<_> = open.iter().map(|p| proposal_json(p, &organisations)).collect();
        println!("{:#}", json!(list));
        return Ok(());
    }
    open.iter().for_each(|proposal| print(proposal, &organisations));
    println!("{} open", open.len());
    Ok(())
}

fn print(p: &OpenProposal, organisations: &Organisations) {
    let decider = match p.decider {
        0 => "all".into(),
        decider => organisations.label(decider),
    };
    println!("{:>3}  {}", p.id, governance::words(&p.action, organisations));
    println!("     for {decider} to decide, until block {}", p.closes);
    let by = organisations.of_key(p.proposer).map(|o| organisations.label(o.id));
    println!("     proposed by {} of {}", p.proposer, by.as_deref().unwrap_or("no organisation"));
    println!("     approve: {}", organisations.labels(&p.approving));
    for (id, given) in &p.partly {
        let threshold = organisations.get(*id).map_or(0, |o| o.threshold);
        println!("     partly: {}, {given} of {threshold} keys", organisations.label(*id));
    }
    println!("     {}", p.waits_for(organisations));
}

fn proposal_json(p: &OpenProposal, organisations: &Organisations) -> serde_json::Value {
    json!({
        "id": p.id,
        "action": governance::words(&p.action, organisations),
        "actionData": p.action,
        "proposer": p.proposer,
        "decider": (p.decider != 0).then_some(p.decider),
        "closes": p.closes,
        "approving": p.approving,
        "partly": p.partly,
        "missing": p.missing,
        "waitsFor": p.waits_for(organisations),
    })
}

#[derive(Debug, Args)]
pub struct VoteArgs {
    /// The proposal's number; `trefoil org proposals` shows them
    id: u64,
    #[command(flatten)]
    transaction: TransactionArgs,
}

#[derive(Debug, Args)]
pub struct OrgArgs {
    /// Its name or number
    org: String,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl OrgArgs {
    /// Takes the seat that it offers the account that signs.
    async fn accept(self) -> Result<(), CommandError> {
        let sender = self.transaction.for_members().await?;
        let organisation = sender.organisation(Some(&self.org)).await?;
        let Some(receipt) = sender.send(acceptSeatCall { organisation }, U256::ZERO).await? else {
            return Ok(());
        };
        let offer = Offer::read(&sender.contract, organisation).await?;
        let state = match offer.missing() {
            0 => "it votes with its new keys".to_owned(),
            1 => "1 more account must accept".to_owned(),
            missing => format!("{missing} more accounts must accept"),
        };
        sender.report(&receipt, json!({ "missing": offer.missing() }), &state);
        Ok(())
    }

    /// Proposes to all what is to become of it.
    async fn propose<C: SolCall>(self, action: impl FnOnce(u32) -> C) -> Result<(), CommandError> {
        let sender = self.transaction.for_members().await?;
        let id = sender.organisation(Some(&self.org)).await?;
        sender.propose(action(id)).await
    }
}

/// Which organisation's own decision it is.
#[derive(Debug, Args)]
pub struct WhoseArgs {
    /// Its name or number; without: the organisation of the account that signs.
    /// Another's affair is put to the vote of all
    #[arg(long, value_name = "ORG")]
    pub org: Option<String>,
}

/// A decision of one organisation, and the transaction that asks for it.
#[derive(Debug, Args)]
pub struct OwnArgs {
    #[command(flatten)]
    whose: WhoseArgs,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl OwnArgs {
    /// The sender, and the organisation that decides.
    pub async fn sender(&self) -> Result<(TransactionSender<'_>, u32), CommandError> {
        let sender = self.transaction.for_members().await?;
        let id = sender.organisation(self.whose.org.as_deref()).await?;
        Ok((sender, id))
    }
}

/// First add the new key, then certify every node anew, then end the old one.
#[derive(Debug, Args)]
pub struct RotateCaArgs {
    /// A new Ed25519 key whose certificates count
    #[arg(long, value_name = "KEY", required_unless_present = "end", conflicts_with = "end")]
    add: Option<PublicKey>,
    /// A key whose certificates count no more
    #[arg(long, value_name = "KEY")]
    end: Option<PublicKey>,
    /// The first height at which that holds; 0: the next block
    #[arg(long, value_name = "HEIGHT", default_value_t = 0)]
    at: u64,
    #[command(flatten)]
    proofs: ProofArgs,
    #[command(flatten)]
    own: OwnArgs,
}

impl RotateCaArgs {
    async fn run(self) -> Result<(), CommandError> {
        let (sender, id) = self.own.sender().await?;
        if let Some(PublicKey(key)) = self.add {
            let name = sender.name_of(id).await?;
            self.proofs.bring(&sender, &name, &[(PublicKey(key), KeyRole::Ca)]).await?;
            sender.decide(id, addCaKeyCall { id, key, from: self.at }).await?;
        }
        if let Some(PublicKey(key)) = self.end {
            sender.decide(id, endCaKeyCall { id, key, until: self.at }).await?;
        }
        Ok(())
    }
}
