//! Open proposals: their approvals, and those that are missing.

use std::collections::BTreeMap;

use alloy_primitives::{Bytes, U256};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use trefoil_types::Address;

use super::{Organisations, abi::Governance};
use crate::chain_client::{
    contract::{Contract, ContractError},
    utc::utc,
};

// A proposal stays open for a week (`PROPOSAL_SECONDS`). More than so many in a week would be one
// every two and a half minutes.
/// The newest proposals that are searched for open ones.
const LOOKED_AT: u64 = 4096;
// A node runs 32 at once for all its callers: a quarter of them.
/// Calls under way at once.
const CALLS: usize = 8;

#[derive(Clone, Debug)]
pub struct OpenProposal {
    pub id: u64,
    pub proposer: Address,
    /// The organisation that decides alone; 0: all.
    pub decider: u32,
    /// The last second in which it may be approved (Unix time).
    pub closes: u64,
    pub action: Bytes,
    /// Organisations that approve, by enough of their keys.
    pub approving: Vec<u32>,
    /// Keys that approve of organisations that do not yet.
    pub partly: BTreeMap<u32, usize>,
    /// So many more organisations must approve. 0: an approval given again runs it.
    pub missing: u64,
    /// It is carried out some days after its last approval only.
    pub delayed: bool,
    /// From then on it may be carried out (Unix time); 0: too few have approved so far.
    pub ready: u64,
    /// The organisation whose keys it is about; 0: none's.
    pub concerned: u32,
    /// That one objected.
    pub objected: bool,
}

/// What was decided, by whom and when.
#[derive(Clone, Debug)]
pub struct PastDecision {
    pub id: u64,
    /// Unix time, and the block.
    pub decided: u64,
    pub height: u64,
    pub proposer: Address,
    /// The proposer's.
    pub organisation: u32,
    /// The organisation that decided alone; 0: all.
    pub decider: u32,
    pub action: Bytes,
    pub approved: Vec<u32>,
}

impl OpenProposal {
    /// The approvals that it waits for, in words.
    pub fn waits_for(&self, organisations: &Organisations) -> String {
        if self.decider != 0 {
            let threshold = organisations.get(self.decider).map_or(0, |o| o.threshold);
            let given = self.partly.get(&self.decider).copied().unwrap_or(0);
            let more = usize::from(threshold).saturating_sub(given);
            return format!(
                "{more} more of {}'s keys must approve",
                organisations.label(self.decider)
            );
        }
        match self.missing {
            0 if self.ready != 0 => {
                let (id, ready) = (self.id, utc(self.ready));
                format!(
                    "enough approve: `trefoil org execute {id}` from {ready} on, and as many blocks after the last approval as the delay has seconds, at most 100; propose it again if it concerns another organisation by then"
                )
            }
            0 => "enough approve now: one who votes again carries it out".into(),
            1 => "1 more organisation must approve".into(),
            missing => format!("{missing} more organisations must approve"),
        }
    }
}

impl Contract {
    /// Those that may be approved, newest first.
    ///
    /// # Errors
    /// As [`Contract::view`].
    pub async fn open_proposals(
        &self,
        organisations: &Organisations,
    ) -> Result<Vec<OpenProposal>, ContractError> {
        let newest = self.view(Governance::proposalCountCall {}).await?;
        let oldest = newest.saturating_sub(LOOKED_AT) + 1;
        // Buffered in order: the newest are shown first.
        stream::iter((oldest..=newest).rev())
            .map(|id| self.proposal(id, organisations))
            .buffered(CALLS)
            .try_filter_map(async |proposal| Ok(proposal))
            .try_collect()
            .await
    }

    /// The newest decisions, newest first. Of those that one organisation makes alone the contract
    /// keeps the newest only.
    ///
    /// # Errors
    /// As [`Contract::view`].
    pub async fn decisions(&self, count: usize) -> Result<Vec<PastDecision>, ContractError> {
        let newest = self.view(Governance::proposalCountCall {}).await?;
        stream::iter((1..=newest).rev())
            .map(|id| self.decision(id))
            .buffered(CALLS)
            .try_filter_map(async |decision| Ok(decision))
            .take(count)
            .try_collect()
            .await
    }

    /// `None`: nothing was decided by that proposal, or it is kept no more.
    async fn decision(&self, id: u64) -> Result<Option<PastDecision>, ContractError> {
        let d = self.view(Governance::decisionCall { id: U256::from(id) }).await?;
        Ok((d.decided != 0).then_some(PastDecision {
            id,
            decided: d.decided,
            height: d.height,
            proposer: d.proposer,
            organisation: d.organisation,
            decider: d.decider,
            action: d.action,
            approved: d.approved,
        }))
    }

    /// `None`: it was executed, taken back, or expired, or there never was one.
    ///
    /// # Errors
    /// As [`Contract::view`].
    pub async fn proposal(
        &self,
        id: u64,
        organisations: &Organisations,
    ) -> Result<Option<OpenProposal>, ContractError> {
        let p = self.view(Governance::proposalCall { id: U256::from(id) }).await?;
        // The contract answers with zeros for a proposal that is not open.
        if p.closes == 0 {
            return Ok(None);
        }
        let approving = p.approving.len() as u64;
        // The contract counts who must approve: an organisation that is concerned is not asked.
        let missing = p.needed.saturating_to::<u64>().saturating_sub(approving);
        let waiting = self.view(Governance::waitingCall { id: U256::from(id) }).await?;
        Ok(Some(OpenProposal {
            delayed: waiting.delayed,
            ready: waiting.ready,
            concerned: waiting.concerned,
            objected: waiting.objected,
            id,
            proposer: p.proposer,
            decider: p.decider,
            closes: p.closes,
            action: p.action,
            partly: self.partly(id, p.decider, &p.approving, organisations).await?,
            approving: p.approving,
            missing,
        }))
    }

    /// Only where several keys must agree can some have approved in vain.
    async fn partly(
        &self,
        id: u64,
        decider: u32,
        approving: &[u32],
        organisations: &Organisations,
    ) -> Result<BTreeMap<u32, usize>, ContractError> {
        let mut partly = BTreeMap::new();
        let deciding = organisations.0.iter().filter(|o| decider == 0 || o.id == decider);
        for organisation in deciding.filter(|o| o.threshold > 1 && !approving.contains(&o.id)) {
            let mut approvals = 0;
            for &key in &organisation.keys {
                // One call for each key: the contract lists organisations that approve, not
                // keys.
                let call = Governance::hasApprovedCall { id: U256::from(id), key };
                approvals += usize::from(self.view(call).await?);
            }
            if approvals > 0 {
                partly.insert(organisation.id, approvals);
            }
        }
        Ok(partly)
    }
}
