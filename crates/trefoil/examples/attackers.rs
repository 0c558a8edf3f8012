//! Peers that mean harm, against the nodes of a running public devnet:
//!
//!     trefoil devnet --kind public --reset --dir /tmp/net
//!     cargo run --release -p trefoil --example attackers -- /tmp/net KIND [SECONDS]
//!
//! KIND is `empty-certificates` (certificates without a vote for the next height, some
//! milliseconds before an idle chain begins it) or `false-tips` (tips of height 10^9). Each
//! attacker is a fresh identity, and comes back as another after 4 s. Prints how many blocks the chain made in so many seconds calm,
//! attacked, and calm again; exits with 1 if attacked it made less than half.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use trefoil_crypto::{B256, SecretKey};
use trefoil_host::{fork_id, home::Home};
use trefoil_ledger::{History, Ledger};
use trefoil_p2p::{NetEvent, NetworkAccess};
use trefoil_types::{Height, MemDisk, Message, PeerId, RoundCertificate, message::Tip};

/// Attackers at a time.
const ATTACKERS: usize = 8;
/// How long one goes by one name.
const TURN: Duration = Duration::from_secs(4);
/// How often each looks whether to send.
const EVERY: Duration = Duration::from_millis(2);
/// How often a devnet without transactions makes a block.
const IDLE: Duration = Duration::from_secs(1);
/// How long before that the certificates go out.
const BEFORE: Duration = Duration::from_millis(6);

#[derive(Clone, Copy, Debug)]
enum AttackKind {
    EmptyCertificates,
    FalseTips,
}

/// The network that is attacked.
#[derive(Clone)]
struct VictimNetwork {
    genesis: B256,
    fork_id: [u8; 4],
    peers: Vec<(PeerId, SocketAddr)>,
    rpc: SocketAddr,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let kind = match arguments.get(1).map(String::as_str) {
        Some("empty-certificates") => AttackKind::EmptyCertificates,
        Some("false-tips") => AttackKind::FalseTips,
        _ => {
            eprintln!("usage: attackers DIR empty-certificates|false-tips [SECONDS]");
            return ExitCode::from(2);
        }
    };
    let seconds = arguments.get(2).map_or(30, |text| text.parse().expect("a number"));
    let span = Duration::from_secs(seconds);
    let target = VictimNetwork::of(Path::new(&arguments[0]));
    let calm = blocks(&target, span).await;
    let attackers: Vec<_> =
        (0..ATTACKERS).map(|_| tokio::spawn(attack(target.clone(), kind))).collect();
    let attacked = blocks(&target, span).await;
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    let after = blocks(&target, span).await;
    println!("{kind:?}, {seconds} s each: {calm} blocks calm, {attacked} attacked, {after} after");
    if attacked * 2 >= calm { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl VictimNetwork {
    /// The devnet in a directory.
    fn of(dir: &Path) -> Self {
        let homes = (0..).map(|n| Home::new(PathBuf::from(dir).join(format!("node-{n}"))));
        let homes: Vec<Home> = homes.take_while(|home| home.dir.exists()).collect();
        let settings = |home: &Home| home.settings(&[]).expect("settings").settings;
        let first = settings(&homes[0]);
        // Each knows the others.
        let last = settings(homes.last().expect("a node")).p2p.peers;
        let mut peers: Vec<_> = first.p2p.peers.iter().map(|p| (p.peer, p.address)).collect();
        peers.extend(last.first().map(|p| (p.peer, p.address)));
        let spec = homes[0].spec().expect("chain.toml");
        let ledger =
            Ledger::open(std::sync::Arc::new(MemDisk::default()), spec.clone(), History::Archive);
        let genesis = ledger.expect("an empty disk takes any chain").genesis_hash();
        let fork_id = fork_id(&spec, &genesis);
        Self { genesis, fork_id, peers, rpc: first.rpc.listen }
    }

    async fn height(&self) -> Height {
        let request = r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#;
        let client = reqwest::Client::new();
        let post = client.post(format!("http://{}", self.rpc));
        let post = post.header("content-type", "application/json").body(request);
        let answer = post.send().await.expect("an RPC that answers");
        let answer: serde_json::Value = answer.json().await.expect("JSON");
        let text = answer["result"].as_str().expect("a height").trim_start_matches("0x");
        Height::from_str_radix(text, 16).expect("hexadecimal")
    }
}

async fn blocks(target: &VictimNetwork, span: Duration) -> Height {
    let before = target.height().await;
    tokio::time::sleep(span).await;
    target.height().await - before
}

/// One attacker after another, for ever.
async fn attack(target: VictimNetwork, kind: AttackKind) {
    loop {
        let config = trefoil_p2p::Config {
            identity: SecretKey::from_seed(&rand::random()),
            listen: "127.0.0.1:0".parse().expect("an address"),
            peers: target.peers.clone(),
            genesis: target.genesis,
            fork_id: target.fork_id,
            access: NetworkAccess::Public { encrypt: false },
            inbound_max: 8,
            inbound_per_source_max: 8,
            discovery: None,
        };
        let (net, mut lanes) = trefoil_p2p::start(config).await.expect("a socket");
        let (began, mut tip, mut tip_at) = (Instant::now(), 0, Instant::now());
        let mut speaks = tokio::time::interval(EVERY);
        while began.elapsed() < TURN {
            let heard = tokio::select! {
                Some(event) = lanes.consensus.recv() => tip_in(&event),
                Some(event) = lanes.catch_up.recv() => tip_in(&event),
                Some(event) = lanes.gossip.recv() => tip_in(&event),
                _ = speaks.tick() => None,
            };
            if let Some(height) = heard.filter(|height| *height > tip) {
                (tip, tip_at) = (height, Instant::now());
            }
            let is_time = match kind {
                AttackKind::EmptyCertificates => IDLE.saturating_sub(tip_at.elapsed()) < BEFORE,
                AttackKind::FalseTips => heard.is_none(),
            };
            if is_time {
                net.broadcast(&harm(kind, tip).into(), None);
            }
        }
        net.shutdown();
    }
}

fn tip_in(event: &NetEvent) -> Option<Height> {
    match event {
        NetEvent::Message { message: Message::Tip(tip), .. } => Some(tip.height),
        _ => None,
    }
}

fn harm(kind: AttackKind, tip: Height) -> Message {
    match kind {
        AttackKind::EmptyCertificates => Message::RoundCertificate(RoundCertificate {
            height: tip + 1,
            round: 0,
            skip: true,
            votes: vec![],
        }),
        AttackKind::FalseTips => {
            Message::Tip(Tip { height: 1_000_000_000, hash: B256::ZERO, round: 0 })
        }
    }
}
