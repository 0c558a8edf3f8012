//! Blocks that carry evidence: what they must be, and what comes of them.

use trefoil_types::{Evidence, EvidenceError, Vote, VoteKind, limits};

use super::*;
use crate::{CallMemory, History, trace_block};

fn vote(net: &Net, n: u8, height: Height, block: Option<B256>) -> Vote {
    let network = net.ledger.genesis_hash();
    Vote::sign(&secret(n), &network, VoteKind::Precommit, height, 0, block)
}

/// Two precommits of validator `n`.
fn evidence(net: &Net, n: u8, height: Height) -> Evidence {
    let votes = [None, Some(B256::ZERO)].map(|block| vote(net, n, height, block));
    let [a, b] = votes;
    Evidence::of_votes(a, b).expect("a conflict")
}

impl Net {
    /// A block that is sound but, it may be, for the evidence that it carries.
    fn carrying(&self, evidence: Vec<Evidence>) -> Arc<RecoveredBlock> {
        let mut draft = self.draft();
        draft.attached.evidence = evidence;
        self.ledger.build(draft, &mut std::iter::empty()).0.block().clone()
    }

    fn refusal(&self, block: Arc<RecoveredBlock>) -> String {
        self.ledger.execute(block).expect_err("an invalid block").reason
    }

    fn burned(&self) -> U256 {
        let state = self.ledger.state();
        let mut contract = GoverningContract::new(self.ledger.spec(), self.ledger.tip(), &state);
        contract.view(IStaking::burnedCall {}).expect("it answers")
    }
}

#[test]
fn an_equivocator_on_a_public_network_is_slashed_by_the_block_that_carries_it() {
    let mut net = Net::new(spec_of(Kind::Public));
    net.reach(3);
    let convicted = net.commit(net.carrying(vec![evidence(&net, 1, 2)]));
    assert_eq!(net.validators_of(convicted), sorted(vec![key(1), key(2)]));
    assert_eq!(net.validators_of(convicted + 1), [key(2)]);
    // A tenth of what it staked.
    let stake = Staking::default().stake_unit * U256::from(FOUNDING_STAKE);
    assert_eq!(net.burned(), stake / U256::from(10));
    // It is out also after the next election.
    net.reach(Staking::default().epoch_blocks + 1);
    assert_eq!(net.validators_of(net.ledger.tip().number + 1), [key(2)]);
}

#[test]
fn an_equivocator_among_members_is_removed_and_its_peer_may_come_back() {
    let mut net = Net::new(spec_of(Kind::Private));
    net.reach(3);
    let first = evidence(&net, 1, 2);
    let convicted = net.commit(net.carrying(vec![first.clone()]));
    assert_eq!(net.validators_of(convicted + 1), [key(2)]);
    net.prove_validator(1, 3);
    let (peer, organisation, power, fees) = (peer(1).0.0, 1, 1, address(1));
    let again = addValidatorCall { peer, organisation, key: key(3).0, power, fees };
    let back = net.decide(again) + net.ledger.spec().validator_delay + 1;
    net.reach(back);
    assert_eq!(net.validators_of(back), sorted(vec![key(2), key(3)]));
    // The offence of its old key was punished, whichever proof of it is brought.
    for repeated in [first, evidence(&net, 1, 3)] {
        let refused = net.ledger.check_evidence(&repeated);
        assert_eq!(refused, Err(EvidenceError::Convicted(key(1))));
        assert!(net.refusal(net.carrying(vec![repeated])).contains("convicted before"));
    }
}

#[test]
fn the_last_validator_stays_and_is_convicted_once() {
    let mut net = Net::new(spec_of(Kind::Private));
    let both = [1, 2].map(|n| evidence(&net, n, 1));
    let mut both = both.to_vec();
    both.sort_by_key(Evidence::validator);
    let height = net.commit(net.carrying(both.clone()));
    assert_eq!(net.validators_of(height + 1), [both[1].validator()]);
    for evidence in both {
        let convicted = Err(EvidenceError::Convicted(evidence.validator()));
        assert_eq!(net.ledger.check_evidence(&evidence), convicted);
    }
}

