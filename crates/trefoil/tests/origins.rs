//! HTTP servers as origins, good and bad, between nodes of one process on loopback.

mod sharing;

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode, header},
};
use futures::{StreamExt as _, stream};
use sharing::{Node, sample};
use tempfile::{TempDir, tempdir};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    time::timeout,
};
use trefoil_content::ContentId;
use trefoil_p2p::NetworkAccess;
use trefoil_swarm::{
    ContentConfig, Progress, PutOptions, Selection, StoreError,
    http::{Credentials, Reach},
};

const LIMIT: Duration = Duration::from_secs(60);
const SIZE: usize = 2_000_001;

/// The behaviour of a server.
#[derive(Clone, Default)]
enum Conduct {
    #[default]
    Good,
    /// Gives all whatever is asked for.
    NoRanges,
    /// One bit is wrong.
    Lies,
    /// Sends a little and no more.
    Stalls,
    /// Ends each answer after so many bytes.
    Breaks(usize),
    /// Is busy for so long from the first request on.
    Busy(Duration),
    Redirects(String),
    Status(StatusCode),
}

#[derive(Default)]
struct Shop {
    bytes: Vec<u8>,
    etag: Mutex<String>,
    conduct: Mutex<Conduct>,
    served: AtomicU64,
    heard: Mutex<Vec<(Instant, String, HeaderMap)>>,
}

/// Serves a file on loopback until it is dropped.
struct Server {
    at: SocketAddr,
    shop: Arc<Shop>,
    runtime: Option<Runtime>,
}

impl Server {
    fn new(bytes: Vec<u8>) -> Self {
        let etag = Mutex::new("\"one\"".into());
        let shop = Arc::new(Shop { bytes, etag, ..Shop::default() });
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(shop.clone());
        runtime.spawn(async move {
            axum::serve(TcpListener::from_std(listener).unwrap(), router).await.unwrap();
        });
        Self { at, shop, runtime: Some(runtime) }
    }

    fn url(&self) -> String {
        format!("http://{}/data/big", self.at)
    }

    fn set(&self, conduct: Conduct) {
        *self.shop.conduct.lock().unwrap() = conduct;
    }

    fn served(&self) -> u64 {
        self.shop.served.load(Ordering::Relaxed)
    }

    fn requests(&self) -> usize {
        self.shop.heard.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn answer(State(shop): State<Arc<Shop>>, request: Request) -> Response<Body> {
    let headers = request.headers().clone();
    let heard = (Instant::now(), request.uri().to_string(), headers.clone());
    shop.heard.lock().unwrap().push(heard);
    let (conduct, etag) = (shop.conduct.lock().unwrap().clone(), shop.etag.lock().unwrap().clone());
    let status = |status| Response::builder().status(status);
    if headers.get(header::IF_MATCH).is_some_and(|tag| *tag != etag) {
        return status(StatusCode::PRECONDITION_FAILED).body(Body::empty()).unwrap();
    }
    match &conduct {
        Conduct::Busy(time) if shop.heard.lock().unwrap()[0].0.elapsed() < *time => {
            let response = status(StatusCode::SERVICE_UNAVAILABLE).header(header::RETRY_AFTER, 1);
            return response.body(Body::empty()).unwrap();
        }
        Conduct::Redirects(to) => {
            let response = status(StatusCode::FOUND).header(header::LOCATION, to);
            return response.body(Body::empty()).unwrap();
        }
        Conduct::Status(code) => return status(*code).body(Body::empty()).unwrap(),
        _ => {}
    }
    let size = shop.bytes.len();
    let range = headers.get(header::RANGE).and_then(|range| {
        let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        let end = if last.is_empty() { size } else { last.parse::<usize>().ok()? + 1 };
        Some(first.parse().ok()?..end.min(size))
    });
    let range = range.filter(|_| !matches!(conduct, Conduct::NoRanges));
    let bytes = range.clone().unwrap_or(0..size);
    let mut body = shop.bytes[bytes.clone()].to_vec();
    shop.served.fetch_add(body.len() as u64, Ordering::Relaxed);
    let response = match &range {
        Some(_) => status(StatusCode::PARTIAL_CONTENT).header(
            header::CONTENT_RANGE,
            format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1),
        ),
        None => status(StatusCode::OK),
    };
    let response = response.header(header::ETAG, etag).header(header::CONTENT_LENGTH, body.len());
    let body = match conduct {
        Conduct::Lies => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
            Body::from(body)
        }
        Conduct::Stalls => {
            let first = Ok::<_, std::io::Error>(Bytes::from(body[..1_000].to_vec()));
            Body::from_stream(stream::iter([first]).chain(stream::pending()))
        }
        Conduct::Breaks(after) if body.len() > after => {
            let first = Ok(Bytes::from(body[..after].to_vec()));
            let end = Err(std::io::Error::other("the server breaks"));
            Body::from_stream(stream::iter([first, end]))
        }
        _ => Body::from(body),
    };
    response.body(body).unwrap()
}

