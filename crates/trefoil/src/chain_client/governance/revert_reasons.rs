//! What the errors of genesis' contracts mean, and what to do about each.
//!
//! The matches name every error of the artifacts, so that a new one does not
//! compile before it has words here.

use alloy_primitives::{B256, hex};
use alloy_sol_types::{Revert, SolError as _, SolInterface as _};
use trefoil_types::{PeerId, PublicKey};

use super::{
    abi::{
        Governance::GovernanceErrors, GovernanceActions::GovernanceActionsErrors,
        Staking::StakingErrors,
    },
    ether,
};
use crate::chain_client::registry::abi::ContentRegistry::ContentRegistryErrors;

/// A revert's data in words. Never fails: what is unknown is said as it is.
pub fn refusal(data: &[u8]) -> String {
    let action = || GovernanceActionsErrors::abi_decode(data).ok().map(|e| action_refusal(&e));
    let decision = || GovernanceErrors::abi_decode(data).ok().and_then(|e| decision_refusal(&e));
    let stake = || StakingErrors::abi_decode(data).ok().and_then(|e| stake_refusal(&e));
    let name = || ContentRegistryErrors::abi_decode(data).ok().map(|e| name_refusal(&e));
    action().or_else(decision).or_else(stake).or_else(name).unwrap_or_else(|| {
        let reason = Revert::abi_decode(data).ok().map(|revert| revert.reason);
        reason.unwrap_or_else(|| format!("it reverted with {}", hex::encode_prefixed(data)))
    })
}

fn peer(key: &B256) -> PeerId {
    PeerId(PublicKey(*key))
}

