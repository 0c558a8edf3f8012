//! Callers of the RPC's port: silent, slow, greedy, and those that read nothing.

use std::{io, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use crate::{
    arena::{Arena, Networks},
    http::{self, body, get, post},
    manners, transactions, wire,
};

/// Between two requests of a greedy caller.
const PAUSE: Duration = Duration::from_millis(10);
const SLOW: Duration = Duration::from_millis(500);
/// A silent caller whose connection was closed comes back after this.
const COMES_BACK: Duration = Duration::from_secs(5);
/// The longest body that the RPC takes.
const BODY_BYTES: usize = 10 << 20;

manners! {
    "sockets-silent" "H7" "TCP connections to the RPC's port that send nothing"
        {crowd: 5_000, is_silent: true} silent;
    "sockets-closed-and-opened" "-" "the same, closed and opened as fast as they can"
        {crowd: 50} opened;
    "heads-slow" "H7" "a byte of a request's head each half second" {crowd: 1_100, is_silent: true}
        |arena, _| drip(arena, get("/livez", ""), 0);
    "bodies-slow" "H7" "a request's head, then a byte of its body each half second" {crowd: 1_100}
        |arena, _| drip(arena, post(&body("eth_blockNumber", &json!([])), ""), 1);
    "heads-huge" "-" "a head without end" {} heads;
    "bodies-huge" "-" "bodies of 10 MiB that are no JSON" {}
        |arena, _| greedy(arena, post(&vec![b' '; BODY_BYTES], ""), true);
    "bodies-longer-than-said" "-" "a length of 2^60, chunks without end" {} endless;
    "json-deep" "-" "arrays in arrays, ten million deep" {}
        |arena, _| greedy(arena, post(&vec![b'['; BODY_BYTES], ""), true);
    "batches-huge" "-" "batches of five million numbers" {} |arena, _| batch(arena, "0", 5_000_000);
    "batches-full" "-" "batches of a thousand blocks with all their transactions" {}
        |arena, _| batch(arena, BLOCK, 1_000);
    "names-long" "-" "methods whose names have a million letters" {}
        |arena, _| greedy(arena, post(&body(&"x".repeat(1 << 20), &json!([])), ""), true);
    "answers-unread" "H6" "large answers, one after another, not read" {crowd: 60}
        |arena, _| greedy(arena, post(&blocks(200), ""), false);
    "answers-read-slowly" "H6" "large answers, read a byte each half second" {crowd: 60} sipped;
    "requests-pipelined" "-" "a thousand requests at once, answers read" {}
        |arena, _| greedy(arena, post(&body("eth_blockNumber", &json!([])), "").repeat(1_000), true);
    "requests-pipelined-unread" "-" "the same, answers not read" {}
        |arena, _| greedy(arena, post(&body("eth_blockNumber", &json!([])), "").repeat(1_000), false);
    "requests-half-closed" "-" "a request, then the end of what the caller sends" {} half_closed;
    "logs-over-everything" "-" "all logs of all blocks" {}
        |arena, _| asked(arena, "eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "latest" }]));
    "calls-heavy" "-" "calls that loop until their gas ends" {}
        |arena, _| asked(arena, "eth_call", json!([{ "input": "0x5b5f56" }, "latest"]));
    "estimates-heavy" "-" "estimates of what never succeeds" {}
        |arena, _| asked(arena, "eth_estimateGas", json!([{ "input": "0x5b5f56" }, "latest"]));
    "simulations" "-" "eth_simulateV1 of 256 blocks with a loop in each" {} simulations;
    "proofs" "-" "proofs of 1,000 slots" {} proofs;
    "traces" "C5" "traces of a transaction of 1.5 M gas with a deep stack" {crowd: 8} traces;
    "pool-listings" "M" "txpool_content, again and again" {}
        |arena, _| asked(arena, "txpool_content", json!([]));
    "filters-many" "-" "filters, never polled" {}
        |arena, _| asked(arena, "eth_newFilter", json!([{ "fromBlock": "0x0" }]));
    "waits-many" "-" "waits for a transaction that never comes into a block" {crowd: 600} waits;
    "health-checks" "-" "/livez, /readyz and /metrics, as fast as they are answered" {}
        |arena, _| greedy(arena, [get("/metrics", ""), get("/readyz", "")].concat(), true);
    "websockets-unread" "H6" "WebSockets that ask for blocks and subscribe, and read nothing"
        {crowd: 60} |arena, _| websocket(arena, vec![SUBSCRIBE.into(), blocks(200)]);
    "subscriptions-many" "-" "128 subscriptions on each WebSocket, notifications not read"
        {crowd: 60} |arena, _| websocket(arena, vec![SUBSCRIBE.into(); 128]);
    "subscriptions-to-pending" "H6" "pending transactions, whole, not read" {crowd: 60}
        |arena, _| websocket(arena, vec![PENDING.into()]);
    "websockets-in-parts" "-" "a message in fragments without end" {} fragments;
    "websockets-silent" "H7" "WebSockets that say nothing" {crowd: 600}
        |arena, _| websocket(arena, vec![]);
    "websockets-of-other-sites" "M" "a WebSocket with another site's origin"
        {crowd: 2, networks: Networks::Members} foreign;
}

const BLOCK: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["latest",true]}"#;
const SUBSCRIBE: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
const PENDING: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newPendingTransactions",true]}"#;

/// A batch of so many blocks.
fn blocks(count: usize) -> Vec<u8> {
    format!("[{}]", vec![BLOCK; count].join(",")).into_bytes()
}

async fn open(arena: &Arc<Arena>) -> io::Result<TcpStream> {
    wire::socket(arena, arena.rpc()).await
}

async fn send(arena: &Arena, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    arena.count(&arena.written, bytes.len());
    stream.write_all(bytes).await
}

/// Reads to the connection's end.
async fn drain(arena: &Arena, stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => arena.count(&arena.read, bytes),
        }
    }
}

