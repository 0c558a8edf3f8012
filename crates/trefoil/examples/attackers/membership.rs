//! Peers that claim to be members, and newcomers that are lied to.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use tokio::{
    process::{Child, Command},
    task::JoinSet,
    time::sleep,
};
use trefoil_content::{message::SwarmMessage, scheduler::Resource};
use trefoil_crypto::{NodeCertificate, PeerId, Role, SecretKey};
use trefoil_os::certificate::claims;
use trefoil_p2p::frame::Control;
use trefoil_types::{Message, message::GetBlocks};

use crate::{
    arena::{Arena, Networks},
    certificates::tip,
    content, http, manners,
    peer::{GOSSIP, Peer},
    wire,
};

/// What the excused peer claims.
const HEIGHT: u64 = 1 << 40;
/// A node has 10 s to see that nothing comes of it.
const STAY_MAX: Duration = Duration::from_secs(12);
/// A newcomer is at the tip by then, whatever liars tell it.
const JOINS_IN: Duration = Duration::from_secs(60);
const LIARS: usize = 5;

manners! {
    "excused" "H1" "stands in p2p.peers, a certificate of its own making, a height of 2^40"
        {crowd: 1, networks: Networks::Members, seconds_min: 14} excused;
    "uncertified" "H1" "certificates of their own making of every organisation"
        {networks: Networks::Members} uncertified;
    "certificates-of-others" "-" "a sound certificate of another peer" {networks: Networks::Members}
        borrowed;
    "certificates-ended" "-" "certificates of a year ago, and of the next" {networks: Networks::Members}
        ended;
    "snapshot-liars" "H3" "five silent liars about a snapshot, and four honest peers, of a newcomer"
        {crowd: 1, networks: Networks::Public, seconds_min: 14} snapshot_liars;
}

