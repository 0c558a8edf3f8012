//! The devnet that is attacked: founded by `trefoil devnet`, then each node run as a process of
//! its own, so that one that ends is seen and not started again.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use alloy_primitives::hex;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use trefoil_crypto::{PeerId, SecretKey};
use trefoil_host::{
    fork_id,
    home::{Home, write},
    settings::PeerAddress,
};
use trefoil_ledger::{History, Ledger};
use trefoil_os::keystore::{self, KeyKind};
use trefoil_types::{MemDisk, spec::Kind};

use crate::{
    arena::{Target, Validator},
    http, membership,
};

const NODES: u16 = 4;
/// A devnet has no secrets.
const PASSWORD: &str = "devnet";
const STARTS_IN: Duration = Duration::from_secs(60);
const ENDS_IN: Duration = Duration::from_secs(30);
const LAST_LINES: usize = 12;

pub struct Devnet {
    pub target: Target,
    nodes: Vec<Child>,
}

impl Devnet {
    /// Founds a devnet below `dir` and starts its nodes.
    pub async fn start(program: &Path, dir: &Path, kind: Kind) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        found(program, &dir, kind).await?;
        let homes: Vec<Home> =
            (0..NODES).map(|n| Home::new(dir.join(format!("node-{n}")))).collect();
        if kind.has_members() {
            excuse(&homes[0])?;
        }
        let target = target(program, &dir, &homes)?;
        let nodes = homes.iter().map(|home| run(program, home)).collect::<io::Result<_>>()?;
        let mut devnet = Self { target, nodes };
        devnet.wait_for_blocks().await?;
        Ok(devnet)
    }

    async fn wait_for_blocks(&mut self) -> io::Result<()> {
        let began = Instant::now();
        for at in 0..self.target.nodes.len() {
            let rpc = self.target.nodes[at].rpc;
            while height(rpc).await < 2 {
                self.check()?;
                if began.elapsed() > STARTS_IN {
                    let log = last_lines(&self.target.nodes[at].dir);
                    return Err(io::Error::other(format!("no blocks in {STARTS_IN:?}:\n{log}")));
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// The process that is measured.
    pub fn victim(&self) -> u32 {
        self.nodes[0].id().unwrap_or_default()
    }

    /// # Errors
    /// A node has ended.
    pub fn check(&mut self) -> io::Result<()> {
        for (node, process) in self.target.nodes.iter().zip(&mut self.nodes) {
            if let Some(status) = process.try_wait()? {
                let (name, log) = (node.dir.display(), last_lines(&node.dir));
                return Err(io::Error::other(format!("{name} ended ({status}). Its log:\n{log}")));
            }
        }
        Ok(())
    }

    /// Ends the nodes that it started.
    pub async fn stop(self) {
        for mut node in self.nodes {
            // They watch the pipe.
            drop(node.stdin.take());
            if timeout(ENDS_IN, node.wait()).await.is_err() {
                let _ = node.kill().await;
            }
        }
    }
}

async fn found(program: &Path, dir: &Path, kind: Kind) -> io::Result<()> {
    let ports = free_ports()?;
    let (rpc, p2p) = (ports.to_string(), (ports + NODES).to_string());
    let name = if kind == Kind::Public { "public" } else { "consortium" };
    let mut command = Command::new(program);
    command.args(["devnet", "--reset", "--kind", name, "--idle-block-s", "1"]);
    command.args(["--snapshot-every", "8", "--rpc-port", &rpc, "--p2p-port", &p2p]);
    command.arg("--dir").arg(dir).env("TREFOIL_LIGHTKDF", "true");
    let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut lines = BufReader::new(stdout).lines();
    let founded = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains("accounts with") {
                return Ok(());
            }
        }
        Err(io::Error::other("trefoil devnet ended before its network was there"))
    };
    timeout(STARTS_IN, founded).await??;
    let id = process.id().ok_or(io::ErrorKind::NotFound)?;
    Command::new("kill").args(["-INT", &id.to_string()]).status().await?;
    // Its pipe is read to the end, so that it can say what it likes.
    let ended = async {
        while lines.next_line().await?.is_some() {}
        process.wait().await
    };
    timeout(ENDS_IN, ended).await??;
    Ok(())
}

/// The first of so many neighbouring ports that are free.
fn free_ports() -> io::Result<u16> {
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let begin = 21_000 + u16::try_from(std::process::id() % 500).unwrap_or_default() * 16;
    let mut bases = (begin..30_000).step_by(16);
    let found = bases.find(|base| (*base..base + 2 * NODES).all(free));
    found.ok_or_else(|| io::Error::other("no free ports"))
}

/// Names a peer in `p2p.peers` that is nobody: row H1.
fn excuse(home: &Home) -> io::Result<()> {
    let mut settings = home.settings(&[]).map_err(io::Error::other)?.settings;
    let peer = PeerId(membership::excused_key().public());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    settings.p2p.peers.push(PeerAddress { peer, address });
    write(&home.settings_file(), &settings.to_toml()).map_err(io::Error::other)
}

fn target(program: &Path, dir: &Path, homes: &[Home]) -> io::Result<Target> {
    let spec = homes[0].spec().map_err(io::Error::other)?;
    let ledger = Ledger::open(Arc::new(MemDisk::default()), spec.clone(), History::Archive);
    let genesis = ledger.expect("an empty disk takes any chain").genesis_hash();
    let nodes: Vec<Validator> = homes.iter().map(validator).collect::<io::Result<_>>()?;
    let mut insiders = vec![];
    for (home, organisation) in homes.iter().zip(1..).skip(1) {
        let there = keystore::path(&home.dir, KeyKind::Ca, "").exists();
        if spec.kind.has_members() && there {
            let key = open(home, KeyKind::Ca)?;
            insiders.push((organisation, hex::encode(*key.seed())));
        }
    }
    Ok(Target {
        kind: spec.kind,
        genesis,
        fork_id: fork_id(&spec, &genesis),
        nodes,
        insiders,
        program: program.into(),
        dir: dir.into(),
    })
}

fn open(home: &Home, kind: KeyKind) -> io::Result<SecretKey> {
    keystore::open_ed25519(&home.dir, kind, PASSWORD).map_err(io::Error::other)
}

fn validator(home: &Home) -> io::Result<Validator> {
    let settings = home.settings(&[]).map_err(io::Error::other)?.settings;
    let file = keystore::path(&home.dir, KeyKind::Node, "");
    let public = keystore::describe(&file).map_err(io::Error::other)?.public;
    let peer: PeerId = public.parse().map_err(io::Error::other)?;
    let peer = peer.to_string();
    let (p2p, rpc, dir) = (settings.p2p.listen, settings.rpc.listen, home.dir.clone());
    Ok(Validator { peer, p2p, rpc, dir })
}

fn run(program: &Path, home: &Home) -> io::Result<Child> {
    let log = File::create(home.log_file())?;
    let mut command = Command::new(program);
    command.args(["run", "--exit-with-parent", "--dir"]).arg(&home.dir);
    for (name, _) in std::env::vars_os() {
        // Settings of the caller's environment would be every node's.
        if name.to_string_lossy().starts_with("TREFOIL") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true).spawn()
}

async fn height(rpc: SocketAddr) -> u64 {
    let status = http::call(rpc, "trefoil_status", json!([]), Duration::from_secs(1)).await;
    status.ok().and_then(|status| status["height"].as_u64()).unwrap_or_default()
}

fn last_lines(dir: &Path) -> String {
    let text = fs::read_to_string(dir.join("node.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// The node's program: `$TREFOIL`, or the one beside the examples.
pub fn program() -> PathBuf {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("trefoil"));
    let named = std::env::var_os("TREFOIL").map(PathBuf::from);
    named.or_else(beside).unwrap_or_else(|| "target/release/trefoil".into())
}