async fn silent(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let mut stream = open(&arena).await?;
    // The node closes it when another needs its place. Those that come back at once would be
    // a flood, which is another manner.
    let _ = drain(&arena, &mut stream).await;
    sleep(COMES_BACK).await;
    Ok(())
}

async fn opened(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    drop(open(&arena).await?);
    sleep(PAUSE).await;
    Ok(())
}

/// A request at the pace of drips; with `heads` 1, its head comes at once.
async fn drip(arena: Arc<Arena>, request: Vec<u8>, heads: usize) -> io::Result<()> {
    let mut stream = open(&arena).await?;
    let head = request.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    let (at_once, rest) = request.split_at(head * heads);
    send(&arena, &mut stream, at_once).await?;
    for byte in rest {
        sleep(SLOW).await;
        if send(&arena, &mut stream, &[*byte]).await.is_err() {
            sleep(COMES_BACK).await;
            break;
        }
    }
    Ok(())
}

async fn heads(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let mut stream = open(&arena).await?;
    send(&arena, &mut stream, b"GET / HTTP/1.1\r\n").await?;
    loop {
        send(&arena, &mut stream, &b"X: y\r\n".repeat(1_000)).await?;
    }
}

async fn endless(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let mut stream = open(&arena).await?;
    let kind = ["Content-Length: 1152921504606846976", "Transfer-Encoding: chunked"][n % 2];
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n\r\n");
    send(&arena, &mut stream, head.as_bytes()).await?;
    let chunk = [b"8000\r\n".as_slice(), &[b' '; 0x8000], b"\r\n"].concat();
    loop {
        send(&arena, &mut stream, &chunk).await?;
    }
}

