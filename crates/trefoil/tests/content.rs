//! Content between nodes of one process over real sockets on loopback.

mod sharing;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use sharing::{Known, Node, key, net, sample};
use tempfile::{TempDir, tempdir};
use tokio::time::timeout;
use tower::ServiceExt as _;
use trefoil_content::{
    ContentId, Link, News,
    message::{ContentFrame, FRAME_BYTES_MAX, SwarmMessage},
    scheduler::Resource,
};
use trefoil_p2p::{ContentLink, NetworkAccess};
use trefoil_rpc::{
    RemoteAddr,
    content::gateway::{Gateway, GatewayAccess},
};
use trefoil_swarm::{FetchError, PutOptions, Selection, http::Reach};
use trefoil_types::PeerId;

// Longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

const PUBLIC: NetworkAccess = NetworkAccess::Public { encrypt: false };

/// Node `n` with its content in `dir`, connected to those it knows.
async fn node(n: u8, dir: &Path, known: &[Known]) -> Node {
    Node::start(n, dir, PUBLIC, known, |config| config.origins = Some(Reach::All)).await
}

fn file(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// Waits until it is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn put(node: &Node, path: &Path) -> ContentId {
    node.content.put(path, PutOptions::default(), Arc::default()).await.unwrap()
}

/// Fetches all of it and returns where it was written.
async fn get(node: &Node, id: ContentId, to: &Path) {
    let link = id.into();
    let get = node.content.get(&link, Selection::default());
    let held = timeout(LIMIT, get).await.expect("in time").unwrap();
    match &held.manifest {
        None => held.export_file(0, 0..held.layout.bytes(), to).unwrap(),
        Some(_) => held.export_tree(to).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_not_so_is_told() {
    let dir = tempdir().unwrap();
    let origin = node(1, dir.path(), &[]).await;
    let id = put(&origin, &file(&dir, "one", &sample(70_000))).await;
    file(&dir, "tree/a", &sample(5));
    let tree = put(&origin, &dir.path().join("tree")).await;
    let other = node(2, dir.path(), &[origin.at]).await;
    for (id, is) in [(id, 70_000), (tree, 5)] {
        let [wrong, right] = [is + 1, is].map(|size| Link { size: Some(size), ..id.into() });
        let get = other.content.get(&wrong, Selection::default());
        let error = timeout(LIMIT, get).await.unwrap().unwrap_err();
        assert_eq!(error, FetchError::Size { is, said: is + 1 });
        let get = other.content.get(&right, Selection::default());
        timeout(LIMIT, get).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_from_its_origin_and_then_from_the_others() {
    let dir = tempdir().unwrap();
    let bytes = sample(3_000_001);
    let path = file(&dir, "big", &bytes);
    let origin = node(1, dir.path(), &[]).await;
    let id = put(&origin, &path).await;
    let first = node(2, dir.path(), &[origin.at]).await;
    get(&first, id, &dir.path().join("first")).await;
    // The third knows the origin only; the origin names the second.
    let third = node(3, dir.path(), &[origin.at]).await;
    get(&third, id, &dir.path().join("third")).await;
    assert_eq!(fs::read(dir.path().join("first")).unwrap(), bytes);
    assert_eq!(fs::read(dir.path().join("third")).unwrap(), bytes);
    // The origin is gone, and nothing is missing.
    origin.net.shutdown();
    let fourth = node(4, dir.path(), &[third.at]).await;
    get(&fourth, id, &dir.path().join("fourth")).await;
    assert_eq!(fs::read(dir.path().join("fourth")).unwrap(), bytes);
}

/// Each is connected to the one before it, and peers name others two steps away at
/// most: the rest is Kademlia's.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_near_has_is_found_at_once() {
    let dir = tempdir().unwrap();
    let bytes = sample(3_000_001);
    let path = file(&dir, "big", &bytes);
    let mut row = vec![node(1, dir.path(), &[]).await];
    for n in 2..=8 {
        row.push(node(n, dir.path(), &[row.last().unwrap().at]).await);
    }
    let id = put(&row[0], &path).await;
    let few = |row: &[Node]| row.iter().all(|node| node.net.peers().len() <= 2);
    // The searches of those who just came, and then the announcement.
    for so in [false, true] {
        until("searches end", async || few(&row) == so).await;
    }
    let begun = Instant::now();
    get(&row[7], id, &dir.path().join("last")).await;
    // A fraction of a second on a quiet machine; what is not found at once comes minutes later.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(fs::read(dir.path().join("last")).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_moves_no_byte() {
    let dir = tempdir().unwrap();
    let path = file(&dir, "big", &sample(500_000));
    let origin = node(1, dir.path(), &[]).await;
    let id = put(&origin, &path).await;
    let other = node(2, dir.path(), &[origin.at]).await;
    get(&other, id, &dir.path().join("once")).await;
    let before = other.content.progress(id).await.unwrap().unwrap();
    get(&other, id, &dir.path().join("twice")).await;
    let after = other.content.progress(id).await.unwrap().unwrap();
    // The last group proved the size and was not counted as fetched.
    assert!((480_000..=500_000).contains(&before.from_peers), "{before:?}");
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_comes_with_all_its_files_or_one_of_them() {
    let dir = tempdir().unwrap();
    let files = [("t/a/one", 200_000), ("t/a/none", 0), ("t/two", 16_384), ("t/z/y/x", 1)];
    for (name, size) in files {
        file(&dir, name, &sample(size));
    }
    let origin = node(1, dir.path(), &[]).await;
    let id = put(&origin, &dir.path().join("t")).await;
    let other = node(2, dir.path(), &[origin.at]).await;
    let selection = Selection { path: Some("two".into()), ..Selection::default() };
    let held = timeout(LIMIT, other.content.get(&id.into(), selection)).await.unwrap().unwrap();
    assert!(!held.store.is_whole());
    let (at, size) = held.file("two").unwrap();
    held.export_file(at, 0..size, &dir.path().join("alone")).unwrap();
    assert_eq!(fs::read(dir.path().join("alone")).unwrap(), sample(16_384));
    drop(held);
    get(&other, id, &dir.path().join("out")).await;
    for (name, size) in files {
        let name = name.replacen("t/", "out/", 1);
        assert_eq!(fs::read(dir.path().join(&name)).unwrap(), sample(size), "{name}");
    }
    let selection = Selection { path: Some("no".into()), ..Selection::default() };
    let error = other.content.get(&id.into(), selection).await.unwrap_err();
    assert_eq!(error.to_string(), "no file \"no\" in the directory");
}

/// Each is sought, offered, announced and unchoked by itself: more of each than a peer may send at
/// once, and nobody does wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_small_files_come_one_by_one_without_a_misdeed() {
    let dir = tempdir().unwrap();
    let origin = node(1, dir.path(), &[]).await;
    let mut ids = Vec::new();
    for n in 0..1_000 {
        // Some come with their offer, some take a piece more.
        let bytes = sample(100 + n * 30);
        ids.push(put(&origin, &file(&dir, &format!("small/{n}"), &bytes)).await);
    }
    let other = node(2, dir.path(), &[origin.at]).await;
    let get = |id: &ContentId| {
        let (content, link) = (other.content.clone(), Link::from(*id));
        async move { content.get(&link, Selection::default()).await.unwrap().layout.bytes() }
    };
    let all = futures::stream::iter(&ids).map(get).buffered(64).collect::<Vec<_>>();
    let sizes = timeout(3 * LIMIT, all).await.expect("in time");
    assert_eq!(sizes, (0..1_000).map(|n| 100 + n * 30).collect::<Vec<u64>>());
    for node in [&origin, &other] {
        assert!(node.net.misdeeds().is_empty(), "{:?}", node.net.misdeeds());
    }
}

/// A part that was synced is not fetched again by the next life of the node.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_life_goes_on_from_what_was_synced() {
    let dir = tempdir().unwrap();
    let bytes = sample(2_000_000);
    let path = file(&dir, "big", &bytes);
    let origin = node(1, dir.path(), &[]).await;
    let id = put(&origin, &path).await;
    let other = node(2, dir.path(), &[origin.at]).await;
    let selection = Selection { range: Some(0..1_000_000), ..Selection::default() };
    timeout(LIMIT, other.content.get(&id.into(), selection)).await.unwrap().unwrap();
    other.net.shutdown();
    drop(other);
    let other = node(2, dir.path(), &[origin.at]).await;
    get(&other, id, &dir.path().join("out")).await;
    assert_eq!(fs::read(dir.path().join("out")).unwrap(), bytes);
    let came = other.content.progress(id).await.unwrap().unwrap().from_peers;
    assert!(came <= 1_100_000, "{came} bytes came again");
}

/// A reader gets the bytes as they come; here the rest never comes.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_streams_what_is_here_while_the_rest_is_not() {
    let dir = tempdir().unwrap();
    let bytes = sample(3_000_000);
    let path = file(&dir, "big", &bytes);
    let origin = node(1, dir.path(), &[]).await;
    let id = put(&origin, &path).await;
    let part = node(2, dir.path(), &[origin.at]).await;
    let selection = Selection { range: Some(0..1_200_000), ..Selection::default() };
    timeout(LIMIT, part.content.get(&id.into(), selection)).await.unwrap().unwrap();
    origin.net.shutdown();
    let reader = node(3, dir.path(), &[part.at]).await;
    let from = RemoteAddr::of("127.0.0.1:1".parse().unwrap(), None);
    let gateway = Gateway::new(reader.content.clone(), GatewayAccess::Loopback);
    let request = Request::get(format!("/content/{id}")).header("sec-fetch-site", "none");
    let request = request.body(Body::empty()).unwrap();
    let answer = gateway.router().layer(Extension(from)).oneshot(request);
    let answer = timeout(LIMIT, answer).await.unwrap().unwrap();
    let mut stream = answer.into_body().into_data_stream();
    let mut read = 0;
    while read < 1_000_000 {
        let next = timeout(LIMIT, stream.next()).await.expect("in time").unwrap().unwrap();
        assert_eq!(next, bytes[read..read + next.len()]);
        read += next.len();
    }
}

// Attack: one client begins downloads and reads none of them.
#[tokio::test(flavor = "multi_thread")]
async fn one_source_leaves_downloads_to_the_others() {
    let dir = tempdir().unwrap();
    let node = node(1, dir.path(), &[]).await;
    let id = put(&node, &file(&dir, "big", &sample(1_000_000))).await;
    let gateway = Gateway::new(node.content.clone(), GatewayAccess::All);
    let ask = async |from: &str| {
        let router =
            gateway.clone().router().layer(Extension(RemoteAddr::of(from.parse().unwrap(), None)));
        let request = Request::get(format!("/content/{id}")).body(Body::empty()).unwrap();
        timeout(LIMIT, router.oneshot(request)).await.unwrap().unwrap()
    };
    let mut unread = Vec::new();
    let refused = loop {
        let answer = ask("10.0.0.1:1").await;
        if answer.status() != StatusCode::OK {
            break answer.status();
        }
        unread.push(answer);
        assert!(unread.len() < 1_000, "it gets all places");
    };
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask("192.0.2.1:1").await.status(), StatusCode::OK);
    drop(unread);
    assert_eq!(ask("10.0.0.1:1").await.status(), StatusCode::OK);
}

