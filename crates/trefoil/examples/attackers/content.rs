//! The swarm: searches, offers, announcements and requests that are not meant.

use std::{io, process::Stdio, sync::Arc, time::Duration};

use blake3::hazmat::{self, HasherExt as _, Mode};
use tokio::{fs, process::Command};
use trefoil_content::{
    BYTES_MAX, ContentId, GROUP_BYTES, Link, News, ResourceKind, groups,
    message::{ContentFrame, SwarmMessage},
    scheduler::{RejectReason, Resource, Ticket},
};
use trefoil_crypto::{PeerId, SecretKey};
use trefoil_types::spec::Kind;

use crate::{
    arena::Arena,
    http, manners,
    peer::{CONTENT, Peer},
};

const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of what the victim shares.
const SHARED_BYTES: usize = 8 << 20;
/// Files of a directory that the victim shares.
const SHARED_FILES: usize = 1_000;
/// A page that would read what is not for it.
const PAGE: &str = "<html><script>fetch('/')</script></html>";

manners! {
    "claimed-sizes" "C2" "offers of 2^50 bytes to searches that a page causes, and Finds for them" {}
        claimed_sizes;
    "finds-unread" "H4" "Finds for what is here, answers not read" {}
        |arena, n| finds(arena, n, Reading::Nothing);
    "finds-deaf" "H4" "the same; not even the socket is read" {}
        |arena, n| finds(arena, n, Reading::Deaf);
    "finds-read" "-" "the same, answers read" {} |arena, n| finds(arena, n, Reading::All);
    "finds-of-nothing" "-" "Finds for what nobody has, each time another" {} finds_of_nothing;
    "news-flood" "M" "News of a resource that is here, 1,000 a second, that name all its pieces" {}
        news;
    "news-of-nothing" "-" "News of resources that nobody has" {} news_of_nothing;
    "offers-false" "-" "offers of what is here, with other sizes and proofs" {} false_offers;
    "have-maps-false" "-" "has all, and refuses whatever it is asked for" {} false_maps;
    "data-unasked" "-" "data under tickets that nobody gave" {} data_unasked;
    "asks-unread" "-" "requests for all pieces, data not read" {}
        |arena, n| asks(arena, n, Reading::Nothing);
    "asks-cancelled" "-" "requests for all pieces, cancelled at once" {} asks_cancelled;
    "asks-absurd" "-" "requests for pieces and groups beyond the end" {} asks_absurd;
    "choke-games" "-" "chokes and unchokes, a thousand times a second" {} chokes;
    "others-false" "-" "peers that are not there, at private and public addresses" {} others;
    "origins-of-loopback" "M" "HTTP servers on this machine, as origins of what is sought" {} origins;
    "snapshots-false" "-" "snapshots of all heights that nobody has" {} snapshots;
    "content-garbage" "-" "frames of every type with random fields" {} garbage;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    All,
    Nothing,
    Deaf,
}

/// What the victim shares by its operator's will: a file, a page and a directory; made and put
/// once.
pub async fn shared(arena: &Arc<Arena>) -> io::Result<Vec<ContentId>> {
    let put = || async {
        let dir = arena.target.dir.join("shared");
        // An earlier manner's process did it. What is shared is not written again: that would
        // be a change of it.
        if let Ok(links) = fs::read_to_string(dir.join("links")).await {
            return Ok(links.lines().map(String::from).collect());
        }
        fs::create_dir_all(dir.join("many")).await?;
        let bytes: Vec<u8> = (0..SHARED_BYTES).map(|at| (at / 251 + at * 7) as u8).collect();
        fs::write(dir.join("file"), bytes).await?;
        fs::write(dir.join("page.html"), PAGE).await?;
        for n in 0..SHARED_FILES {
            fs::write(dir.join(format!("many/{n}")), n.to_string()).await?;
        }
        let mut links = vec![];
        for name in ["file", "page.html", "many"] {
            let mut command = Command::new(&arena.target.program);
            command.arg("put").arg(dir.join(name)).arg("--dir").arg(&arena.target.victim().dir);
            let output = command.stdin(Stdio::null()).output().await?;
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if !output.status.success() || said.parse::<Link>().is_err() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(io::Error::other(format!("trefoil put {name}: {said}")));
            }
            links.push(said);
        }
        fs::write(dir.join("links"), links.join("\n")).await?;
        Ok(links)
    };
    let links = arena.shared.get_or_try_init(put).await?;
    Ok(links.iter().map(|link| link.parse::<Link>().expect("it was parsed").id).collect())
}

async fn file(arena: &Arc<Arena>) -> io::Result<Resource> {
    Ok(Resource::file(shared(arena).await?[0].root))
}

fn nobody_has() -> Resource {
    Resource(rand::random())
}

