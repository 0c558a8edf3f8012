//! What is signed, whatever the core asks for.

use arc_malachitebft_core_types::{Context as _, NilOrVal, Round};
use trefoil_types::B256;

use super::cluster::{NETWORK, key, set_of};
use crate::{
    context::{ChainContext, ConsensusHeight, ValidatorName, Value},
    signer::ValidatorSigner,
};

const HEIGHT: ConsensusHeight = ConsensusHeight(5);

fn block(n: u8) -> B256 {
    B256::repeat_byte(n)
}

fn signer() -> ValidatorSigner {
    let mut signer = ValidatorSigner::new(vec![key(0)], NETWORK);
    signer.begin(HEIGHT.0, &set_of(1));
    signer
}

/// A validator is slashed for a second signature, whoever's fault it is. The core has not asked
/// for one yet.
#[test]
fn of_each_kind_one_statement_is_signed_in_a_round() {
    let mut signer = signer();
    let me = ValidatorName(key(0).public());
    let value = |n: Option<u8>| n.map_or(NilOrVal::Nil, |n| NilOrVal::Val(block(n)));
    for (round, first) in [(0, Some(1)), (1, None)] {
        let round = Round::new(round);
        let prevote = |n| ChainContext.new_prevote(HEIGHT, round, value(n), me);
        let signature = signer.sign_vote(prevote(first)).signature;
        assert_eq!(signer.sign_vote(prevote(first)).signature, signature);
        assert_eq!(signer.second, None);
        for other in [Some(1), Some(2), None].into_iter().filter(|other| *other != first) {
            assert_eq!(signer.sign_vote(prevote(other)).signature, signature, "{other:?}");
            assert!(signer.second.take().is_some(), "{first:?}, then {other:?}");
        }
        let precommit = ChainContext.new_precommit(HEIGHT, round, value(Some(2)), me);
        assert_ne!(signer.sign_vote(precommit).signature, signature);
        assert_eq!(signer.second, None, "of another kind");
    }
}

#[test]
fn one_proposal_is_signed_in_a_round() {
    let mut signer = signer();
    let me = ValidatorName(key(0).public());
    let proposal = |n, pol_round| {
        ChainContext.new_proposal(HEIGHT, Round::new(1), Value(block(n)), pol_round, me)
    };
    let signature = signer.sign_proposal(proposal(1, Round::Nil)).signature;
    assert_eq!(signer.sign_proposal(proposal(1, Round::Nil)).signature, signature);
    assert_eq!(signer.second, None);
    for (n, pol_round) in [(2, Round::Nil), (1, Round::new(0))] {
        assert_eq!(signer.sign_proposal(proposal(n, pol_round)).signature, signature);
        assert!(signer.second.take().is_some(), "{n} {pol_round:?}");
    }
}
