//! `trefoil status` and `trefoil peers`: the state of a running node, and its peers.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use trefoil_host::home::Home;
use trefoil_os::clock;

use super::block_on::block_on;
use crate::{
    chain_client::{client::Client, contract::Contract, governance::Organisations},
    error::CommandError,
};

/// Which running node to ask.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// The node's RPC address; without: that of DIR
    #[arg(long, value_name = "URL")]
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
pub(super) fn client(rpc: Option<&str>, dir: Option<&Path>) -> Result<Client, CommandError> {
    Ok(Client::new(&match (rpc, dir) {
        (Some(url), _) => url.into(),
        (None, Some(dir)) => Home::new(dir).settings(&[])?.settings.rpc.listen.to_string(),
        (None, None) => "127.0.0.1:8545".into(),
    }))
}

impl QueryArgs {
    pub(super) fn client(&self) -> Result<Client, CommandError> {
        client(self.rpc.as_deref(), self.dir.as_deref())
    }

    /// The governing contract and the organisations, on a network that they govern.
    pub(super) async fn members(&self) -> Result<(Contract, Organisations), CommandError> {
        let contract = Contract::governing(self.client()?);
        contract.expect_members().await?;
        let organisations = Organisations::read(&contract).await?;
        Ok((contract, organisations))
    }

    fn ask(&self, method: &str) -> Result<Value, CommandError> {
        let client = self.client()?;
        Ok(block_on(client.call(method, json!([])))?)
    }

    /// The answer, to be put into words; `None`: JSON was asked for, and is printed.
    fn ask_for_words(&self, method: &str) -> Result<Option<Value>, CommandError> {
        let answer = self.ask(method)?;
        if !self.json {
            return Ok(Some(answer));
        }
        println!("{answer:#}");
        Ok(None)
    }
}

/// `trefoil status`.
pub fn status(node: &QueryArgs) -> Result<(), CommandError> {
    let Some(status) = node.ask_for_words("trefoil_status")? else { return Ok(()) };
    let text = |key: &str| plain(&status[key]);
    // The node's clock may be ahead of this machine's.
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
    if let Some(next) = status["nextValidator"].as_str() {
        println!("next key    {next}, from the height on at which the chain names it");
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
    if let Some(why) = status["lacksRoom"].as_str() {
        println!("WAITING     {why}");
    }
    match status["syncingTo"].as_u64() {
        Some(height) => println!("catching up to {height}"),
        None => println!("in step     yes"),
    }
    let pool = &status["pool"];
    let (pending, queued) = (plain(&pool["pending"]), plain(&pool["queued"]));
    println!("pool        {pending} pending, {queued} queued, {} bytes", plain(&pool["bytes"]));
    Ok(())
}

#[derive(Debug, Args)]
pub struct PeersArgs {
    #[command(flatten)]
    node: QueryArgs,
    /// The table of offences with their costs, and the peers that committed them
    #[arg(long)]
    offences: bool,
    // A flag of its own: scripts read the array of connected peers that `--json` prints.
    /// Only the peers that were refused, since they speak another version of the protocol
    #[arg(long, conflicts_with = "offences")]
    refused: bool,
}

impl PeersArgs {
    pub fn run(self) -> Result<(), CommandError> {
        if self.offences {
            return self.offences();
        }
        if self.refused {
            let refused = self.node.ask_for_words("trefoil_refusedPeers")?;
            refused.iter().for_each(print_refused);
            return Ok(());
        }
        let Some(peers) = self.node.ask_for_words("trefoil_peers")? else { return Ok(()) };
        let peers = peers.as_array().map(Vec::as_slice).unwrap_or_default();
        println!("{:52}  {:>9}  {:3}  {:>5}  address", "peer", "height", "way", "score");
        for peer in peers {
            let way = if peer["inbound"] == true { "in" } else { "out" };
            let [id, height, score, address] =
                ["peerId", "height", "score", "address"].map(|key| plain(&peer[key]));
            let judged = if peer["judged"] == false { "  not judged yet" } else { "" };
            println!("{id:52}  {height:>9}  {way:3}  {score:>5}  {address}{judged}");
        }
        println!("{} connected", peers.len());
        // An older node does not have this method. Its connected peers are shown all the same.
        print_refused(&self.node.ask("trefoil_refusedPeers").unwrap_or_default());
        Ok(())
    }

    fn offences(self) -> Result<(), CommandError> {
        let Some(offences) = self.node.ask_for_words("trefoil_offences")? else { return Ok(()) };
        let rows = |key: &str| offences[key].as_array().cloned().unwrap_or_default();
        let seconds =
            |value: &Value| value.as_u64().map_or("-".into(), |ms| (ms / 1000).to_string());
        println!("{:20}  {:>4}  {:>13}  {:>6}", "offence", "cost", "a point fades", "ban");
        for row in rows("table") {
            let (fades, ban) = (seconds(&row["pointFadesMs"]), seconds(&row["banMs"]));
            let [name, cost, what] = ["offence", "cost", "what"].map(|key| plain(&row[key]));
            println!("{name:20}  {cost:>4}  {fades:>11} s  {ban:>4} s  {what}");
        }
        println!("A score of {} is a ban.\n", plain(&offences["banAt"]));
        println!("{:52}  {:>5}  {:>6}  did", "peer or address", "score", "banned");
        let peers = rows("peers");
        for peer in &peers {
            let did = peer["offences"].as_array().cloned().unwrap_or_default();
            let did = did.iter().map(|row| {
                let (name, times) = (plain(&row["offence"]), plain(&row["times"]));
                format!("{name} ×{times}, {} s ago", seconds(&row["lastAgoMs"]))
            });
            let did = did.collect::<Vec<_>>().join("; ");
            let (who, score) = (plain(&peer["who"]), plain(&peer["score"]));
            println!("{who:52}  {score:>5}  {:>4} s  {did}", seconds(&peer["bannedForMs"]));
        }
        let turned_away = plain(&offences["turnedAway"]);
        println!("{} remembered; {turned_away} connections turned away at the gate", peers.len());
        Ok(())
    }
}

/// Peers that speak another version of a protocol: an upgrade would bring them back.
fn print_refused(refused: &Value) {
    for refused in refused.as_array().into_iter().flatten() {
        let [id, address, reason] = ["peerId", "address", "reason"].map(|key| plain(&refused[key]));
        println!("{id:52}  refused    {address}: {reason}");
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
