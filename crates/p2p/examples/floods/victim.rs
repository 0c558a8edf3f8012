//! The node under attack, in a process of its own with few file descriptors.

use std::{io::Read as _, net::SocketAddr, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use trefoil_crypto::SecretKey;
use trefoil_p2p::{Config, NetworkAccess};
use trefoil_types::{B256, PeerId};

const FILES: &str = "1024";

pub fn key(n: usize) -> SecretKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    SecretKey::from_seed(&seed)
}

pub fn peer(n: usize) -> PeerId {
    PeerId(key(n).public())
}

/// The number of the victim's key, and of the validator's.
pub const VICTIM: usize = 1_000_000;
pub const VALIDATOR: usize = 1_000_001;

pub fn config(n: usize, peers: Vec<(PeerId, SocketAddr)>) -> Config {
    Config {
        identity: key(n),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        peers,
        genesis: B256::ZERO,
        fork_id: [0; 4],
        access: NetworkAccess::Public { encrypt: false },
        inbound_max: 128,
        inbound_per_source_max: 16,
        discovery: None,
    }
}

/// The child's `main`: a node that listens until its parent is gone.
pub async fn run() {
    let (handle, mut lanes) =
        trefoil_p2p::start(config(VICTIM, vec![])).await.expect("a free port");
    handle.favour([peer(VALIDATOR)]);
    println!("{}", handle.listen_address());
    std::thread::spawn(|| {
        // Nothing is ever written there: this returns when the parent is gone.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    while lanes.consensus.recv().await.is_some() {}
}

pub struct Victim {
    pub address: SocketAddr,
    child: Child,
}

impl Victim {
    pub async fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {FILES} && exec \"$0\" victim")])
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a shell");
        let stdout = child.stdout.take().expect("it is piped");
        let line = BufReader::new(stdout).lines().next_line().await.expect("a pipe");
        let address = line.expect("the victim listens").parse().expect("an address");
        Self { address, child }
    }

    /// File descriptors that it has open.
    pub fn files(&self) -> usize {
        let Some(id) = self.child.id() else { return 0 };
        std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
    }
}
