//! The context of every method: the running node, the limits and the caches; and the
//! block that a caller means.

use std::sync::{Arc, Mutex};

use alloy_primitives::B256;
use tokio::runtime::Handle;
use trefoil_ledger::Snapshot;
use trefoil_types::Height;

use crate::{
    HttpAccess, Limits, RpcError, RpcResult, backend::RpcBackend, caches::BlockCache,
    connections::HttpConnectionTable, counters::RequestCounters, event_hub::EventHub,
    filter_table::FilterTable, heavy_turns::HeavyTurns, limits, memory::MemoryAccount,
    params::BlockRef, pool_view::PoolView, source_places::SourcePlaces,
};

/// The server: everything a handler can reach.
pub struct Rpc {
    pub backend: RpcBackend,
    pub limits: Limits,
    pub access: HttpAccess,
    pub events: Arc<EventHub>,
    pub filters: FilterTable,
    pub counters: RequestCounters,
    /// The suggested tip as of one block, so that it is worked out once a block.
    pub tip: Mutex<Option<(B256, u128)>>,
    pub blocks: BlockCache,
    pub heavy: Arc<HeavyTurns>,
    /// Callers that wait for their transaction's block.
    pub sync_waits: Arc<SourcePlaces>,
    pub pool: PoolView,
    /// What callers make the server hold.
    pub memory: MemoryAccount,
    pub connections: Arc<HttpConnectionTable>,
    /// Where requests of more than [`limits::LONG_BYTES`] are worked on.
    pub long: Handle,
}

impl Rpc {
    pub fn new(
        backend: RpcBackend,
        access: HttpAccess,
        limits: Limits,
        memory: MemoryAccount,
        long: Handle,
    ) -> Arc<Self> {
        let turns = memory.works_max(backend.readers.current_num_threads());
        Arc::new(Self {
            events: Arc::default(),
            filters: FilterTable::new(&memory, limits.filters),
            counters: RequestCounters::default(),
            tip: Mutex::default(),
            blocks: BlockCache::default(),
            heavy: HeavyTurns::new(turns, limits::HEAVY_WAITS_MAX),
            sync_waits: SourcePlaces::new(limits::SYNC_WAITS_MAX),
            pool: PoolView::default(),
            connections: HttpConnectionTable::new(memory.clone()),
            memory,
            backend,
            access,
            limits,
            long,
        })
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
