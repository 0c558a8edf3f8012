//! WebSockets on a loopback port, and the sends that wait for a block.

use alloy_primitives::{Address, Bytes, TxKind};
use axum::Router;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json as value};
use tokio::{net::TcpListener, net::TcpStream};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::{
    http,
    tests::{CONTRACT, Limits, SENDER, TestServer, tx},
};

struct TestSocket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl TestSocket {
    async fn open(server: &TestServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        tokio::spawn(http::accept(http::router(server.rpc.clone(), Router::new()), listener));
        Self(connect_async(url).await.expect("an upgrade").0)
    }

    async fn send(&mut self, method: &str, params: Value) {
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

    async fn subscribe(&mut self, params: Value) -> Value {
        self.ask("eth_subscribe", params).await["result"].take()
    }
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

#[tokio::test]
async fn a_socket_that_does_not_keep_up_is_dropped() {
    let server = TestServer::limited(Limits { socket_queue: 1, ..Limits::default() }).await;
    let mut socket = TestSocket::open(&server).await;
    socket.subscribe(value!(["newHeads"])).await;
    // All at once, so that the queue of one is full before the writer runs.
    (0..8).for_each(|_| server.mine());
    while socket.next().await.is_some() {}
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
    let (receipt, ()) = tokio::join!(send, mine);
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
