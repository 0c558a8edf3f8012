//! `trefoil status` and `trefoil peers`: what a running node says of itself.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::block_on;
use crate::{client::Client, clock, failure::Failure, home::Home};

/// Which running node to ask.
#[derive(Debug, Args)]
pub struct Node {
    /// The node's RPC address
    #[arg(long, value_name = "URL", conflicts_with = "dir")]
    rpc: Option<String>,
    /// The node's directory, whose settings name the RPC address
    #[arg(long, value_name = "DIR", env = "TREFOIL_DIR")]
    dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The node at `rpc`, or else the one whose directory is `dir`, or else one on
/// this machine.
pub(super) fn client(rpc: Option<&str>, dir: Option<&Path>) -> Result<Client, Failure> {
    Ok(Client::new(&match (rpc, dir) {
        (Some(url), _) => url.into(),
        (None, Some(dir)) => Home::new(dir).settings(&[])?.settings.rpc.listen.to_string(),
        (None, None) => "127.0.0.1:8545".into(),
    }))
}

impl Node {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        client(self.rpc.as_deref(), self.dir.as_deref())
    }

    fn ask(&self, method: &str) -> Result<Value, Failure> {
        let client = self.client()?;
        Ok(block_on(client.call(method, json!([])))?)
    }
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    node: Node,
}

impl Status {
    pub fn run(self) -> Result<(), Failure> {
        let status = self.node.ask("trefoil_status")?;
        if self.node.json {
            println!("{status:#}");
            return Ok(());
        }
        let text = |key: &str| plain(&status[key]);
        let age = clock::wall().0.saturating_sub(status["committedAtMs"].as_u64().unwrap_or(0));
        println!("chain       {} ({}), id {}", text("chain"), text("kind"), text("chainId"));
        println!("genesis     {}", text("genesisHash"));
        println!("node        {}, version {}", text("peerId"), text("version"));
        println!("height      {} ({}), {} s ago", text("height"), text("blockHash"), age / 1000);
        println!("signed by   {} of {} validators", text("signers"), text("validators"));
        match status["validator"].as_str() {
            None => println!("validating  no: this node has no validator key"),
            Some(key) if status["validating"] == true => println!("validating  yes, as {key}"),
            Some(key) => println!("validating  no: {key} is not in the validator set"),
        }
        let certificate = &status["certificate"];
        if certificate.is_object() {
            let [organisation, role] = ["organisation", "role"].map(|key| plain(&certificate[key]));
            let left = match certificate["daysLeft"].as_u64() {
                Some(days) => format!("{days} days left"),
                None => "EXPIRED: nobody admits this node anew".into(),
            };
            println!("certificate {role} of organisation {organisation}, {left}");
        }
        println!("peers       {}", text("peers"));
        match status["syncingTo"].as_u64() {
            Some(height) => println!("catching up to {height}"),
            None => println!("in step     yes"),
        }
        let pool = &status["pool"];
        let (pending, queued) = (plain(&pool["pending"]), plain(&pool["queued"]));
        println!("pool        {pending} pending, {queued} queued, {} bytes", plain(&pool["bytes"]));
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Peers {
    #[command(flatten)]
    node: Node,
}

impl Peers {
    pub fn run(self) -> Result<(), Failure> {
        let peers = self.node.ask("trefoil_peers")?;
        if self.node.json {
            println!("{peers:#}");
            return Ok(());
        }
        let peers = peers.as_array().map(Vec::as_slice).unwrap_or_default();
        println!("{:52}  {:>9}  {:3}  {:>5}  address", "peer", "height", "way", "score");
        for peer in peers {
            let way = if peer["inbound"] == true { "in" } else { "out" };
            let [id, height, score, address] =
                ["peerId", "height", "score", "address"].map(|key| plain(&peer[key]));
            println!("{id:52}  {height:>9}  {way:3}  {score:>5}  {address}");
        }
        println!("{} connected", peers.len());
        Ok(())
    }
}

/// A value without JSON's quotes; `-` for none.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
