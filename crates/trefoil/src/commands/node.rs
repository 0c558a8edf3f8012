//! `trefoil node`: the nodes that the chain knows by their keys.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use clap::{Args, Subcommand};
use serde_json::json;
use trefoil_types::PeerId;

use super::{
    arguments::{Revoked, revoked},
    certify::CertifyArgs,
    org_arguments::{OwnArgs, WhoseArgs},
    status::QueryArgs,
    transaction::{TransactionArgs, TransactionSender},
};
use crate::{
    chain_client::{
        contract::Contract,
        governance::{
            self, Organisations,
            abi::{
                Governance::revokedSerialsCall,
                GovernanceActions::{
                    forgetSerialsCall, holdNodeCall, revokeNodeCall, revokeSerialCall,
                },
                IGovernance::{Node as NodeEntry, Serial as SerialEntry},
            },
            peer,
        },
    },
    error::CommandError,
};

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Validators, revoked nodes and revoked certificates (a full node is listed nowhere)
    List(QueryArgs),
    /// Shut a node out for ever, or take one certificate back
    Revoke(RevokeArgs),
    /// For the guardian: let no node talk to it, for a week or until a vote ends it
    Hold {
        /// The node's peer id
        peer: PeerId,
        #[command(flatten)]
        transaction: TransactionArgs,
    },
    /// Issue a node's certificate with your organisation's CA key
    Certify(CertifyArgs),
    /// Forget the revoked certificates of a CA key that ended
    ForgetSerials(OwnArgs),
}

impl NodeCommand {
    pub async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::List(node) => list(&node).await,
            Self::Revoke(command) => command.run().await,
            Self::Hold { peer, transaction } => {
                transaction.for_members().await?.hold(holdNodeCall { peer: peer.0.0 }).await
            }
            Self::Certify(command) => command.run().await,
            Self::ForgetSerials(own) => {
                let (sender, id) = own.sender().await?;
                sender.decide(id, forgetSerialsCall { id }).await
            }
        }
    }
}

async fn list(node: &QueryArgs) -> Result<(), CommandError> {
    let (contract, organisations) = node.members().await?;
    let nodes = governance::nodes(&contract).await?;
    let serials = revoked_serials(&contract, &organisations).await?;
    if node.json {
        let node = |node: &NodeEntry| {
            json!({
                "peer": peer(&node.peer).to_string(),
                "organisation": node.organisation,
                "role": role(node),
                "revoked": node.revoked,
            })
        };
        let serial = |(organisation, serial): (u32, String)| json!({ "organisation": organisation, "serial": serial });
        let serials = serials.iter().map(|s| (s.organisation, format!("{:#x}", s.serial)));
        let all = json!({
            "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
            "revokedSerials": serials.map(serial).collect::<Vec<_>>(),
        });
        println!("{all:#}");
        return Ok(());
    }
    for node in &nodes {
        let state = if node.revoked { "revoked" } else { "" };
        let organisation = organisations.label(node.organisation);
        println!("{}  {:9}  {organisation}  {state}", peer(&node.peer), role(node));
    }
    for s in &serials {
        let organisation = organisations.label(s.organisation);
        println!("certificate {:#x} of {organisation}  revoked", s.serial);
    }
    let revoked = nodes.iter().filter(|node| node.revoked).count();
    let (nodes, serials) = (nodes.len() - revoked, serials.len());
    println!("{nodes} validators, {revoked} revoked nodes, {serials} revoked certificates");
    Ok(())
}

/// The certificates that were revoked. An organisation has 64 at most, so one call for each.
async fn revoked_serials(
    contract: &Contract,
    organisations: &Organisations,
) -> Result<Vec<SerialEntry>, CommandError> {
    let mut all = vec![];
    for from in 0..organisations.0.len() {
        let (from, count) = (U256::from(from), U256::ONE);
        all.extend(contract.view(revokedSerialsCall { from, count }).await?);
    }
    Ok(all)
}

/// `IGovernance.Role` (the ABI has a bare number).
fn role(node: &NodeEntry) -> &'static str {
    match node.role {
        2 => "validator",
        _ => "full",
    }
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// A peer id: that node, for ever. A serial number: one certificate
    #[arg(value_name = "PEER|SERIAL", value_parser = revoked)]
    what: Revoked,
    #[command(flatten)]
    whose: WhoseArgs,
    /// Let all decide, also about your organisation's own: a full node that the
    /// chain does not know is revoked by its peer id only so
    #[arg(long)]
    vote: bool,
    #[command(flatten)]
    transaction: TransactionArgs,
}

impl RevokeArgs {
    async fn run(self) -> Result<(), CommandError> {
        let sender = self.transaction.for_members().await?;
        let named = self.whose.org.as_deref();
        match self.what {
            Revoked::Peer(peer) => {
                let nodes = governance::nodes(&sender.contract).await?;
                let known = nodes.iter().find(|node| node.peer == peer.0.0);
                let organisation = match (named, known) {
                    (None, Some(node)) => node.organisation,
                    _ => sender.organisation(named).await?,
                };
                let action = revokeNodeCall { peer: peer.0.0, organisation };
                self.decide(&sender, organisation, action).await
            }
            Revoked::Serial(serial) => {
                let id = sender.organisation(named).await?;
                self.decide(&sender, id, revokeSerialCall { id, serial }).await
            }
        }
    }

    async fn decide(
        &self,
        sender: &TransactionSender<'_>,
        organisation: u32,
        action: impl SolCall,
    ) -> Result<(), CommandError> {
        match self.vote {
            true => sender.propose(action).await,
            false => sender.decide(organisation, action).await,
        }
    }
}