/// The identity that stands in the victim's `p2p.peers`.
pub fn excused_key() -> SecretKey {
    SecretKey::from_seed(&[77; 32])
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A certificate of a peer of this key, signed by another.
fn certificate(
    arena: &Arena,
    organisation: u32,
    of: &SecretKey,
    by: &SecretKey,
    at: u64,
) -> Vec<u8> {
    let peer = PeerId(of.public());
    let claims = claims(arena.target.genesis, organisation, peer, Role::Full, at, 30);
    NodeCertificate::issue(&claims, by).expect("sound claims").to_der()
}

async fn excused(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let (key, to) = (excused_key(), arena.target.victim().p2p);
    let der = certificate(&arena, 1, &key, &key, now());
    let secured = wire::secure_as(&arena, to, &key, Some((HEIGHT, der))).await?;
    let mut peer = Peer::greet(&arena, key, secured).await?;
    peer.listen();
    let began = Instant::now();
    for id in content::shared(&arena).await? {
        let resource = Resource::file(id.root);
        peer.tell_swarm(&SwarmMessage::Find { resource }).await?;
    }
    peer.tell(&tip(HEIGHT, Default::default(), 0)).await?;
    peer.tell(&Message::GetBlocks(GetBlocks { from: 1, count: 256 })).await?;
    peer.control(GOSSIP, &Control::GetPeers).await?;
    while peer.pause(Duration::from_millis(100)).await.is_ok() {
        if began.elapsed() > STAY_MAX {
            arena.broken(format!("a peer that nobody can judge was there after {STAY_MAX:?}"));
            break;
        }
    }
    let allowed = ["GetBlocks", "Ping", "Hello", "Welcome"];
    let kinds = peer.heard().kinds.clone();
    for given in kinds.keys().filter(|kind| !allowed.contains(&kind.as_str())) {
        arena.broken(format!("a peer that nobody can judge was given {given}"));
    }
    arena.note(format!("the excused peer was cut after {:.1} s", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Whoever is let in with this certificate is one too many.
async fn refused(
    arena: &Arc<Arena>,
    key: &SecretKey,
    claim: (u64, Vec<u8>),
    what: &str,
) -> io::Result<()> {
    let to = arena.target.victim().p2p;
    if wire::secure_as(arena, to, key, Some(claim)).await.is_ok() {
        arena.broken(format!("a peer with {what} was admitted"));
    }
    sleep(Duration::from_millis(20)).await;
    Ok(())
}

async fn uncertified(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let key = SecretKey::from_seed(&rand::random());
    let height = if n.is_multiple_of(2) { HEIGHT } else { 0 };
    let der = certificate(&arena, 1 + n as u32 % 4, &key, &key, now());
    refused(&arena, &key, (height, der), "a certificate of its own making").await
}

async fn borrowed(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let Some((organisation, ca)) = arena.insider(n) else { return std::future::pending().await };
    let [key, other] = [(); 2].map(|()| SecretKey::from_seed(&rand::random()));
    let der = certificate(&arena, organisation, &other, &ca, now());
    refused(&arena, &key, (0, der), "another's certificate").await
}

async fn ended(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let Some((organisation, ca)) = arena.insider(n) else { return std::future::pending().await };
    let year = 365 * 86_400;
    let at = if n.is_multiple_of(2) { now() - year } else { now() + year };
    let key = SecretKey::from_seed(&rand::random());
    let der = certificate(&arena, organisation, &key, &ca, at);
    refused(&arena, &key, (0, der), "a certificate of another year").await
}

/// A node that ends with the attack.
struct Newcomer {
    _process: Child,
    rpc: SocketAddr,
    p2p: SocketAddr,
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

async fn trefoil(arena: &Arena, args: &[&str]) -> io::Result<String> {
    let mut command = command(arena, args);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(io::Error::other(format!("{args:?}: {}", String::from_utf8_lossy(&output.stderr))))
}

fn command(arena: &Arena, args: &[&str]) -> Command {
    let mut command = Command::new(&arena.target.program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command.env("TREFOIL_PASSWORD", "newcomer").env("TREFOIL_LIGHTKDF", "true");
    command
}

async fn newcomer(arena: &Arena) -> io::Result<Newcomer> {
    let number: u32 = rand::random();
    let dir = arena.target.dir.join(format!("newcomer-{number}"));
    let [dir, first] = [&dir, &arena.target.victim().dir].map(|path: &std::path::PathBuf| {
        Path::to_str(path).expect("the program made it").to_owned()
    });
    let (rpc, p2p) = (free_address()?, free_address()?);
    let at = arena.target.victim().p2p.to_string();
    let invite = trefoil(arena, &["network", "invite", "--dir", &first, "--at", &at]).await?;
    trefoil(arena, &["join", &invite, "--dir", &dir, "--p2p", &p2p.to_string()]).await?;
    let args = ["run", "--dir", &dir, "--rpc", &rpc.to_string()];
    let mut command = command(arena, &args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Newcomer { _process: command.spawn()?, rpc, p2p })
}

async fn lie(arena: Arc<Arena>, to: SocketAddr) {
    loop {
        let told = async {
            let mut peer = Peer::join_at(&arena, 0, to).await?;
            peer.listen();
            loop {
                let resource = Resource(rand::random());
                peer.tell_swarm(&SwarmMessage::Snapshot { resource, height: HEIGHT }).await?;
                peer.tell(&tip(HEIGHT, Default::default(), 0)).await?;
                peer.pause(Duration::from_secs(1)).await?;
            }
        };
        // It listens only after a while, and bans liars.
        let _: io::Result<()> = told.await;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn height(at: SocketAddr) -> io::Result<u64> {
    let status = http::call(at, "trefoil_status", json!([]), Duration::from_secs(2)).await?;
    status["height"].as_u64().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

async fn snapshot_liars(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let newcomer = newcomer(&arena).await?;
    let _liars: JoinSet<()> = (0..LIARS).map(|_| lie(arena.clone(), newcomer.p2p)).collect();
    let began = Instant::now();
    let tip = height(arena.target.witness().rpc).await?;
    while !height(newcomer.rpc).await.is_ok_and(|height| height >= tip) {
        if began.elapsed() > JOINS_IN {
            arena.broken(format!("a newcomer among liars is not at the tip after {JOINS_IN:?}"));
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    arena.note(format!("the newcomer took {:.1} s", began.elapsed().as_secs_f64()));
    // Once is enough.
    std::future::pending().await
}
