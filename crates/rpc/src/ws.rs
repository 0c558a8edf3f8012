//! A WebSocket: requests in, answers and notifications out.
//!
//! What always holds: what waits for the client is bounded in bytes; while it waits, the
//! client's requests are not read; a client that does not read it, or does not answer pings,
//! is let go, and all that it began ends with its socket.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{
        HeaderMap, StatusCode,
        header::{
            CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
        },
    },
    response::{IntoResponse as _, Response},
};
use futures::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{Join, ReadHalf, WriteHalf},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{
            CloseFrame, Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};

use crate::{
    Rpc,
    dispatch::{self, Caller},
    http_connection::HttpConnection,
    limits,
    memory::Claim,
    subscriptions::{LAGGED, SocketMessage, SocketSession, SocketText},
    ws_input::{BUFFER_BYTES, WsArrival, WsInput},
};

// A client that vanished without closing is noticed only so, and address translators forget
// idle connections.
/// How often a client is pinged; it has as long again to answer anything.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long the last word to a client that is let go may take to leave.
const CLOSE_TIME: Duration = Duration::from_secs(1);
// The library copies a frame before it writes it, keeps the memory of the largest, and moves
// what is left of it at each write: one frame of 25 MiB costs gigabytes of copying.
/// A message leaves in frames of at most so many bytes (RFC 6455, 5.4).
const FRAME_BYTES_MAX: usize = 8 << 10;
// A frame, and pongs of which the client reads none: who leaves more of them is let go.
/// What the library holds before the client takes it, bytes.
const OUTPUT_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// A socket that is idle: its buffers, which double when they grow, its tasks and its session.
const SOCKET_BYTES: usize = 2 * BUFFER_BYTES + OUTPUT_BYTES_MAX + (8 << 10);
/// At most 123 bytes, as every reason of a close frame.
const LATE: &str =
    "too slow, or no memory for it within 30 s: send less at once, try again later, or use POST";

type Socket =
    WebSocketStream<Join<WsInput<ReadHalf<TokioIo<Upgraded>>>, WriteHalf<TokioIo<Upgraded>>>>;

/// Why a socket ends, as its client is told (RFC 6455, 7.4.1); `None`: it is gone, or knows.
fn last_word(error: &Error) -> Option<CloseFrame> {
    let (code, reason) = match error {
        Error::Protocol(why) => (CloseCode::Protocol, why.to_string().into()),
        Error::Utf8(_) => (CloseCode::Invalid, "a message is UTF-8".into()),
        Error::Capacity(why) => {
            (CloseCode::Size, format!("{why}; ask for less at once, or use POST").into())
        }
        Error::Io(why) if why.kind() == ErrorKind::TimedOut => (CloseCode::Policy, LATE.into()),
        _ => return None,
    };
    Some(CloseFrame { code, reason })
}

/// What answers the upgrade, if it is one (RFC 6455, 4.2.1).
fn accepted(headers: &HeaderMap) -> Option<String> {
    let has = |name, word: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| {
            value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
        })
    };
    let is_upgrade = has(CONNECTION, "upgrade") && has(UPGRADE, "websocket");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_upgrade)?;
    has(SEC_WEBSOCKET_VERSION, "13").then(|| derive_accept_key(key.as_bytes()))
}

