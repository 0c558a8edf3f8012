//! HTTP/1.1 by hand: what a client library would not send, and probes that cost little.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// A request that asks to be the connection's last, and its answer, head and all.
pub async fn exchange(to: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request).await?;
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The request for a path, with more lines of its head.
pub fn get(path: &str, head: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n").into_bytes()
}

pub const CLOSE: &str = "Connection: close\r\n";

/// The request that POSTs a body.
pub fn post(body: &[u8], head: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{head}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A JSON-RPC request's body.
pub fn body(method: &str, params: &Value) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string().into()
}

/// What a node answers, on a connection of its own.
pub async fn call(
    to: SocketAddr,
    method: &str,
    params: Value,
    limit: Duration,
) -> io::Result<Value> {
    let request = post(&body(method, &params), CLOSE);
    let answer = timeout(limit, exchange(to, &request)).await??;
    let (_, body) = parts(&answer).ok_or(io::ErrorKind::InvalidData)?;
    let mut answer: Value = serde_json::from_slice(body)?;
    match answer.get("error") {
        Some(error) => Err(io::Error::other(format!("{method}: {error}"))),
        None => Ok(answer["result"].take()),
    }
}

/// An answer's head, in small letters, and its body.
pub fn parts(answer: &[u8]) -> Option<(String, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    Some((head, &answer[end + 4..]))
}

/// A text frame of a WebSocket's client (RFC 6455), masked with zeros.
pub fn frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        middle @ ..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text);
    frame
}

/// The request that turns a connection into a WebSocket.
pub fn upgrade(head: &str) -> Vec<u8> {
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    get("/", &[lines, head].concat())
}
