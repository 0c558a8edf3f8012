//! Files that changed on disk after they were verified, by every way out and every
//! kind of change: right bytes leave, or an error that names the change. Never wrong
//! bytes, and never a user's own file overwritten.

mod sharing;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension,
    body::{Body, to_bytes},
    http::{Request, header},
};
use serde_json::{Value, json};
use sharing::{Node, sample};
use tempfile::tempdir;
use tokio::time::timeout;
use tower::ServiceExt as _;
use trefoil_content::ContentId;
use trefoil_p2p::NetworkAccess;
use trefoil_rpc::{
    RemoteAddr,
    content::{
        admin::AdminApi,
        gateway::{Gateway, GatewayAccess},
    },
};
use trefoil_swarm::{PutOptions, Selection};

const LIMIT: Duration = Duration::from_secs(60);

const PUBLIC: NetworkAccess = NetworkAccess::Public { encrypt: false };

/// More than the gateway reads at once.
const SIZE: usize = 2_300_000;

/// Of a directory: the files before and behind the one that changes.
const SMALL: usize = 20_000;

/// The byte that changes, where the place matters.
const AT: u64 = 1_500_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Flip,
    Truncate,
    Hole,
    /// Another file under its name.
    Replace,
    Remove,
    Hashes,
}

const CHANGES: [Change; 6] =
    [Change::Flip, Change::Truncate, Change::Hole, Change::Replace, Change::Remove, Change::Hashes];

impl Change {
    /// `hashes`: of the whole resource, where byte `AT` of its file is.
    fn make(self, file: &Path, at: u64, hashes: &Path) {
        let open = |path: &Path| OpenOptions::new().write(true).read(true).open(path).unwrap();
        let flip = |path: &Path, at: u64| {
            let (file, mut byte) = (open(path), [0]);
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
        };
        match self {
            Self::Flip => flip(file, at),
            Self::Truncate => open(file).set_len(at).unwrap(),
            Self::Hole => open(file).write_all_at(&[0; 50_000], at).unwrap(),
            Self::Replace => {
                let mut bytes = fs::read(file).unwrap();
                bytes[at as usize] ^= 1;
                let beside = file.with_extension("new");
                fs::write(&beside, bytes).unwrap();
                fs::rename(beside, file).unwrap();
            }
            Self::Remove => fs::remove_file(file).unwrap(),
            // The first pair of the file that changes, which is on the way to all of it: in
            // a directory, another file of two groups is before it.
            Self::Hashes => flip(hashes, if hashes.ends_with("tree.hashes") { 64 } else { 0 }),
        }
    }
}

/// A way out of a node, and the bytes of the file that it gives.
#[derive(Clone, Copy, Debug)]
enum Way {
    Get,
    GetRange,
    Http,
    HttpRange,
}

const WAYS: [Way; 4] = [Way::Get, Way::GetRange, Way::Http, Way::HttpRange];

const RANGE: (u64, u64) = (AT - 100_000, AT + 300_000);

impl Way {
    fn wanted(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Get | Self::Http => bytes.to_vec(),
            Self::GetRange | Self::HttpRange => bytes[RANGE.0 as usize..RANGE.1 as usize].to_vec(),
        }
    }

    /// The bytes that leave, or the error instead. `path`: in a directory.
    async fn take(self, node: &Node, id: ContentId, path: Option<&str>) -> Result<Vec<u8>, String> {
        match self {
            Self::Get => get(node, id, path, None).await,
            Self::GetRange => get(node, id, path, Some(RANGE)).await,
            Self::Http => http(node, id, path, None).await,
            Self::HttpRange => http(node, id, path, Some(RANGE)).await,
        }
    }
}

