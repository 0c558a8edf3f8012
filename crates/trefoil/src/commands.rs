//! The command line: one file for each group of commands.

mod account_file;
mod arguments;
mod certify;
mod config;
mod connect;
mod content;
mod devnet;
mod end_signal;
mod init;
mod keys;
mod names;
mod network;
mod node;
mod org;
mod org_settings;
mod progress;
mod repair;
mod resource;
mod run;
mod sealing;
mod share;
mod snapshot;
mod status;
mod transaction;
mod validator;
mod validator_list;
mod verify;
mod worker;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use trefoil_host::{home::Home, settings::PeerAddress};
use trefoil_os::keystore::PasswordSource;

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
    Network {
        #[command(subcommand)]
        command: network::NetworkCommand,
    },
    /// Make a node's directory for a chain
    Init(init::InitArgs),
    /// Make a node's directory from an invite
    Join(init::JoinArgs),
    /// Run a node in the foreground
    Run(run::RunArgs),
    /// Where a running node stands
    Status(status::QueryArgs),
    /// Whom a running node is connected to
    Peers(status::PeersArgs),
    /// The organisations of a private or consortium network, and their votes
    Org {
        #[command(subcommand)]
        command: Box<org::OrgCommand>,
    },
    /// A network's nodes: certify them, list them, revoke them
    Node {
        #[command(subcommand)]
        command: Box<node::NodeCommand>,
    },
    /// Who validates: list, propose, stake
    Validator {
        #[command(subcommand)]
        command: Box<validator::ValidatorCommand>,
    },
    /// A node's keys and accounts (encrypted keystore v3)
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// Share a file or directory with a network's nodes
    Put(content::PutArgs),
    /// Fetch what was shared
    Get(content::GetArgs),
    /// What is published on the chain, under which names
    Names(names::NamesArgs),
    /// Take back a version that you published: nobody gets it by its name any more
    Withdraw(names::WithdrawArgs),
    /// What a node shares and keeps
    Ls(worker::WorkerArgs),
    /// Keep a resource for good
    Pin(content::ResourceArgs),
    /// Keep a resource only as long as there is room
    Unpin(content::ResourceArgs),
    /// Remove a resource from a node; never a user's own file
    Rm(content::ResourceArgs),
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
    Snapshot {
        #[command(subcommand)]
        command: snapshot::SnapshotCommand,
    },
    /// Make a new node's chain from a state snapshot, instead of executing it all
    Restore(snapshot::RestoreArgs),
    /// Print how to connect a wallet or tool to a node
    Connect(connect::ConnectArgs),
}

impl Cli {
    /// # Errors
    /// What kept the command from doing its work.
    pub fn run(self) -> Result<(), CommandError> {
        match self.command {
            Command::Devnet(command) => command.run(),
            Command::Network { command } => command.run(),
            Command::Init(command) => command.run(),
            Command::Join(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Status(node) => status::status(&node),
            Command::Peers(command) => command.run(),
            Command::Org { command } => block_on(command.run()),
            Command::Node { command } => block_on(command.run()),
            Command::Validator { command } => block_on(command.run()),
            Command::Keys { command } => command.run(),
            Command::Put(command) => command.run(),
            Command::Get(command) => command.run(),
            Command::Names(command) => command.run(),
            Command::Withdraw(command) => command.run(),
            Command::Ls(worker) => content::list(&worker),
            Command::Pin(resource) => resource.run("admin_pin"),
            Command::Unpin(resource) => resource.run("admin_unpin"),
            Command::Rm(resource) => resource.run("admin_remove"),
            Command::Share(command) => command.run(),
            Command::Fetch(command) => command.run(),
            Command::Config(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Repair(command) => command.run(),
            Command::Snapshot { command } => command.run(),
            Command::Restore(command) => command.run(),
            Command::Connect(command) => command.run(),
        }
    }
}

/// Which node's directory.
#[derive(Debug, Args)]
struct DirArgs {
    /// The node's directory
    #[arg(long, value_name = "DIR", env = "TREFOIL_DIR")]
    dir: PathBuf,
}

impl DirArgs {
    fn home(&self) -> Home {
        Home::new(&self.dir)
    }
}

/// Where the password of a key comes from.
#[derive(Debug, Args)]
struct PasswordArgs {
    /// File whose first line is the keys' password (or set TREFOIL_PASSWORD)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordArgs {
    fn source(&self) -> PasswordSource {
        PasswordSource { file: self.password_file.clone() }
    }
}

/// Settings given as flags: they override `node.toml` and the environment.
#[derive(Debug, Args)]
struct SettingsArgs {
    /// What is logged: error, warn, info, debug, or MODULE=LEVEL,…
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Keep the state of every block (archive) or of so many
    #[arg(long, value_name = "archive|BLOCKS")]
    history: Option<String>,
    /// How a new node comes to the chain: by a snapshot from its peers if they have
    /// one (auto), by a snapshot only, or by executing all (full)
    #[arg(long, value_name = "auto|snapshot|full")]
    sync: Option<String>,
    /// Where other nodes connect
    #[arg(long, value_name = "IP:PORT")]
    p2p: Option<SocketAddr>,
    /// A node to keep connected to; may be given many times
    #[arg(long = "peer", value_name = "PEERID@IP:PORT")]
    peers: Vec<PeerAddress>,
    /// Where JSON-RPC (HTTP and WebSocket) is served
    #[arg(long, value_name = "IP:PORT")]
    rpc: Option<SocketAddr>,
    /// Names that the RPC may be addressed by, besides localhost and IPs
    #[arg(long, value_name = "NAME,…")]
    rpc_hosts: Option<String>,
    /// Origins of the web pages that may use the RPC; none given: any
    #[arg(long, value_name = "ORIGIN,…")]
    rpc_origins: Option<String>,
    #[command(flatten)]
    password: PasswordArgs,
}

impl SettingsArgs {
    /// Those that were given, by their key in `node.toml`.
    fn given(&self) -> Vec<(&'static str, String)> {
        let peers: Vec<String> = self.peers.iter().map(ToString::to_string).collect();
        // Absolute: it is written into `node.toml`, and read from anywhere.
        let absolute = |file: &PathBuf| std::path::absolute(file).unwrap_or_else(|_| file.clone());
        let password = self.password.password_file.as_ref().map(absolute);
        let flags = [
            ("log", self.log.clone()),
            ("history", self.history.clone()),
            ("sync", self.sync.clone()),
            ("p2p.listen", self.p2p.map(|address| address.to_string())),
            ("p2p.peers", (!peers.is_empty()).then(|| peers.join(","))),
            ("rpc.listen", self.rpc.map(|address| address.to_string())),
            ("rpc.hosts", self.rpc_hosts.clone()),
            ("rpc.origins", self.rpc_origins.clone()),
            ("keys.password_file", password.map(|file| file.display().to_string())),
        ];
        flags.into_iter().filter_map(|(key, text)| Some((key, text?))).collect()
    }
}

/// Runs an async command to its end.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("the system starts threads")
        .block_on(work)
}
