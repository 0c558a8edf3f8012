//! Transactions from wallets and peers on their way into the pool and on to other peers.

use alloy_primitives::{Bytes, KECCAK256_EMPTY};
use trefoil_ledger::Ledger;
use trefoil_mempool::{MempoolError, SenderState, TxRules};
use trefoil_types::{
    Address, B256, Offence, PeerId, Time, Transaction, TxError, message_rule as rules,
    spec::{Parameter, fork_at},
};

use crate::{
    Effects, Event, jobs::RecoveryPurpose, node::Node, peer_bytes::request_cost,
    tx_gossip::send_transactions,
};

impl Node {
    /// Takes a transaction into the pool and sends it on, or returns the reason that it does not.
    pub(super) fn admit(
        &mut self,
        now: Time,
        tx: Transaction,
        source: Option<PeerId>,
        effects: &mut Effects,
    ) -> Result<(), MempoolError> {
        let (rules, ledger) = (self.tx_rules(), &self.ledger);
        self.pool.admit(now, tx.clone(), source, &rules, || sender_state(ledger, &tx))?;
        self.note_content(now);
        // A look at every peer, which a wallet's transaction does not need.
        let is_meshed = source.is_some() && self.is_meshed();
        self.tx_gossip.spread(now, &tx, source, self.peers.members().len(), is_meshed);
        effects.events.push(Event::Admitted(tx));
        Ok(())
    }

    /// The rules of the block after the tip for its transactions.
    fn tx_rules(&self) -> TxRules {
        let (governed, height) = (self.ledger.governed(), self.next_height());
        let parameter = |parameter| governed.parameters.at(parameter, height);
        TxRules {
            chain_id: self.ledger.spec().chain_id,
            fork: fork_at(&governed.forks, height),
            gas_limit: governed.settings.gas_limit,
            base_fee: self.ledger.next_base_fee(),
            gas_free: governed.settings.is_gas_free(),
            tx_gas_max: parameter(Parameter::TxGas),
            code_bytes_max: parameter(Parameter::CodeSize),
        }
    }

    /// Gives the pool a sender's account at the tip.
    pub(super) fn refresh_sender(&mut self, sender: &Address) {
        if self.pool.pending_nonce(sender).is_some() {
            let account = self.ledger.account(sender);
            let (nonce, balance) = account.map_or_else(Default::default, |a| (a.nonce, a.balance));
            self.pool.advance(sender, nonce, balance);
        }
    }

    pub(super) fn gossip_if_due(&mut self, now: Time, effects: &mut Effects) {
        if self.tx_gossip.due().is_some_and(|due| due <= now) {
            let peers: Vec<PeerId> = self.peers.members().copied().collect();
            self.tx_gossip.tick(now, &peers, &self.pool, effects);
        }
    }

    /// A peer asks for transactions that were announced to it.
    pub(super) fn on_get_txs(
        &mut self,
        now: Time,
        peer: PeerId,
        hashes: &[B256],
        effects: &mut Effects,
    ) {
        let Some(room) = self.may_answer(now, &rules::GET_TXS, peer, effects) else { return };
        let sent = send_transactions(peer, hashes, room, &self.pool, effects);
        // Looking for what is not here is work, too.
        self.charge_answer(&rules::GET_TXS, peer, sent + request_cost(hashes.len()));
    }

    pub(super) fn on_txs(&mut self, peer: PeerId, txs: Vec<Bytes>, effects: &mut Effects) {
        let peers = self.peers.members().len();
        for (hashes, txs) in self.tx_gossip.on_txs(peer, peers, txs, &self.pool) {
            self.jobs.recover(txs, RecoveryPurpose::Gossip { peer, hashes }, effects);
        }
    }

    pub(super) fn gossip_recovered(
        &mut self,
        now: Time,
        peer: PeerId,
        hashes: &[B256],
        txs: Vec<Result<Transaction, TxError>>,
        effects: &mut Effects,
    ) {
        self.tx_gossip.note_recovered(&peer, hashes);
        let mut sound = Vec::with_capacity(txs.len());
        for tx in txs {
            let Ok(tx) = tx else {
                // A node recovers before it sends on.
                effects.blame_relay(peer, Offence::InvalidTransaction);
                continue;
            };
            match self.admit(now, tx.clone(), Some(peer), effects) {
                // Other refusals depend on the node's tip and pool: the peer's may differ.
                Err(MempoolError::ChainId { .. }) => {
                    effects.blame_relay(peer, Offence::InvalidTransaction)
                }
                _ => sound.push(tx),
            }
        }
        self.fill_candidates(now, &sound, effects);
    }
}

/// The account that sends a transaction, at the tip.
fn sender_state(ledger: &Ledger, tx: &Transaction) -> SenderState {
    let permissions = ledger.permissions(&tx.signer());
    let nobody = SenderState {
        is_barred: !permissions.may_send(),
        deploys_nothing: !permissions.may_deploy(),
        ..SenderState::default()
    };
    let Some(account) = ledger.account(&tx.signer()) else { return nobody };
    let is_contract = account.code_hash != KECCAK256_EMPTY && {
        let code = ledger.snapshot().code(&account.code_hash);
        let code = code.unwrap_or_else(|e| panic!("code {}: {e}", account.code_hash));
        !code.is_some_and(|code| is_delegation(&code))
    };
    SenderState { nonce: account.nonce, balance: account.balance, is_contract, ..nobody }
}

/// EIP-7702: code that only points to another account's.
fn is_delegation(code: &[u8]) -> bool {
    code.len() == 23 && code.starts_with(&[0xef, 0x01, 0x00])
}
