//! Writes one lane of a session.

use std::sync::{Arc, atomic::Ordering};

use libp2p::Stream;
use tokio::time::timeout;
use trefoil_types::message::Lane;

use crate::{
    config::Timing,
    connection::{
        frame::{self, Control},
        send_queue::{SendQueue, Waiting},
        session_end::SessionEnd,
    },
};

/// Writes a lane for ever; pings on an idle consensus lane.
// All that waits is written before a flush: each flush makes a frame of the transport, with a
// tag of its own, and a system call.
pub(crate) async fn write_lane(
    lane: Lane,
    mut stream: Stream,
    send_queue: Arc<SendQueue>,
    timing: Timing,
) -> SessionEnd {
    let ping = Control::Ping.encode();
    loop {
        let mut frame = match lane {
            Lane::Consensus => timeout(timing.ping, send_queue.next(lane))
                .await
                .unwrap_or_else(|_| Waiting::shared(ping.clone())),
            Lane::CatchUp | Lane::Gossip => send_queue.next(lane).await,
        };
        let sent = async {
            loop {
                frame::write(&mut stream, &frame.bytes, timing.stall).await?;
                send_queue.bytes_out.fetch_add(frame.bytes.len() as u64, Ordering::Relaxed);
                match send_queue.try_next(lane) {
                    Some(next) => frame = next,
                    None => return frame::flush(&mut stream, timing.stall).await,
                }
            }
        };
        match sent.await {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
                return SessionEnd::Closed(format!("the peer read nothing for {:?}", timing.stall));
            }
            Err(e) => return SessionEnd::Closed(format!("connection lost: {e}")),
        }
    }
}