async fn node(n: u8, dir: &Path, known: &[&Node], origins: Option<Reach>) -> Node {
    node_with(n, dir, known, origins, Credentials::default()).await
}

async fn node_with(
    n: u8,
    dir: &Path,
    known: &[&Node],
    origins: Option<Reach>,
    credentials: Credentials,
) -> Node {
    let known: Vec<_> = known.iter().map(|node| node.at).collect();
    let set = |config: &mut ContentConfig| {
        (config.origins, config.credentials) = (origins, credentials);
    };
    Node::start(n, dir, NetworkAccess::Public { encrypt: false }, &known, set).await
}

async fn put(node: &Node, url: &str) -> Result<ContentId, StoreError> {
    let put = node.content.put_origin(
        url.parse().unwrap(),
        PutOptions::default(),
        Arc::default(),
        Arc::default(),
    );
    timeout(LIMIT, put).await.expect("in time")
}

/// Fetches all of it, and checks it.
async fn get(node: &Node, id: ContentId, dir: &TempDir) -> Progress {
    let link = id.into();
    let get = node.content.get(&link, Selection::default());
    let held = timeout(LIMIT, get).await.expect("in time").unwrap();
    let out = tempfile::tempdir_in(dir).unwrap();
    let to = out.path().join("out");
    held.export_file(0, 0..held.layout.bytes(), &to).unwrap();
    assert!(fs::read(to).unwrap() == sample(SIZE), "other bytes than were put");
    node.content.progress(id).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_has_is_read_once_and_comes_from_it_and_then_from_peers() {
    let (dir, server) = (tempdir().unwrap(), Server::new(sample(SIZE)));
    let first = node(1, dir.path(), &[], None).await;
    let id = put(&first, &server.url()).await.unwrap();
    assert_eq!(server.served(), SIZE as u64);
    let about = first.content.metadata(id).unwrap();
    assert_eq!((about.name.as_deref(), about.size), (Some("big"), SIZE as u64));
    // Only hashes and the last group take room.
    let kept = fs::metadata(dir.path().join("1").join(id.to_string()).join("data")).unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(&kept) * 512;
    assert!(kept.len() == SIZE as u64 && blocks < 100_000, "{blocks} bytes on disk");

    let second = node(2, dir.path(), &[&first], Some(Reach::All)).await;
    let came = get(&second, id, &dir).await;
    assert!(came.from_web > 19 * SIZE as u64 / 20, "{came:?}");
    let third = node(3, dir.path(), &[&second], Some(Reach::All)).await;
    let came = get(&third, id, &dir).await;
    // The server is not asked for pieces that a peer has, but for a first window of two
    // pieces if its name comes before the peer's pieces do.
    let window = 2 * 65_536;
    assert!(came.from_web <= window, "{came:?}");
    assert!(server.served() <= 2 * SIZE as u64 + window, "{}", server.served());
}

/// Hashes and the server's name go on from peer to peer.
#[tokio::test(flavor = "multi_thread")]
async fn who_registered_a_server_may_go() {
    let (dir, server) = (tempdir().unwrap(), Server::new(sample(SIZE)));
    let first = node(1, dir.path(), &[], None).await;
    let id = put(&first, &server.url()).await.unwrap();
    let second = node(2, dir.path(), &[&first], Some(Reach::All)).await;
    let selection = Selection { range: Some(0..300_000), ..Selection::default() };
    timeout(LIMIT, second.content.get(&id.into(), selection)).await.unwrap().unwrap();
    first.net.shutdown();
    let third = node(3, dir.path(), &[&second], Some(Reach::All)).await;
    let came = get(&third, id, &dir).await;
    assert!(came.from_web > SIZE as u64 / 2, "{came:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_operators_server_is_asked_after_a_restart_whatever_peers_may_name() {
    let (dir, server) = (tempdir().unwrap(), Server::new(sample(SIZE)));
    let first = node(1, dir.path(), &[], None).await;
    let id = put(&first, &server.url()).await.unwrap();
    first.net.shutdown();
    drop(first);
    let first = node(1, dir.path(), &[], None).await;
    let came = get(&first, id, &dir).await;
    assert!(came.from_web > 0);
}

/// A server that goes wrong is left, and another has the rest.
async fn another_serves(spoil: impl FnOnce(&Server)) -> (Server, Server) {
    let dir = tempdir().unwrap();
    let (bad, good) = (Server::new(sample(SIZE)), Server::new(sample(SIZE)));
    let first = node(1, dir.path(), &[], None).await;
    let id = put(&first, &bad.url()).await.unwrap();
    assert_eq!(put(&first, &good.url()).await.unwrap(), id);
    assert_eq!(first.content.metadata(id).unwrap().origins, [good.url(), bad.url()]);
    bad.shop.heard.lock().unwrap().clear();
    spoil(&bad);
    let second = node(2, dir.path(), &[&first], Some(Reach::All)).await;
    get(&second, id, &dir).await;
    (bad, good)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lies_is_left() {
    let (bad, _) = another_serves(|bad| bad.set(Conduct::Lies)).await;
    // No more than what was asked of it before the first lie was seen.
    assert!((1..=8).contains(&bad.requests()), "{}", bad.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_file_changes_is_left() {
    let (bad, _) = another_serves(|bad| {
        bad.set(Conduct::Lies);
        *bad.shop.etag.lock().unwrap() = "\"two\"".into();
    })
    .await;
    assert!((1..=8).contains(&bad.requests()), "{}", bad.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stalls_does_not_keep_the_rest() {
    let (bad, _) = another_serves(|bad| bad.set(Conduct::Stalls)).await;
    assert!(bad.requests() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_does_not_keep_the_rest() {
    let dir = tempdir().unwrap();
    let (bad, good) = (Server::new(sample(SIZE)), Server::new(sample(SIZE)));
    let first = node(1, dir.path(), &[], None).await;
    let id = put(&first, &bad.url()).await.unwrap();
    put(&first, &good.url()).await.unwrap();
    drop(bad);
    let second = node(2, dir.path(), &[&first], Some(Reach::All)).await;
    get(&second, id, &dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_retry_after_is_left_alone_for_that_long() {
    let (dir, server) = (tempdir().unwrap(), Server::new(sample(SIZE)));
    let first = node(1, dir.path(), &[], None).await;
    let id = put(&first, &server.url()).await.unwrap();
    server.shop.heard.lock().unwrap().clear();
    server.set(Conduct::Busy(Duration::from_millis(900)));
    let second = node(2, dir.path(), &[&first], Some(Reach::All)).await;
    get(&second, id, &dir).await;
    let heard = server.shop.heard.lock().unwrap();
    let first = heard[0].0;
    let pause = Duration::from_millis(950);
    // Requests that were under way got the same answer; then nothing for a second.
    let soon = heard.iter().filter(|(at, ..)| *at - first < Duration::from_millis(300)).count();
    let early = heard.iter().filter(|(at, ..)| *at - first < pause).count();
    assert!(early == soon && soon <= 6 && heard.len() > soon, "{soon} {early} {}", heard.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_where_the_connection_broke() {
    let (dir, server) = (tempdir().unwrap(), Server::new(sample(SIZE)));
    server.set(Conduct::Breaks(900_000));
    let first = node(1, dir.path(), &[], None).await;
    let id = put(&first, &server.url()).await.unwrap();
    assert_eq!(server.requests(), 3);
    server.set(Conduct::Good);
    get(&first, id, &dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_no_use_is_refused_in_words() {
    let (dir, server) = (tempdir().unwrap(), Server::new(sample(SIZE)));
    let first = node(1, dir.path(), &[], None).await;
    let other = format!("http://{}/other", server.at);
    for (conduct, words) in [
        (Conduct::NoRanges, "does not serve ranges"),
        (Conduct::Status(StatusCode::NOT_FOUND), "answers 404 Not Found; check the URL"),
        (Conduct::Redirects("ftp://127.0.0.1/".into()), "neither http nor https"),
        (Conduct::Redirects("http://me:secret@127.0.0.1/".into()), "credentials"),
        (Conduct::Redirects(other.clone()), "too many in a row"),
    ] {
        server.set(conduct);
        let error = put(&first, &server.url()).await.unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(&server.url()), "{error}");
    }
    let empty = Server::new(Vec::new());
    empty.set(Conduct::Status(StatusCode::RANGE_NOT_SATISFIABLE));
    let error = put(&first, &empty.url()).await.unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
    assert!(first.content.list().is_empty());
}

/// A header is shown to its own server only, and redirects are followed for each
/// part.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_stay_with_their_server_over_a_redirect() {
    let dir = tempdir().unwrap();
    let (redirect, store) = (Server::new(Vec::new()), Server::new(sample(SIZE)));
    redirect.set(Conduct::Redirects(store.url()));
    let file = dir.path().join("credentials");
    let mut options = fs::OpenOptions::new();
    let mut to = options.write(true).create_new(true).mode(0o600).open(&file).unwrap();
    writeln!(to, "http://{}/data X-Secret: 1234", redirect.at).unwrap();
    let credentials = Credentials::read(&file).unwrap();
    let first = node_with(1, dir.path(), &[], None, credentials.clone()).await;
    let id = put(&first, &redirect.url()).await.unwrap();
    let second = node_with(2, dir.path(), &[&first], Some(Reach::All), credentials).await;
    get(&second, id, &dir).await;
    let shown = |server: &Server| {
        let heard = server.shop.heard.lock().unwrap();
        heard.iter().filter(|(_, _, headers)| headers.contains_key("x-secret")).count()
    };
    assert_eq!((shown(&redirect), shown(&store)), (redirect.requests(), 0));
    assert!(store.requests() > redirect.requests(), "where it leads is remembered");
}

/// Neither by address nor by name nor over a redirect does a peer make this node
/// connect to its own machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_cannot_lead_a_node_to_its_own_doors() {
    let (dir, server) = (tempdir().unwrap(), Server::new(sample(SIZE)));
    let first = node(1, dir.path(), &[], Some(Reach::All)).await;
    let id = put(&first, &server.url()).await.unwrap();
    let name = format!("http://localhost:{}/data/big", server.at.port());
    put(&first, &name).await.unwrap();
    let before = server.requests();
    for (n, origins) in [(2, Some(Reach::Global)), (3, None)] {
        let other = node(n, dir.path(), &[&first], origins).await;
        let link = id.into();
        let fetch = other.content.get(&link, Selection::default());
        // Another resource comes whole from the same peer after it has named its servers.
        let path = dir.path().join(format!("local-{n}"));
        fs::write(&path, sample(SIZE + usize::from(n))).unwrap();
        let local = first.content.put(&path, PutOptions::default(), Arc::default()).await.unwrap();
        let local = local.into();
        let witness = other.content.get(&local, Selection::default());
        tokio::select! {
            _ = fetch => panic!("nobody gives it"),
            held = timeout(LIMIT, witness) => drop(held.expect("in time").unwrap()),
        }
        assert_eq!(server.requests(), before);
    }
}
