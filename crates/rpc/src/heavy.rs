//! Scans and executions: so many at once, for so long, on threads of their own.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Instant,
};

use tokio::time::{sleep, timeout};
use trefoil_types::Height;

use crate::{Params, Rpc, RpcError, RpcResult, limits, memory::Claim};

/// Runs a scan or an execution, when there is memory for it. Its turn goes with it, so that work
/// whose caller gave up still counts against the limit. A panic in it is this
/// request's end, not the node's. Only so many callers wait for their turn.
pub async fn heavy<T: Send + 'static>(
    rpc: &Arc<Rpc>,
    work: impl FnOnce(&Rpc, &Params) -> RpcResult<T> + Send + 'static,
    params: Params,
) -> RpcResult<T> {
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
        rpc.relieve();
        sleep(limits::ROOM_PAUSE).await;
    }
}

// Work cannot be ended from outside: a walk over many blocks looks by itself, at each of them.
/// The time that work has, from its beginning.
pub struct WorkTime(Instant);

impl WorkTime {
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// # Errors
    /// `what` reached this block when its time was over. Its caller has given up by then: the
    /// thread is for others.
    pub fn check(&self, what: &str, height: Height) -> RpcResult<()> {
        if self.0.elapsed() > limits::HEAVY_TIME_MAX {
            let text = format!("{what} took too long (reached block {height})");
            return Err(RpcError::Busy(text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_walk_over_many_blocks_ends_when_its_caller_has_given_up() {
        let ago = |time: Duration| WorkTime(Instant::now().checked_sub(time).expect("a past"));
        assert!(ago(limits::HEAVY_TIME_MAX / 2).check("it", 7).is_ok());
        let late = ago(limits::HEAVY_TIME_MAX + Duration::from_millis(1)).check("it", 7);
        assert_eq!(late.unwrap_err().to_string(), "it took too long (reached block 7)");
    }
}
