//! `trefoil devnet`: a whole network on this machine, for development.
//!
//! Each validator is a process of its own with its own directory, as it would
//! be on a machine of its own. What always holds: the nodes end with this
//! process (they watch a pipe that it holds), and a node that dies is started
//! again.

mod accounts;
mod live;
mod node_process;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use alloy_primitives::U256;
use clap::{ArgAction, Args};
use trefoil_host::{
    home::{Home, write},
    settings::{PeerAddress, Settings},
};
use trefoil_os::{
    keystore::{self, KeyKind, ScryptCost},
    private,
};
use trefoil_types::{ChainSpec, Kind, spec::default_snapshot_every};

use self::{accounts::DevAccount, live::Live, node_process::NodeProcess};
use super::{
    arguments::FoundingStakeArgs, block_on::block_on, end_signal::end_signal, network::kind_parser,
};
use crate::{
    error::CommandError,
    genesis::founding::{self, ETHER, Founder, FoundingPlan, Party},
};

/// A development network has no secrets: its accounts' keys are known to all.
const PASSWORD: &str = "devnet";

const CHAIN_NAME: &str = "devnet";

/// The pages of developers: their own, Remix, and wallets in the browser.
const ORIGINS: [&str; 5] = [
    "http://localhost:*",
    "http://127.0.0.1:*",
    "https://remix.ethereum.org",
    "chrome-extension://*",
    "moz-extension://*",
];

// The default is four validators: each then has an organisation, and a vote needs three.
/// The most organisations of a consortium that is made here.
const ORGANISATIONS: usize = 4;

// It only looks whether a process has ended, and whether the line is to be drawn anew.
/// How often the children are looked after.
const WATCH: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub struct DevnetArgs {
    /// Number of validators
    #[arg(long, value_name = "1..16", value_parser = clap::value_parser!(u16).range(1..=16))]
    validators: Option<u16>,
    /// The kind of network: it decides who may connect, and who chooses the validators
    #[arg(long, value_parser = kind_parser(), default_value = Kind::Consortium.name())]
    kind: Kind,
    // ethereum-lists has no such chain, and it is below MetaMask's bound.
    /// EIP-155 chain id
    #[arg(long, default_value_t = 7331)]
    chain_id: u64,
    // As a chain specification has it that names none.
    /// A block is not made oftener than this
    #[arg(long, value_name = "MS", default_value_t = 500)]
    block_time: u64,
    // An idle network is seen to live.
    /// An idle chain makes a block this often; 0: never
    #[arg(long, value_name = "S", default_value_t = 1)]
    idle_block_s: u64,
    /// Nodes keep the state after so many blocks each, for those who join; 0: never
    #[arg(long, value_name = "BLOCKS", default_value_t = default_snapshot_every())]
    snapshot_every: u64,
    /// First base fee in wei; 0: nobody ever pays for gas
    #[arg(long, value_name = "WEI", default_value_t = founding::BASE_FEE)]
    base_fee: u64,
    #[command(flatten)]
    stake: FoundingStakeArgs,
    /// Where the network is kept between runs [default: trefoil/devnet in the user's data directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Start again from an empty chain
    #[arg(long, action = ArgAction::SetTrue)]
    reset: bool,
    /// Node I serves JSON-RPC on this port + I
    #[arg(long, value_name = "PORT", default_value_t = 8545)]
    rpc_port: u16,
    /// Node I listens for other nodes on this port + I
    #[arg(long, value_name = "PORT", default_value_t = 30303)]
    p2p_port: u16,
}

