//! Block sync: final blocks from peers, each proved by its certificate.
//!
//! Owns: what each peer claims and how it kept its claims, the one request that is out,
//! and the blocks that came. What always holds: one request is out at a time; nothing
//! is committed whose certificate was not verified against the validators of its
//! height. A peer's tip is a claim: it starts a request and stops nothing. Only when the
//! block after our own tip has come and its certificate verifies does this node leave
//! its height to block sync (a red team's `Tip{height: 10^9}` from fresh identities once
//! held validators to 3 blocks in 60 s). A peer that does not keep what its tip promised
//! is left alone for a while. It must never know: consensus, candidates, the pool.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use alloy_consensus::proofs::calculate_transaction_root;
use alloy_eips::Encodable2718;
use alloy_primitives::Bytes;
use alloy_rlp::Encodable;
use trefoil_ledger::Ledger;
use trefoil_types::{
    Attached, Certificate, CertifiedBlock, Header, Height, Millis, Offence, PeerId, RecoveredBlock,
    Time, Transaction, TxError, limits,
    message::{Blocks, GetBlocks},
};

// Some peer is always the first to commit: to ask at once would fetch each block twice. Half a
// second is the default block interval.
/// How long a peer may be one block ahead before we ask it: consensus mostly
/// brings that block by itself.
const LAG: Millis = Millis(500);
// An answer may have 4 MiB (`CATCH_UP_BYTES_MAX`): three seconds at 11 Mbit/s.
/// How long a peer has to answer.
const ANSWER_WAIT: Millis = Millis(3_000);
// Attack: a request of a few bytes makes this node read and encode megabytes. A node that
// syncs has one request out at a time, and does not need as many: 50 answers of 256 blocks
// are 12,800 blocks a second.
/// Requests for blocks that a peer gets answered in a second.
const SERVED_PER_S_MAX: u32 = 50;
// Attack: peers that claim high tips and give nothing. Each costs one wait, and then waits
// that grow apart; it is not forgotten for ever, since a slow peer is not a liar.
/// How long a peer that did not keep a promise is not asked again; doubles.
const DISTRUST: Millis = Millis(1_000);
// 64 s: an honest peer whose link was down for an hour is asked again a minute later.
/// … so many times at most.
const DISTRUST_DOUBLINGS_MAX: u32 = 6;

#[derive(Debug, Default)]
pub(crate) struct BlockSync {
    sources: BTreeMap<PeerId, BlockSource>,
    request: Option<BlockRequest>,
    /// The blocks of one answer are out for recovery.
    recovering: bool,
    /// The blocks that may be committed. Their certificates are yet to be verified.
    ready: VecDeque<ReadyBlock>,
    /// The peer that was asked last; the next one is next.
    last: Option<PeerId>,
    /// Whether that was one of those preferred.
    preferred: bool,
}

/// What is known of a peer as a giver of blocks.
#[derive(Debug, Default)]
struct BlockSource {
    is_member: bool,
    /// The height of its newest final block, as it says.
    height: Option<Height>,
    /// Since when its tip is ahead of ours.
    ahead_since: Option<Time>,
    /// Blocks it promised and did not give, in a row.
    failures: u32,
    /// The last blocks that it was asked for came, and verified.
    delivers: bool,
    distrusted_until: Time,
    /// Requests for blocks served in the second that began then.
    served: (Time, u32),
}

#[derive(Debug)]
struct BlockRequest {
    peer: PeerId,
    from: Height,
    until: Time,
}

/// A block whose transactions are recovered and whose certificate is not verified yet.
#[derive(Debug)]
pub(crate) struct ReadyBlock {
    pub peer: PeerId,
    pub block: Arc<RecoveredBlock>,
    pub certificate: Certificate,
}

/// The answer of a peer while its transactions are being recovered.
#[derive(Debug)]
pub(crate) struct FetchedBlocks {
    peer: PeerId,
    blocks: Vec<FetchedBlock>,
}

#[derive(Debug)]
struct FetchedBlock {
    header: Header,
    tx_count: usize,
    certificate: Certificate,
    attached: Attached,
}

/// What block sync does not decide for itself: where this node stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SyncPosition {
    pub next_height: Height,
    /// The next block is decided, and its body is not here.
    pub lacks_decided: bool,
}

impl BlockSource {
    /// Remembers since when it is ahead of our tip.
    fn note_lead(&mut self, ours: Height, now: Time) {
        let ahead = self.height.is_some_and(|height| height > ours);
        self.ahead_since = ahead.then(|| self.ahead_since.unwrap_or(now));
    }

    /// From when on it makes sense to ask it for blocks, if it has any.
    fn worth_asking_from(&self, at: SyncPosition) -> Option<Time> {
        let (height, since) = (self.height?, self.ahead_since?);
        let at_once = height > at.next_height || at.lacks_decided;
        let from = if at_once { since } else { since + LAG };
        Some(from.max(self.distrusted_until))
    }
}

impl BlockSync {
    pub fn connected(&mut self, peer: PeerId, is_member: bool) {
        self.sources.insert(peer, BlockSource { is_member, ..Default::default() });
    }

