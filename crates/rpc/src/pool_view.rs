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

use crate::{RpcResult, backend::RpcBackend, limits};

/// What waits in the pool.
#[derive(Default)]
pub struct PoolContent {
    /// May enter the next block.
    pub pending: Vec<Transaction>,
    /// Wait for a nonce before theirs.
    pub queued: Vec<Transaction>,
}

// A full pool is 100 MiB that no account counts.
/// The newest list as long as anybody uses it, and when it was asked for.
#[derive(Default)]
pub struct PoolView(Mutex<Option<(Instant, Weak<PoolContent>)>>);

impl PoolView {
    pub async fn content(&self, backend: &RpcBackend) -> RpcResult<Arc<PoolContent>> {
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
            Reply::PoolContent { pending, queued } => PoolContent { pending, queued },
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
        let content = server.rpc.pool.content(&server.rpc.backend).await.unwrap();
        let newest = server.rpc.pool.0.lock().await.clone().expect("a list").1;
        assert!(newest.upgrade().is_some());
        drop(content);
        while newest.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }
}