/// As the commands have the node do it.
async fn job(node: &Node, call: Value) -> Result<(), String> {
    let api = AdminApi::new(node.content.clone());
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

async fn get(
    node: &Node,
    id: ContentId,
    path: Option<&str>,
    range: Option<(u64, u64)>,
) -> Result<Vec<u8>, String> {
    let dir = tempdir().unwrap();
    let output = dir.path().join("out");
    let call = json!({ "link": id.to_string(), "output": output, "path": path, "range": range });
    match job(node, call).await {
        Ok(()) => Ok(fs::read(&output).unwrap()),
        Err(error) => {
            assert!(!output.exists(), "something is there after {error}");
            Err(error)
        }
    }
}

/// A body that breaks off is an error, as it is to any client.
async fn http(
    node: &Node,
    id: ContentId,
    path: Option<&str>,
    range: Option<(u64, u64)>,
) -> Result<Vec<u8>, String> {
    let from = RemoteAddr::of("127.0.0.1:1".parse().unwrap(), None);
    let gateway = Gateway::new(node.content.clone(), GatewayAccess::Loopback);
    let path = path.map_or(String::new(), |path| format!("/{path}"));
    let mut request = Request::get(format!("/content/{id}{path}"));
    request = request.header("sec-fetch-site", "none");
    if let Some((from, to)) = range {
        request = request.header(header::RANGE, format!("bytes={from}-{}", to - 1));
    }
    let request = request.body(Body::empty()).unwrap();
    let answer = gateway.router().layer(Extension(from)).oneshot(request);
    let answer = timeout(LIMIT, answer).await.unwrap().unwrap();
    let (parts, body) = answer.into_parts();
    let body = timeout(LIMIT, to_bytes(body, usize::MAX)).await.expect("it ends");
    match (parts.status.is_success(), body) {
        (true, Ok(body)) => {
            let length = &parts.headers[header::CONTENT_LENGTH];
            assert_eq!(length.to_str().unwrap(), body.len().to_string());
            Ok(body.to_vec())
        }
        (true, Err(error)) => Err(format!("broken off: {error:?}")),
        (false, body) => {
            assert!(!parts.headers.contains_key(header::ETAG), "{parts:?}");
            Err(String::from_utf8(body.unwrap().to_vec()).unwrap())
        }
    }
}

async fn put(node: &Node, path: &Path) -> ContentId {
    node.content.put(path, PutOptions::default(), Arc::default()).await.unwrap()
}

/// A file, or a directory with it in the middle.
fn source(dir: &Path, name: &str, tree: bool) -> (PathBuf, PathBuf) {
    let place = dir.join(name);
    if !tree {
        fs::write(&place, sample(SIZE)).unwrap();
        return (place.clone(), place);
    }
    fs::create_dir(&place).unwrap();
    for (file, size) in [("a", SMALL), ("m", SIZE), ("z", SMALL)] {
        fs::write(place.join(file), sample(size)).unwrap();
    }
    (place.clone(), place.join("m"))
}

async fn node(n: u8, dir: &Path, known: &[sharing::Known]) -> Node {
    Node::start(n, dir, PUBLIC, known, |_| {}).await
}

/// A user's file that is shared from where it is: the change is reported, and it stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_file_that_changed_is_told_by_every_way_out_and_left_alone() {
    for tree in [false, true] {
        for change in CHANGES {
            let dir = tempdir().unwrap();
            let (place, file) = source(dir.path(), "mine", tree);
            let (id, path) = {
                let node = node(1, dir.path(), &[]).await;
                let id = put(&node, &place).await;
                node.net.shutdown();
                (id, tree.then_some("m"))
            };
            let kept = dir.path().join("1").join(id.to_string());
            let hashes = kept.join(if tree { "tree.hashes" } else { "hashes" });
            // In a life in which none of it was read before.
            let node = node(1, dir.path(), &[]).await;
            change.make(&file, AT, &hashes);
            let is = fs::read(&file).ok();
            for way in WAYS {
                let taken = way.take(&node, id, path).await;
                let told = taken.map(|bytes| bytes == way.wanted(&sample(SIZE)));
                let error = told.expect_err(&format!("{change:?} {way:?} tree {tree}"));
                // A body that breaks off has no room for the reason.
                let named = error.contains(file.to_str().unwrap());
                let broken = matches!(way, Way::Http) && error.starts_with("broken off");
                assert!(named || broken, "{change:?} {way:?}: {error}");
            }
            assert_eq!(fs::read(&file).ok(), is, "{change:?}: a user's file is the user's");
            if tree {
                let output = dir.path().join("out");
                let call = json!({ "link": id.to_string(), "output": output, "path": null, "range": null });
                let error = job(&node, call).await.unwrap_err();
                assert!(error.contains(file.to_str().unwrap()), "{change:?}: {error}");
                // The parts that did not change leave as before.
                if change != Change::Hashes {
                    let small = get(&node, id, Some("z"), None).await.unwrap();
                    assert!(small == sample(SMALL), "{change:?}");
                }
            }
        }
    }
}

