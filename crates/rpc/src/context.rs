//! The context of every method: the running node, the limits and the caches; and the
//! block that a caller means.

use std::sync::Arc;

use tokio::runtime::Handle;
use trefoil_ledger::Snapshot;
use trefoil_types::Height;

use crate::{
    HttpAccess, Limits, RpcError, RpcResult,
    backend::RpcBackend,
    caches::BlockCache,
    connections::HttpConnectionTable,
    counters::RequestCounters,
    event_hub::EventHub,
    filter_table::FilterTable,
    heavy_turns::HeavyTurns,
    limits,
    memory::MemoryAccount,
    params::BlockRef,
    pool_view::{PoolContent, PoolView},
    source_places::SourcePlaces,
};

/// The server: everything a handler can reach.
pub struct Rpc {
    pub backend: RpcBackend,
    pub limits: Limits,
    pub access: HttpAccess,
    pub events: Arc<EventHub>,
    pub filters: FilterTable,
    pub counters: RequestCounters,
    pub blocks: BlockCache,
    pub heavy: Arc<HeavyTurns>,
    /// Callers that wait for their transaction's block.
    pub sync_waits: Arc<SourcePlaces>,
    pub pool: PoolView,
    /// What callers make the server hold.
    pub memory: MemoryAccount,
    pub connections: Arc<HttpConnectionTable>,
    /// Where requests are worked on.
    pub calls: Handle,
    /// Where those of more than [`limits::LONG_BYTES`] are.
    pub long: Handle,
}

impl Rpc {
    pub fn new(
        backend: RpcBackend,
        access: HttpAccess,
        limits: Limits,
        memory: MemoryAccount,
        [calls, long]: [Handle; 2],
    ) -> Arc<Self> {
        let turns = memory.works_max(backend.readers.current_num_threads());
        Arc::new(Self {
            events: Arc::default(),
            filters: FilterTable::new(&memory, limits.filters),
            counters: RequestCounters::default(),
            blocks: BlockCache::new(memory.clone()),
            heavy: HeavyTurns::new(turns, limits::HEAVY_WAITS_MAX),
            sync_waits: SourcePlaces::new(limits::SYNC_WAITS_MAX),
            pool: PoolView::default(),
            connections: HttpConnectionTable::new(memory.clone()),
            memory,
            backend,
            access,
            limits,
            calls,
            long,
        })
    }

    /// Makes room for those who were refused it: of what nobody uses now, or of those who do not
    /// read.
    pub fn relieve(&self) {
        self.blocks.yield_room();
        self.connections.relieve();
    }

    /// The pool's transactions.
    ///
    /// # Errors
    /// As of [`PoolView::content`].
    pub async fn pool_content(&self) -> RpcResult<Arc<PoolContent>> {
        self.pool.content(&self.backend, &self.memory).await
    }

    // One snapshot answers the whole request: between two looks at the tip a block may come.
    /// The height that a caller means (absent: the tip), and a view of the
    /// chain that has it. `None`: no such block.
    pub fn find(&self, block: Option<BlockRef>) -> RpcResult<(Snapshot, Option<Height>)> {
        let snapshot = self.backend.snapshot();
        let tip = snapshot.tip().number;
        let height = match block.unwrap_or(BlockRef::Latest) {
            BlockRef::Latest | BlockRef::Pending => Some(tip),
            BlockRef::Number(number) => Some(number).filter(|n| *n <= tip),
            BlockRef::Hash(hash) => snapshot.height_of(&hash)?,
        };
        Ok((snapshot, height))
    }

    /// As [`Rpc::find`], for state: a block that is not there is an error.
    pub fn at(&self, block: Option<BlockRef>) -> RpcResult<(Snapshot, Height)> {
        let (snapshot, height) = self.find(block)?;
        let asked = || match block {
            Some(BlockRef::Number(number)) => format!("{number}"),
            Some(BlockRef::Hash(hash)) => hash.to_string(),
            _ => "latest".into(),
        };
        match height {
            Some(height) => Ok((snapshot, height)),
            None => Err(RpcError::BlockNotFound { asked: asked(), head: snapshot.tip().number }),
        }
    }
}