// Attack: one GET of each of three directories of 50,000 files, which took 363 MiB for five minutes.
#[tokio::test(flavor = "multi_thread")]
async fn directories_that_readers_open_take_bounded_memory() {
    let dir = tempdir().unwrap();
    // Each is larger than all may be, and is open alone.
    let small = |config: &mut trefoil_swarm::ContentConfig| config.open_bytes_max = 1_000;
    let node = Node::start(1, dir.path(), PUBLIC, &[], small).await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        for n in 0..20 {
            file(&dir, &format!("{name}/{n}"), name.as_bytes());
        }
        ids.push(put(&node, &dir.path().join(name)).await);
    }
    let open = async |at: usize| timeout(LIMIT, node.content.open(ids[at], 0)).await.unwrap();
    let first = Arc::downgrade(&open(0).await.unwrap());
    let second = open(1).await.unwrap();
    assert!(first.upgrade().is_none(), "it made room");
    // One that is read stays, and another one is refused meanwhile.
    assert_eq!(open(2).await.map(drop), Err(FetchError::Busy));
    assert!(Arc::ptr_eq(&open(1).await.unwrap(), &second));
    // The node's own user is not refused.
    let last = ids[2].into();
    let get = node.content.get(&last, Selection::default());
    let third = Arc::downgrade(&timeout(LIMIT, get).await.unwrap().unwrap());
    drop(second);
    open(0).await.unwrap();
    assert!(third.upgrade().is_none(), "nobody wants it any more");
}

