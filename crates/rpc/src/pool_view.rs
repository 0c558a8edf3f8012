//! The pool's transactions, as the node's thread listed them for whoever asks now.
//!
//! What always holds: the node's thread lists them at most once in [`limits::POOL_PAUSE`],
//! however many ask; and what a caller is shown was listed after it asked, so it contains what
//! the caller sent before.

use std::sync::{Arc, Weak};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until},
};
use trefoil_node::{Call, Reply};
use trefoil_types::Transaction;

use crate::{MemoryAccount, RpcResult, backend::RpcBackend, limits, memory::Claim};

/// What waits in the pool.
#[derive(Default)]
pub struct PoolContent {
    /// May enter the next block.
    pub pending: Vec<Transaction>,
    /// Wait for a nonce before theirs.
    pub queued: Vec<Transaction>,
    /// The room of both lists.
    _claim: Option<Claim>,
}

// A full pool is 100 MiB, of which the node holds the most itself. Attack: lists that wait for a turn
// of heavy work, a new one each 100 ms.
/// The newest list as long as anybody uses it, and when it was asked for.
#[derive(Default)]
pub struct PoolView(Mutex<Option<(Instant, Weak<PoolContent>)>>);

impl PoolView {
    /// # Errors
    /// There is no room for a list; the node does not answer.
    pub async fn content(
        &self,
        backend: &RpcBackend,
        memory: &MemoryAccount,
    ) -> RpcResult<Arc<PoolContent>> {
        let asked = Instant::now();
        // One asks for all who wait here meanwhile.
        let mut newest = self.0.lock().await;
        if let Some((listed, content)) = &*newest {
            if let Some(content) = content.upgrade().filter(|_| *listed >= asked) {
                return Ok(content);
            }
            sleep_until(*listed + limits::POOL_PAUSE).await;
        }
        let listed = Instant::now();
        let content = match backend.call(Call::PoolContent).await? {
            Reply::PoolContent { pending, queued } => {
                let bytes = (pending.len() + queued.len()) * size_of::<Transaction>();
                PoolContent { pending, queued, _claim: Some(memory.claim(bytes)?) }
            }
            _ => PoolContent::default(),
        };
        let content = Arc::new(content);
        *newest = Some((listed, Arc::downgrade(&content)));
        // For those who wait meanwhile.
        let kept = content.clone();
        tokio::spawn(async move {
            sleep(limits::POOL_PAUSE).await;
            drop(kept);
        });
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::TestServer;

    #[tokio::test]
    async fn a_list_is_let_go_when_nobody_uses_it() {
        let server = TestServer::new().await;
        let content = server.rpc.pool_content().await.unwrap();
        let newest = server.rpc.pool.0.lock().await.clone().expect("a list").1;
        assert!(newest.upgrade().is_some());
        drop(content);
        while newest.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }
}
