//! Lies that need no validator's key: claims, requests and lists of hashes.

use trefoil_crypto::B256;
use trefoil_node::Node;
use trefoil_types::{
    Message, PolkaCertificate, ProposedBlock, RoundCertificate, RoundVote, ValidatorSignature,
    Vote,
    message::{GetBlocks, GetBodies, Tip},
};

use super::ByzantineNode;

impl ByzantineNode {
    /// A certificate of the next height with no vote, one vote, or one vote twice: never a
    /// quorum.
    pub(super) fn inflated(&mut self, node: &Node) -> Vec<u8> {
        let height = node.ledger().tip().number + 1;
        let fits = |vote: &&Vote| vote.height == height;
        let of_height: Vec<Vote> = self.votes.iter().filter(fits).cloned().collect();
        let first = (!of_height.is_empty()).then(|| self.rng.pick(&of_height).clone());
        let votes = match (self.rng.index(3), first) {
            (0, _) | (_, None) => vec![],
            (1, Some(vote)) => vec![vote],
            (_, Some(vote)) => vec![vote.clone(), vote],
        };
        let round = votes.first().map_or(0, |vote| vote.round);
        if self.rng.permille(300) {
            let block = votes.first().and_then(|vote| vote.block).unwrap_or(self.network);
            let signed =
                |v: Vote| ValidatorSignature { validator: v.validator, signature: v.signature };
            let signatures = votes.into_iter().map(signed).collect();
            let polka = PolkaCertificate { height, round, block, signatures };
            return Message::PolkaCertificate(polka).encode();
        }
        let vote = |v: Vote| RoundVote {
            kind: v.kind,
            block: v.block,
            validator: v.validator,
            signature: v.signature,
        };
        let votes = votes.into_iter().map(vote).collect();
        let skip = self.rng.permille(500);
        Message::RoundCertificate(RoundCertificate { height, round, skip, votes }).encode()
    }

    /// A request whose answer is much longer: the transactions of the block that is proposed or
    /// of the tip, many times, or the whole chain; or one for transactions that do not exist.
    pub(super) fn begging(&mut self, node: &Node) -> Vec<u8> {
        let (tip, block) = (node.ledger().tip().number, node.ledger().tip_hash());
        let stored = node.ledger().snapshot().block(tip).ok().flatten();
        let txs = stored.iter().flat_map(|stored| &stored.block.transactions);
        let named: Vec<B256> = txs.map(|tx| *tx.tx_hash()).collect();
        let mut tx_hashes: Vec<B256> = named.iter().cycle().take(200).copied().collect();
        tx_hashes.push(B256::from_slice(&self.rng.bytes(32)));
        // Transactions of a block that is on its way: they are sent when they come.
        if let Some(proposed) = self.heard.take().filter(|it| !it.tx_hashes.is_empty()) {
            let (block, tx_hashes) = (proposed.proposal.block, proposed.tx_hashes);
            return Message::GetBodies(GetBodies { block, tx_hashes }).encode();
        }
        let message = match self.rng.index(64) {
            // What nobody has is noted, until the height ends.
            0 => {
                let block = B256::from_slice(&self.rng.bytes(32));
                let hashes = (0..16_384).map(|_| B256::from_slice(&self.rng.bytes(32)));
                Message::GetBodies(GetBodies { block, tx_hashes: hashes.collect() })
            }
            1..=21 => Message::GetBodies(GetBodies { block, tx_hashes }),
            22..=42 => Message::GetTxs(tx_hashes),
            _ => Message::GetBlocks(GetBlocks { from: 1, count: u64::MAX }),
        };
        message.encode()
    }

    pub(super) fn false_hashes(&mut self) -> Option<Vec<u8>> {
        if !self.rng.permille(100) {
            return None;
        }
        let hashes = (0..300).map(|_| B256::from_slice(&self.rng.bytes(32)));
        Some(Message::TxHashes(hashes.collect()).encode())
    }

    /// What it heard, with another list, and at once: who executes the block first comes later.
    pub(super) fn false_list(&mut self) -> Option<Vec<u8>> {
        let mut proposed = self.heard.take()?;
        self.spoil_list(&mut proposed);
        Some(Message::Proposal(proposed).encode())
    }

    /// Each receiver may get another list.
    pub(super) fn lie_about_hashes(&mut self, message: &Message) -> Vec<Vec<u8>> {
        let mut message = message.clone();
        if let Message::Proposal(proposed) = &mut message {
            self.spoil_list(proposed);
        }
        vec![message.encode()]
    }

    fn spoil_list(&mut self, proposed: &mut ProposedBlock) {
        match self.rng.index(3) {
            0 => proposed.tx_hashes.push(B256::from_slice(&self.rng.bytes(32))),
            1 => proposed.tx_hashes.clear(),
            _ => proposed.tx_hashes.reverse(),
        }
    }

    pub(super) fn boast(&mut self, node: &Node) -> Vec<u8> {
        let tip = node.ledger().tip().number;
        // One that is barely ahead, one that is far, and the greatest there is: sums must not
        // overflow on it.
        let height = *self.rng.pick(&[tip + 2, tip + 1000, 1_000_000_000, u64::MAX]);
        Message::Tip(Tip { height, hash: self.network, round: 0 }).encode()
    }
}