/// A resource that is sought before anyone has it is found when somebody puts it.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_first_is_told_when_it_is_there() {
    let dir = tempdir().unwrap();
    let bytes = sample(100_000);
    let path = file(&dir, "late", &bytes);
    let origin = node(1, dir.path(), &[]).await;
    let other = node(2, dir.path(), &[origin.at]).await;
    let elsewhere = node(3, dir.path(), &[]).await;
    let id = put(&elsewhere, &path).await;
    let content = other.content.clone();
    let getting = tokio::spawn(async move { content.get(&id.into(), Selection::default()).await });
    until("it is sought", async || other.content.progress(id).await.unwrap().is_some()).await;
    put(&origin, &path).await;
    let held = timeout(LIMIT, getting).await.expect("in time").unwrap().unwrap();
    assert!(held.store.is_whole());
}

/// A peer that sends bytes of its own is banned, and nothing of them is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_lies_is_banned_and_another_serves() {
    let dir = tempdir().unwrap();
    let bytes = sample(300_000);
    let path = file(&dir, "true", &bytes);
    let origin = node(1, dir.path(), &[]).await;
    let id = put(&origin, &path).await;
    let (liar, mut lanes) = net(9, PUBLIC, &[]).await;
    let held = origin.content.open(id, u64::MAX).await.unwrap();
    let proof = held.last_group().unwrap();
    let at = (PeerId(key(9).public()), liar.listen_address());
    let other = node(2, dir.path(), &[at]).await;
    let content = other.content.clone();
    let getting = tokio::spawn(async move { content.get(&id.into(), Selection::default()).await });
    let link = timeout(LIMIT, lanes.content.recv()).await.unwrap().unwrap();
    // Held, since a node need not read on from a peer that is gone.
    let _link = timeout(LIMIT, lie(link, id, proof)).await.expect("it was asked");
    let is_banned = async || other.net.misdeeds().iter().any(|it| it.banned_for.is_some());
    until("the peer is banned", is_banned).await;
    other.net.dial(origin.at.0, origin.at.1, None);
    let held = timeout(LIMIT, getting).await.expect("in time").unwrap().unwrap();
    held.export_file(0, 0..bytes.len() as u64, &dir.path().join("out")).unwrap();
    assert_eq!(fs::read(dir.path().join("out")).unwrap(), bytes);
}

