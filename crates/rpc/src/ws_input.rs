//! What a WebSocket's client sends, counted before the library takes memory for it.
//!
//! What always holds: the library keeps the memory of the largest message for the socket's life,
//! and so does the claim for it; while there is no room for a message its rest is not read; a
//! message that is not whole in time ends its socket.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::{
    RpcResult, connections::HttpConnectionTable, http_connection::HttpConnection, limits,
    memory::Claim,
};

/// What the library reads at once, bytes: each socket has room for so much in any case.
pub const BUFFER_BYTES: usize = 4 << 10;
/// A control frame's header, with its mask (RFC 6455, 5.2).
const CONTROL_HEADER_BYTES: usize = 6;
// tungstenite 0.29 reads frames into a `BytesMut`, whose memory it keeps, and gathers a message in
// parts in a list besides. Both double when they grow.
/// Bytes that one byte of a message may take.
const GROWTH: usize = 2;

/// What the library reads a client's frames from.
pub struct WsInput<R> {
    from: R,
    arrival: WsArrival,
    connections: Arc<HttpConnectionTable>,
    /// Runs while there is no room.
    pause: Option<Pin<Box<Sleep>>>,
}

/// The message that is on its way in; shared with who takes it.
#[derive(Clone)]
pub struct WsArrival(Arc<Mutex<Arriving>>);

struct Arriving {
    connection: Arc<HttpConnection>,
    claim: Claim,
    /// Bytes of the largest message so far.
    largest: usize,
    /// Bytes of the one that is on its way, and since when it is.
    bytes: usize,
    began: Instant,
    /// When it must be whole, or the client must have said something.
    until: Pin<Box<Sleep>>,
}

impl WsArrival {
    pub fn new(connection: Arc<HttpConnection>) -> Self {
        let claim = connection.memory.claim_anyway(0);
        let until = Box::pin(sleep(limits::READ_TIME_MAX));
        let (largest, bytes, began) = (0, 0, Instant::now());
        Self(Arc::new(Mutex::new(Arriving { connection, claim, largest, bytes, began, until })))
    }

    fn lock(&self) -> MutexGuard<'_, Arriving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message is waited for: the client says something within `idle`.
    pub fn listen(&self, idle: Duration) {
        let mut arriving = self.lock();
        if arriving.bytes == 0 {
            arriving.until.as_mut().reset(Instant::now() + idle);
        }
    }

    // A message in parts can be kept open by pings between the parts: they do not count for it.
    /// A ping or pong with so many bytes came.
    pub fn control(&self, bytes: usize) {
        let mut arriving = self.lock();
        arriving.bytes = arriving.bytes.saturating_sub(bytes + CONTROL_HEADER_BYTES);
        if arriving.bytes == 0 {
            arriving.connection.received();
        }
    }

    /// The message is whole, and whoever takes it copies it out of the library's buffer.
    pub fn whole(&self) {
        let mut arriving = self.lock();
        let bytes = std::mem::take(&mut arriving.bytes);
        arriving.connection.received();
        arriving.largest = arriving.largest.max(bytes);
        // Who sends large messages again and again needs what is kept.
        if bytes >= arriving.largest / 2 {
            arriving.connection.keeps(GROWTH * arriving.largest);
        }
        // At most the last read has no room yet: it is waited for before the next one.
        let _ = arriving.settle();
    }
}

impl Arriving {
    fn came(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        if self.bytes == 0 {
            self.began = Instant::now();
            self.connection.receives();
        }
        self.bytes += bytes;
        self.until
            .as_mut()
            .reset(self.began + limits::read_time(limits::READ_TIME_MAX, self.bytes));
    }

    /// Claims what the library may hold of what came.
    fn settle(&mut self) -> RpcResult<()> {
        let gathered = self.bytes.saturating_sub(BUFFER_BYTES);
        let wanted = GROWTH * (self.largest.max(self.bytes) + gathered);
        let held = self.claim.bytes();
        if wanted > held {
            return self.claim.grow(wanted - held);
        }
        self.claim.shrink(held - wanted);
        Ok(())
    }
}

