//! The command line: one file for each group of commands.

mod account_file;
mod arguments;
mod block_on;
mod ceremony;
mod certify;
mod config;
mod connect;
mod consent;
mod content;
mod devnet;
mod end_signal;
mod floor;
mod gateway;
mod init;
mod keys;
mod names;
mod network;
mod node;
mod org;
mod org_accounts;
mod org_arguments;
mod org_list;
mod org_settings;
mod progress;
mod prove;
mod repair;
mod resource;
mod run;
mod sealing;
mod share;
mod snapshot;
mod standby;
mod status;
mod transaction;
mod validator;
mod validator_list;
mod verify;
mod worker;

use clap::{Parser, Subcommand};

use self::block_on::block_on;
use crate::error::CommandError;

/// A peer-to-peer blockchain node. Start with `trefoil devnet`.
#[derive(Debug, Parser)]
#[command(name = "trefoil", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole network on this machine, for development
    Devnet(devnet::DevnetArgs),
    /// Found a network, invite others to it
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Make a node's directory for a chain
    Init(init::InitArgs),
    /// Make a node's directory from an invite
    Join(init::JoinArgs),
    /// Run a node in the foreground
    Run(run::RunArgs),
    /// Where a running node stands
    Status(status::QueryArgs),
    /// The peers of a running node
    Peers(status::PeersArgs),
    /// The organisations of a private or consortium network, and their votes
    #[command(subcommand)]
    Org(Box<org::OrgCommand>),
    /// A network's nodes: certify them, list them, revoke them
    #[command(subcommand)]
    Node(Box<node::NodeCommand>),
    /// The validators: list, propose, stake
    #[command(subcommand)]
    Validator(Box<validator::ValidatorCommand>),
    /// A node's keys and accounts (encrypted keystore v3)
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Share a file or directory with a network's nodes
    Put(content::PutArgs),
    /// Fetch what was shared
    Get(content::GetArgs),
    /// The content that is published on the chain, by name
    Names(names::NamesArgs),
    /// Take back a version that you published: nobody gets it by its name any more
    Withdraw(names::WithdrawArgs),
    /// The resources that a node shares and keeps
    Ls(worker::WorkerArgs),
    /// Keep a resource for good
    Pin(content::ResourceArgs),
    /// Keep a resource only as long as there is room
    Unpin(content::ResourceArgs),
    /// Remove a resource from a node; never a user's own file
    Rm(content::ResourceArgs),
    /// Content in the browser, over the running node's HTTP
    Gateway {
        #[command(subcommand)]
        command: gateway::GatewayCommand,
    },
    /// Share without a chain, until Ctrl-C
    Share(share::ShareArgs),
    /// Fetch without a chain, from those who share
    Fetch(share::FetchArgs),
    /// The settings in force and where each comes from
    Config(config::ConfigArgs),
    /// Check a block and its certificate, without trusting anyone
    Verify(verify::VerifyArgs),
    /// Set a damaged journal aside, so that the node fetches its blocks anew
    Repair(repair::RepairArgs),
    /// Files of the state and the history, by which new nodes join
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Make a new node's chain from a state snapshot, instead of executing it all
    Restore(snapshot::RestoreArgs),
    /// Print how to connect a wallet or tool to a node
    Connect(connect::ConnectArgs),
}

impl Cli {
    /// # Errors
    /// The reason why the command could not do its work.
    pub fn run(self) -> Result<(), CommandError> {
        match self.command {
            Command::Devnet(command) => command.run(),
            Command::Network(command) => command.run(),
            Command::Init(command) => command.run(),
            Command::Join(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Status(node) => status::status(&node),
            Command::Peers(command) => command.run(),
            Command::Org(command) => block_on(command.run()),
            Command::Node(command) => block_on(command.run()),
            Command::Validator(command) => block_on(command.run()),
            Command::Keys(command) => command.run(),
            Command::Put(command) => command.run(),
            Command::Get(command) => command.run(),
            Command::Names(command) => command.run(),
            Command::Withdraw(command) => command.run(),
            Command::Ls(worker) => content::list(&worker),
            Command::Pin(resource) => resource.run(content::ResourceAction::Pin),
            Command::Unpin(resource) => resource.run(content::ResourceAction::Unpin),
            Command::Rm(resource) => resource.run(content::ResourceAction::Remove),
            Command::Gateway { command } => command.run(),
            Command::Share(command) => command.run(),
            Command::Fetch(command) => command.run(),
            Command::Config(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Repair(command) => command.run(),
            Command::Snapshot(command) => command.run(),
            Command::Restore(command) => command.run(),
            Command::Connect(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory as _;

    use super::Cli;

    /// A refusal names its cure; a command that does not exist is none.
    #[test]
    fn every_command_that_a_refusal_of_a_contract_names_exists() {
        let json = include_str!("../../../contracts/artifacts/revert_reasons.json");
        let reasons: BTreeMap<String, String> = serde_json::from_str(json).unwrap();
        let mut named = 0;
        for text in reasons.values().flat_map(|reason| reason.split('`').skip(1).step_by(2)) {
            let mut words = text.split_whitespace();
            if words.next() != Some("trefoil") {
                continue;
            }
            named += 1;
            let mut command = Cli::command();
            // Arguments are in capitals, or begin with a dash or a brace.
            while command.has_subcommands() {
                let word = words.next().unwrap_or_else(|| panic!("{text} is incomplete"));
                let found = command.find_subcommand(word).cloned();
                command = found.unwrap_or_else(|| panic!("there is no {word} in {text}"));
            }
            let flags = words.filter_map(|word| word.strip_prefix("--"));
            let known = |flag: &str| command.get_opts().any(|opt| opt.get_long() == Some(flag));
            assert!(flags.clone().all(known), "{text}");
        }
        assert!(named > 20, "{named}");
    }
}
