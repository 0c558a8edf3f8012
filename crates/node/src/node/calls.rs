//! The node's answers to callers (JSON-RPC, the command line).

use trefoil_mempool::Pooled;
use trefoil_types::{Time, Transaction};

use crate::{Call, Effects, Reply, io::PeerStatus, node::Node};

impl Node {
    pub(super) fn call(&mut self, now: Time, call: Call, effects: &mut Effects) -> Reply {
        match call {
            Call::Submit(tx) => {
                let admitted = self.admit(now, tx.clone(), None, effects);
                if admitted.is_ok() {
                    self.fill_candidates(now, std::slice::from_ref(&tx), effects);
                }
                Reply::Submitted(admitted.map(|()| *tx.tx_hash()))
            }
            Call::PendingNonce(sender) => {
                let pooled = self.pool.pending_nonce(&sender);
                let at_tip = || self.ledger.account(&sender).map_or(0, |account| account.nonce);
                Reply::PendingNonce(pooled.unwrap_or_else(at_tip))
            }
            Call::PooledTransaction(hash) => {
                Reply::PooledTransaction(self.pool.get(&hash).cloned())
            }
            Call::PoolContent => {
                let all = self.pool.iter();
                let (pending, queued): (Vec<_>, Vec<_>) = all.partition(|(_, runs)| *runs);
                let txs = |list: Vec<(&Pooled, bool)>| -> Vec<Transaction> {
                    list.into_iter().map(|(pooled, _)| pooled.tx.clone()).collect()
                };
                Reply::PoolContent { pending: txs(pending), queued: txs(queued) }
            }
            Call::Peers => {
                let status = |(peer, connected_since)| PeerStatus {
                    peer,
                    height: self.block_sync.claimed_height(&peer).unwrap_or(0),
                    connected_since,
                };
                Reply::Peers(self.peers.iter().map(status).collect())
            }
        }
    }
}