impl DevnetArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let absolute = |dir: PathBuf| {
            std::path::absolute(&dir).map_err(|e| CommandError::file("find", &dir, e))
        };
        let dir = self.dir.clone().map_or_else(default_dir, absolute)?;
        if self.reset {
            remove(&dir)?;
        }
        let accounts = accounts::well_known();
        let homes = existing(&dir);
        let count = if homes.is_empty() {
            self.validators.unwrap_or(4)
        } else {
            self.check_existing(&dir, &homes)?;
            homes.len() as u16
        };
        let homes: Vec<Home> = (0..count).map(|i| Home::new(node_dir(&dir, i))).collect();
        let ports = self.ports(count)?;
        if homes[0].is_founded() {
            set_ports(&homes, &ports)?;
        } else {
            self.found(&homes, &ports, &accounts)?;
        }
        write_passwords(&homes)?;
        let spec = homes[0].spec()?;
        block_on(supervise(&dir, &spec, &homes, &ports, &accounts))
    }

    /// Whether the network that is there is the one that was asked for.
    fn check_existing(&self, dir: &Path, homes: &[Home]) -> Result<(), CommandError> {
        let spec = homes[0].spec()?;
        let differs = |what: String| {
            let what = format!("{} holds another network: {what}", dir.display());
            Err(CommandError::with_cure(
                what,
                "give --reset to start again from nothing, or another --dir",
            ))
        };
        if spec.name != CHAIN_NAME {
            return differs(format!("its name is {:?}, not {CHAIN_NAME:?}", spec.name));
        }
        if spec.chain_id != self.chain_id {
            return differs(format!("its chain id is {}, not {}", spec.chain_id, self.chain_id));
        }
        if spec.kind != self.kind {
            return differs(format!("it is {:?}, not {:?}", spec.kind, self.kind));
        }
        if self.validators.is_some_and(|wanted| usize::from(wanted) != homes.len()) {
            return differs(format!("it has {} validators", homes.len()));
        }
        Ok(())
    }

    /// The nodes' addresses, all of them free.
    fn ports(&self, count: u16) -> Result<Vec<Ports>, CommandError> {
        let address = |base: u16, index: u16, flag: &str| {
            let port = base.checked_add(index).ok_or_else(|| {
                let what = format!("{flag} {base} leaves no room for {count} nodes");
                CommandError::with_cure(what, "choose a lower port")
            })?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            // Tried here, where the user sees it: a child that cannot listen reports it in its
            // log only.
            match TcpListener::bind(address) {
                Ok(_) => Ok(address),
                Err(e) => Err(CommandError::with_cure(
                    format!("node {index} cannot listen on {address}: {e}"),
                    format!(
                        "stop the program that uses the port, or choose other ports with {flag}"
                    ),
                )),
            }
        };
        (0..count)
            .map(|index| {
                let rpc = address(self.rpc_port, index, "--rpc-port")?;
                Ok(Ports { rpc, p2p: address(self.p2p_port, index, "--p2p-port")? })
            })
            .collect()
    }

    /// Up to four organisations, each with one of the well-known accounts to vote
    /// with; a private network is one's own, and a public one nobody's.
    fn organisations(&self, founders: usize, accounts: &[DevAccount]) -> Vec<Party> {
        let count = match self.kind {
            Kind::Public => 0,
            Kind::Private => 1,
            Kind::Consortium => founders.min(ORGANISATIONS),
        };
        let party = |(index, account): (usize, &DevAccount)| Party {
            name: format!("org-{}", index + 1),
            accounts: vec![account.address],
            senders: vec![],
        };
        accounts.iter().take(count).enumerate().map(party).collect()
    }

    fn found(
        &self,
        homes: &[Home],
        ports: &[Ports],
        accounts: &[DevAccount],
    ) -> Result<(), CommandError> {
        let founders: Vec<Founder> = homes
            .iter()
            .zip(ports)
            .enumerate()
            .map(|(index, (home, ports))| Founder {
                home: home.clone(),
                address: ports.p2p,
                settings: ports.settings(home),
                // Not one of the ten: theirs change by their own transactions only.
                fee_recipient: Some(accounts::derive(10 + index as u32).address),
            })
            .collect();
        let ether = U256::from(10_000) * U256::from(ETHER);
        let plan = FoundingPlan {
            name: CHAIN_NAME.into(),
            kind: self.kind,
            stake: self.stake.of(self.kind)?,
            chain_id: self.chain_id,
            base_fee: self.base_fee,
            block_interval_ms: self.block_time,
            idle_block_s: self.idle_block_s,
            snapshot_every: self.snapshot_every,
            organisations: self.organisations(founders.len(), accounts),
            accounts: None,
            deployers: None,
            parameters: Default::default(),
            funds: accounts.iter().map(|account| (account.address, ether)).collect(),
        };
        // Encrypted all the same: a node opens its keys in one way only.
        founding::found(plan, &founders, PASSWORD, ScryptCost::Light)?;
        // So that each node has an account to sign with, and needs no password typed.
        for (home, account) in homes.iter().zip(accounts) {
            let (key, light) = (&account.key, ScryptCost::Light);
            keystore::store(&home.dir, KeyKind::Account, key, PASSWORD, light)?;
        }
        Ok(())
    }
}

/// Where one node listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    rpc: SocketAddr,
    p2p: SocketAddr,
}

impl Ports {
    fn settings(self, home: &Home) -> Settings {
        let mut settings = Settings::default();
        settings.keys.password_file = password_file(home);
        settings.rpc.listen = self.rpc;
        settings.rpc.origins = ORIGINS.map(String::from).to_vec();
        // A devnet is for developers, on a machine of their own.
        settings.rpc.debug = true;
        settings.p2p.listen = self.p2p;
        settings
    }
}

/// Each time: a node refuses a file that others can read, as earlier programs made it.
fn write_passwords(homes: &[Home]) -> Result<(), CommandError> {
    homes.iter().map(password_file).try_for_each(|file| {
        private::write(&file, PASSWORD.as_bytes())
            .map_err(|e| CommandError::file("write", &file, e))
    })
}

fn password_file(home: &Home) -> PathBuf {
    home.dir.join("password")
}

