//! A WebSocket: requests in, answers and notifications out.
//!
//! What always holds: the queue to the client is bounded, and a client that
//! does not read it, or does not answer pings, is dropped.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use futures::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    Rpc,
    dispatch::{self, Caller},
    limits,
    subscriptions::{SocketMessage, SocketSession},
};

// A client that vanished without closing is noticed only so, and address translators forget
// idle connections.
/// How often a client is pinged; it has as long again to answer anything.
const PING_EVERY: Duration = Duration::from_secs(30);
// A client that stopped reading fills the socket's buffer; the write would wait for ever.
/// How long one message may take to leave.
const WRITE_TIME: Duration = Duration::from_secs(20);

/// Answers the upgrade, unless there are too many sockets.
pub fn open(rpc: Arc<Rpc>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(permit) = rpc.sockets.clone().try_acquire_owned() else {
        let text = "too many WebSockets are open; try again later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let bytes = rpc.limits.body_bytes;
    upgrade
        .max_message_size(bytes)
        .max_frame_size(bytes)
        .on_upgrade(move |socket| serve(rpc, socket, permit))
}

async fn serve(rpc: Arc<Rpc>, socket: WebSocket, _permit: OwnedSemaphorePermit) {
    let (out, queue) = mpsc::channel(rpc.limits.socket_queue);
    let session = SocketSession::new(out, rpc.limits.subscriptions);
    let (sink, stream) = socket.split();
    let stalled = session.stalled.clone();
    // Whichever ends first ends the socket, and with it all subscriptions.
    tokio::select! {
        () = write(sink, queue) => {}
        () = read(rpc, session, stream) => {}
        () = stalled.notified() => {}
    }
}

/// Sends what is queued, and a ping when there is nothing for a while.
async fn write(mut sink: SplitSink<WebSocket, Message>, mut queue: mpsc::Receiver<Message>) {
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = queue.recv() => message,
            _ = pings.tick() => Some(Message::Ping(Default::default())),
        };
        let Some(message) = message else { return };
        let Ok(Ok(())) = timeout(WRITE_TIME, sink.send(message)).await else { return };
    }
}

/// Answers each message in its own task, so many at once.
async fn read(rpc: Arc<Rpc>, session: Arc<SocketSession>, mut stream: SplitStream<WebSocket>) {
    let width = limits::SOCKET_REQUESTS_MAX;
    let slots = Arc::new(Semaphore::new(width));
    while let Ok(Some(Ok(message))) = timeout(2 * PING_EVERY, stream.next()).await {
        let body = match message {
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
        };
        let slot = slots.clone().acquire_owned().await.expect("never closed");
        let (rpc, session) = (rpc.clone(), session.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let frame = SocketMessage::new(session.clone());
            let Some(answer) = dispatch::answer(Caller::Socket(&rpc, &frame), &body).await else {
                return;
            };
            // Not a waiting `send`: a client that does not read would hold this task and its
            // slot.
            if session.out.try_send(Message::text(answer)).is_err() {
                session.stalled.notify_one();
                return;
            }
            frame.start();
        });
    }
}
