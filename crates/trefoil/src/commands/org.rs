//! `trefoil org`: the organisations that govern a network, and their decisions.

use alloy_primitives::U256;
use clap::{Args, Subcommand};
use serde_json::json;
use trefoil_os::keystore::SealingKey;
use trefoil_types::{Address, KeyRole, PublicKey};

use super::{
    arguments::{account, name},
    consent::ConsentArgs,
    floor::{few_organisations, few_validators},
    org_accounts::OrgAccountsCommand,
    org_arguments::{OrgArgs, OwnArgs},
    org_list,
    org_settings::{OrgSetCommand, OrgSettingsArgs},
    prove::ProofArgs,
    status::QueryArgs,
    transaction::TransactionArgs,
};
use crate::{
    chain_client::{
        governance::{
            self, OpenProposal, Organisations, PastDecision, SeatOffer,
            abi::{
                Governance::{approveCall, executeCall, objectCall, withdrawCall},
                GovernanceActions::{
                    acceptSeatCall, addCaKeyCall, addOrganisationCall, endCaKeyCall,
                    holdOrganisationCall, recoverCall, recoveryKeyCall, removeOrganisationCall,
                    resumeOrganisationCall, setKeysCall, setRecoveryKeyCall, setSealingKeyCall,
                    setSendersCall, suspendOrganisationCall,
                },
                IGovernance::Node,
            },
        },
        utc::utc,
    },
    error::CommandError,
};

#[derive(Debug, Subcommand)]
pub enum OrgCommand {
    /// The organisations, who speaks for them, and their CA keys
    List(QueryArgs),
    /// The open proposals, who approves, and what is missing
    Proposals(QueryArgs),
    /// What was decided, newest first: who proposed it, who approved it, and when
    Decisions {
        /// So many
        #[arg(long, default_value_t = 20)]
        count: usize,
        #[command(flatten)]
        node: QueryArgs,
    },
    /// Approve a proposal; with enough approvals it is carried out at once
    Vote(VoteArgs),
    /// Take your approval back; the proposer's ends the proposal
    Unvote(VoteArgs),
    /// Take the seat that an organisation offers your account
    Accept(OrgArgs),
    /// Carry out a proposal that waited for its delay
    Execute(VoteArgs),
    /// Object to what all decide about your organisation's keys: it waits twice as long, and needs one more
    Object(VoteArgs),
    /// Name the account that can give your organisation new keys, should it lose its own; it calls off what that
    /// account has announced
    RecoveryKey {
        /// None: no account can
        #[arg(value_name = "ADDRESS", value_parser = account)]
        recovery: Option<Address>,
        #[command(flatten)]
        own: OwnArgs,
    },
    /// Give an organisation new keys, with its recovery key: announce them, and repeat it after the delay
    Recover {
        /// An account that is to vote; give it once for each
        #[arg(long = "key", value_name = "ADDRESS", required = true, value_parser = account)]
        keys: Vec<Address>,
        /// So many of the keys speak for it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
        threshold: u8,
        #[command(flatten)]
        org: OrgArgs,
    },
    /// For the guardian: let an organisation decide nothing, for a week or until a vote ends it
    Hold(OrgArgs),
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
    ProposeRemove {
        #[command(flatten)]
        consent: ConsentArgs,
        #[command(flatten)]
        org: OrgArgs,
    },
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
    /// Name the accounts that may send transactions for your organisation, whose keys are contracts
    Senders {
        /// An account that no list shuts out; all that were named before go
        #[arg(value_name = "ADDRESS", value_parser = account)]
        senders: Vec<Address>,
        #[command(flatten)]
        own: OwnArgs,
    },
    /// The accounts of your organisation's people and programs
    #[command(subcommand)]
    Accounts(OrgAccountsCommand),
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
            Self::List(node) => org_list::list(&node).await,
            Self::Proposals(node) => list_proposals(&node).await,
            Self::Decisions { count, node } => list_decisions(&node, count).await,
            Self::Vote(VoteArgs { id, transaction }) => {
                transaction.for_members().await?.decision(approveCall { id: U256::from(id) }).await
            }
            Self::Unvote(VoteArgs { id, transaction }) => {
                transaction.for_members().await?.decision(withdrawCall { id: U256::from(id) }).await
            }
            Self::Accept(org) => org.accept().await,
            Self::Execute(VoteArgs { id, transaction }) => {
                transaction.for_members().await?.decision(executeCall { id: U256::from(id) }).await
            }
            Self::Object(VoteArgs { id, transaction }) => {
                transaction.for_members().await?.decision(objectCall { id: U256::from(id) }).await
            }
            Self::RecoveryKey { recovery, own } => {
                let (sender, id) = own.sender().await?;
                let account = recovery.unwrap_or_default();
                sender.decide(id, setRecoveryKeyCall { id, account }).await
            }
            Self::Hold(org) => {
                let sender = org.transaction.for_members().await?;
                let id = sender.organisation(Some(&org.org)).await?;
                sender.hold(holdOrganisationCall { id }).await
            }
            Self::Recover { keys, threshold, org } => org.recover(threshold, keys).await,
            Self::ProposeAdd { name, keys, threshold, ca_keys, proofs, transaction } => {
                let sender = transaction.for_members().await?;
                let claims: Vec<_> = ca_keys.iter().map(|key| (*key, KeyRole::Ca)).collect();
                proofs.bring(&sender, &name, &claims).await?;
                let ca_keys = ca_keys.iter().map(|key| key.0).collect();
                let action = addOrganisationCall { name, threshold, keys, caKeys: ca_keys };
                sender.propose(action).await
            }
            Self::ProposeRemove { consent, org } => org.remove(&consent).await,
            Self::ProposeSuspend(org) => org.propose(|id| suspendOrganisationCall { id }).await,
            Self::ProposeResume(org) => org.propose(|id| resumeOrganisationCall { id }).await,
            Self::RotateKeys { keys, threshold, own } => {
                let (sender, id) = own.sender().await?;
                sender.decide(id, setKeysCall { id, threshold, keys }).await
            }
            Self::Senders { senders, own } => {
                let (sender, id) = own.sender().await?;
                sender.decide(id, setSendersCall { id, senders }).await
            }
            Self::Accounts(command) => command.run().await,
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
    println!("     for {decider} to decide, until {}", utc(p.closes));
    let by = organisations.of_key(p.proposer).map(|o| organisations.label(o.id));
    println!("     proposed by {} of {}", p.proposer, by.as_deref().unwrap_or("no organisation"));
    println!("     approve: {}", organisations.labels(&p.approving));
    for (id, given) in &p.partly {
        let threshold = organisations.get(*id).map_or(0, |o| o.threshold);
        println!("     partly: {}, {given} of {threshold} keys", organisations.label(*id));
    }
    println!("     {}", p.waits_for(organisations));
    if p.objected {
        println!("     {} objects", organisations.label(p.concerned));
    }
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
        "delayed": p.delayed,
        "ready": (p.ready != 0).then_some(p.ready),
        "objected": p.objected,
    })
}