/// An id of which nobody has the bytes: its root, and the proof of its size. Who makes an id
/// can prove any size for it.
fn tall(size: u64, salt: u8) -> ([u8; 32], Vec<u8>) {
    let last = groups(size) - 1;
    let group = vec![salt; (size - last * GROUP_BYTES) as usize];
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(last * GROUP_BYTES).update(&group);
    let mut hash = hasher.finalize_non_root();
    let left = [9; 32];
    let levels = groups(size).ilog2();
    let mut pairs = Vec::new();
    for level in 0..levels {
        pairs.push([left, hash]);
        hash = match level + 1 == levels {
            true => *hazmat::merge_subtrees_root(&left, &hash, Mode::Hash).as_bytes(),
            false => hazmat::merge_subtrees_non_root(&left, &hash, Mode::Hash),
        };
    }
    pairs.reverse();
    (hash, pairs.concat().concat().into_iter().chain(group).collect())
}

async fn claimed_sizes(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = Peer::listening(&arena, n, 0).await?;
    let size = if n.is_multiple_of(2) { BYTES_MAX } else { 1 << 44 };
    let (root, proof) = tall(size, n as u8);
    let (id, resource) = (ContentId { kind: ResourceKind::File, root }, Resource::file(root));
    // As a browser says it whose user typed the address.
    let request = format!(
        "GET /content/{id} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: none\r\nConnection: close\r\n\r\n"
    );
    let rpc = arena.rpc();
    tokio::spawn(async move { http::exchange(rpc, request.as_bytes()).await });
    loop {
        peer.tell_swarm(&SwarmMessage::Find { resource }).await?;
        let proof = proof.clone();
        peer.tell_swarm(&SwarmMessage::Offer { resource, size, origin: false, proof }).await?;
        peer.pause(Duration::from_millis(100)).await?;
    }
}

async fn reader(arena: &Arc<Arena>, n: usize, reading: Reading) -> io::Result<Peer> {
    let mut peer = Peer::join(arena, n, 0).await?;
    match reading {
        Reading::All => peer.listen(),
        Reading::Nothing => {}
        Reading::Deaf => peer.go_deaf(),
    }
    Ok(peer)
}

async fn finds(arena: Arc<Arena>, n: usize, reading: Reading) -> io::Result<()> {
    let resource = file(&arena).await?;
    let mut peer = reader(&arena, n, reading).await?;
    loop {
        for _ in 0..100 {
            peer.tell_swarm(&SwarmMessage::Find { resource }).await?;
        }
        peer.pause(PAUSE).await?;
    }
}

async fn finds_of_nothing(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = reader(&arena, n, Reading::All).await?;
    loop {
        for _ in 0..100 {
            peer.tell_swarm(&SwarmMessage::Find { resource: nobody_has() }).await?;
        }
        peer.pause(PAUSE).await?;
    }
}

async fn news(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let resource = file(&arena).await?;
    let mut peer = reader(&arena, n, Reading::All).await?;
    peer.tell_swarm(&SwarmMessage::Find { resource }).await?;
    // 8 MiB are 128 pieces.
    let all = News { have: std::iter::once(0..128).collect(), ..News::default() };
    let every_second = News { claims: (0..128).step_by(2).collect(), ..News::default() };
    loop {
        for news in [&all, &every_second].into_iter().cycle().take(10) {
            let news = news.encode();
            peer.tell_swarm(&SwarmMessage::News { resource, news }).await?;
        }
        peer.pause(PAUSE).await?;
    }
}

async fn news_of_nothing(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = reader(&arena, n, Reading::All).await?;
    let news = News { claims: (0..100_000).step_by(2).collect(), ..News::default() }.encode();
    loop {
        let news = news.clone();
        peer.tell_swarm(&SwarmMessage::News { resource: nobody_has(), news }).await?;
        peer.pause(PAUSE).await?;
    }
}

async fn false_offers(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let resource = file(&arena).await?;
    let mut peer = reader(&arena, n, Reading::All).await?;
    for size in (0..50).map(|bits| 1u64 << bits).cycle() {
        let (_, proof) = tall(size.max(GROUP_BYTES), 1);
        peer.tell_swarm(&SwarmMessage::Offer { resource, size, origin: true, proof }).await?;
        peer.pause(PAUSE).await?;
    }
    Ok(())
}

async fn false_maps(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = reader(&arena, n, Reading::All).await?;
    loop {
        let heard = peer.heard().swarm.pop_front();
        let answer = match heard {
            Some(SwarmMessage::Find { resource }) => {
                let news =
                    News { have: std::iter::once(0..1).collect(), ..News::default() }.encode();
                Some(SwarmMessage::News { resource, news })
            }
            Some(SwarmMessage::Ask { resource, ticket, .. }) => {
                let why = RejectReason::Missing;
                Some(SwarmMessage::Refuse { resource, ticket, why })
            }
            _ => None,
        };
        match answer {
            Some(answer) => peer.tell_swarm(&answer).await?,
            None => peer.pause(PAUSE).await?,
        }
    }
}

async fn data_unasked(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = reader(&arena, n, Reading::All).await?;
    for ticket in 0.. {
        let mut body = ContentFrame::data(Ticket(ticket));
        body.resize(body.len() + (128 << 10), 7);
        peer.frame(CONTENT, &body).await?;
        peer.pause(PAUSE).await?;
    }
    Ok(())
}