/// `$XDG_DATA_HOME` or `~/.local/share`; without a home, the system's place
/// for passing files.
pub(super) fn default_dir() -> Result<PathBuf, CommandError> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let data = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(std::env::temp_dir);
    Ok(data.join("trefoil").join("devnet"))
}

pub(super) fn node_dir(dir: &Path, index: u16) -> PathBuf {
    dir.join(format!("node-{index}"))
}

/// The nodes of an earlier run.
fn existing(dir: &Path) -> Vec<Home> {
    let homes = (0..=16).map(|index| Home::new(node_dir(dir, index)));
    homes.take_while(Home::is_founded).collect()
}

/// Removes the nodes of an earlier run, and nothing else.
fn remove(dir: &Path) -> Result<(), CommandError> {
    for home in (0..16).map(|index| Home::new(node_dir(dir, index))).filter(|h| h.dir.exists()) {
        // A directory that another program made stays.
        let ours = !home.is_founded() || home.spec().is_ok_and(|spec| spec.name == CHAIN_NAME);
        if !ours {
            let what = format!("{} holds a network that no devnet made", home.dir.display());
            return Err(CommandError::with_cure(
                what,
                "choose another --dir, or remove it yourself",
            ));
        }
        fs::remove_dir_all(&home.dir).map_err(|e| CommandError::file("remove", &home.dir, e))?;
    }
    Ok(())
}

/// An earlier run may have used other ports.
fn set_ports(homes: &[Home], ports: &[Ports]) -> Result<(), CommandError> {
    let peers = homes.iter().zip(ports).map(|(home, ports)| {
        let file = keystore::path(&home.dir, KeyKind::Node, "");
        let peer = keystore::describe(&file)?.public.parse().map_err(|e| {
            CommandError::with_cure(
                format!("{}: {e}", file.display()),
                "give --reset to start again",
            )
        })?;
        Ok(PeerAddress { peer, address: ports.p2p })
    });
    let peers = peers.collect::<Result<Vec<_>, CommandError>>()?;
    for (index, (home, ports)) in homes.iter().zip(ports).enumerate() {
        let mut settings = ports.settings(home);
        settings.p2p.peers = peers.clone();
        settings.p2p.peers.remove(index);
        write(&home.settings_file(), &settings.to_toml())?;
    }
    Ok(())
}

/// Starts the nodes and looks after them until a signal.
async fn supervise(
    dir: &Path,
    spec: &ChainSpec,
    homes: &[Home],
    ports: &[Ports],
    accounts: &[DevAccount],
) -> Result<(), CommandError> {
    // Before the children start: a signal that comes meanwhile must not be lost.
    let end_signal = end_signal();
    let children = homes.iter().map(|home| NodeProcess::start(home.clone()));
    let mut children = children.collect::<Result<Vec<_>, CommandError>>()?;
    introduce(dir, spec, &children, ports, accounts);
    let mut live = Live::new(ports.iter().map(|ports| ports.rpc));
    let work = async {
        let mut watch = tokio::time::interval(WATCH);
        loop {
            watch.tick().await;
            for (index, node_process) in children.iter_mut().enumerate() {
                if let Some(news) = node_process.look_after()? {
                    live.print(&format!("node {index}: {news}"));
                }
            }
            live.refresh();
        }
    };
    let ended: Result<(), CommandError> = tokio::select! {
        failed = work => failed,
        _ = end_signal => Ok(()),
    };
    live.print("stopping the nodes …");
    // All at once: each may need long to make its ledger durable.
    futures::future::join_all(children.into_iter().map(NodeProcess::stop)).await;
    println!("stopped; `trefoil devnet` goes on from here, --reset starts again");
    ended
}

fn introduce(
    dir: &Path,
    spec: &ChainSpec,
    children: &[NodeProcess],
    ports: &[Ports],
    accounts: &[DevAccount],
) {
    println!(
        "chain id {}, {:?}, blocks each {} ms",
        spec.chain_id, spec.kind, spec.block_interval_ms
    );
    println!("kept in {}", dir.display());
    println!();
    for (index, (node_process, ports)) in children.iter().zip(ports).enumerate() {
        println!("node {index}  http://{0}  ws://{0}  pid {1}", ports.rpc, node_process.id());
    }
    println!();
    println!("accounts with 10000 ETH each, of the mnemonic \"{}\"", accounts::MNEMONIC);
    println!("(these keys are known to everyone: never use them elsewhere)");
    for (index, account) in accounts.iter().enumerate() {
        println!("  {index}  {}  {}", account.address, account.key);
    }
    for organisation in &spec.organisations {
        let keys = organisation.keys.iter();
        let accounts = keys.filter_map(|key| accounts.iter().position(|a| a.address == *key));
        for account in accounts {
            println!("account {account} votes for {}", organisation.name);
        }
    }
    println!();
}
