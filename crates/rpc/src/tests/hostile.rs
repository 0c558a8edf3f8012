//! Callers that say nothing, do not read, or ask for more than there is room for.

use std::{
    net::Ipv4Addr,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use axum::{Extension, http::header};
use futures::{StreamExt as _, poll, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    socket::{TestSocket, listen},
    *,
};
use crate::{
    Params, RpcError, access,
    connections::{HttpConnectionTable, Places},
    heavy::heavy,
    heavy_turns::HeavyTurn,
    json, limits,
};

pub const LIMIT: Duration = Duration::from_secs(30);

/// What one request on a connection of its own is answered with.
async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("in time").unwrap();
    answer
}

/// geth answers in 2 ms with 5,000 of them; the process's own limit of files allows some more
/// than the places there are.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_nobody_out() {
    let server = TestServer::new().await;
    crate::open_files::allow();
    let address = listen(&server).await;
    let mut silent = Vec::new();
    // Twice the places there are, of which the older half is closed.
    for _ in 0..2 * limits::NEWCOMERS_MAX {
        match TcpStream::connect(address).await {
            Ok(stream) => silent.push(stream),
            // The test's own end has no more descriptors: those that were closed give them back.
            Err(_) => drop(silent.drain(..silent.len() / 2)),
        }
    }
    for path in ["/livez", "/metrics", "/"] {
        let begin = Instant::now();
        let answer = get(address, path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        assert!(begin.elapsed() < Duration::from_secs(1), "{path}: {:?}", begin.elapsed());
    }
    assert!(server.rpc.connections.count() <= limits::NEWCOMERS_MAX + 1);
}

