//! A server's whole file, read once from start to end.

use std::{
    io::{self, Read},
    sync::Arc,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::sleep};

use super::{RangeResponse, Server, WebError};

// The server sends on while a chunk is hashed. Each chunk is one read of a socket.
/// Chunks that are read ahead.
const AHEAD: usize = 16;

// As many as for an origin of a transfer (fetching.rs). There the swarm has other sources;
// here the `put` fails, after pauses of 31 s.
/// Failures in a row, without a byte between them, that end the reading.
const FAILURES_MAX: u32 = 6;

/// The bytes of a file, for a reader on a thread. A connection that breaks is
/// made anew, and goes on where it was.
#[derive(Debug)]
pub struct OriginReader {
    pub size: u64,
    chunks: mpsc::Receiver<Result<Bytes, WebError>>,
    now: Bytes,
}

impl OriginReader {
    /// # Errors
    /// When the server gives no ranges of bytes, or nothing.
    pub async fn start(server: Arc<Server>) -> Result<Self, WebError> {
        let mut failures = 0;
        let first = loop {
            match server.rest(0).await {
                Err(error) if error.is_passing() => rest(&mut failures, error).await?,
                first => break first?,
            }
        };
        let (size, (sender, chunks)) = (first.size, mpsc::channel(AHEAD));
        tokio::spawn(async move {
            if let Err(error) = read(&server, first, &sender).await {
                // The reader may have given up.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(Self { size, chunks, now: Bytes::new() })
    }
}

async fn read(
    server: &Server,
    mut answer: RangeResponse,
    to: &mpsc::Sender<Result<Bytes, WebError>>,
) -> Result<(), WebError> {
    let (size, mut at, mut failures) = (answer.size, 0, 0);
    loop {
        let failure = match answer.chunk().await {
            Ok(Some(chunk)) => {
                (at, failures) = (at + chunk.len() as u64, 0);
                if to.send(Ok(chunk)).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            Ok(None) => return Ok(()),
            Err(failure) if failure.is_passing() => failure,
            Err(failure) => return Err(failure),
        };
        rest(&mut failures, failure).await?;
        answer = loop {
            match server.range(at..size, size).await {
                Err(error) if error.is_passing() => rest(&mut failures, error).await?,
                answer => break answer?,
            }
        };
    }
}

/// Waits before the next attempt, if there is to be one.
async fn rest(failures: &mut u32, failure: WebError) -> Result<(), WebError> {
    *failures += 1;
    if *failures >= FAILURES_MAX {
        return Err(failure);
    }
    let pause = failure.pause(*failures);
    tracing::info!(error = %failure, ?pause, "an origin fails, and is asked again");
    sleep(pause).await;
    Ok(())
}

impl Read for OriginReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.now = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let count = self.now.len().min(buf.len());
        buf[..count].copy_from_slice(&self.now.split_to(count));
        Ok(count)
    }
}
