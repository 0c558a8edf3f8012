//! Scans and executions: so many at once, for so long, on threads of their own.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use tokio::time::{sleep, timeout};

use crate::{Params, Rpc, RpcError, RpcResult, limits, memory::Claim};

/// Runs a scan or an execution, when there is memory for it. Its turn goes with it, so that work
/// whose caller gave up still counts against the limit. A panic in it is this
/// request's end, not the node's. Only so many callers wait for their turn.
pub async fn heavy(
    rpc: &Arc<Rpc>,
    work: impl FnOnce(&Rpc, &Params) -> RpcResult + Send + 'static,
    params: Params,
) -> RpcResult {
    let limit = limits::HEAVY_TIME_MAX;
    let run = async {
        let turn = rpc.heavy.take(params.source).await?;
        let claim = room(rpc).await;
        let inner = rpc.clone();
        rpc.backend
            .read(move || {
                let _held = (turn, claim);
                // Reads change nothing, so none can leave half of a change.
                panic::catch_unwind(AssertUnwindSafe(|| work(&inner, &params))).unwrap_or_else(
                    |_| Err(RpcError::Internal("the request failed inside the node".into())),
                )
            })
            .await
    };
    let late = || RpcError::Busy(format!("the request took longer than {} s", limit.as_secs()));
    timeout(limit, run).await.unwrap_or_else(|_| Err(late()))
}

/// Waits until there is room for one more.
async fn room(rpc: &Rpc) -> Claim {
    loop {
        if let Ok(claim) = rpc.memory.claim_for_work() {
            return claim;
        }
        rpc.connections.relieve();
        sleep(limits::ROOM_PAUSE).await;
    }
}