#[test]
fn evidence_is_of_a_validator_of_its_height_and_not_too_old() {
    let mut spec = spec_of(Kind::Public);
    let terms = Staking { epoch_blocks: 5, unbonding_blocks: 10, ..Staking::default() };
    spec.staking = Some(terms);
    let mut net = Net::new(spec);
    net.reach(12);
    let check = |net: &Net, evidence: &Evidence| net.ledger.check_evidence(evidence);
    let (next, max) = (13, 10);
    let too_old = EvidenceError::TooOld { height: 2, next, max };
    assert_eq!(check(&net, &evidence(&net, 1, 2)), Err(too_old));
    assert_eq!(check(&net, &evidence(&net, 1, 3)), Ok(()));
    assert_eq!(check(&net, &evidence(&net, 1, 13)), Ok(()), "the height under way");
    let ahead = EvidenceError::Ahead { height: 14, next };
    assert_eq!(check(&net, &evidence(&net, 1, 14)), Err(ahead));
    let stranger = EvidenceError::Stranger { height: 5, validator: key(9) };
    assert_eq!(check(&net, &evidence(&net, 9, 5)), Err(stranger));
    let mut forged = vote(&net, 1, 5, None);
    forged.signature = vote(&net, 1, 4, None).signature;
    let forged = Evidence::of_votes(forged, vote(&net, 1, 5, Some(B256::ZERO))).expect("conflict");
    let unsigned = EvidenceError::Signature { height: 5, validator: key(1) };
    assert_eq!(check(&net, &forged), Err(unsigned.clone()));
    assert_eq!(net.refusal(net.carrying(vec![forged])), format!("evidence: {unsigned}"));
    net.commit(net.carrying(vec![evidence(&net, 1, 3)]));
}

/// Validators come and go, and evidence of when they validated may come later.
#[test]
fn evidence_is_judged_by_the_validators_of_its_height() {
    let mut net = Net::new(spec());
    net.prove_validator(3, 3);
    let (peer, fees) = (peer(3).0.0, address(3));
    let voted =
        net.decide(addValidatorCall { peer, organisation: 1, key: key(3).0, power: 1, fees });
    net.reach(voted + 3);
    let gone = net.decide(removeValidatorCall { peer });
    net.reach(gone + 3);
    for (height, validates) in
        [(voted + 1, false), (voted + 2, true), (gone + 1, true), (gone + 2, false)]
    {
        assert_eq!(net.validators_of(height).contains(&key(3)), validates, "{height}");
        let stranger = EvidenceError::Stranger { height, validator: key(3) };
        let judged = if validates { Ok(()) } else { Err(stranger) };
        assert_eq!(net.ledger.check_evidence(&evidence(&net, 3, height)), judged, "{height}");
    }
}

#[test]
fn a_block_lists_its_evidence_in_one_way_and_binds_it() {
    let net = Net::new(spec_of(Kind::Private));
    let mut both = [1, 2].map(|n| evidence(&net, n, 1)).to_vec();
    both.sort_by_key(Evidence::validator);
    let turned: Vec<_> = both.iter().rev().cloned().collect();
    assert!(net.refusal(net.carrying(turned)).contains("does not ascend"));
    let twice = vec![both[0].clone(), both[0].clone()];
    assert!(net.refusal(net.carrying(twice)).contains("does not ascend"));
    let many = vec![both[0].clone(); limits::BLOCK_EVIDENCE_MAX + 1];
    assert!(net.refusal(net.carrying(many)).contains("evidence against 17 validators, at most 16"));
    let mut other = RecoveredBlock::clone(&net.carrying(vec![both[0].clone()]));
    other.attached.evidence = vec![both[1].clone()];
    assert!(net.refusal(Arc::new(other)).contains("extra_data"));
    let quiet = net.carrying(vec![]);
    assert!(quiet.header.extra_data.is_empty());
    let mut header = quiet.header.clone();
    header.extra_data = bytes!("00");
    let spoken = RecoveredBlock::new(header, vec![], quiet.attached.clone());
    assert!(net.refusal(Arc::new(spoken)).contains("extra_data"));
}

/// The same is read from a checkpoint, after the journal's blocks are executed again, and by a
/// trace.
#[test]
fn a_restart_finds_the_evidence_and_its_effect_again() {
    let mut net = Net::new(spec_of(Kind::Public));
    net.reach(2);
    let convicted = net.commit(net.carrying(vec![evidence(&net, 2, 1)]));
    let memory = CallMemory::of_trace(usize::MAX, &|_| true);
    let (spec, snapshot) = (net.ledger.spec(), net.ledger.snapshot());
    let traced = trace_block(spec, &snapshot, convicted, Default::default(), &memory);
    assert!(traced.expect("it runs again").is_empty());
    let open = |net: &Net| {
        let (disk, spec) = (Arc::new(net.disk.clone()), net.ledger.spec().clone());
        Ledger::open(disk, spec, History::Archive).expect("opens")
    };
    let mut replayed = open(&net);
    for (block, certificate) in &net.decided {
        let outcome = replayed.execute(block.clone()).expect("executes again");
        replayed.commit(outcome, certificate.clone());
    }
    assert_eq!(replayed.governed(), net.ledger.governed());
    let checkpoint = net.ledger.checkpoint(true).expect("blocks are in memory");
    net.ledger.checkpointed(checkpoint.run().expect("written"));
    let again = open(&net);
    assert_eq!(again.governed(), net.ledger.governed());
    let known = Err(EvidenceError::Convicted(key(2)));
    assert_eq!(again.check_evidence(&evidence(&net, 2, 1)), known);
    let served = again.snapshot().certified_block(convicted).expect("readable").expect("there");
    assert_eq!(served.attached.evidence, [evidence(&net, 2, 1)]);
    assert!(served.attached.is_bound_by(&served.block.header));
}
