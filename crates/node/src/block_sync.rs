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
use trefoil_ledger::Ledger;
use trefoil_types::{
    Attached, B256, Certificate, CertifiedBlock, Header, Height, Millis, Offence, PeerId,
    RecoveredBlock, Time, Transaction, TxError, limits,
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
// Attack: peers that claim high tips and give nothing. Each costs one wait, and then waits
// that grow apart; it is not forgotten for ever, since a slow peer is not a liar.
/// How long a peer that did not keep a promise is not asked again; doubles.
const DISTRUST: Millis = Millis(1_000);
// 64 s: an honest peer whose link was down for an hour is asked again a minute later.
/// … so many times at most.
const DISTRUST_DOUBLINGS_MAX: u32 = 6;
// Attack: a liar leaves and comes back, so that its claim starts a request at once again.
/// Peers that left and had failed, and are remembered.
const LEFT_MAX: usize = 1_024;
// One more wait for an answer: a link that was down is no lie.
/// How long such a peer is not asked at most after it came back.
const RETURN_WAIT: Millis = Millis(4_000);
// 82 ms of one core, if it was in vain.
/// Transactions whose senders are recovered before the certificate of their block is verified.
const UNPROVEN_TXS_MAX: usize = 2_048;
// A tenth of a wait: a liar that comes back for each request gains little.
/// A peer that leaves so soon after it was asked has failed nobody.
const AT_ONCE: Millis = Millis(300);

#[derive(Debug, Default)]
pub(crate) struct BlockSync {
    sources: BTreeMap<PeerId, BlockSource>,
    request: Option<BlockRequest>,
    /// What those that left are still distrusted for.
    left: BTreeMap<PeerId, (u32, Time)>,
    /// The blocks of an answer whose senders are yet to be recovered, and the peer that gave them.
    fetched: Option<FetchedBlocks>,
    /// Some blocks of that answer are out for recovery.
    recovering: bool,
    /// The height of the newest block here whose certificate verified.
    proven: Option<Height>,
    /// The blocks that may be committed. Of those after the first the certificates are
    /// verified when the block before is committed.
    ready: VecDeque<ReadyBlock>,
    /// The last place in the queue of sources.
    last_place: u64,
    /// Whether the peer that was asked last was one of those preferred.
    preferred: bool,
}

/// What is known of a peer as a giver of blocks.
#[derive(Debug, Default)]
struct BlockSource {
    // Attack: ids that are made until they are the next in order: one silent peer after another is
    // asked, and no honest one.
    /// Its place in the queue: whoever comes, or was asked, is the last.
    place: u64,
    is_member: bool,
    /// The height of its newest final block, as it says.
    height: Option<Height>,
    /// Since when its tip is ahead of ours.
    ahead_since: Option<Time>,
    /// Blocks it promised and did not give, in a row.
    failures: u32,
    /// The last blocks that it was asked for came, and verified.
    delivers: bool,
    /// Blocks of it that were committed since this node last decided one.
    gave: u32,
    /// It brought more than the one next block at a time, so this node is behind.
    leads: bool,
    distrusted_until: Time,
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

/// Blocks of a peer's answer, until their transactions are recovered.
#[derive(Debug)]
pub(crate) struct FetchedBlocks {
    peer: PeerId,
    blocks: VecDeque<FetchedBlock>,
}

#[derive(Debug)]
struct FetchedBlock {
    header: Header,
    txs: Vec<Bytes>,
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
    pub fn connected(&mut self, now: Time, peer: PeerId, is_member: bool) {
        let known = self.sources.get(&peer).map(|s| (s.failures, s.distrusted_until));
        let known = known.or_else(|| self.left.remove(&peer));
        let (failures, until) = known.unwrap_or_default();
        let distrusted_until = until.min(now + RETURN_WAIT);
        self.last_place += 1;
        let place = self.last_place;
        let source =
            BlockSource { place, is_member, failures, distrusted_until, ..Default::default() };
        self.sources.insert(peer, source);
    }

    pub fn disconnected(&mut self, now: Time, peer: &PeerId) {
        // An honest peer that is restarted leaves requests open, too; and one that left at once
        // cost no time.
        let request = self.request.take_if(|request| request.peer == *peer);
        if request.is_some_and(|request| request.until.since(now).0 + AT_ONCE.0 < ANSWER_WAIT.0) {
            self.distrust(now, peer);
        }
        let Some(source) = self.sources.remove(peer).filter(|source| source.failures > 0) else {
            return;
        };
        if self.left.len() >= LEFT_MAX {
            let soonest = self.left.iter().min_by_key(|(_, (_, until))| *until);
            let soonest = soonest.map(|(peer, _)| *peer);
            soonest.and_then(|peer| self.left.remove(&peer));
        }
        self.left.insert(*peer, (source.failures, source.distrusted_until));
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
        self.sources.values_mut().for_each(|source| (source.gave, source.leads) = (0, false));
    }

    /// The height that a peer claims.
    pub fn claimed_height(&self, peer: &PeerId) -> Option<Height> {
        self.sources.get(peer)?.height
    }

    // A claim alone would let any stranger take this node out of service (`/readyz`); so
    // would one with the next block, which a peer may have a moment before us.
    /// The highest tip that a member claims whose blocks have verified, and have shown
    /// that this node is behind.
    pub fn proven_height(&self) -> Option<Height> {
        let proven = self.sources.values().filter(|source| source.is_member && source.leads);
        proven.filter_map(|source| source.height).max()
    }

    // Attack: a true block with false ones after it, 30,000 transactions long. When consensus
    // has decided the true one, the rest is a claim again, and stops nothing.
    /// Whether the final block of height `next` is here and its certificate verified, so
    /// that the height is not worth beginning.
    pub fn is_busy(&self, next: Height) -> bool {
        self.has_answer() && self.is_proven(next)
    }

    /// Whether blocks are here, whatever they are worth.
    fn has_answer(&self) -> bool {
        self.recovering || !self.ready.is_empty() || self.fetched.is_some()
    }

    pub fn due(&self, at: SyncPosition) -> Option<Time> {
        if !self.ready.is_empty() {
            return Some(Time(0));
        }
        if self.recovering {
            return None;
        }
        if self.fetched.is_some() {
            return Some(Time(0));
        }
        match &self.request {
            Some(request) => Some(request.until),
            None => self.sources.values().filter_map(|s| s.worth_asking_from(at)).min(),
        }
    }

    /// Gives up a request that was not answered in time, and returns the next
    /// request, if one is due, and the peer that it is for.
    pub fn tick(
        &mut self,
        now: Time,
        at: SyncPosition,
        is_favoured: impl Fn(&PeerId) -> bool,
    ) -> Option<(PeerId, GetBlocks)> {
        if let Some(request) = self.request.take_if(|request| request.until <= now) {
            self.distrust(now, &request.peer);
        }
        if self.request.is_some() || self.has_answer() {
            return None;
        }
        let peer = self.choose_source(now, at, is_favoured)?;
        let from = at.next_height;
        self.request = Some(BlockRequest { peer, from, until: now + ANSWER_WAIT });
        Some((peer, GetBlocks { from, count: limits::CATCH_UP_BLOCKS_MAX }))
    }

    /// The next peer in turn of those that are ahead. Every other time it is one whose blocks have
    /// verified, or else one that is favoured, so that many liars cost half of the waits; and not
    /// each time, or one peer that gives a block in three seconds would be the only one asked. A
    /// peer that cannot be judged a member is asked when no member is ahead.
    fn choose_source(
        &mut self,
        now: Time,
        at: SyncPosition,
        is_favoured: impl Fn(&PeerId) -> bool,
    ) -> Option<PeerId> {
        let is_due = |source: &BlockSource| source.worth_asking_from(at).is_some_and(|t| t <= now);
        let due = self.sources.iter_mut().filter(|(_, source)| is_due(source));
        // Members first: a peer that cannot be judged may be an outsider that gives nothing.
        let prefers = !self.preferred;
        let (peer, source) = due.min_by_key(|(peer, source)| {
            let rank = match prefers {
                true if source.delivers => 0,
                true if is_favoured(peer) => 1,
                _ => 2,
            };
            (!source.is_member, rank, source.place)
        })?;
        self.last_place += 1;
        (self.preferred, source.place) = (prefers, self.last_place);
        Some(*peer)
    }

    fn distrust(&mut self, now: Time, peer: &PeerId) {
        if let Some(source) = self.sources.get_mut(peer) {
            (source.delivers, source.leads) = (false, false);
            source.failures = (source.failures + 1).min(DISTRUST_DOUBLINGS_MAX);
            source.distrusted_until = now + Millis(DISTRUST.0 << source.failures);
        }
    }

    /// Whether an answer of this peer, from this height on, is waited for.
    pub fn has_asked(&self, peer: &PeerId, from: Height) -> bool {
        self.request.as_ref().is_some_and(|request| request.peer == *peer && request.from == from)
    }

    /// A peer's answer to the request that is out. Its blocks are given out by
    /// [`Self::take_batch`].
    ///
    /// # Errors
    /// The misdeed that the answer proves.
    pub fn on_blocks(
        &mut self,
        now: Time,
        peer: PeerId,
        answer: Blocks,
        ledger: &Ledger,
    ) -> Result<(), Offence> {
        self.request = None;
        if answer.blocks.is_empty() {
            self.distrust(now, &peer);
            return Ok(());
        }
        if answer.from != ledger.tip().number + 1 {
            return Ok(()); // Consensus was faster.
        }
        match check_links(answer.blocks, ledger) {
            Ok(blocks) => {
                self.fetched = Some(FetchedBlocks { peer, blocks });
                self.proven = Some(answer.from);
                Ok(())
            }
            Err(offence) => {
                self.distrust(now, &peer);
                Err(offence)
            }
        }
    }

    // Attack: one true block, and after it blocks with 30,000 transactions and certificates of
    // nobody. To recover them all at once would cost over a second of a core for one answer.
    /// Takes out the blocks that are recovered next, with their transactions: the block of
    /// height `next`, if it is proven, and a few after it that are a claim.
    pub fn take_batch(&mut self, next: Height) -> Option<(Vec<Bytes>, FetchedBlocks)> {
        if self.recovering || !self.ready.is_empty() || !self.is_proven(next) {
            return None;
        }
        let FetchedBlocks { peer, mut blocks } = self.fetched.take()?;
        while blocks.pop_front_if(|block| block.header.number < next).is_some() {}
        let mut txs = 0;
        let fits = |block: &&FetchedBlock| {
            let is_first = block.header.number == next;
            txs += if is_first { 0 } else { block.txs.len() };
            txs <= UNPROVEN_TXS_MAX
        };
        let count = blocks.iter().take_while(fits).count();
        let rest = blocks.split_off(count);
        if !rest.is_empty() {
            self.fetched = Some(FetchedBlocks { peer, blocks: rest });
        }
        if blocks.is_empty() {
            return None;
        }
        self.recovering = true;
        let txs = blocks.iter().flat_map(|block| block.txs.iter().cloned()).collect();
        Some((txs, FetchedBlocks { peer, blocks }))
    }

    /// The transactions of blocks, recovered.
    ///
    /// # Errors
    /// The peer that gave a block with a transaction that is none: no quorum signs such
    /// a block. The blocks before it are taken.
    pub fn on_recovered(
        &mut self,
        batch: FetchedBlocks,
        txs: Vec<Result<Transaction, TxError>>,
    ) -> Result<(), PeerId> {
        self.recovering = false;
        let (peer, mut recovered) = (batch.peer, txs.into_iter());
        for FetchedBlock { header, txs, certificate, attached } in batch.blocks {
            let body: Result<Vec<Transaction>, TxError> =
                recovered.by_ref().take(txs.len()).collect();
            let Some(body) = body.ok().filter(|body| body.len() == txs.len()) else {
                self.fetched = None;
                return Err(peer);
            };
            let block = Arc::new(RecoveredBlock::new(header, body, attached));
            self.ready.push_back(ReadyBlock { peer, block, certificate });
        }
        Ok(())
    }

    /// The block of height `next`, if it is here: the peer that gave it, its parent and its
    /// certificate. Of those before, consensus was faster.
    pub fn block_at(&mut self, next: Height) -> Option<(PeerId, B256, &Certificate)> {
        while self.ready.pop_front_if(|ready| ready.block.header.number < next).is_some() {}
        if self.ready.is_empty() && !self.recovering {
            let fetched = self.fetched.as_mut()?;
            while fetched.blocks.pop_front_if(|block| block.header.number < next).is_some() {}
            if fetched.blocks.is_empty() {
                self.fetched = None;
            }
            let fetched = self.fetched.as_ref()?;
            let block = fetched.blocks.front()?;
            return Some((fetched.peer, block.header.parent_hash, &block.certificate));
        }
        let ready = self.ready.front()?;
        Some((ready.peer, ready.block.header.parent_hash, &ready.certificate))
    }

    /// Takes the next block that may be committed.
    pub fn pop_ready(&mut self) -> Option<ReadyBlock> {
        self.ready.pop_front()
    }

    /// Whether the certificate of the final block of this height is known to be good.
    pub fn is_proven(&self, height: Height) -> bool {
        self.proven == Some(height)
    }

    pub fn note_proven(&mut self, height: Height) {
        self.proven = Some(height);
    }

    /// A ready block was verified and is committed.
    pub fn note_delivered(&mut self, peer: &PeerId) {
        if let Some(source) = self.sources.get_mut(peer) {
            (source.failures, source.delivers) = (0, true);
            source.gave = source.gave.saturating_add(1);
            source.leads |= source.gave > 1;
        }
    }

    /// A block of this peer did not verify: what follows it cannot either.
    pub fn reject_blocks(&mut self, now: Time, peer: &PeerId) {
        self.ready.clear();
        self.fetched = None;
        self.proven = None;
        self.distrust(now, peer);
    }
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
) -> Result<VecDeque<FetchedBlock>, Offence> {
    let (mut parent, mut height) = (ledger.tip_hash(), ledger.tip().number);
    let mut fetched = VecDeque::new();
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
        let txs = body.transactions.iter().map(|tx| Bytes::from(tx.encoded_2718())).collect();
        fetched.push_back(FetchedBlock { header: block.header, txs, certificate, attached });
        parent = hash;
    }
    Ok(fetched)
}

#[cfg(test)]
mod tests;
