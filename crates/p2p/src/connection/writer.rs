//! Writes one lane of a session.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::Stream;
use tokio::time::{timeout, timeout_at};
use trefoil_types::{Offence, message::Lane};

use crate::{
    config::Timing,
    connection::{
        answer_pool::{Frame, FrameCharge},
        frame::{Control, due},
        lane_limits::limits,
        send_queue::SendQueue,
        session_end::SessionEnd,
    },
};

/// Between two looks at whether others wait for the room of an answer.
const LOOK: Duration = Duration::from_secs(1);

/// Why writing ended.
enum WriteEnd {
    /// The peer wrote where only we write.
    Spoke,
    /// It read nothing for so long.
    Stalled(Duration),
    Io(io::Error),
}

/// Writes a lane for ever; pings on an idle consensus lane.
// All that waits is written before a flush: each flush makes a frame of the transport, with a
// tag of its own, and a system call.
pub(crate) async fn write_lane(
    lane: Lane,
    stream: Stream,
    send_queue: Arc<SendQueue>,
    timing: Timing,
) -> SessionEnd {
    let mut writer = LaneWriter { lane, stream, send_queue, timing };
    let Err(end) = writer.run().await;
    match end {
        WriteEnd::Spoke => {
            let what = format!("it wrote on our {} stream", limits(lane).name);
            SessionEnd::Offence(Offence::Malformed, what)
        }
        WriteEnd::Stalled(stall) => {
            SessionEnd::Closed(format!("the peer read nothing for {stall:?}"))
        }
        WriteEnd::Io(e) => SessionEnd::Closed(format!("connection lost: {e}")),
    }
}

struct LaneWriter<S> {
    lane: Lane,
    stream: S,
    send_queue: Arc<SendQueue>,
    timing: Timing,
}

impl<S: AsyncRead + AsyncWrite + Unpin> LaneWriter<S> {
    async fn run(&mut self) -> Result<std::convert::Infallible, WriteEnd> {
        let (lane, send_queue) = (self.lane, self.send_queue.clone());
        let ping = Control::Ping.encode();
        let idle = if lane == Lane::Consensus { self.timing.ping } else { Duration::MAX };
        loop {
            let ping = || Frame::new(ping.clone(), FrameCharge::Shared);
            let mut frame = tokio::select! {
                next = timeout(idle, send_queue.next(lane)) => next.unwrap_or_else(|_| ping()),
                () = poll_fn(|cx| self.poll_speaks(cx)) => return Err(WriteEnd::Spoke),
            };
            loop {
                self.write(&frame).await?;
                send_queue.bytes_out.fetch_add(frame.len as u64, Ordering::Relaxed);
                match send_queue.try_next(lane) {
                    Some(next) => frame = next,
                    None => break,
                }
            }
            drop(frame);
            self.flush().await?;
        }
    }

    /// Ready when the peer writes where only we write.
    // Attack: streams that nobody reads. The muxer would hold a whole window of each.
    fn poll_speaks(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match Pin::new(&mut self.stream).poll_read(cx, &mut [0]) {
            Poll::Ready(Ok(1..)) => Poll::Ready(()),
            // Its end is seen where the lane is read.
            _ => Poll::Pending,
        }
    }

    /// Writes a frame. `stall` bounds the wait for each next byte to leave. If others wait for
    /// the room of an answer, all of it must leave as fast as a frame must come.
    // Attack: a peer that reads a byte now and then, and so holds the largest answers. What is
    // said to all is bounded without it, and slow is also an honest node whose line many share.
    async fn write(&mut self, frame: &Frame) -> Result<(), WriteEnd> {
        let (stall, answers) = (self.timing.stall, self.send_queue.budget.answers.clone());
        let (started, mut at, mut begun) = (Instant::now(), 0, None);
        let mut moved = started;
        while at < frame.len {
            let some = poll_fn(|cx| match self.poll_speaks(cx) {
                Poll::Ready(()) => Poll::Ready(Err(WriteEnd::Spoke)),
                Poll::Pending => frame
                    .poll_write(at, (&answers, &mut begun), Pin::new(&mut self.stream), cx)
                    .map_err(WriteEnd::Io),
            });
            let stalled = moved + stall;
            let look = if frame.is_answer { Instant::now() + LOOK } else { stalled };
            let some = timeout_at(stalled.min(look).into(), some).await;
            let now = Instant::now();
            match some {
                Ok(Ok(0)) => return Err(WriteEnd::Io(io::ErrorKind::WriteZero.into())),
                Ok(some) => (at, moved) = (at + some?, now),
                Err(_) if now >= stalled => return Err(WriteEnd::Stalled(stall)),
                Err(_) => {}
            }
            let slow = frame.is_answer && at < frame.len && now >= due(started, at, stall);
            if slow && answers.is_contended(now) {
                return Err(WriteEnd::Io(io::Error::other("the peer reads too slowly")));
            }
        }
        Ok(())
    }

    /// Pushes out what was written.
    async fn flush(&mut self) -> Result<(), WriteEnd> {
        let stall = self.timing.stall;
        let flushed = poll_fn(|cx| match self.poll_speaks(cx) {
            Poll::Ready(()) => Poll::Ready(Err(WriteEnd::Spoke)),
            Poll::Pending => Pin::new(&mut self.stream).poll_flush(cx).map_err(WriteEnd::Io),
        });
        timeout(stall, flushed).await.unwrap_or(Err(WriteEnd::Stalled(stall)))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::{Sleep, sleep};

    use super::*;
    use crate::{
        config::TIMING,
        connection::budget::{PeerBudget, SharedBudget},
    };

    const STALL: Duration = Duration::from_millis(200);

    /// A peer that takes a byte each 20 ms.
    struct Slow(Pin<Box<Sleep>>);

    impl AsyncRead for Slow {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            std::task::ready!(self.0.poll_unpin(cx));
            self.0 = Box::pin(sleep(STALL / 10));
            Poll::Ready(Ok(1))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_slow_line_ends_a_session_only_while_others_wait_for_the_room_of_its_answers() {
        let strangers = SharedBudget::strangers();
        let budget =
            || Arc::new(PeerBudget::new(strangers.clone(), Arc::default(), Arc::default()));
        let send_queue = Arc::new(SendQueue::new(budget()));
        let mut writer = LaneWriter {
            lane: Lane::Gossip,
            stream: Slow(Box::pin(sleep(STALL / 10))),
            send_queue: send_queue.clone(),
            timing: Timing { stall: STALL, ..TIMING },
        };
        // Each takes twice as long as a pace that began with it would allow.
        let broadcast = Frame::new(vec![0; 20].into(), FrameCharge::Shared);
        assert!(writer.write(&broadcast).await.is_ok());
        let answer = || {
            let bytes = vec![0; 20].into();
            send_queue.budget.answers.frame(bytes, 20, Instant::now()).expect("room")
        };
        let own = answer();
        assert!(writer.write(&own).await.is_ok());
        let hoard = [(); 3].map(|()| {
            let of = budget();
            of.send(Lane::CatchUp, vec![0; 11 << 20].into())
        });
        assert!(hoard[2].is_none(), "there is no room left");
        assert!(matches!(writer.write(&answer()).await, Err(WriteEnd::Io(_))));
        assert!(writer.write(&broadcast).await.is_ok());
    }
}