/// A copy that a node keeps and a peer has: every reader has it fetched anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_copy_that_changed_is_mended_by_peers_for_every_way_out() {
    let dir = tempdir().unwrap();
    let origin = node(1, dir.path(), &[]).await;
    for tree in [false, true] {
        let (place, _) = source(dir.path(), &format!("source-{tree}"), tree);
        let (id, path) = (put(&origin, &place).await, tree.then_some("m"));
        let other = node(2, dir.path(), &[origin.at]).await;
        let link = id.into();
        let all = other.content.get(&link, Selection::default());
        timeout(LIMIT, all).await.expect("in time").unwrap();
        let kept = dir.path().join("2").join(id.to_string());
        let (data, hashes) = match tree {
            true => (kept.join("tree.data"), kept.join("tree.hashes")),
            false => (kept.join("data"), kept.join("hashes")),
        };
        let at = AT + if tree { SMALL as u64 } else { 0 };
        for change in [Change::Flip, Change::Truncate, Change::Hole, Change::Hashes] {
            for way in WAYS {
                change.make(&data, at, &hashes);
                let taken = way.take(&other, id, path).await;
                let taken = taken.unwrap_or_else(|error| panic!("{change:?} {way:?}: {error}"));
                assert!(taken == way.wanted(&sample(SIZE)), "{change:?} {way:?} tree {tree}");
                // A reader of all bytes mends those that this way did not read.
                assert!(Way::Get.take(&other, id, path).await.unwrap() == sample(SIZE));
            }
        }
        let about = other.content.metadata(id).unwrap();
        assert!(about.whole, "it is whole again");
        if tree {
            // The list of its files, too.
            let manifest = kept.join("data");
            let small = fs::read(&manifest).unwrap();
            other.net.shutdown();
            drop(other);
            Change::Flip.make(&manifest, 10, &hashes);
            let other = node(2, dir.path(), &[origin.at]).await;
            assert!(Way::Http.take(&other, id, path).await.unwrap() == sample(SIZE));
            assert_eq!(fs::read(&manifest).unwrap(), small);
        }
    }
}

/// A file that node 1 shares and node 2 has fetched.
async fn fetched(dir: &Path) -> (Node, Node, ContentId) {
    let origin = node(1, dir, &[]).await;
    let (place, _) = source(dir, "source", false);
    let id = put(&origin, &place).await;
    let other = node(2, dir, &[origin.at]).await;
    let link = id.into();
    let all = other.content.get(&link, Selection::default());
    timeout(LIMIT, all).await.expect("in time").unwrap();
    (origin, other, id)
}

/// Changes a byte of the copy that node 2 keeps; where that is.
fn flip_kept(dir: &Path, id: ContentId) -> PathBuf {
    let kept = dir.join("2").join(id.to_string());
    Change::Flip.make(&kept.join("data"), AT, &kept.join("hashes"));
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_copy_that_changed_and_that_nobody_has_is_told() {
    let dir = tempdir().unwrap();
    let (origin, other, id) = fetched(dir.path()).await;
    origin.net.shutdown();
    drop(origin);
    let kept = flip_kept(dir.path(), id);
    for way in [Way::GetRange, Way::HttpRange] {
        let error = way.take(&other, id, None).await.unwrap_err();
        let group = AT / 16_384 * 16_384;
        let named = format!("bytes {group}-{}", group + 16_384);
        assert!(error.contains(&named) && error.contains(kept.to_str().unwrap()), "{error}");
    }
    // Its right bytes leave all the same.
    let range = Some((0, 1_000_000));
    assert!(get(&other, id, None, range).await.unwrap() == sample(SIZE)[..1_000_000]);
}

/// A peer that asks finds it first.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_found_changed_is_mended_for_who_reads_here() {
    let dir = tempdir().unwrap();
    let (origin, other, id) = fetched(dir.path()).await;
    flip_kept(dir.path(), id);
    let third = node(3, dir.path(), &[other.at, origin.at]).await;
    assert!(Way::Get.take(&third, id, None).await.unwrap() == sample(SIZE));
    assert!(third.net.misdeeds().is_empty());
    assert!(Way::Get.take(&other, id, None).await.unwrap() == sample(SIZE));
}

/// It is verified once more before it comes into place.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_moved_out_is_what_it_is_called() {
    let dir = tempdir().unwrap();
    let (_origin, other, id) = fetched(dir.path()).await;
    flip_kept(dir.path(), id);
    let to = dir.path().join("out");
    other.content.move_out(id, &to).await.unwrap();
    assert!(fs::read(&to).unwrap() == sample(SIZE));
    // From now on it is shared from there.
    Change::Flip.make(&to, AT, &to);
    let error = other.content.move_out(id, &to).await.unwrap_err().to_string();
    assert!(error.contains(to.to_str().unwrap()), "{error}");
}
