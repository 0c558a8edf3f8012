//! The bytes of a file for the gateway, read while they come.
//!
//! What always holds: every byte was verified before it is given on, what waits for a client is
//! claimed of the gateway's memory, and a body ends that nothing is added to.

use std::{ops::Range, sync::Arc, time::Duration};

use axum::body::Bytes;
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};
use trefoil_swarm::{Content, FetchError, OpenStore, Selection};

use crate::{
    limits,
    memory::{Claim, Claimed, MemoryAccount},
    source_places::SourcePlace,
};

/// Bytes that are read and sent at once.
const CHUNK: u64 = 64 << 10;
/// How long an answer waits for memory before it begins.
const ROOM_TIME_MAX: Duration = Duration::from_secs(10);
// It holds one of `limits::GATEWAY_GETS_MAX`; a player asks again for the rest.
/// How long the next bytes may take to come.
const CHUNK_TIME_MAX: Duration = Duration::from_secs(30);

/// Why a body does not begin, or ends early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("too much is being read through the gateway; try again later")]
    NoRoom,
    #[error("no more of it came for {} s", CHUNK_TIME_MAX.as_secs())]
    Stalled,
}

/// Reads along with a fetch.
pub struct BodyReader {
    content: Content,
    memory: MemoryAccount,
    held: Arc<OpenStore>,
    path: Option<String>,
    file: u32,
    left: Range<u64>,
    /// What was read before it was asked for.
    first: Option<Bytes>,
    /// Fetches what is ahead, for as long as somebody reads.
    ahead: AbortHandle,
    _place: SourcePlace,
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        self.ahead.abort();
    }
}

impl BodyReader {
    /// `place`: one of [`limits::GATEWAY_GETS_MAX`].
    pub fn new(
        content: Content,
        memory: MemoryAccount,
        held: Arc<OpenStore>,
        path: Option<String>,
        left: Range<u64>,
        place: SourcePlace,
    ) -> Self {
        let file = path.as_deref().and_then(|path| held.file(path)).map_or(0, |(file, _)| file);
        let (all, id) = (content.clone(), held.id);
        let selection = Selection {
            path: path.clone(),
            range: Some(left.clone()),
            sequential: true,
            apart: false,
        };
        let task = tokio::spawn(async move { all.get(&id.into(), selection).await });
        let ahead = task.abort_handle();
        Self { content, memory, held, path, file, left, first: None, ahead, _place: place }
    }

    /// Before the first bytes are asked for.
    pub async fn begin(mut self) -> Result<Self, BodyError> {
        // An answer that has begun cannot become an error any more.
        self.content.has_room(&self.held, self.file, self.left.clone())?;
        let claim = timeout(ROOM_TIME_MAX, self.room()).await.map_err(|_| BodyError::NoRoom)?;
        let is_here = self.is_here();
        if is_here || self.held.noted().is_some() {
            let read = self.read(claim, is_here);
            self.first =
                Some(timeout(CHUNK_TIME_MAX, read).await.map_err(|_| BodyError::Stalled)??);
        }
        Ok(self)
    }

    fn is_here(&self) -> bool {
        let parts = self.held.layout.pieces_of(self.file, self.now());
        let mut parts = parts.map(|piece| self.held.layout.part(piece));
        parts.all(|part| self.held.store.has(&part))
    }

    /// What is read next.
    fn now(&self) -> Range<u64> {
        self.left.start..self.left.end.min(self.left.start + CHUNK)
    }

    /// The next bytes, when they are here.
    pub async fn next(mut self) -> Result<Option<(Bytes, Self)>, BodyError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let read = match self.first.take() {
            Some(first) => Ok(first),
            None => self.fetch().await,
        };
        let bytes = read.inspect_err(|error| {
            if let Some(unshown) = self.content.tells_broken_off(&self.held) {
                let id = self.held.id;
                tracing::warn!(%id, %error, unshown, "breaks off what it gives over HTTP");
            }
        })?;
        self.left.start += bytes.len() as u64;
        Ok(Some((bytes, self)))
    }

    async fn fetch(&mut self) -> Result<Bytes, BodyError> {
        let fetch = async {
            let claim = self.room().await;
            self.read(claim, false).await
        };
        timeout(CHUNK_TIME_MAX, fetch).await.map_err(|_| BodyError::Stalled)?
    }

    async fn read(&mut self, claim: Claim, is_here: bool) -> Result<Bytes, BodyError> {
        if !is_here {
            let range = Some(self.now());
            let selection = Selection { path: self.path.clone(), range, ..Selection::default() };
            // Its store may have been closed meanwhile, and opened anew.
            self.held = self.content.get(&self.held.id.into(), selection).await?;
        }
        let bytes = self.content.read(&self.held, self.file, self.now()).await?;
        Ok(Claimed::bytes(bytes, claim))
    }

    // An answer that has begun cannot be refused any more. Those who hold the room read, or are
    // let go after a time.
    /// Waits until there is room for the next bytes.
    async fn room(&self) -> Claim {
        let now = self.now();
        let bytes = usize::try_from(now.end - now.start).unwrap_or(usize::MAX);
        loop {
            match self.memory.claim(bytes) {
                Ok(claim) => return claim,
                Err(_) => sleep(limits::ROOM_PAUSE).await,
            }
        }
    }
}
