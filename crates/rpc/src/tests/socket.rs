//! WebSockets on a loopback port, and the sends that wait for a block.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use alloy_primitives::{Address, Bytes, TxKind};
use axum::Router;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json as value, value::to_raw_value};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use trefoil_node::{Event, NodeStatus};

use crate::{
    Params, backend,
    block_logs::LOGS_AT_ONCE,
    http,
    subscriptions::{self, SocketMessage, SocketSession},
    tests::{CONTRACT, LOGS, Limits, SENDER, TestServer, tx},
};

pub struct TestSocket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl TestSocket {
    pub async fn open(server: &TestServer) -> Self {
        let url = format!("ws://{}/", listen(server).await);
        Self(connect_async(url).await.expect("an upgrade").0)
    }

    pub async fn send(&mut self, method: &str, params: Value) {
        let request = value!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.0.send(Message::text(request.to_string())).await.unwrap();
    }

    /// The next message; `None` when the server closed the socket.
    async fn next(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Ping(_)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(method, params).await;
        self.next().await.expect("an answer")
    }

    pub async fn subscribe(&mut self, params: Value) -> Value {
        self.ask("eth_subscribe", params).await["result"].take()
    }
}

/// Serves on a loopback port.
pub async fn listen(server: &TestServer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = http::router(server.rpc.clone(), Router::new());
    tokio::spawn(http::accept(router, listener, server.rpc.connections.clone()));
    address
}

#[tokio::test]
async fn heads_and_logs_are_pushed_when_their_state_is_readable() {
    let server = TestServer::new().await;
    let mut socket = TestSocket::open(&server).await;
    let heads = socket.subscribe(value!(["newHeads"])).await;
    assert!(heads.as_str().unwrap().starts_with("0x"));
    server.submit(&tx(0, TxKind::Create, 0, CONTRACT)).await;
    server.mine();
    let head = socket.next().await.unwrap();
    assert_eq!(
        (&head["method"], &head["params"]["subscription"]),
        (&value!("eth_subscription"), &heads)
    );
    assert_eq!(head["params"]["result"]["number"], "0x1");
    let contract = SENDER.create(0);
    let code = socket.ask("eth_getCode", value!([contract, "latest"])).await;
    assert_eq!(code["result"].as_str().unwrap().len(), 58);

    assert_eq!(socket.ask("eth_unsubscribe", value!([heads])).await["result"], true);
    let gone = socket.ask("eth_unsubscribe", value!([heads])).await;
    assert_eq!(gone["error"]["message"], "subscription not found");
    // cast adds the block range, which means nothing here.
    let filter =
        value!({ "address": [contract], "topics": [], "fromBlock": "0x0", "toBlock": "latest" });
    let logs = socket.subscribe(value!(["logs", filter])).await;
    server.submit(&tx(1, TxKind::Call(contract), 0, Bytes::new())).await;
    server.mine();
    let log = socket.next().await.unwrap();
    assert_eq!(log["params"]["subscription"], logs);
    assert_eq!(log["params"]["result"]["blockNumber"], "0x2");
}

#[tokio::test]
async fn what_cannot_be_subscribed_to_is_said() {
    let server = TestServer::limited(Limits { subscriptions: 1, ..Limits::default() }).await;
    let mut socket = TestSocket::open(&server).await;
    let odd = socket.ask("eth_subscribe", value!(["oldHeads"])).await;
    assert_eq!(odd["error"]["code"], -32602);
    let syncing = socket.subscribe(value!(["syncing"])).await;
    let first = socket.next().await.unwrap();
    assert_eq!(
        (&first["params"]["subscription"], &first["params"]["result"]),
        (&syncing, &value!(false))
    );
    let full = socket.ask("eth_subscribe", value!(["newPendingTransactions", false])).await;
    assert_eq!(full["error"]["code"], -32000);
}