async fn list_decisions(node: &QueryArgs, count: usize) -> Result<(), CommandError> {
    let (contract, organisations) = node.members().await?;
    let decisions = contract.decisions(count).await?;
    if node.json {
        let json = |d: &PastDecision| {
            json!({
                "id": d.id,
                "action": governance::words(&d.action, &organisations),
                "actionData": d.action,
                "proposer": d.proposer,
                "organisation": d.organisation,
                "decider": (d.decider != 0).then_some(d.decider),
                "approved": d.approved,
                "decided": d.decided,
                "height": d.height,
            })
        };
        println!("{:#}", decisions.iter().map(json).collect::<serde_json::Value>());
        return Ok(());
    }
    for d in &decisions {
        println!("{:>3}  {}", d.id, governance::words(&d.action, &organisations));
        println!("     {}, block {}", utc(d.decided), d.height);
        println!("     proposed by {} of {}", d.proposer, organisations.label(d.organisation));
        println!("     approved by {}", organisations.labels(&d.approved));
    }
    Ok(())
}

#[derive(Debug, Args)]
pub struct VoteArgs {
    /// The proposal's number; `trefoil org proposals` shows them
    id: u64,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl OrgArgs {
    /// Proposes to remove it, and asks, if too few would be left.
    async fn remove(self, consent: &ConsentArgs) -> Result<(), CommandError> {
        let sender = self.transaction.for_members().await?;
        let organisations = Organisations::read(&sender.contract).await?;
        let id = organisations.find(&self.org)?;
        let nodes = governance::nodes(&sender.contract).await?;
        let without = |node: &Node| if node.organisation == id { 0 } else { node.power };
        let few = few_organisations(&organisations, id);
        if let Some(what) = few.or_else(|| few_validators(&nodes, without)) {
            consent.ask(&what)?;
        }
        sender.propose(removeOrganisationCall { id }).await
    }

    /// Takes the seat that it offers the account that signs.
    async fn accept(self) -> Result<(), CommandError> {
        let sender = self.transaction.for_members().await?;
        let organisation = sender.organisation(Some(&self.org)).await?;
        let Some(receipt) = sender.send(acceptSeatCall { organisation }, U256::ZERO).await? else {
            return Ok(());
        };
        let offer = SeatOffer::read(&sender.contract, organisation).await?;
        let state = match offer.missing() {
            0 => "it votes with its new keys".to_owned(),
            1 => "1 more account must accept".to_owned(),
            missing => format!("{missing} more accounts must accept"),
        };
        sender.report(&receipt, json!({ "missing": offer.missing() }), &state);
        Ok(())
    }

    /// Announces its new keys, or offers them their seats.
    async fn recover(self, threshold: u8, keys: Vec<Address>) -> Result<(), CommandError> {
        let sender = self.transaction.for_members().await?;
        let id = sender.organisation(Some(&self.org)).await?;
        let call = recoverCall { id, threshold, keys };
        let Some(receipt) = sender.send(call, U256::ZERO).await? else { return Ok(()) };
        let ready = sender.contract.view(recoveryKeyCall { organisation: id }).await?.ready;
        let said = match ready {
            0 => "offered: each account takes its seat by `trefoil org accept`".to_owned(),
            ready => format!("announced: repeat it from {} on", utc(ready)),
        };
        sender.report(&receipt, json!({ "ready": (ready != 0).then_some(ready) }), &said);
        Ok(())
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
