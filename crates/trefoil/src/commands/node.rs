//! `trefoil node`: the nodes that the chain knows by their keys.

use clap::{Args, Subcommand};
use serde_json::json;
use trefoil_types::{PeerId, PublicKey};

use super::{
    arguments::{Revoked, revoked},
    block_on,
    certify::Certify,
    org::Whose,
    status,
    transaction::Write,
};
use crate::{
    chain_client::governance::abi::{
        Governance::{nodesCall, revokedSerialsCall},
        GovernanceActions::{forgetSerialsCall, revokeNodeCall, revokeSerialCall},
        IGovernance::Node as Entry,
    },
    failure::Failure,
};

#[derive(Debug, Subcommand)]
pub enum Node {
    /// Validators, revoked nodes and revoked certificates (a full node is listed nowhere)
    List(List),
    /// Shut a node out for ever, or take one certificate back
    Revoke(Revoke),
    /// Issue a node's certificate with your organisation's CA key
    Certify(Certify),
    /// Forget the revoked certificates of a CA key that ended
    ForgetSerials(ForgetSerials),
}

impl Node {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(command) => block_on(command.run()),
            Self::Revoke(command) => block_on(command.run()),
            Self::Certify(command) => block_on(command.run()),
            Self::ForgetSerials(command) => block_on(command.run()),
        }
    }
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    node: status::Node,
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let (contract, organisations) = self.node.members().await?;
        let nodes = contract.view(nodesCall {}).await?;
        let serials = contract.view(revokedSerialsCall {}).await?;
        if self.node.json {
            let node = |node: &Entry| {
                json!({
                    "peer": peer(node).to_string(),
                    "organisation": node.organisation,
                    "role": role(node),
                    "revoked": node.revoked,
                })
            };
            let serial = |(organisation, serial): (u32, String)| json!({ "organisation": organisation, "serial": serial });
            let serials = serials.iter().map(|s| (s.organisation, format!("{:#x}", s.serial)));
            println!(
                "{:#}",
                json!({
                    "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
                    "revokedSerials": serials.map(serial).collect::<Vec<_>>(),
                })
            );
            return Ok(());
        }
        for node in &nodes {
            let state = if node.revoked { "revoked" } else { "" };
            let organisation = organisations.label(node.organisation);
            println!("{}  {:9}  {organisation}  {state}", peer(node), role(node));
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
}

fn peer(node: &Entry) -> PeerId {
    PeerId(PublicKey(node.peer))
}

/// `IGovernance.Role` (the ABI has a bare number).
fn role(node: &Entry) -> &'static str {
    match node.role {
        2 => "validator",
        _ => "full",
    }
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// A peer id: that node, for ever. A serial number: one certificate
    #[arg(value_name = "PEER|SERIAL", value_parser = revoked)]
    what: Revoked,
    #[command(flatten)]
    whose: Whose,
    /// Let all decide, also about your organisation's own: a full node that the
    /// chain does not know is revoked by its peer id only so
    #[arg(long)]
    vote: bool,
    #[command(flatten)]
    write: Write,
}

impl Revoke {
    async fn run(self) -> Result<(), Failure> {
        let writer = self.write.for_members().await?;
        let named = self.whose.org.as_deref();
        match self.what {
            Revoked::Peer(peer) => {
                let nodes = writer.contract.view(nodesCall {}).await?;
                let known = nodes.iter().find(|node| node.peer == peer.0.0);
                let organisation = match (named, known) {
                    (None, Some(node)) => node.organisation,
                    _ => writer.organisation(named).await?,
                };
                let action = revokeNodeCall { peer: peer.0.0, organisation };
                match self.vote {
                    true => writer.propose(action).await,
                    false => writer.decide(organisation, action).await,
                }
            }
            Revoked::Serial(serial) => {
                let id = writer.organisation(named).await?;
                let action = revokeSerialCall { id, serial };
                match self.vote {
                    true => writer.propose(action).await,
                    false => writer.decide(id, action).await,
                }
            }
        }
    }
}

#[derive(Debug, Args)]
pub struct ForgetSerials {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    write: Write,
}

impl ForgetSerials {
    async fn run(self) -> Result<(), Failure> {
        let writer = self.write.for_members().await?;
        let id = writer.organisation(self.whose.org.as_deref()).await?;
        writer.decide(id, forgetSerialsCall { id }).await
    }
}