/// A burst waits in the kernel until those before it were looked at.
#[tokio::test]
async fn a_burst_closes_nobody_whose_request_is_here() {
    let server = TestServer::new().await;
    let listener = crate::http::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..400 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
        clients.push(client);
    }
    let places = Places { newcomers: 3 * limits::UNHEARD_MAX, clients: 1, sockets: 1 };
    let table = HttpConnectionTable::with(server.rpc.memory.clone(), places);
    let router = crate::http::router(server.rpc.clone(), Router::new());
    tokio::spawn(crate::accept(router, listener, table));
    for mut client in clients {
        let mut answer = String::new();
        timeout(LIMIT, client.read_to_string(&mut answer)).await.expect("in time").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// All clients' places are taken by requests in flight: what is left is for health checks alone, by
/// whatever path and method, and a connection that made one keeps no place.
#[tokio::test]
async fn without_a_place_there_are_health_checks_only() {
    let server = TestServer::new().await;
    let places = Places { newcomers: 1, clients: 0, sockets: 0 };
    let table = HttpConnectionTable::with(MemoryAccount::default(), places);
    let connection = table.admit(Ipv4Addr::LOCALHOST.into());
    let body = r#"{"id":1,"method":"eth_chainId"}"#;
    for (method, path, status) in [
        ("GET", "/livez", 200),
        ("HEAD", "/metrics", 200),
        ("POST", "/livez", 503),
        ("POST", "/", 503),
        ("GET", "/", 503),
        ("GET", "/content/x", 503),
    ] {
        let request = Request::builder().method(method).uri(path);
        let request = request.extension(connection.clone()).extension(table.clone());
        let request = request.body(Body::from(if method == "POST" { body } else { "" }));
        let (answered, headers, _) = server.send(request.unwrap()).await;
        assert_eq!(answered.as_u16(), status, "{method} {path}");
        assert_eq!(headers[header::CONNECTION], "close", "{method} {path}");
    }
}

/// Takes all turns.
pub async fn all_turns(server: &TestServer) -> Vec<HeavyTurn> {
    let mut turns = vec![];
    while server.rpc.heavy.free() > 0 {
        turns.push(server.rpc.heavy.take(None).await.unwrap());
    }
    turns
}

/// All turns are taken, and nobody waits for long. A source has half of the places.
#[tokio::test]
async fn callers_that_wait_for_a_turn_are_bounded() {
    let server = TestServer::new().await;
    let turns = all_turns(&server).await;
    let ask = || server.ask("eth_getBlockReceipts", value!(["0x0"]));
    let mut asked: FuturesUnordered<_> = (0..=limits::HEAVY_WAITS_MAX / 2).map(|_| ask()).collect();
    let refused = asked.next().await.unwrap();
    assert_eq!(refused["error"]["code"], -32005, "{refused}");
    assert!(poll!(asked.next()).is_pending());
    drop(turns);
    while let Some(answer) = asked.next().await {
        assert!(answer.get("error").is_none(), "{answer}");
    }
}

/// Whoever asks for much, over many connections, waits behind itself.
#[tokio::test]
async fn another_source_has_the_next_turn() {
    let server = TestServer::new().await;
    let mut turns = all_turns(&server).await;
    let ask = |from: [u8; 4]| {
        let connection = server.rpc.connections.admit(Ipv4Addr::from(from).into());
        let body = r#"{"id":1,"method":"eth_getBlockReceipts","params":["0x0"]}"#;
        server.send(Request::post("/").extension(connection).body(body.into()).unwrap())
    };
    let mut many: FuturesUnordered<_> = (0..50).map(|_| ask([10, 0, 0, 1])).collect();
    let mut other = Box::pin(ask([10, 0, 0, 2]));
    let all_wait = async {
        while server.rpc.heavy.waiting() < 51 {
            assert!(poll!(many.next()).is_pending() && poll!(other.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, all_wait).await.expect("in time");
    // One goes round: of several at once, the first to be given need not be the first to end.
    turns.pop();
    let mut before = 0;
    let answered = async {
        loop {
            tokio::select! {
                biased;
                (_, _, answer) = &mut other => break answer,
                Some(_) = many.next() => before += 1,
            }
        }
    };
    let answer = timeout(LIMIT, answered).await.expect("in time");
    assert!(!String::from_utf8_lossy(&answer).contains("error"));
    assert!(before <= 1, "{before} of another's were answered before");
}

/// A request that waits for its turn in a batch is text, and text only.
#[tokio::test]
async fn a_batchs_requests_take_memory_when_their_turn_comes() {
    let server = TestServer::new().await;
    let _turns = all_turns(&server).await;
    let one = r#"{"id":1,"method":"eth_getBlockReceipts","params":["0x0"]}"#;
    let batch = format!("[{}]", vec![one; 1_000].join(","));
    let bytes = batch.len();
    let mut asked = Box::pin(server.post(batch));
    for _ in 0..10 {
        assert!(poll!(asked.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    // One begun request claims 2 kB, and 16 are begun.
    let used = server.rpc.memory.used();
    assert!((bytes..bytes + (128 << 10)).contains(&used), "{used} bytes for {bytes}");
}

/// Most methods answer at once: a thousand of them would keep the thread from `/livez`.
#[tokio::test]
async fn a_batch_leaves_the_thread_to_others_after_each_answer() {
    let server = TestServer::new().await;
    let batch = format!("[{}]", vec![r#"{"id":1,"method":"eth_chainId"}"#; 100].join(","));
    let (mut asked, mut turns) = (Box::pin(server.post(batch)), 0);
    while poll!(asked.as_mut()).is_pending() {
        turns += 1;
        assert!(turns < 10_000, "it ends");
        tokio::task::yield_now().await;
    }
    assert!(turns >= 100, "{turns} turns");
}

/// 50,000 slots and 16,000 accounts that are wiped: one look at each slot for each of them took 3.4 s.
#[tokio::test]
async fn accounts_are_wiped_in_a_time_that_their_number_explains() {
    let server = TestServer::new().await;
    let slots = (0..50_000).map(|slot| (format!("{slot:#066x}"), value!(format!("{:#066x}", 1))));
    let slots: Value = slots.collect::<serde_json::Map<_, _>>().into();
    let call = async |over: Value| {
        let accounts = (0..16_000).map(|n| (format!("{:#042x}", n + 1_000), over.clone()));
        let mut state: serde_json::Map<_, _> = accounts.collect();
        state.insert(format!("{:#042x}", 7), value!({ "stateDiff": slots }));
        let begin = Instant::now();
        server.call("eth_call", value!([{ "to": SENDER }, "latest", state])).await;
        begin.elapsed()
    };
    let kept = call(value!({ "stateDiff": {} })).await;
    let wiped = call(value!({ "state": {} })).await;
    assert!(wiped < 4 * kept + Duration::from_millis(500), "{wiped:?}, and without {kept:?}");
}

/// Whoever watches a node that works takes it for dead if its health checks wait for others.
#[tokio::test(flavor = "multi_thread")]
async fn health_checks_wait_for_no_handler() {
    let server = TestServer::new().await;
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (gate, begun) = (Arc::new(Mutex::new(gate)), Arc::new(AtomicUsize::new(0)));
    let begin = begun.clone();
    // A handler that keeps its thread.
    let stuck = move || {
        let (gate, begun) = (gate.clone(), begin.clone());
        async move {
            begun.fetch_add(1, Ordering::Relaxed);
            let _ = gate.lock().unwrap().recv();
            "late"
        }
    };
    let content = Router::new().route("/content/x", axum::routing::get(stuck));
    let (backend, access) = (server.rpc.backend.clone(), HttpAccess::default());
    let any = "127.0.0.1:0".parse().unwrap();
    let serves = crate::serve(backend, any, access, MemoryAccount::default(), content);
    let (address, _) = serves.await.unwrap();
    let stuck: Vec<_> = (0..8).map(|_| tokio::spawn(get(address, "/content/x"))).collect();
    let all_begun = async {
        while begun.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, all_begun).await.expect("each thread of the calls is kept");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert!(get(address, path).await.starts_with("HTTP/1.1"), "{path}");
    }
    drop(open);
    for late in stuck {
        assert!(late.await.unwrap().ends_with("late"));
    }
}

/// A slot of transient storage costs 100 gas: a call could have 100 MiB of them.
#[tokio::test]
async fn a_call_holds_no_more_than_it_claims() {
    // Writes them without end.
    let call = value!([{ "data": "0x5f5b80805d600101600156" }]);
    for (bytes, code, text) in
        [(128 << 20, -32000, "holds more memory"), (16 << 20, -32005, "rpc.memory_mib")]
    {
        let server = TestServer::holding(bytes).await;
        let error = server.error("eth_call", call.clone()).await;
        assert!(error.0 == code && error.1.contains(text), "{error:?}");
        assert_eq!(server.rpc.memory.used(), 0);
    }
}

/// Whoever keeps the threads that write answers busy makes many results wait for them.
#[tokio::test]
async fn a_result_is_counted_until_it_is_taken() {
    const BYTES: usize = 3 << 20;
    let server = TestServer::new().await;
    let (rpc, free) = (&server.rpc, server.rpc.heavy.free());
    for is_error in [false, true] {
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let work = move |_: &Rpc, _: &Params| {
            let _ = gate.recv();
            match is_error {
                true => Err(RpcError::Reverted(vec![0; BYTES].into())),
                false => json(&"x".repeat(BYTES)),
            }
        };
        let mut asked = pin!(heavy(rpc, work, Params::default()));
        assert!(poll!(&mut asked).is_pending());
        drop(open);
        let began = Instant::now();
        while rpc.heavy.free() < free {
            assert!(began.elapsed() < LIMIT, "the turn is the next one's");
            std::thread::sleep(Duration::from_millis(1));
        }
        // No more than it is, and what is set aside for work is free again.
        assert!((BYTES..BYTES + 64).contains(&rpc.memory.used()), "{}", rpc.memory.used());
        assert_eq!(asked.await.is_err(), is_error);
        assert_eq!(rpc.memory.used(), 0);
    }
}

/// An `id` is repeated in each refusal, for which there always is room.
#[tokio::test]
async fn a_long_id_is_not_repeated() {
    let server = TestServer::new().await;
    let (_, answer) =
        server.post(format!(r#"{{"id":"{}","method":"eth_chainId"}}"#, "x".repeat(300))).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&value!(-32600), &Value::Null));
}

/// What holds memory that it does not read keeps no small request of another out.
#[tokio::test]
async fn each_connection_has_room_for_a_small_request() {
    let server = TestServer::holding(1 << 20).await;
    let _held = server.rpc.memory.claim_anyway(1 << 20);
    let connection = server.rpc.connections.admit(Ipv4Addr::LOCALHOST.into());
    let body = r#"{"id":1,"method":"eth_chainId"}"#;
    let request = Request::post("/").extension(connection).body(body.into()).unwrap();
    let answer: Value = serde_json::from_slice(&server.send(request).await.2).unwrap();
    assert_eq!(answer["result"], "0x1ca3", "{answer}");
}

/// A client that asks and does not read is not read either, and holds no more than its share.
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_does_not_read_holds_its_share_and_no_more() {
    let server = TestServer::holding(64 << 20).await;
    let mut socket = TestSocket::open(&server).await;
    // Answers of about 100 kB each.
    let one = r#"{"id":1,"method":"rpc_modules"}"#;
    let batch = format!("[{}]", vec![one; 900].join(","));
    let message = tokio_tungstenite::tungstenite::Message::text(batch);
    // Until the server stops reading: then the socket's buffers fill.
    let asked = async {
        loop {
            futures::SinkExt::send(&mut socket.0, message.clone()).await.unwrap();
        }
    };
    assert!(timeout(Duration::from_secs(3), asked).await.is_err());
    let used = server.rpc.memory.used();
    assert!(used < 48 << 20, "{used} bytes");
    // Others are answered meanwhile.
    assert_eq!(server.call("eth_chainId", value!([])).await, "0x1ca3");
    drop(socket);
    let freed = async {
        while server.rpc.memory.used() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, freed).await.expect("what nobody can read any more is given back");
}

/// The answers that wait for non-readers leave room for those who read.
#[tokio::test]
async fn an_answer_without_room_is_an_error_that_says_what_to_do() {
    let server = TestServer::holding(1 << 20).await;
    let held = server.rpc.memory.claim_anyway(1 << 19);
    let one = r#"{"id":1,"method":"rpc_modules"}"#;
    let batch = format!("[{}]", vec![one; 900].join(","));
    let answer: Value = serde_json::from_slice(&server.post(batch.clone()).await.1).unwrap();
    assert_eq!(answer["error"]["code"], -32005, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("`rpc.memory_mib`"), "{answer}");
    assert_eq!(server.call("eth_chainId", value!([])).await, "0x1ca3");
    drop(held);
    let answer: Value = serde_json::from_slice(&server.post(batch).await.1).unwrap();
    assert_eq!(answer.as_array().map(Vec::len), Some(900), "{answer}");
    assert_eq!(server.rpc.memory.used(), 0);
}

/// However many ask, the node's thread lists its pool once for all of them.
#[tokio::test]
async fn the_pool_is_listed_once_for_all_who_ask_at_a_time() {
    let server = TestServer::new().await;
    server.submit(&tx(0, TxKind::Call(SENDER), 1, Bytes::new())).await;
    let before = server.pool.lock().unwrap().listed;
    let all = (0..100).map(|_| server.call("txpool_inspect", value!([])));
    for answer in futures::future::join_all(all).await {
        assert_eq!(answer["pending"].as_object().map(|own| own.len()), Some(1), "{answer}");
    }
    let listed = server.pool.lock().unwrap().listed - before;
    assert!(listed <= 2, "{listed} times");
    // What was sent before the question is in the answer.
    server.submit(&tx(1, TxKind::Call(SENDER), 1, Bytes::new())).await;
    let answer = server.call("txpool_inspect", value!([])).await;
    let own = answer["pending"].as_object().unwrap().values().next().unwrap();
    assert_eq!(own.as_object().map(|own| own.len()), Some(2), "{answer}");
}

/// `ID.content.NAME` is the resource, and no door to the node.
#[tokio::test]
async fn a_resources_own_host_serves_the_resource_and_nothing_else() {
    use trefoil_content::{ContentId, ResourceKind};
    let file = ContentId { kind: ResourceKind::File, root: [7; 32] };
    let paths =
        |uri: axum::http::Uri,
         own: Option<Extension<crate::content::gateway_visitor::OwnOrigin>>| {
            async move { format!("{uri} {}", own.is_some()) }
        };
    let routes = Router::new()
        .route("/content/{id}", axum::routing::get(paths))
        .route("/content/{id}/{*path}", axum::routing::get(paths))
        .route("/livez", axum::routing::get(|| async { "ok" }));
    let access = access::HttpAccess { gateway_name: "node.example".into(), ..Default::default() };
    let router = crate::guarded(routes, access);
    let host = format!("{file}.content.node.example:8545");
    for (host, path, want) in [
        (&*host, "/", Some(format!("/content/{file} true"))),
        (&*host, "/?page=1", Some(format!("/content/{file}?page=1 true"))),
        (&*host, "/a?to=//b", Some(format!("/content/{file}/a?to=//b true"))),
        (&*host, "/livez", Some(format!("/content/{file}/livez true"))),
        ("node.example", "/livez", Some("ok".into())),
        ("node.example", &*format!("/content/{file}"), Some(format!("/content/{file} false"))),
        ("x.content.node.example", "/", None),
    ] {
        let request = Request::get(path).header(header::HOST, host).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        match want {
            Some(want) => assert_eq!(String::from_utf8_lossy(&body), want, "{host} {path}"),
            None => assert_eq!(status, StatusCode::FORBIDDEN, "{host} {path}"),
        }
    }
}

/// The node's own jobs, the transactions of proposals among them, run on the same workers.
#[tokio::test]
async fn a_block_waits_for_few_transactions_of_wallets() {
    let server = TestServer::new().await;
    let backend = server.rpc.backend.clone();
    let (free, busy) = std::sync::mpsc::channel::<()>();
    backend.workers.spawn(move || _ = busy.recv());
    let recover = |_| {
        let backend = backend.clone();
        tokio::spawn(async move { backend.recover(Bytes::new()).await })
    };
    let wallets: Vec<_> = (0..1_000).map(recover).collect();
    let all_go_on = async || {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    };
    all_go_on().await;
    let (begin, began) = tokio::sync::oneshot::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    backend.workers.spawn(move || {
        let _ = begin.send(());
        let _ = ended.recv();
    });
    drop(free);
    timeout(LIMIT, began).await.expect("in time").unwrap();
    // The worker stands still, and what it did before becomes known.
    all_go_on().await;
    let before = wallets.iter().filter(|wallet| wallet.is_finished()).count();
    assert!(before <= backend::RECOVERIES_MAX, "{before}");
    drop(end);
    for wallet in wallets {
        assert!(timeout(LIMIT, wallet).await.expect("in time").unwrap().is_err());
    }
}

/// A body that comes in parts, with a pause before each.
fn in_parts(parts: impl IntoIterator<Item = Vec<u8>>, pause: Duration) -> Body {
    let parts = futures::stream::iter(parts.into_iter().collect::<Vec<_>>());
    Body::from_stream(parts.then(move |part| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, std::io::Error>(part)
    }))
}

/// All of a body had to be here within 30 s: 10 MiB on a line of 3 Mbit/s were refused.
#[tokio::test]
async fn a_body_may_take_the_time_of_a_slow_line_and_drips_may_not() {
    let body_time = Duration::from_secs(1);
    let server = TestServer::limited(Limits { body_time, ..Limits::default() }).await;
    let mut call = br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#.to_vec();
    call.resize(8 * limits::READ_BYTES_PER_SECOND, b' ');
    let parts = call.chunks(limits::READ_BYTES_PER_SECOND).map(<[u8]>::to_vec);
    let begin = Instant::now();
    let (status, answer) = server.post(in_parts(parts, body_time / 4)).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(status == StatusCode::OK && answer.contains("result"), "{status} {answer}");
    assert!(begin.elapsed() > body_time, "it was slow");
    let begin = Instant::now();
    let drips = in_parts((0..1_000).map(|_| vec![b' ']), body_time / 20);
    assert_eq!(server.post(drips).await.0, StatusCode::REQUEST_TIMEOUT);
    assert!((1..10).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

/// A wallet's request hung for as long as the disk was full.
#[tokio::test]
async fn a_node_that_waits_for_its_disk_is_not_waited_for() {
    let server = TestServer::new().await;
    let (calls, mut asked) = tokio::sync::mpsc::channel(4);
    let stuck = RpcBackend { calls, ..server.rpc.backend.clone() };
    let submit =
        || Call::Submit(backend::recover(&tx(0, TxKind::Create, 0, Bytes::new())).unwrap());
    let own = stuck.clone();
    let waiting = tokio::spawn(async move { own.call(submit()).await });
    let _first = asked.recv().await.unwrap();
    let full = "no room for the journal: free some space";
    server.lacks_room.send_replace(Some(full.into()));
    for answer in [waiting.await.unwrap(), stuck.call(submit()).await] {
        assert_eq!(answer.unwrap_err(), backend::Unanswered::LacksRoom(full.into()));
    }
    // While the ledger alone waits, the node answers.
    assert!(server.call("eth_getTransactionCount", value!([SENDER, "pending"])).await.is_string());
    // There is room again before the caller is told otherwise.
    let own = stuck.clone();
    let waiting = tokio::spawn(async move { own.call(submit()).await });
    let (_second, third) = (asked.recv().await.unwrap(), asked.recv().await.unwrap());
    server.lacks_room.send_replace(None);
    tokio::time::sleep(backend::ROOM_WAIT_MAX * 5 / 4).await;
    assert!(!waiting.is_finished());
    third.reply.send(Reply::PendingNonce(1)).unwrap();
    assert!(waiting.await.unwrap().is_ok());
}

/// Attack: callers give up while the node's thread waits, and leave what they sent.
#[tokio::test]
async fn what_waits_for_the_node_is_claimed_until_it_is_taken() {
    let server = TestServer::new().await;
    let (calls, mut asked) = tokio::sync::mpsc::channel(4);
    let stuck = RpcBackend { calls, ..server.rpc.backend.clone() };
    let free = server.rpc.memory.used();
    let held = server.rpc.memory.claim(100_000).unwrap();
    let gives_up = stuck.call_holding(Call::Peers, Some(held));
    assert!(tokio::time::timeout(Duration::from_millis(10), gives_up).await.is_err());
    assert_eq!(server.rpc.memory.used(), free + 100_000);
    drop(asked.recv().await);
    assert_eq!(server.rpc.memory.used(), free);
}