fn action_refusal(error: &GovernanceActionsErrors) -> String {
    use GovernanceActionsErrors as E;
    match error {
        E::AccountInUse(e) if e.organisation == 0 => {
            format!(
                "AccountInUse: {} can never speak for an organisation; name another account",
                e.account
            )
        }
        E::AccountInUse(e) => format!(
            "AccountInUse: {} speaks for organisation {} already, or is named twice; name another account",
            e.account, e.organisation
        ),
        E::AlreadyFounded(_) => "AlreadyFounded: a network is founded once, in its genesis".into(),
        E::BadName(e) => {
            format!("BadName: {:?} is no name; use 1 to 32 letters, digits, - or _", e.name)
        }
        E::BadQuorum(e) => format!(
            "BadQuorum: {}/{} is no quorum; use at least half and less than all, such as 2/3",
            e.numerator, e.denominator
        ),
        E::BadThreshold(e) => format!(
            "BadThreshold: {} of {} keys cannot speak; use a threshold from 1 to the number of keys",
            e.threshold, e.keys
        ),
        E::ChangePending(e) => format!(
            "ChangePending: validator {} changes at height {} already; wait until then",
            peer(&e.peer),
            e.height
        ),
        E::ForkNotCancellable(e) => format!(
            "ForkNotCancellable: {} is not the last rule set that is scheduled, or has begun; only that one can be called off",
            e.name
        ),
        E::ForkOrder(e) => {
            format!("ForkOrder: {} follows {}; schedule {} first", e.name, e.first, e.first)
        }
        E::ForkScheduled(e) => format!(
            "ForkScheduled: {} is scheduled already; call it off first with `trefoil org set cancel-fork {}`",
            e.name, e.name
        ),
        E::ForkTooEarly(e) => format!(
            "ForkTooEarly: height {} leaves no time to prepare; choose {} or later",
            e.height, e.least
        ),
        E::KeyInUse(e) => format!(
            "KeyInUse: {} is or was used already, and a key has one use by one owner; make a new key",
            e.key
        ),
        E::LastOrganisation(e) => format!(
            "LastOrganisation: {} is the only active organisation; add or resume another first",
            e.id
        ),
        E::ModexpFailed(_) => {
            "ModexpFailed: the key could not be checked; give the transaction more gas".into()
        }
        E::NameInUse(e) => {
            format!("NameInUse: there is an organisation {}; choose another name", e.name)
        }
        E::NoCaKey(e) => format!(
            "NoCaKey: the organisation has no CA key {}, or it ended; see `trefoil org list`",
            e.key
        ),
        E::NoCaKeyAt(e) => format!(
            "NoCaKeyAt: at height {} the organisation would have no CA key; add the new one first, with `trefoil org rotate-ca --add KEY`",
            e.height
        ),
        E::NoOrganisation(e) => format!(
            "NoOrganisation: there is no organisation {}, or it was removed; see `trefoil org list`",
            e.id
        ),
        E::NoValidator(e) => {
            format!("NoValidator: {} is no validator; see `trefoil validator list`", peer(&e.peer))
        }
        E::NoValidatorAt(e) => format!(
            "NoValidatorAt: block {} would have no validator; add one that begins earlier",
            e.height
        ),
        E::NotAKey(e) => {
            format!("NotAKey: {} is no Ed25519 key that can be used; check its digits", e.key)
        }
        E::NotItsNode(e) => format!(
            "NotItsNode: the chain does not know {} as a node of organisation {}; revoke a full node's certificate by its serial, or let all vote: `trefoil node revoke PEER --vote`",
            peer(&e.peer),
            e.organisation
        ),
        E::NotYourAffair(e) => format!(
            "NotYourAffair: it is for organisation {} or all to decide, not for {}; let all vote",
            e.organisation, e.acting
        ),
        E::NothingToChange(_) => {
            "NothingToChange: everything is already as asked; there is nothing to do".into()
        }
        E::OnlyByAll(_) => "OnlyByAll: all decide about this; let all vote".into(),
        E::OnlyByDecision(_) => {
            "OnlyByDecision: this is an action; propose it, and it runs when the vote passes".into()
        }
        E::OrganisationSuspended(e) => format!(
            "OrganisationSuspended: organisation {} is suspended; a vote must resume it first: `trefoil org propose-resume`",
            e.id
        ),
        E::OutOfRange(e) => out_of_range(&e.what, &e.got, &e.least, &e.most),
        E::PeerInUse(e) => {
            format!("PeerInUse: {} validates already; remove it first", peer(&e.peer))
        }
        E::PeerRevoked(e) => {
            format!("PeerRevoked: {} was revoked for ever; make a new node key", peer(&e.peer))
        }
        E::TooEarly(e) => {
            format!("TooEarly: height {} is past; choose {} or later", e.height, e.least)
        }
        E::TooManyCaKeys(e) => {
            format!("TooManyCaKeys: at most {} at a time; end one first", e.most)
        }
        E::TooManyForks(e) => {
            format!("TooManyForks: a chain has at most {}; no more can be scheduled", e.most)
        }
        E::TooManyOrganisations(e) => {
            format!("TooManyOrganisations: at most {} at a time; remove one first", e.most)
        }
        E::TooManySerials(e) => format!(
            "TooManySerials: at most {} an organisation; end the CA key that signed them, then `trefoil node forget-serials`",
            e.most
        ),
        E::TooManyValidators(e) => {
            format!("TooManyValidators: at most {} at a time; remove one first", e.most)
        }
        E::TooMuchPower(e) => format!(
            "TooMuchPower: {} together; at most {} is possible, and at least 1 each",
            e.got, e.most
        ),
        E::UnequalLengths(e) => format!(
            "UnequalLengths: {} accounts and {} permissions; give one for each",
            e.accounts, e.permissions
        ),
        E::UnknownPermission(e) => {
            format!("UnknownPermission: {} for {}; use 0 to 3", e.permissions, e.account)
        }
    }
}

/// What actions are refused for too has its words there.
fn decision_refusal(error: &GovernanceErrors) -> Option<String> {
    use GovernanceErrors as E;
    Some(match error {
        E::ActionFailed(_) => "ActionFailed: what was proposed is no action of the contract, or ran out of gas; propose another".into(),
        E::BadAction(e) => format!("BadAction: {} bytes are no action; use a call of at most {} bytes", e.bytesGot, e.most),
        E::NoActions(_) => "NoActions: genesis lacks the code of the actions; found the network with another version".into(),
        E::NotAGovernanceKey(e) => format!(
            "NotAGovernanceKey: {} speaks for no organisation; name one of an organisation's keys with --account (`trefoil org list` shows them)",
            e.sender
        ),
        E::NotYourDecision(e) => format!("NotYourDecision: proposal {} is for organisation {} alone; nothing is asked of you", e.id, e.decider),
        E::OnlyTheNode(_) => "OnlyTheNode: only the node calls this, with the blocks that it makes".into(),
        E::ProposalClosed(e) => format!(
            "ProposalClosed: there is no open proposal {}: it was executed, taken back or expired; see `trefoil org proposals`, or propose again",
            e.id
        ),
        E::TooManyProposals(e) => format!(
            "TooManyProposals: this account has {} open; take one back with `trefoil org unvote ID`, or wait until one expires",
            e.most
        ),
        E::NoOrganisation(_) | E::NothingToChange(_) | E::OnlyByDecision(_) | E::OrganisationSuspended(_) => return None,
    })
}