/// The same request again and again, on one connection.
async fn greedy(arena: Arc<Arena>, request: Vec<u8>, reads: bool) -> io::Result<()> {
    let mut stream = open(&arena).await?;
    if !reads {
        loop {
            // In the end it waits here for the node, which waits for it.
            send(&arena, &mut stream, &request).await?;
        }
    }
    let (mut read, mut write) = stream.split();
    let writing = async {
        loop {
            arena.count(&arena.written, request.len());
            write.write_all(&request).await?;
            sleep(PAUSE).await;
        }
    };
    let reading = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match read.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => arena.count(&arena.read, bytes),
            }
        }
    };
    tokio::select! {
        ended = writing => ended,
        ended = reading => ended,
    }
}

async fn asked(
    arena: Arc<Arena>,
    method: &'static str,
    params: serde_json::Value,
) -> io::Result<()> {
    greedy(arena, post(&body(method, &params), ""), true).await
}

async fn batch(arena: Arc<Arena>, item: &'static str, count: usize) -> io::Result<()> {
    let list = format!("[{}{item}]", format!("{item},").repeat(count - 1));
    greedy(arena, post(list.as_bytes(), ""), true).await
}

async fn sipped(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let mut stream = open(&arena).await?;
    send(&arena, &mut stream, &post(&blocks(900), "")).await?;
    loop {
        arena.count(&arena.read, 1);
        stream.read_u8().await?;
        sleep(SLOW).await;
    }
}

async fn half_closed(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let mut stream = open(&arena).await?;
    send(&arena, &mut stream, &post(&blocks(100), "")).await?;
    stream.shutdown().await?;
    sleep(Duration::from_secs(5)).await;
    Ok(())
}

async fn simulations(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let block = json!({ "calls": [{ "input": "0x5b5f56" }] });
    let params = json!([{ "blockStateCalls": vec![block; 256] }, "latest"]);
    asked(arena, "eth_simulateV1", params).await
}

async fn proofs(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let slots: Vec<String> = (0..1_000).map(|n| format!("{n:#066x}")).collect();
    let account = "0x747265666f696c00000000000000000000000002";
    asked(arena, "eth_getProof", json!([account, slots, "latest"])).await
}

async fn traces(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let hash = transactions::traced(&arena).await?;
    asked(arena, "debug_traceTransaction", json!([hash])).await
}

async fn waits(arena: Arc<Arena>, n: usize) -> io::Result<()> {
    let raw = transactions::of_a_gap(&arena, n as u64).await?;
    asked(arena, "eth_sendRawTransactionSync", json!([raw, 60_000])).await
}

/// Becomes a WebSocket and sends these again and again; reads nothing.
async fn websocket(arena: Arc<Arena>, texts: Vec<Vec<u8>>) -> io::Result<()> {
    let mut stream = open(&arena).await?;
    send(&arena, &mut stream, &http::upgrade("")).await?;
    sleep(PAUSE).await;
    if texts.is_empty() {
        let _ = drain(&arena, &mut stream).await;
        sleep(COMES_BACK).await;
        return Ok(());
    }
    loop {
        for text in &texts {
            send(&arena, &mut stream, &http::frame(text)).await?;
        }
        sleep(PAUSE).await;
    }
}

async fn fragments(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let mut stream = open(&arena).await?;
    send(&arena, &mut stream, &http::upgrade("")).await?;
    let mut fragment = http::frame(&[b'['; 60_000]);
    // Text that goes on, then continuations that go on.
    fragment[0] = 0x01;
    send(&arena, &mut stream, &fragment).await?;
    fragment[0] = 0x00;
    loop {
        send(&arena, &mut stream, &fragment).await?;
    }
}

async fn foreign(arena: Arc<Arena>, _: usize) -> io::Result<()> {
    let mut stream = open(&arena).await?;
    send(&arena, &mut stream, &http::upgrade("Origin: https://evil.example\r\n")).await?;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await?;
    if answer == b"HTTP/1.1 101" {
        arena.broken("a WebSocket of another site's page was let in on a network of members");
    }
    sleep(SLOW).await;
    Ok(())
}
