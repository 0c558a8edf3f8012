//! Sizes that are only claimed, by peers and by what an earlier life left: refused by
//! name, and nothing is made for them. Whoever makes an id can prove any size for it.

mod common;
mod sharing;

use std::{fs, path::Path, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use blake3::hazmat::{self, HasherExt as _, Mode};
use common::{Process, check_refusal, finish, free_ports, trefoil};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use serde_json::json;
use sharing::{GENESIS, Known, Node, key, sample};
use tempfile::tempdir;
use tokio::time::timeout;
use tower::ServiceExt as _;
use trefoil_content::{
    BYTES_MAX, ContentId, GROUP_BYTES, Link, Manifest, ManifestEntry, ResourceKind, groups,
    message::{ContentFrame, FRAME_BYTES_MAX, SwarmMessage},
    scheduler::Resource,
};
use trefoil_p2p::{ContentLink, LaneReceivers, NetHandle, NetworkAccess};
use trefoil_rpc::{
    RemoteAddr,
    content::{
        admin::AdminApi,
        gateway::{Gateway, GatewayAccess},
    },
};
use trefoil_swarm::PutOptions;
use trefoil_types::{B256, Offence, PeerId, keccak256};

const LIMIT: Duration = Duration::from_secs(30);

const PUBLIC: NetworkAccess = NetworkAccess::Public { encrypt: false };

/// 16 TiB, and the most that an id may say.
const SIZES: [u64; 2] = [1 << 44, BYTES_MAX];

/// An id of which nobody has the bytes: its root, and the proof of its size.
fn tall(size: u64) -> ([u8; 32], Vec<u8>) {
    let last = groups(size) - 1;
    let group = vec![7; (size - last * GROUP_BYTES) as usize];
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

fn id(size: u64) -> ContentId {
    ContentId { kind: ResourceKind::File, root: tall(size).0 }
}

/// A peer that offers whatever is sought with these sizes, and the messages that it gets.
struct Liar {
    net: NetHandle,
    lanes: LaneReceivers,
}

impl Liar {
    async fn start(known: &[Known]) -> Self {
        Self::of(GENESIS, known).await
    }

    async fn of(genesis: B256, known: &[Known]) -> Self {
        let config = sharing::config(genesis, 9, PUBLIC, known);
        let (net, lanes) = trefoil_p2p::start(config).await.unwrap();
        Self { net, lanes }
    }

    fn at(&self) -> Known {
        (PeerId(key(9).public()), self.net.listen_address())
    }

    async fn link(&mut self) -> ContentLink {
        timeout(LIMIT, self.lanes.content.recv()).await.unwrap().unwrap()
    }

    /// Until the connection ends.
    async fn offer(mut self, sizes: &[u64]) {
        let mut link = self.link().await;
        while let Some(message) = hear(&mut link).await {
            let SwarmMessage::Find { resource } = message else { continue };
            for size in sizes {
                let (root, proof) = tall(*size);
                if resource == Resource::file(root) {
                    let (size, origin) = (*size, false);
                    say(&mut link, &SwarmMessage::Offer { resource, size, origin, proof }).await;
                }
            }
        }
    }
}

async fn hear(link: &mut ContentLink) -> Option<SwarmMessage> {
    loop {
        let mut length = [0; 4];
        link.read.read_exact(&mut length).await.ok()?;
        let length = u32::from_be_bytes(length) as usize;
        assert!(length <= FRAME_BYTES_MAX);
        let mut body = vec![0; length];
        link.read.read_exact(&mut body).await.ok()?;
        if let Ok(ContentFrame::Message(message)) = ContentFrame::decode(&body) {
            return Some(message);
        }
    }
}

async fn say(link: &mut ContentLink, message: &SwarmMessage) {
    let body = message.encode();
    link.write.write_all(&(body.len() as u32).to_be_bytes()).await.unwrap();
    link.write.write_all(&body).await.unwrap();
    link.write.flush().await.unwrap();
}

async fn put(node: &Node, path: &Path) -> ContentId {
    node.content.put(path, PutOptions::default(), Arc::default()).await.unwrap()
}

/// `trefoil get`, as the command has the node do it.
async fn get(node: &Node, link: &str, to: &Path) -> Result<(), String> {
    let api = AdminApi::new(node.content.clone());
    let call = json!({ "link": link, "output": to, "path": null, "range": null });
    let job = api.get(serde_json::from_value(call).unwrap()).unwrap();
    let ended = async {
        loop {
            match api.job(job).await.unwrap().ended {
                None => tokio::time::sleep(Duration::from_millis(20)).await,
                Some(ended) => return ended,
            }
        }
    };
    timeout(LIMIT, ended).await.expect("it ends").map(drop)
}

/// Whoever types the address does this, or a program that says so.
async fn look(node: &Node, id: ContentId) -> (StatusCode, String) {
    let from = RemoteAddr::of("127.0.0.1:1".parse().unwrap(), None);
    let gateway = Gateway::new(node.content.clone(), GatewayAccess::Loopback);
    let request = Request::get(format!("/content/{id}")).header("sec-fetch-site", "none");
    let request = request.body(Body::empty()).unwrap();
    let answer = gateway.router().layer(Extension(from)).oneshot(request);
    let answer = timeout(LIMIT, answer).await.unwrap().unwrap();
    let status = answer.status();
    let body = timeout(LIMIT, to_bytes(answer.into_body(), usize::MAX)).await;
    let body = body.map_or(Vec::new(), |body| body.unwrap_or_default().to_vec());
    (status, String::from_utf8_lossy(&body).into())
}

fn kept(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_all_there_is_makes_nothing_whoever_sought_it() {
    let dir = tempdir().unwrap();
    let liar = Liar::start(&[]).await;
    let node = Node::start(2, dir.path(), PUBLIC, &[liar.at()], |_| {}).await;
    let lying = tokio::spawn(liar.offer(&SIZES));
    let out = dir.path().join("out");
    for size in SIZES {
        let id = id(size);
        let error = get(&node, &id.to_string(), &out).await.unwrap_err();
        assert!(error.contains(&size.to_string()) && error.contains("free"), "{error}");
        let (status, body) = look(&node, id).await;
        assert!(!status.is_success() && body.contains(&size.to_string()), "{status} {body}");
        // A link that knows better.
        let link = Link { size: Some(5), ..id.into() };
        let error = get(&node, &link.to_string(), &out).await.unwrap_err();
        assert!(error.contains(&format!("{size} bytes, not 5")), "{error}");
        assert_eq!(kept(&dir.path().join("2")), [""; 0], "{size}");
    }
    // A peer that repeats the size of an id does no wrong, and the node goes on.
    assert!(node.net.misdeeds().is_empty());
    fs::write(dir.path().join("mine"), sample(70_000)).unwrap();
    let id = put(&node, &dir.path().join("mine")).await;
    get(&node, &id.to_string(), &out).await.unwrap();
    assert_eq!(fs::read(&out).unwrap(), sample(70_000));
    lying.abort();
}

/// Believed, it would only be refused for want of room, and the peer could do so for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_offers_a_size_and_no_proof_of_it_is_banned() {
    let dir = tempdir().unwrap();
    let mut liar = Liar::start(&[]).await;
    let node = Node::start(2, dir.path(), PUBLIC, &[liar.at()], |_| {}).await;
    let (root, proof) = tall(SIZES[0]);
    let lie = async {
        let mut link = liar.link().await;
        let resource = Resource::file(root);
        assert_eq!(hear(&mut link).await, Some(SwarmMessage::Find { resource }));
        let size = SIZES[0] - 1;
        say(&mut link, &SwarmMessage::Offer { resource, size, origin: false, proof }).await;
        while hear(&mut link).await.is_some() {}
    };
    let (link, out) = (id(SIZES[0]).to_string(), dir.path().join("out"));
    tokio::select! {
        ended = get(&node, &link, &out) => panic!("{ended:?}"),
        ended = timeout(LIMIT, lie) => ended.expect("the connection ends"),
    }
    let misdeeds = node.net.misdeeds();
    let of = misdeeds.iter().find(|of| of.who == sharing::peer(9).to_string()).unwrap();
    assert_eq!(of.offences[0].0, Offence::BadContent, "{of:?}");
    assert_eq!(kept(&dir.path().join("2")), [""; 0]);
}

/// As a newcomer reads the list of a snapshot that a peer announced.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_snapshot_is_small_or_refused() {
    let dir = tempdir().unwrap();
    let liar = Liar::start(&[]).await;
    let node = Node::start(2, dir.path(), PUBLIC, &[liar.at()], |_| {}).await;
    let lying = tokio::spawn(liar.offer(&SIZES));
    for size in SIZES {
        let link = id(size).into();
        let read = timeout(LIMIT, node.content.read_small(&link, 1 << 20)).await.unwrap();
        let error = read.unwrap_err().to_string();
        assert!(error.contains(&size.to_string()) && error.contains("1048576"), "{error}");
        assert_eq!(kept(&dir.path().join("2")), [""; 0], "{size}");
    }
    lying.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_quota_is_refused_and_a_part_of_it_is_not() {
    let dir = tempdir().unwrap();
    let origin = Node::start(1, dir.path(), PUBLIC, &[], |_| {}).await;
    fs::write(dir.path().join("big"), sample(3_000_000)).unwrap();
    let id = put(&origin, &dir.path().join("big")).await;
    let node =
        Node::start(2, dir.path(), PUBLIC, &[origin.at], |config| config.quota = Some(1 << 20))
            .await;
    let error = get(&node, &id.to_string(), &dir.path().join("out")).await.unwrap_err();
    assert!(error.contains("content.quota_mib") && error.contains("3000000"), "{error}");
    assert_eq!(kept(&dir.path().join("2")), [""; 0]);
    let (status, body) = look(&node, id).await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{body}");
    let range = Some(0..500_000);
    let selection = trefoil_swarm::Selection { range, ..Default::default() };
    let link = id.into();
    timeout(LIMIT, node.content.get(&link, selection.clone())).await.unwrap().unwrap();
    // It is here in part now: the rest is refused as well.
    let error = get(&node, &id.to_string(), &dir.path().join("out")).await.unwrap_err();
    assert!(error.contains("content.quota_mib"), "{error}");
    assert_eq!(look(&node, id).await.0, StatusCode::INSUFFICIENT_STORAGE);
    // And what is not here drives out nothing.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(node.content.list().len(), 1);
}

/// Each fits, and their stores are open.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_fetches_stays_within_the_quota() {
    let dir = tempdir().unwrap();
    let origin = Node::start(1, dir.path(), PUBLIC, &[], |_| {}).await;
    let node =
        Node::start(2, dir.path(), PUBLIC, &[origin.at], |config| config.quota = Some(1 << 20))
            .await;
    let mut ids = Vec::new();
    for n in 1..=3 {
        let path = dir.path().join(n.to_string() + ".bin");
        fs::write(&path, &sample(700_000 + n)[n..]).unwrap();
        ids.push(put(&origin, &path).await);
        let (status, body) = look(&node, ids[n - 1]).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    let one = async {
        while node.content.list().len() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, one).await.expect("the others go");
    assert_eq!(look(&node, ids[0]).await.0, StatusCode::OK, "it is fetched again");
}

/// The list is here and right; its sizes are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_claims_large_files_makes_none() {
    let dir = tempdir().unwrap();
    let origin = Node::start(1, dir.path(), PUBLIC, &[], |_| {}).await;
    let entry = |path: &str, size| ManifestEntry { path: path.into(), size, root: tall(1 << 44).0 };
    let manifest = Manifest::new(vec![entry("a", 1 << 44), entry("b", 5)]).unwrap();
    fs::write(dir.path().join("list"), manifest.encode()).unwrap();
    let list = put(&origin, &dir.path().join("list")).await;
    let directory = ContentId { kind: ResourceKind::Directory, ..list };
    let mut liar = Liar::start(&[]).await;
    let node = Node::start(2, dir.path(), PUBLIC, &[origin.at, liar.at()], |_| {}).await;
    let error = get(&node, &directory.to_string(), &dir.path().join("out")).await.unwrap_err();
    assert!(error.contains(&((1u64 << 44) + 5).to_string()) && error.contains("free"), "{error}");
    let link = Link { size: Some(7), ..directory.into() };
    let error = get(&node, &link.to_string(), &dir.path().join("out")).await.unwrap_err();
    assert!(error.contains("not 7"), "{error}");
    // Nor does a peer that asks for the files have them made.
    let mut talk = liar.link().await;
    let tree = Resource::tree(directory.root);
    for resource in [tree, Resource::file(directory.root)] {
        say(&mut talk, &SwarmMessage::Find { resource }).await;
    }
    let offered = async {
        loop {
            if let Some(SwarmMessage::Offer { resource, .. }) = hear(&mut talk).await {
                return resource;
            }
        }
    };
    let offered = timeout(LIMIT, offered).await.unwrap();
    assert_eq!(offered, Resource::file(directory.root), "only the list is here");
    let made = kept(&dir.path().join("2").join(directory.to_string()));
    assert!(made.iter().all(|name| !name.starts_with("tree")), "{made:?}");
}

/// The files that an earlier binary left when an offer ended it; asking for them ended
/// every next life.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_on_disk_ends_no_node_when_it_starts_nor_when_it_is_sought() {
    let dir = tempdir().unwrap();
    let about = |id: ContentId, size: u64, whole: bool| {
        let place = dir.path().join("2").join(id.to_string());
        fs::create_dir_all(&place).unwrap();
        for name in ["data", "hashes", "map"] {
            fs::write(place.join(name), "").unwrap();
        }
        let about = json!({
            "id": id.to_string(), "name": null, "size": size, "tree_bytes": null,
            "shared": null, "pinned": false, "origins": [], "origin": false, "used_s": 1,
            "whole": whole,
        });
        fs::write(place.join("about.json"), about.to_string()).unwrap();
    };
    for size in SIZES {
        about(id(size), size, false);
    }
    let whole = ContentId { kind: ResourceKind::Sealed, ..id(1 << 44) };
    about(whole, 1 << 44, true);
    about(id(1 << 20), 1 << 60, true);
    let list = ContentId { kind: ResourceKind::Directory, ..id(1 << 30) };
    about(list, 1 << 30, true);

    let node = Node::start(2, dir.path(), PUBLIC, &[], |_| {}).await;
    // The note that it was whole may be mended; it takes no memory.
    let listed: Vec<_> = node.content.list().into_iter().map(|about| about.id).collect();
    assert_eq!(listed, [whole.to_string()]);
    assert_eq!(kept(&dir.path().join("2")), [whole.to_string()]);

    fs::write(dir.path().join("mine"), sample(70_000)).unwrap();
    let mine = Resource::file(put(&node, &dir.path().join("mine")).await.root);
    let mut liar = Liar::start(&[node.at]).await;
    let mut link = liar.link().await;
    for resource in SIZES.map(|size| Resource::file(tall(size).0)).into_iter().chain([mine]) {
        say(&mut link, &SwarmMessage::Find { resource }).await;
    }
    let offered = async {
        loop {
            if let Some(SwarmMessage::Offer { resource, .. }) = hear(&mut link).await {
                return resource;
            }
        }
    };
    assert_eq!(timeout(LIMIT, offered).await.unwrap(), mine);
}