impl<R> WsInput<R> {
    pub fn new(from: R, arrival: WsArrival, connections: Arc<HttpConnectionTable>) -> Self {
        Self { from, arrival, connections, pause: None }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for WsInput<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { from, arrival, connections, pause } = self.get_mut();
        let mut arriving = arrival.lock();
        if arriving.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        // Others hold the room: that is no fault of this client.
        while arriving.settle().is_err() {
            connections.relieve();
            if arriving.connection.is_closing(cx.waker()) {
                return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
            }
            let begin = || Box::pin(sleep(limits::ROOM_PAUSE));
            ready!(pause.get_or_insert_with(begin).as_mut().poll(cx));
            *pause = None;
        }
        let before = buf.filled().len();
        ready!(Pin::new(from).poll_read(cx, buf))?;
        arriving.came(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures::{SinkExt as _, StreamExt as _, poll};
    use proptest::prelude::*;
    use tokio::io::{AsyncWriteExt as _, DuplexStream, Join, duplex, join, sink};
    use tokio_tungstenite::{
        WebSocketStream,
        tungstenite::{
            Message,
            protocol::{
                Role, WebSocketConfig,
                frame::{
                    Frame,
                    coding::{Data, OpCode},
                },
            },
        },
    };

    use super::*;
    use crate::MemoryAccount;

    const MAX: usize = 1 << 20;
    const IDLE: Duration = Duration::from_secs(60);

    type Server<R> = WebSocketStream<Join<WsInput<R>, tokio::io::Sink>>;

    async fn server<R: AsyncRead + Unpin>(
        from: R,
        memory: &MemoryAccount,
    ) -> (Server<R>, WsArrival) {
        let connections = HttpConnectionTable::new(memory.clone());
        let arrival = WsArrival::new(connections.admit(std::net::Ipv4Addr::LOCALHOST.into()));
        let stream = join(WsInput::new(from, arrival.clone(), connections), sink());
        let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES);
        (WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await, arrival)
    }

    async fn client(to: DuplexStream) -> WebSocketStream<DuplexStream> {
        WebSocketStream::from_raw_socket(to, Role::Client, None).await
    }

    /// The next message's length.
    async fn take<R: AsyncRead + Unpin>(
        (server, arrival): &mut (Server<R>, WsArrival),
    ) -> Option<usize> {
        loop {
            arrival.listen(IDLE);
            match server.next().await? {
                Ok(Message::Text(text)) => {
                    arrival.whole();
                    return Some(text.len());
                }
                Ok(Message::Ping(data) | Message::Pong(data)) => arrival.control(data.len()),
                _ => return None,
            }
        }
    }

    /// The library keeps the buffer of the largest message as long as the socket lives.
    #[tokio::test]
    async fn memory_is_claimed_as_bytes_come_and_as_long_as_the_library_keeps_it() {
        let memory = MemoryAccount::new(16 * MAX);
        let (mut to, from) = duplex(64);
        let mut waiting = server(from, &memory).await;
        let claimed = [0x81u8, 0x80 | 127, 0, 0, 0, 0, 0, 8, 0, 0, 1, 2, 3, 4, 7];
        to.write_all(&claimed).await.unwrap();
        {
            let mut next = Box::pin(take(&mut waiting));
            assert!(poll!(next.as_mut()).is_pending());
        }
        assert!(memory.used() <= 64, "{} bytes for one", memory.used());
        drop(waiting);
        assert_eq!(memory.used(), 0);

        let (to, from) = duplex(64 << 10);
        let (mut client, mut server) = (client(to).await, server(from, &memory).await);
        let mut send = async |length: usize| {
            let message = Message::text("x".repeat(length));
            let (sent, taken) = tokio::join!(client.send(message), take(&mut server));
            sent.unwrap();
            assert_eq!(taken, Some(length));
            memory.used()
        };
        let kept = send(MAX).await;
        assert!((2 * MAX..2 * MAX + 100).contains(&kept), "{kept} bytes");
        for _ in 0..10 {
            assert_eq!(send(100).await, kept);
        }
        assert_eq!(send(MAX).await, kept, "it is used again");
        drop(server);
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn a_message_waits_for_room_that_others_hold() {
        let memory = MemoryAccount::new(4 * MAX);
        let held = memory.claim_anyway(4 * MAX);
        let (to, from) = duplex(MAX);
        let (mut client, mut server) = (client(to).await, server(from, &memory).await);
        client.send(Message::text("x".repeat(100))).await.unwrap();
        assert_eq!(take(&mut server).await, Some(100), "a small one does not wait");
        client.send(Message::text("x".repeat(MAX / 2))).await.unwrap();
        let mut next = Box::pin(take(&mut server));
        assert!(poll!(next.as_mut()).is_pending());
        assert!(memory.used() < 4 * MAX + MAX / 8, "{} bytes", memory.used());
        drop(held);
        assert_eq!(next.await, Some(MAX / 2));
    }

    #[tokio::test]
    async fn pings_do_not_count_for_the_message_around_them() {
        let memory = MemoryAccount::new(4 * MAX);
        let (to, from) = duplex(MAX);
        let (mut client, mut server) = (client(to).await, server(from, &memory).await);
        let part = |text: &'static str, kind, is_last| {
            Message::Frame(Frame::message(text, OpCode::Data(kind), is_last))
        };
        client.send(part("in ", Data::Text, false)).await.unwrap();
        for _ in 0..1_000 {
            client.send(Message::Ping(Bytes::from_static(&[7; 100]))).await.unwrap();
        }
        client.send(part("parts", Data::Continue, true)).await.unwrap();
        assert_eq!(take(&mut server).await, Some(8));
        assert!(memory.used() < 4 * BUFFER_BYTES, "{} bytes", memory.used());
    }

    proptest! {
        /// Whatever comes, it ends with an error, and nothing is kept.
        #[test]
        fn no_bytes_of_a_client_panic_or_stay(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let memory = MemoryAccount::default();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.unwrap().block_on(async {
                let mut server = server(&*bytes, &memory).await;
                while take(&mut server).await.is_some() {}
            });
            prop_assert_eq!(memory.used(), 0);
        }
    }
}