/// Offers all of a resource when it is sought, and answers the first request with zeros.
async fn lie(mut link: ContentLink, id: ContentId, proof: Vec<u8>) -> ContentLink {
    let resource = Resource::file(id.root);
    let have = std::iter::once(0..5).collect();
    let news = News { have, ..News::default() }.encode();
    let offer = SwarmMessage::Offer { resource, size: 300_000, origin: false, proof };
    loop {
        let mut length = [0; 4];
        link.read.read_exact(&mut length).await.unwrap();
        let length = u32::from_be_bytes(length) as usize;
        assert!(length <= FRAME_BYTES_MAX);
        let mut body = vec![0; length];
        link.read.read_exact(&mut body).await.unwrap();
        match ContentFrame::decode(&body) {
            // An offer that comes before it is of nothing that the node looks for.
            Ok(ContentFrame::Message(SwarmMessage::Find { resource: sought }))
                if sought == resource =>
            {
                write(&mut link, &offer.encode()).await;
                let news = SwarmMessage::News { resource, news: news.clone() };
                write(&mut link, &news.encode()).await;
            }
            Ok(ContentFrame::Message(SwarmMessage::Ask { ticket, .. })) => {
                let mut data = ContentFrame::data(ticket);
                data.extend([0; 64]);
                write(&mut link, &data).await;
                return link;
            }
            _ => {}
        }
    }
}

async fn write(link: &mut ContentLink, body: &[u8]) {
    link.write.write_all(&(body.len() as u32).to_be_bytes()).await.unwrap();
    link.write.write_all(body).await.unwrap();
    link.write.flush().await.unwrap();
}