/// As [`decision_refusal`].
fn stake_refusal(error: &StakingErrors) -> Option<String> {
    use StakingErrors as E;
    Some(match error {
        E::AlreadyCandidate(e) => format!(
            "AlreadyCandidate: {} stakes already; use `trefoil validator add-stake`",
            e.owner
        ),
        E::JailedForEver(e) => format!(
            "JailedForEver: {} signed twice and never validates again; use another account and another key",
            e.owner
        ),
        E::JailedYet(e) => {
            format!("JailedYet: the jail lasts until height {}; try again then", e.height)
        }
        E::NoCandidate(e) => {
            format!("NoCandidate: {} has no stake; use `trefoil validator stake` first", e.owner)
        }
        E::NotJailed(e) => format!("NotJailed: {} is not jailed; there is nothing to do", e.owner),
        E::NotPaid(e) => format!(
            "NotPaid: {} did not take {} ether; it is a contract that refuses payments",
            e.owner,
            ether(e.amount)
        ),
        E::NothingDue(e) if e.first == 0 => {
            "NothingDue: nothing is on its way out; use `trefoil validator unstake` first".into()
        }
        E::NothingDue(e) => format!(
            "NothingDue: nothing can be withdrawn before height {}; try again then",
            e.first
        ),
        E::OtherKey(e) => format!(
            "OtherKey: the account registered with key {} and keeps it; use that key, or another account",
            e.key
        ),
        E::TooLittleStake(e) => format!(
            "TooLittleStake: {} ether; at least {} ether is needed",
            ether(e.got),
            ether(e.least)
        ),
        E::TooManyUnbondings(e) => {
            format!("TooManyUnbondings: {} parts are on their way out; withdraw, or wait", e.most)
        }
        E::TooMuchStake(e) => format!(
            "TooMuchStake: {} ether; there are at most {} ether",
            ether(e.got),
            ether(e.most)
        ),
        E::Unfunded(e) => format!(
            "Unfunded: genesis gives {} ether for stakes of {}; correct its balance",
            ether(e.got),
            ether(e.wanted)
        ),
        E::AlreadyFounded(_)
        | E::KeyInUse(_)
        | E::ModexpFailed(_)
        | E::NotAKey(_)
        | E::NothingToChange(_)
        | E::OnlyTheNode(_)
        | E::OutOfRange(_) => return None,
    })
}

fn name_refusal(error: &ContentRegistryErrors) -> String {
    use ContentRegistryErrors as E;
    match error {
        E::AlreadyWithdrawn(e) => {
            format!("AlreadyWithdrawn: {}@{} was withdrawn before", e.name, e.version)
        }
        E::BadContentName(e) => format!(
            "BadContentName: {:?} is no name; use 1 to 128 letters, digits, `.`, `-` and `_`, the first a letter or digit",
            e.name
        ),
        E::BadOrganisations(_) => {
            "BadOrganisations: name at most 16 organisations, by ascending numbers".into()
        }
        E::NotNewer(e) => format!(
            "NotNewer: version {} is there already; publish a later one, or leave @VERSION out for the next",
            e.newest
        ),
        E::NotPublished(e) => {
            let version = if e.version == 0 { String::new() } else { format!("@{}", e.version) };
            format!(
                "NotPublished: {} has published no {}{version}, or has withdrawn it; see `trefoil names {}`",
                e.publisher, e.name, e.name
            )
        }
    }
}

fn out_of_range(
    what: &str,
    got: &impl ToString,
    least: &impl ToString,
    most: &impl ToString,
) -> String {
    let [got, least, most] = [got.to_string(), least.to_string(), most.to_string()];
    format!("OutOfRange: {what} is {got}; choose {least} to {most}")
}