    pub fn disconnected(&mut self, peer: &PeerId) {
        self.sources.remove(peer);
        self.request.take_if(|request| request.peer == *peer);
    }

    /// A peer says how high its tip is; ours is at `ours`.
    pub fn on_tip(&mut self, now: Time, peer: &PeerId, height: Height, ours: Height) {
        if let Some(source) = self.sources.get_mut(peer) {
            source.height = Some(height);
            source.note_lead(ours, now);
        }
    }

    /// Our tip is at `ours` now.
    pub fn committed(&mut self, now: Time, ours: Height) {
        self.sources.values_mut().for_each(|source| source.note_lead(ours, now));
    }

    /// This node decided a block by its own count of votes: it is not behind, whatever
    /// tips are claimed.
    pub fn decided_here(&mut self) {
        let members = self.sources.values_mut().filter(|source| source.is_member);
        members.for_each(|source| source.delivers = false);
    }

    /// The height that a peer claims.
    pub fn claimed_height(&self, peer: &PeerId) -> Option<Height> {
        self.sources.get(peer)?.height
    }

    /// The highest tip that a member claims whose blocks have verified. A claim alone
    /// would let any stranger take this node out of service (`/readyz`).
    pub fn proven_height(&self) -> Option<Height> {
        let proven = self.sources.values().filter(|source| source.is_member && source.delivers);
        proven.filter_map(|source| source.height).max()
    }

    /// Whether final blocks are here, the first of them verified, so that a height is
    /// not worth beginning.
    pub fn is_busy(&self) -> bool {
        self.recovering || !self.ready.is_empty()
    }

    pub fn due(&self, at: SyncPosition) -> Option<Time> {
        if !self.ready.is_empty() {
            return Some(Time(0));
        }
        if self.recovering {
            return None;
        }
        match &self.request {
            Some(request) => Some(request.until),
            None => self.sources.values().filter_map(|s| s.worth_asking_from(at)).min(),
        }
    }

    /// Gives up a request that was not answered in time, and returns the next
    /// request, if one is due, and the peer that it is for.
    pub fn tick(&mut self, now: Time, at: SyncPosition) -> Option<(PeerId, GetBlocks)> {
        if let Some(request) = self.request.take_if(|request| request.until <= now) {
            self.distrust(now, &request.peer);
        }
        if self.request.is_some() || self.is_busy() {
            return None;
        }
        let peer = self.choose_source(now, at)?;
        let from = at.next_height;
        self.request = Some(BlockRequest { peer, from, until: now + ANSWER_WAIT });
        Some((peer, GetBlocks { from, count: limits::CATCH_UP_BLOCKS_MAX }))
    }

    /// The next peer in turn of those that are ahead. Every other time it is one whose
    /// blocks have verified, so that many liars cost half of the waits; and not each time,
    /// or one peer that gives a block in three seconds would be the only one asked. A peer
    /// that cannot be judged a member is asked when no member is ahead.
    fn choose_source(&mut self, now: Time, at: SyncPosition) -> Option<PeerId> {
        let last = self.last;
        let after = self.sources.iter().filter(|(peer, _)| last.is_none_or(|last| **peer > last));
        let in_turn = after.chain(&self.sources);
        let due =
            in_turn.filter(|(_, source)| source.worth_asking_from(at).is_some_and(|t| t <= now));
        // Members first: a peer that cannot be judged may be an outsider that gives nothing.
        let prefers = !self.preferred;
        let key = |(_, s): &(&PeerId, &BlockSource)| (!s.is_member, prefers && !s.delivers);
        let peer = *due.min_by_key(key)?.0;
        self.preferred = prefers;
        self.last = Some(peer);
        Some(peer)
    }

    fn distrust(&mut self, now: Time, peer: &PeerId) {
        if let Some(source) = self.sources.get_mut(peer) {
            source.delivers = false;
            source.failures = (source.failures + 1).min(DISTRUST_DOUBLINGS_MAX);
            source.distrusted_until = now + Millis(DISTRUST.0 << source.failures);
        }
    }

    /// Whether a peer's request for blocks is answered. Counts it.
    pub fn may_serve(&mut self, now: Time, peer: &PeerId) -> bool {
        let member = self.sources.get_mut(peer).filter(|source| source.is_member);
        let Some(source) = member else { return false };
        let (second, served) = source.served;
        let served = if now.since(second) < Millis(1_000) { served + 1 } else { 1 };
        // A window that is full drops the request without blame: the peer may be behind, and
        // its own wait brings it back.
        source.served = (if served == 1 { now } else { second }, served);
        served <= SERVED_PER_S_MAX
    }

