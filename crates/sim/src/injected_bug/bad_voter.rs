//! Injected bugs of a validator's votes: in what it says, and in how it counts what others say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trefoil_crypto::{B256, PublicKey, SecretKey};
use trefoil_types::{Height, Message, Round, Vote, VoteKind};

use super::InjectedBug;

/// A block in a step of consensus, for which votes are counted.
type CountedFor = (Height, Round, VoteKind, B256);

/// What stands between a machine's node and the wire, and has the bug.
#[derive(Clone, Debug)]
pub struct BadVoter {
    bug: InjectedBug,
    network: B256,
    /// The keys of all validators.
    validators: Vec<SecretKey>,
    /// The blocks that were proposed to it in each round, in the order in which they came.
    proposed: BTreeMap<(Height, Round), Vec<B256>>,
    /// Its vote of each step, so that it repeats the same.
    voted: BTreeMap<(Height, Round, VoteKind), Option<B256>>,
    /// The validators that it counts for a block.
    counted: BTreeMap<CountedFor, BTreeSet<PublicKey>>,
    /// The votes that nobody cast. They are how it counts, and it tells nobody of them.
    made_up: BTreeSet<Vote>,
}

impl BadVoter {
    pub fn new(bug: InjectedBug, network: B256, validators: Vec<SecretKey>) -> Self {
        Self {
            bug,
            network,
            validators,
            proposed: BTreeMap::new(),
            voted: BTreeMap::new(),
            counted: BTreeMap::new(),
            made_up: BTreeSet::new(),
        }
    }

    /// What leaves the machine in place of a message of its node, whose key is `key`.
    pub fn says(&mut self, key: &SecretKey, message: Arc<Message>) -> Vec<Arc<Message>> {
        let Message::Vote(vote) = &*message else { return vec![message] };
        if self.made_up.contains(vote) {
            return vec![];
        }
        if vote.validator != key.public() {
            return vec![message];
        }
        match (self.bug, vote.kind) {
            (InjectedBug::SkipLock, VoteKind::Prevote)
            | (InjectedBug::BlindPrecommit, VoteKind::Precommit) => {
                vec![Arc::new(Message::Vote(self.yes(key, vote)))]
            }
            (InjectedBug::SecondPrevote, VoteKind::Prevote) => {
                let others = self.blocks(vote).iter().filter(|block| Some(**block) != vote.block);
                let others = others.map(|block| self.vote(key, vote, Some(*block)));
                [message.clone()]
                    .into_iter()
                    .chain(others.map(Message::Vote).map(Arc::new))
                    .collect()
            }
            _ => {
                self.count(vote);
                vec![message]
            }
        }
    }

    /// What its node hears besides a message: votes that nobody cast.
    pub fn hears(&mut self, message: &Message) -> Vec<Message> {
        match message {
            Message::Proposal(proposed) => {
                let p = &proposed.proposal;
                let blocks = self.proposed.entry((p.height, p.round)).or_default();
                if !blocks.contains(&p.block) {
                    blocks.push(p.block);
                }
                vec![]
            }
            Message::Vote(vote) => {
                self.count(vote);
                self.miscounted(vote)
            }
            _ => vec![],
        }
    }

    /// A vote for what was proposed first, where the node votes for none.
    fn yes(&mut self, key: &SecretKey, vote: &Vote) -> Vote {
        // It repeats its first vote. The judge of double signatures would find a second vote in a
        // round, and this bug is for another judge.
        let wish = vote.block.or_else(|| self.blocks(vote).first().copied());
        let block = *self.voted.entry((vote.height, vote.round, vote.kind)).or_insert(wish);
        self.vote(key, vote, block)
    }

    /// If half of the validators have cast this vote, those of the others.
    fn miscounted(&mut self, vote: &Vote) -> Vec<Message> {
        let (InjectedBug::HalfQuorum, Some(block)) = (self.bug, vote.block) else { return vec![] };
        let counted = &self.counted[&(vote.height, vote.round, vote.kind, block)];
        if 2 * counted.len() < self.validators.len() {
            return vec![];
        }
        let lacking = self.validators.iter().filter(|key| !counted.contains(&key.public()));
        let votes: Vec<Vote> = lacking.map(|key| self.vote(key, vote, Some(block))).collect();
        votes.iter().for_each(|vote| self.count(vote));
        self.made_up.extend(votes.iter().cloned());
        votes.into_iter().map(Message::Vote).collect()
    }

    fn count(&mut self, vote: &Vote) {
        let Some(block) = vote.block else { return };
        let tally = (vote.height, vote.round, vote.kind, block);
        self.counted.entry(tally).or_default().insert(vote.validator);
    }

    fn blocks(&self, vote: &Vote) -> &[B256] {
        self.proposed.get(&(vote.height, vote.round)).map_or(&[], Vec::as_slice)
    }

    /// A vote in the place of another.
    fn vote(&self, key: &SecretKey, place: &Vote, block: Option<B256>) -> Vote {
        Vote::sign(key, &self.network, place.kind, place.height, place.round, block)
    }
}
