//! Scans and executions: so many at once, for so long, on threads of their own.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Instant,
};

use tokio::time::{sleep, timeout};
use trefoil_types::Height;

use crate::{
    Json, MemoryAccount, Params, Rpc, RpcError, RpcResult, caches::HeldBlock, limits, memory::Claim,
};

/// Runs a scan or an execution, when there is memory for it. Its turn goes with it, so that work
/// whose caller gave up still counts against the limit. A panic in it is this
/// request's end, not the node's. Only so many callers wait for their turn.
pub async fn heavy<T: HeldResult>(
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
                let _turn = turn;
                let account = params.account().unwrap_or(&inner.memory).clone();
                // Reads change nothing, so none can leave half of a change.
                let result = panic::catch_unwind(AssertUnwindSafe(|| work(&inner, &params)));
                drop(claim);
                let failed = || RpcError::Internal("the request failed inside the node".into());
                claimed(&account, result.unwrap_or_else(|_| Err(failed())))
            })
            .await
    };
    let late = || RpcError::Busy(format!("the request took longer than {} s", limit.as_secs()));
    let (result, claim) = timeout(limit, run).await.unwrap_or_else(|_| Err(late()))?;
    // Whoever asked claims it again, before anybody else has this thread.
    drop(claim);
    result
}

// Attack: a hundred calls that return 5 MiB each, in bodies for which one thread is kept that others
// keep busy (`limits::LONG_BYTES`): the results waited for it, and were in no account.
/// A result with its claim until it is taken. Of the room that is set aside for work it keeps none.
///
/// # Errors
/// There is no room for it.
fn claimed<T: HeldResult>(
    account: &MemoryAccount,
    result: RpcResult<T>,
) -> RpcResult<(RpcResult<T>, Claim)> {
    let bytes = match &result {
        Ok(value) => value.bytes(),
        Err(RpcError::Reverted(data)) => data.len(),
        Err(_) => 0,
    };
    // For an error's few words there always is room.
    let claim = if bytes == 0 { account.claim_anyway(0) } else { account.claim(bytes)? };
    Ok((result, claim))
}

/// What work results in.
pub trait HeldResult: Send + 'static {
    /// Bytes that it holds and that nobody counts.
    fn bytes(&self) -> usize;
}

impl HeldResult for () {
    fn bytes(&self) -> usize {
        0
    }
}

impl HeldResult for Json {
    fn bytes(&self) -> usize {
        self.get().len()
    }
}

/// A block counts itself.
impl<T: Send + Sync + 'static> HeldResult for (Option<RpcResult>, HeldBlock<T>) {
    fn bytes(&self) -> usize {
        self.0.as_ref().and_then(|shown| shown.as_ref().ok()).map_or(0, HeldResult::bytes)
    }
}

impl<T: HeldResult> HeldResult for Option<T> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, HeldResult::bytes)
    }
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