/// The most that a process had in memory so far, bytes.
fn resident_most(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

/// The real binary: any web page asks it, and it lives, small, and keeps nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_refuses_a_claim_and_lives() {
    let dir = tempdir().unwrap();
    let network = keccak256("trefoil share 1");
    let liar = Liar::of(network, &[]).await;
    let from = format!("{}@{}", liar.at().0, liar.at().1);
    let lying = tokio::spawn(liar.offer(&SIZES));
    fs::write(dir.path().join("mine"), sample(70_000)).unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let rpc = format!("127.0.0.1:{}", free_ports(1));
    let args = ["share", &path("mine"), "--dir", &path("share"), "--listen", "127.0.0.1:0"];
    let share = Process::start(&[&args[..], &["--rpc", &rpc, "--from", &from]].concat());
    tokio::task::block_in_place(|| share.hear("trefoil fetch"));
    for size in SIZES {
        let url = format!("http://{rpc}/content/{}", id(size));
        let client = reqwest::Client::new();
        // A page of another site starts nothing.
        let answer = client.get(&url).header("sec-fetch-site", "cross-site").send();
        assert_eq!(timeout(LIMIT, answer).await.unwrap().unwrap().status(), 404);
        let answer = client.get(&url).header("sec-fetch-site", "none").send();
        let answer = timeout(LIMIT, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 507);
        let text = answer.text().await.unwrap();
        assert!(text.contains(&size.to_string()), "{text}");
    }
    let kept = kept(&dir.path().join("share/content"));
    assert_eq!(kept.len(), 1, "what it shares: {kept:?}");
    let most = resident_most(share.id());
    assert!(most < 150 << 20, "{most} bytes in memory");
    lying.abort();

    // And the command that fetches ends by itself, with the reason.
    let liar = Liar::of(network, &[]).await;
    let from = format!("{}@{}", liar.at().0, liar.at().1);
    let lying = tokio::spawn(liar.offer(&SIZES));
    let link = format!("trefoil:{}", id(BYTES_MAX));
    let fetch = ["fetch", &link, "--from", &from, "--dir", &path("fetch"), "-o", &path("out")];
    let output = tokio::task::block_in_place(|| finish(&mut trefoil(&fetch)));
    check_refusal(&fetch, &output, &[&BYTES_MAX.to_string(), "free"]);
    lying.abort();
}