/// A user's file that changed after it was put is not served as what it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_is_not_served() {
    let dir = tempdir().unwrap();
    let bytes = sample(200_000);
    let path = file(&dir, "mine", &bytes);
    let origin = node(1, dir.path(), &[]).await;
    let id = put(&origin, &path).await;
    let mut changed = bytes.clone();
    changed[70_000] ^= 1;
    fs::write(&path, changed).unwrap();
    let other = node(2, dir.path(), &[origin.at]).await;
    let link = id.into();
    let get = other.content.get(&link, Selection::default());
    // Of four pieces, the three that did not change come.
    let rest = async {
        loop {
            let progress = other.content.progress(id).await.unwrap();
            let here = progress.map_or(0, |progress| progress.here);
            if here >= 200_000 - 65_536 {
                return here;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let here = tokio::select! {
        _ = get => panic!("it cannot be whole"),
        here = timeout(LIMIT, rest) => here.expect("in time"),
    };
    assert!(here < 200_000, "{here}");
    // The node that put it is never blamed for a change of its user's file.
    assert!(other.net.misdeeds().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_serves_ranges_heads_and_lists() {
    let dir = tempdir().unwrap();
    let bytes = sample(2_500_000);
    file(&dir, "t/video.mp4", &bytes);
    file(&dir, "t/b/note.txt", b"hello");
    let origin = node(1, dir.path(), &[]).await;
    let id = put(&origin, &dir.path().join("t")).await;
    let other = node(2, dir.path(), &[origin.at]).await;
    let from = RemoteAddr::of("127.0.0.1:1".parse().unwrap(), None);
    let gateway = Gateway::new(other.content.clone(), GatewayAccess::Loopback);
    let router = gateway.clone().router().layer(Extension(from));
    let ask = |method: &str, path: &str, range: Option<&str>| {
        let mut request = Request::builder().method(method).uri(format!("/content/{path}"));
        request = request.header("sec-fetch-site", "none");
        if let Some(range) = range {
            request = request.header(header::RANGE, range);
        }
        let router = router.clone();
        let request = request.body(Body::empty()).unwrap();
        async move { timeout(LIMIT, router.oneshot(request)).await.unwrap().unwrap() }
    };
    let part = ask("GET", &format!("{id}/video.mp4"), Some("bytes=1000000-2200000")).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()[header::CONTENT_RANGE], "bytes 1000000-2200000/2500000");
    assert_eq!(part.headers()[header::CONTENT_TYPE], "video/mp4");
    let body = timeout(LIMIT, to_bytes(part.into_body(), usize::MAX)).await.unwrap().unwrap();
    assert_eq!(body, bytes[1_000_000..=2_200_000]);
    let whole = ask("GET", &format!("{id}/video.mp4"), None).await;
    let body = timeout(LIMIT, to_bytes(whole.into_body(), usize::MAX)).await.unwrap().unwrap();
    assert_eq!(body, bytes);
    let head = ask("HEAD", &format!("{id}/b/note.txt"), None).await;
    assert_eq!(head.headers()[header::CONTENT_LENGTH], "5");
    let beyond = ask("GET", &format!("{id}/b/note.txt"), Some("bytes=5-")).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let list = ask("GET", &format!("{id}/"), None).await;
    let page = to_bytes(list.into_body(), usize::MAX).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains("video.mp4") && page.contains("b/"), "{page}");
    let moved = ask("GET", &format!("{id}?page=1&at=//evil.example"), None).await;
    assert_eq!(moved.status(), StatusCode::PERMANENT_REDIRECT);
    let place = format!("/content/{id}/?page=1&at=//evil.example");
    assert_eq!(moved.headers()[header::LOCATION], place);
    for (path, status) in [
        (id.to_string(), StatusCode::PERMANENT_REDIRECT),
        (format!("{id}/no"), StatusCode::NOT_FOUND),
        ("nonsense".into(), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(ask("GET", &path, None).await.status(), status, "{path}");
    }
    let stranger = RemoteAddr::of("10.0.0.1:1".parse().unwrap(), None);
    let router = gateway.router().layer(Extension(stranger));
    let request = Request::get(format!("/content/{id}/")).body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::FORBIDDEN);
}