fn ask(resource: Resource, ticket: u64, piece: u32, from: u64) -> SwarmMessage {
    SwarmMessage::Ask { resource, ticket: Ticket(ticket), piece, from }
}

async fn asks(arena: Arc<Arena>, n: usize, reading: Reading) -> io::Result<()> {
    let resource = file(&arena).await?;
    let mut peer = reader(&arena, n, reading).await?;
    peer.tell_swarm(&SwarmMessage::Find { resource }).await?;
    for ticket in 0.. {
        peer.tell_swarm(&ask(resource, ticket, ticket as u32 % 128, 0)).await?;
        peer.pause(Duration::from_millis(1)).await?;
    }
    Ok(())
}

async fn asks_cancelled(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let resource = file(&arena).await?;
    let mut peer = reader(&arena, n, Reading::All).await?;
    peer.tell_swarm(&SwarmMessage::Find { resource }).await?;
    for first in (0..).step_by(128) {
        for piece in 0..128 {
            let ticket = first + u64::from(piece);
            peer.tell_swarm(&ask(resource, ticket, piece, 0)).await?;
            let ticket = Ticket(ticket);
            peer.tell_swarm(&SwarmMessage::Unask { resource, ticket }).await?;
        }
        peer.pause(PAUSE).await?;
    }
    Ok(())
}

async fn asks_absurd(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let resource = file(&arena).await?;
    let mut peer = reader(&arena, n, Reading::All).await?;
    for ticket in 0.. {
        let (piece, from) = match ticket % 3 {
            0 => (u32::MAX, 0),
            1 => (0, u64::MAX),
            _ => (128, 1 << 40),
        };
        peer.tell_swarm(&ask(resource, ticket, piece, from)).await?;
        peer.pause(Duration::from_millis(1)).await?;
    }
    Ok(())
}

async fn chokes(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let resource = file(&arena).await?;
    let mut peer = reader(&arena, n, Reading::All).await?;
    loop {
        for choked in [true, false].into_iter().cycle().take(10) {
            peer.tell_swarm(&SwarmMessage::Choke { resource, choked }).await?;
        }
        peer.pause(PAUSE).await?;
    }
}

async fn others(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let resource = file(&arena).await?;
    let mut peer = reader(&arena, n, Reading::All).await?;
    loop {
        let other = |n: u8| {
            let peer = PeerId(SecretKey::from_seed(&rand::random()).public());
            // Documentation's (RFC 5737), private, and this machine's.
            let ip = [[203, 0, 113, n], [10, 0, 0, n], [127, 0, 0, n]][usize::from(n) % 3];
            (peer, (ip, 22).into())
        };
        let others = (1..=32).map(other).collect();
        peer.tell_swarm(&SwarmMessage::Others { resource, others }).await?;
        peer.pause(PAUSE).await?;
    }
}

/// Only where members meet: on a public network loopback is never asked.
async fn origins(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let at = server.local_addr()?;
    let mut peer = reader(&arena, n, Reading::All).await?;
    let (root, proof) = tall(1 << 20, n as u8);
    let (id, resource) = (ContentId { kind: ResourceKind::File, root }, Resource::file(root));
    let request = format!(
        "GET /content/{id} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: none\r\nConnection: close\r\n\r\n"
    );
    let rpc = arena.rpc();
    tokio::spawn(async move { http::exchange(rpc, request.as_bytes()).await });
    let noted = arena.clone();
    let _trap = tokio::task::JoinSet::from_iter([async move {
        if server.accept().await.is_ok() && noted.target.kind != Kind::Private {
            noted.broken("the node asked an HTTP server on its own loopback that a peer named");
        }
    }]);
    let origin = format!("http://{at}/x");
    let mut list = vec![10];
    list.extend(resource.0);
    list.push(origin.len() as u8);
    list.extend(origin.bytes());
    loop {
        let proof = proof.clone();
        let offer = SwarmMessage::Offer { resource, size: 1 << 20, origin: false, proof };
        peer.tell_swarm(&offer).await?;
        peer.frame(CONTENT, &list).await?;
        peer.pause(Duration::from_millis(100)).await?;
    }
}

async fn snapshots(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut peer = reader(&arena, n, Reading::All).await?;
    for height in (0..64).map(|bits| u64::MAX >> bits).cycle() {
        peer.tell_swarm(&SwarmMessage::Snapshot { resource: nobody_has(), height }).await?;
        peer.pause(PAUSE).await?;
    }
    Ok(())
}

async fn garbage(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let resource = file(&arena).await?;
    let mut peer = reader(&arena, n, Reading::All).await?;
    let mut body = vec![(n % 13) as u8];
    body.extend(resource.0);
    body.extend(rand::random::<[u8; 32]>());
    peer.frame(CONTENT, &body).await?;
    let _ = peer.pause(PAUSE).await;
    Ok(())
}