#[tokio::test]
async fn batches_and_garbage_are_answered_as_over_http() {
    let server = TestServer::new().await;
    let mut socket = TestSocket::open(&server).await;
    socket.0.send(Message::text(r#"[{"id":1,"method":"eth_chainId"}]"#)).await.unwrap();
    assert_eq!(socket.next().await.unwrap()[0]["result"], "0x1ca3");
    socket.0.send(Message::text("garbage")).await.unwrap();
    assert_eq!(socket.next().await.unwrap()["error"]["code"], -32700);
}

/// What breaks the protocol, and what is too long, ends the socket, and the client is told why.
#[tokio::test]
async fn malformed_frames_end_the_socket_with_the_reason() {
    let server = TestServer::limited(Limits { message_bytes: 1_000, ..Limits::default() }).await;
    let huge = [0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0];
    let broken: [(u16, &[u8], &str); 8] = [
        (1002, &[0x81, 0], "no mask"),
        (1002, &[0x83, 0x80, 0, 0, 0, 0], "of no known kind"),
        (1002, &[0xc1, 0x80, 0, 0, 0, 0], "compressed"),
        (1002, &[0x80, 0x80, 0, 0, 0, 0], "continues nothing"),
        (1002, &[0x09, 0x80, 0, 0, 0, 0], "a ping in parts"),
        (1007, &[0x81, 0x81, 0, 0, 0, 0, 0xff], "no UTF-8"),
        (1009, &[0x81, 0xfe, 0x03, 0xe9, 0, 0, 0, 0], "1,001 bytes"),
        (1009, &huge, "2^63 - 1 bytes"),
    ];
    for (code, bytes, what) in broken {
        let mut socket = TestSocket::open(&server).await;
        socket.0.get_mut().write_all(bytes).await.unwrap();
        let closed = loop {
            if let Message::Close(frame) =
                socket.0.next().await.expect("a last word").expect("a message")
            {
                break frame.expect("a reason");
            }
        };
        assert_eq!(u16::from(closed.code), code, "{what}: {closed}");
        assert!((1..=123).contains(&closed.reason.len()), "{what}: {closed}");
    }
}

/// What the library keeps of a large message is counted until the socket ends.
#[tokio::test]
async fn a_large_message_is_counted_as_long_as_its_socket_lives() {
    let server = TestServer::new().await;
    let mut socket = TestSocket::open(&server).await;
    let one = r#"{"id":1,"method":"eth_chainId"}"#;
    let padded = format!("{}{one}", " ".repeat(1 << 20));
    socket.0.send(Message::text(padded)).await.unwrap();
    assert_eq!(socket.next().await.unwrap()["result"], "0x1ca3");
    for _ in 0..10 {
        assert_eq!(socket.ask("eth_chainId", value!([])).await["result"], "0x1ca3");
    }
    assert!(server.rpc.memory.used() > 2 << 20, "{} bytes", server.rpc.memory.used());
    drop(socket);
    let ended = async {
        while server.rpc.memory.used() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), ended).await.expect("what it held is given back");
}

/// What a subscription looks for is kept as long as it lives.
#[tokio::test]
async fn what_is_subscribed_to_is_counted_in_bytes() {
    let server = TestServer::new().await;
    let mut socket = TestSocket::open(&server).await;
    let address: Vec<_> = (0..1_000).map(|n| format!("0x{n:040x}")).collect();
    let filter = value!({ "address": address });
    let mut held = vec![];
    let refused = loop {
        let answer = socket.ask("eth_subscribe", value!(["logs", filter])).await;
        match answer["result"].as_str() {
            Some(id) => held.push(id.to_owned()),
            None => break answer,
        }
    };
    assert_eq!(refused["error"]["code"], -32005, "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("unsubscribe"), "{refused}");
    assert!((4..40).contains(&held.len()), "{} subscriptions", held.len());
    assert_eq!(socket.ask("eth_unsubscribe", value!([held[0]])).await["result"], true);
    drop(socket);
}

/// Messages are answered at once: none of them knows what the others are about to begin.
#[tokio::test]
async fn the_messages_of_a_socket_share_its_subscriptions() {
    let server = TestServer::limited(Limits { subscriptions: 2, ..Limits::default() }).await;
    let connection = server.rpc.connections.admit(Ipv4Addr::LOCALHOST.into());
    let (session, _queue) = SocketSession::new(connection, &server.rpc.limits);
    let params = to_raw_value(&value!(["newHeads"])).unwrap();
    let params = Params::parse(Some(&params), 2).unwrap();
    let [one, two] = [(); 2].map(|()| SocketMessage::new(session.clone()));
    let subscribe =
        |message: &SocketMessage| subscriptions::subscribe(&server.rpc, message, &params).is_ok();
    assert!(subscribe(&one) && subscribe(&two));
    assert!(!subscribe(&one) && !subscribe(&two));
    assert!(server.rpc.memory.used() >= 2 * 2_048, "each is counted");
    drop(one);
    assert!(subscribe(&two));
    drop((two, session));
    assert_eq!(server.rpc.memory.used(), 0);
}

/// What others hold is no fault of a client that reads.
#[tokio::test]
async fn a_notification_waits_for_room_that_others_hold() {
    let server = TestServer::holding(1 << 20).await;
    let mut socket = TestSocket::open(&server).await;
    socket.subscribe(value!(["newHeads"])).await;
    let _held = server.rpc.memory.claim_anyway(1 << 20);
    for _ in 0..8 {
        server.mine();
        let head = socket.next().await.expect("a notification");
        assert_eq!(head["method"], "eth_subscription");
    }
}

/// Of more than one frame, most of which all its subscribers share.
#[tokio::test]
async fn a_long_notification_comes_whole() {
    let server = TestServer::new().await;
    let mut socket = TestSocket::open(&server).await;
    let id = socket.subscribe(value!(["newPendingTransactions", true])).await;
    let input = vec![7; 30_000];
    let sent = backend::recover(&tx(0, TxKind::Call(SENDER), 0, input.clone())).unwrap();
    server.events.send(Event::Admitted(sent)).unwrap();
    let told = socket.next().await.expect("a notification");
    assert_eq!(told["params"]["subscription"], id);
    assert_eq!(told["params"]["result"]["input"], value!(Bytes::from(input)));
}

#[tokio::test]
async fn syncing_is_told_when_it_changes() {
    let server = TestServer::new().await;
    let mut socket = TestSocket::open(&server).await;
    socket.subscribe(value!(["syncing"])).await;
    assert_eq!(socket.next().await.unwrap()["params"]["result"], false);
    let stands = |syncing_to| {
        let status = NodeStatus { height: 5, syncing_to, ..Default::default() };
        server.status.send_replace(status.into());
    };
    stands(Some(90));
    let told = socket.next().await.unwrap()["params"]["result"].take();
    assert_eq!(
        (&told["syncing"], &told["status"]["highestBlock"]),
        (&value!(true), &value!("0x5a"))
    );
    // It goes on; then it has ended.
    stands(Some(91));
    stands(None);
    assert_eq!(socket.next().await.unwrap()["params"]["result"], false);
}

/// A client that is gone holds no wait for a block.
#[tokio::test]
async fn requests_end_with_their_socket() {
    let server = TestServer::new().await;
    let mut socket = TestSocket::open(&server).await;
    let raw = tx(0, TxKind::Call(Address::repeat_byte(1)), 1, Bytes::new());
    socket.send("eth_sendRawTransactionSync", value!([raw])).await;
    let waits = |count: usize| {
        let waits = &server.rpc.sync_waits;
        let all = async move {
            while waits.taken() != count {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), all)
    };
    waits(1).await.expect("it waits");
    drop(socket);
    waits(0).await.expect("it waits no longer");
}

/// With an index, of which each filter takes its part.
#[tokio::test]
async fn the_logs_of_a_large_block_come_in_order_to_those_who_want_them() {
    let server = TestServer::new().await;
    let [logger, other] = [SENDER.create(0), SENDER.create(1)];
    server.submit(&tx(0, TxKind::Create, 0, LOGS)).await;
    server.submit(&tx(1, TxKind::Create, 0, CONTRACT)).await;
    server.mine();
    let mut socket = TestSocket::open(&server).await;
    let all = socket.subscribe(value!(["logs", {}])).await;
    let few = socket.subscribe(value!(["logs", { "address": [other, SENDER, other] }])).await;
    // Passes the bloom filter, and no log has so many topics.
    socket.subscribe(value!(["logs", { "address": logger, "topics": [null, null] }])).await;
    for nonce in 2..6 {
        server.submit(&tx(nonce, logger.into(), 0, Bytes::new())).await;
    }
    server.submit(&tx(6, other.into(), 0, Bytes::new())).await;
    server.mine();
    let receipts = server.call("eth_getBlockReceipts", value!(["latest"])).await;
    let logs = receipts.as_array().unwrap().iter().map(|one| one["logs"].as_array().unwrap());
    let want: Vec<Value> = logs.flatten().cloned().collect();
    assert!(want.len() > LOGS_AT_ONCE, "{} logs", want.len());
    let told = async {
        let (mut all_told, mut few_told) = (vec![], vec![]);
        while all_told.len() < want.len() || few_told.is_empty() {
            let mut told = socket.next().await.expect("a notification")["params"].take();
            let log = told["result"].take();
            match &told["subscription"] {
                id if *id == all => all_told.push(log),
                id if *id == few => few_told.push(log),
                id => panic!("{id} was told {log}"),
            }
        }
        assert_eq!(all_told, want);
        assert_eq!(few_told, [want.last().unwrap().clone()]);
    };
    timeout(Duration::from_secs(30), told).await.expect("in time");
}

/// Read on, it would have most of what it asks for refused: more waits than a socket may hold.
#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_not_read() {
    let server = TestServer::limited(Limits { socket_bytes: 8 << 20, ..Limits::default() }).await;
    let hash = server.submit(&tx(0, TxKind::Call(SENDER), 0, vec![0_u8; 16 << 10])).await;
    server.mine();
    let (method, params) = ("eth_getTransactionByHash", value!([hash]));
    let [mut late, mut other] = [TestSocket::open(&server).await, TestSocket::open(&server).await];
    let all = async {
        // 20 MB of answers, of which the system takes a few.
        for _ in 0..600 {
            late.send(method, params.clone()).await;
        }
        // As long as this takes, the server could read on.
        for _ in 0..100 {
            assert!(other.ask(method, params.clone()).await["result"].is_object());
        }
        for n in 0..600 {
            let answer = late.next().await.expect("an answer");
            assert!(answer["result"].is_object(), "{n}: {}", answer["error"]);
        }
    };
    timeout(Duration::from_secs(60), all).await.expect("in time");
}

#[tokio::test]
async fn a_socket_that_does_not_keep_up_is_closed_with_the_reason() {
    let server = TestServer::limited(Limits { socket_bytes: 2_000, ..Limits::default() }).await;
    let mut socket = TestSocket::open(&server).await;
    socket.subscribe(value!(["newHeads"])).await;
    // All at once, so that the queue of two heads is full before the writer runs.
    (0..8).for_each(|_| server.mine());
    let closed = loop {
        if let Message::Close(frame) =
            socket.0.next().await.expect("a last word").expect("a message")
        {
            break frame.expect("a reason");
        }
    };
    assert_eq!(u16::from(closed.code), 1013);
    assert!(closed.reason.contains("too slowly"), "{closed}");
}

#[tokio::test]
async fn a_synchronous_send_returns_the_receipt() {
    let server = TestServer::new().await;
    let raw = tx(0, TxKind::Call(Address::repeat_byte(1)), 1, Bytes::new());
    let send = server.call("eth_sendRawTransactionSync", value!([raw]));
    let mine = async {
        while server.call("txpool_content", value!([])).await["pending"] == value!({}) {
            tokio::task::yield_now().await;
        }
        server.mine();
    };
    let both = timeout(Duration::from_secs(10), async { tokio::join!(send, mine) });
    let (receipt, ()) = both.await.expect("it is pending, then mined");
    assert_eq!((&receipt["status"], &receipt["blockNumber"]), (&value!("0x1"), &value!("0x1")));
}

#[tokio::test]
async fn a_synchronous_send_that_is_not_mined_times_out_with_the_hash() {
    let server = TestServer::new().await;
    let raw = tx(0, TxKind::Call(Address::repeat_byte(1)), 1, Bytes::new());
    let answer = server.ask("eth_sendRawTransactionSync", value!([raw, "0x1"])).await;
    assert_eq!(answer["error"]["code"], 4);
    assert_eq!(answer["error"]["data"], value!(alloy_primitives::keccak256(&raw)));
}