/// Answers the upgrade, if there is memory for a socket. `None`: it is none.
pub fn open(rpc: Arc<Rpc>, mut request: Request) -> Option<Response> {
    let accept = accepted(request.headers())?;
    let connection = request.extensions().get::<Arc<HttpConnection>>().cloned()?;
    let Ok(claim) = rpc.memory.claim(SOCKET_BYTES) else {
        rpc.relieve();
        let text = "no memory is left for a WebSocket; try again later\n";
        return Some((StatusCode::SERVICE_UNAVAILABLE, text).into_response());
    };
    rpc.connections.upgrade(&connection);
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _claim = claim;
        if let Ok(upgraded) = upgraded.await {
            serve(rpc, upgraded, connection).await;
        }
    });
    let switched =
        [(CONNECTION, "upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_ACCEPT, accept.as_str())];
    Some((StatusCode::SWITCHING_PROTOCOLS, switched, Body::empty()).into_response())
}

fn config(message_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(OUTPUT_BYTES_MAX)
        .max_message_size(Some(message_bytes))
        .max_frame_size(Some(message_bytes))
}

async fn serve(rpc: Arc<Rpc>, upgraded: Upgraded, connection: Arc<HttpConnection>) {
    let arrival = WsArrival::new(connection.clone());
    let (from, to) = tokio::io::split(TokioIo::new(upgraded));
    let from = WsInput::new(from, arrival.clone(), rpc.connections.clone());
    let config = Some(config(rpc.limits.message_bytes));
    let socket =
        WebSocketStream::from_raw_socket(tokio::io::join(from, to), Role::Server, config).await;
    let (mut sink, stream) = socket.split();
    let (session, queue) = SocketSession::new(connection, &rpc.limits);
    // Whichever ends first ends the socket, and with it all requests and subscriptions.
    let last = tokio::select! {
        () = write(&mut sink, queue, &session) => None,
        last = read(&rpc, &session, stream, arrival) => last,
        // "Try again later" (IANA's registry): the client missed something, and sees so.
        () = session.lagged() => Some(CloseFrame { code: CloseCode::Again, reason: LAGGED.into() }),
    };
    let _ = timeout(CLOSE_TIME, async {
        match last {
            Some(frame) => sink.send(Message::Close(Some(frame))).await,
            // What the library has to say by itself.
            None => sink.close().await,
        }
    })
    .await;
}

/// Sends what is queued, and a ping when there is nothing for a while. A client that does not
/// take it ends the stream below ([`limits::WRITE_TIME_MAX`]).
async fn write(
    sink: &mut SplitSink<Socket, Message>,
    mut queue: mpsc::UnboundedReceiver<SocketText>,
    session: &SocketSession,
) {
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            queued = queue.recv() => match queued {
                Some(text) => {
                    session.connection.sends();
                    let sent = send(sink, text).await;
                    if queue.is_empty() {
                        session.connection.sent();
                    }
                    sent
                }
                None => return,
            },
            _ = pings.tick() => sink.send(Message::Ping(Bytes::new())).await,
        };
        if sent.is_err() {
            return;
        }
        session.was_read();
    }
}

/// Sends a message in frames.
async fn send(sink: &mut SplitSink<Socket, Message>, text: SocketText) -> Result<(), Error> {
    let SocketText { head, mut rest, claim: _claim } = text;
    let (mut begin, mut kind) = (head.into_bytes(), Data::Text);
    loop {
        let shared = rest.split_to(rest.len().min(FRAME_BYTES_MAX - begin.len()));
        let part = match std::mem::take(&mut begin) {
            own if own.is_empty() => shared,
            own => [&own[..], &shared[..]].concat().into(),
        };
        let is_last = rest.is_empty();
        sink.send(Message::Frame(Frame::message(part, OpCode::Data(kind), is_last))).await?;
        if is_last {
            return Ok(());
        }
        kind = Data::Continue;
    }
}

/// Answers each message in its own task, so many at once.
async fn read(
    rpc: &Arc<Rpc>,
    session: &Arc<SocketSession>,
    mut stream: SplitStream<Socket>,
    arrival: WsArrival,
) -> Option<CloseFrame> {
    let slots = Arc::new(Semaphore::new(limits::SOCKET_REQUESTS_MAX));
    // Dropped with the socket, and its tasks with it: who is gone waits for no block.
    let mut requests = JoinSet::new();
    loop {
        while requests.try_join_next().is_some() {}
        // Who does not read its answers is not read: the client's own send waits.
        session.until_read(rpc.limits.socket_pause_bytes).await;
        arrival.listen(2 * PING_EVERY);
        let message: Bytes = match stream.next().await? {
            Ok(Message::Text(text)) => text.into(),
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Ping(data) | Message::Pong(data)) => {
                arrival.control(data.len());
                continue;
            }
            Ok(Message::Close(_) | Message::Frame(_)) => return None,
            Err(error) => return last_word(&error),
        };
        arrival.whole();
        let claim = match session.connection.memory.claim(message.len()) {
            Ok(claim) => claim,
            Err(busy) => {
                rpc.relieve();
                session.put(dispatch::refusal(&session.memory, busy));
                continue;
            }
        };
        // A part of the library's buffer holds all of it, and the library would take another.
        let text = message.to_vec();
        drop(message);
        let slot = slots.clone().acquire_owned().await.expect("never closed");
        let (own, session) = (rpc.clone(), session.clone());
        let is_long = text.len() > limits::LONG_BYTES;
        let work = async move {
            let _slot = slot;
            answer(&own, &session, text, claim).await;
        };
        match is_long {
            true => requests.spawn_on(work, &rpc.long),
            false => requests.spawn(work),
        };
    }
}

async fn answer(rpc: &Arc<Rpc>, session: &Arc<SocketSession>, text: Vec<u8>, _claim: Claim) {
    let _in_flight = session.connection.request();
    let frame = SocketMessage::new(session.clone());
    if let Some(answer) = dispatch::answer(Caller::Socket(rpc, &frame), &text).await {
        session.put(answer);
        frame.start();
    }
    // What the answer held while it was made may be free.
    session.was_read();
}