    /// A peer's answer, taken apart: transactions to recover, and the rest for
    /// [`Self::on_recovered`]. `None` if there is nothing to do with it.
    ///
    /// # Errors
    /// The misdeed that the answer proves.
    pub fn on_blocks(
        &mut self,
        now: Time,
        peer: PeerId,
        answer: Blocks,
        ledger: &Ledger,
    ) -> Result<Option<(Vec<Bytes>, FetchedBlocks)>, Offence> {
        let expected = |r: &mut BlockRequest| r.peer == peer && r.from == answer.from;
        if self.request.take_if(expected).is_none() {
            return Ok(None); // Too late, or never asked for.
        }
        if answer.blocks.is_empty() {
            self.distrust(now, &peer);
            return Ok(None);
        }
        if answer.from != ledger.tip().number + 1 {
            return Ok(None); // Consensus was faster.
        }
        match check_links(answer.blocks, ledger) {
            Ok((txs, blocks)) => {
                self.recovering = true;
                Ok(Some((txs, FetchedBlocks { peer, blocks })))
            }
            Err(offence) => {
                self.distrust(now, &peer);
                Err(offence)
            }
        }
    }

    /// The transactions of an answer, recovered.
    ///
    /// # Errors
    /// The peer that gave a block with a transaction that is none: no quorum signs such
    /// a block. The blocks before it are taken.
    pub fn on_recovered(
        &mut self,
        fetched: FetchedBlocks,
        txs: Vec<Result<Transaction, TxError>>,
    ) -> Result<(), PeerId> {
        self.recovering = false;
        let (peer, mut txs) = (fetched.peer, txs.into_iter());
        for FetchedBlock { header, tx_count, certificate, attached } in fetched.blocks {
            let body: Result<Vec<Transaction>, TxError> = txs.by_ref().take(tx_count).collect();
            let body = body.ok().filter(|body| body.len() == tx_count).ok_or(peer)?;
            let block = Arc::new(RecoveredBlock::new(header, body, attached));
            self.ready.push_back(ReadyBlock { peer, block, certificate });
        }
        Ok(())
    }

    /// Takes the next block that may be committed.
    pub fn pop_ready(&mut self) -> Option<ReadyBlock> {
        self.ready.pop_front()
    }

    /// A ready block was verified and is committed.
    pub fn note_delivered(&mut self, peer: &PeerId) {
        if let Some(source) = self.sources.get_mut(peer) {
            (source.failures, source.delivers) = (0, true);
        }
    }

    /// A ready block of this peer did not verify: what follows it cannot either.
    pub fn reject_ready(&mut self, now: Time, peer: &PeerId) {
        self.ready.clear();
        self.distrust(now, peer);
    }
}

/// Final blocks for a peer, as many as fit.
pub(crate) fn blocks_for(ask: GetBlocks, ledger: &Ledger) -> Blocks {
    let snapshot = ledger.snapshot();
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    let count = ask.count.min(limits::CATCH_UP_BLOCKS_MAX);
    let end = ask.from.saturating_add(count).min(ledger.tip().number + 1);
    for height in ask.from.max(1)..end {
        let block = snapshot.certified_block(height);
        // A failed disk ends the process.
        let block = block.unwrap_or_else(|e| panic!("block {height}: {e}"));
        let Some(block) = block else { break };
        bytes += block.length();
        if bytes > limits::CATCH_UP_BYTES_MAX && !blocks.is_empty() {
            break;
        }
        blocks.push(block);
    }
    Blocks { from: ask.from, blocks }
}

/// Whether a certificate is good for the block after the tip.
///
/// # Errors
/// [`Offence::BadSignature`].
pub(crate) fn verify_next(certificate: &Certificate, ledger: &Ledger) -> Result<(), Offence> {
    let verified = certificate.verify(ledger.next_validators(), &ledger.genesis_hash());
    verified.map_err(|_| Offence::BadSignature)
}

/// Checks all that can be checked before execution: that the blocks follow
/// each other from our tip, that bodies and certificates are those of their
/// headers, and the first certificate. The rest are verified in their turn,
/// when their validators are known.
fn check_links(
    blocks: Vec<CertifiedBlock>,
    ledger: &Ledger,
) -> Result<(Vec<Bytes>, Vec<FetchedBlock>), Offence> {
    let (mut parent, mut height) = (ledger.tip_hash(), ledger.tip().number);
    let (mut raw, mut fetched) = (Vec::new(), Vec::new());
    for CertifiedBlock { block, certificate, attached } in blocks {
        let hash = block.header.hash_slow();
        height += 1;
        let body = &block.body;
        let empty =
            body.ommers.is_empty() && body.withdrawals.as_ref().is_some_and(|list| list.is_empty());
        let sound = block.header.number == height
            && block.header.parent_hash == parent
            && attached.is_bound_by(&block.header)
            && (certificate.height, certificate.block) == (height, hash)
            && empty
            && calculate_transaction_root(&body.transactions) == block.header.transactions_root;
        if !sound {
            return Err(Offence::Malformed);
        }
        // The first certificate proves that the chain goes on past our tip: only then does
        // this node leave its height, so a false answer costs no round.
        if fetched.is_empty() {
            verify_next(&certificate, ledger)?;
        }
        raw.extend(body.transactions.iter().map(|tx| Bytes::from(tx.encoded_2718())));
        let tx_count = body.transactions.len();
        fetched.push(FetchedBlock { header: block.header, tx_count, certificate, attached });
        parent = hash;
    }
    Ok((raw, fetched))
}
