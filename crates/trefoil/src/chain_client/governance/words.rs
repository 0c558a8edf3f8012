//! An action in words: the effect of a proposal that passes.

use std::str::FromStr as _;

use alloy_primitives::{B256, U256, hex};
use alloy_sol_types::SolInterface as _;
use trefoil_os::keystore::SealingKey;
use trefoil_types::{
    Address, PeerId, PublicKey,
    spec::{Fork, Parameter},
};

use super::{Organisations, abi::GovernanceActions::GovernanceActionsCalls};

/// Describes `action`, with organisations by their names. Never fails: bytes that are
/// no action are described as such.
pub fn words(action: &[u8], organisations: &Organisations) -> String {
    // Validated: an approver must not be shown another action than the contract runs.
    let Ok(call) = GovernanceActionsCalls::abi_decode_validate(action) else {
        return format!("no action of the contract: {}", hex::encode_prefixed(action));
    };
    known(call, organisations).unwrap_or_else(|view| format!("nothing: it reads {view}"))
}

/// The name of a view is an error: it changes nothing.
fn known(
    call: GovernanceActionsCalls,
    organisations: &Organisations,
) -> Result<String, &'static str> {
    use GovernanceActionsCalls as A;
    let org = |id: u32| organisations.label(id);
    Ok(match call {
        A::addOrganisation(a) => format!(
            "add organisation {}: {}; CA keys {}",
            shown(&a.name),
            keys(a.threshold, &a.keys),
            list(&a.caKeys)
        ),
        A::removeOrganisation(a) => format!("remove {} for ever", org(a.id)),
        A::suspendOrganisation(a) => format!("suspend {}", org(a.id)),
        A::resumeOrganisation(a) => format!("resume {}", org(a.id)),
        A::setKeys(a) => {
            format!("{} votes with {} once they accept", org(a.id), keys(a.threshold, &a.keys))
        }
        A::addCaKey(a) => format!("add CA key {} of {}, {}", a.key, org(a.id), from(a.from)),
        A::endCaKey(a) => format!("end CA key {} of {}, {}", a.key, org(a.id), from(a.until)),
        A::setRecoveryKey(a) if a.account.is_zero() => {
            format!("no account can give {} new keys", org(a.id))
        }
        A::setRecoveryKey(a) => format!("{} can give {} new keys", a.account, org(a.id)),
        A::setGuardian(a) if a.guardian.is_zero() => "there is no guardian".into(),
        A::setGuardian(a) => format!("{} is the guardian", a.guardian),
        A::release(_) => "let go what the guardian holds".into(),
        A::setDecisionDelay(a) => {
            format!("what may hurt an organisation waits for {} seconds", a.delay)
        }
        A::setSenders(a) if a.senders.is_empty() => {
            format!("no account sends for {} any more", org(a.id))
        }
        A::setSenders(a) => format!("{} may send for {}", list(&a.senders), org(a.id)),
        A::setAdministrators(a) if a.accounts.is_empty() => {
            format!("no account adds or freezes accounts of {} any more", org(a.id))
        }
        A::setAdministrators(a) => {
            format!("{} add and freeze accounts of {}", list(&a.accounts), org(a.id))
        }
        A::setSealingKey(a) if a.key.is_zero() => {
            format!("content is sealed to {} no more", org(a.id))
        }
        A::setSealingKey(a) => {
            format!("content is sealed to {} by {}", org(a.id), SealingKey(a.key.0))
        }
        A::revokeSerial(a) => format!("revoke certificate {:#x} of {}", a.serial, org(a.id)),
        A::forgetSerials(a) => format!("forget the revoked certificates of {}", org(a.id)),
        A::revokeNode(a) => {
            format!("revoke node {} of {} for ever", peer(&a.peer), org(a.organisation))
        }
        A::addValidator(a) => format!(
            "add validator {} of {} with key {}, power {}, fees to {}",
            peer(&a.peer),
            org(a.organisation),
            a.validatorKey,
            a.power,
            a.feeRecipient
        ),
        A::removeValidator(a) => format!("remove validator {}", peer(&a.peer)),
        A::setPower(a) => format!("validator {} has power {}", peer(&a.peer), a.power),
        A::setFeeRecipient(a) => {
            format!("fees of validator {} go to {}", peer(&a.peer), a.feeRecipient)
        }
        A::rotateValidatorKey(a) => {
            format!("validator {} signs with key {}", peer(&a.peer), a.validatorKey)
        }
        A::setStandby(a) if a.validatorKey.is_zero() => {
            format!("validator {} has no standby", peer(&a.peer))
        }
        A::setStandby(a) => format!(
            "the seat of validator {} moves to key {} when its own is away",
            peer(&a.peer),
            a.validatorKey
        ),
        A::setValidatorDelay(a) => {
            format!("changes of validators hold {} blocks after the vote", a.blocks)
        }
        A::setGasLimit(a) => format!("a block may use {} gas", a.gasLimit),
        A::setMinBaseFee(a) if a.minBaseFee == 0 => "gas is free".into(),
        A::setMinBaseFee(a) => format!("the base fee is at least {} wei", a.minBaseFee),
        A::setAccountsListed(a) => format!("{} may send transactions", who(a.listed)),
        A::setDeployersListed(a) => format!("{} may deploy contracts", who(a.listed)),
        A::setPermissions(a) => permissions(&a.accounts, &a.granted),
        A::setQuorum(a) => format!(
            "a vote passes with more than {}/{} of the organisations",
            a.numerator, a.denominator
        ),
        A::scheduleFork(a) => format!(
            "the rules of {} hold from height {}{}",
            shown(&a.name),
            a.height,
            stop_before(Fork::from_str(&a.name).is_ok(), a.height)
        ),
        A::setParameter(a) if a.value == 0 => {
            format!("{} is what the rule set says, {}", shown(&a.name), after_notice(a.from))
        }
        A::setParameter(a) => format!(
            "{} is {}, {}{}",
            shown(&a.name),
            a.value,
            after_notice(a.from),
            stop_before(Parameter::of_name(&a.name).is_some(), a.from)
        ),
        A::cancelFork(a) => format!("call off the rules of {}", shown(&a.name)),
        A::prove(_)
        | A::acceptSeat(_)
        | A::recover(_)
        | A::addAccounts(_)
        | A::freezeAccounts(_)
        | A::chooseOrganisation(_)
        | A::holdNode(_)
        | A::holdOrganisation(_) => "no action, but the call of one account: it is refused".into(),
        A::found(_) | A::foundChain(_) => "found the network, which is done once".into(),
        A::noteAbsent(_) => "no action, but the node's own call: it is refused".into(),
        A::ACTIONS(_) => return Err("ACTIONS"),
        A::administrators(_) => return Err("administrators"),
        A::belongsTo(_) => return Err("belongsTo"),
        A::guard(_) => return Err("guard"),
        A::offer(_) => return Err("offer"),
        A::recoveryKey(_) => return Err("recoveryKey"),
        A::BASE_FEE_MAX(_) => return Err("BASE_FEE_MAX"),
        A::CA_KEYS_MAX(_) => return Err("CA_KEYS_MAX"),
        A::DELAY_MAX(_) => return Err("DELAY_MAX"),
        A::DECISION_DELAY_MAX(_) => return Err("DECISION_DELAY_MAX"),
        A::GUARD_SECONDS(_) => return Err("GUARD_SECONDS"),
        A::EVIDENCE_BLOCKS(_) => return Err("EVIDENCE_BLOCKS"),
        A::FORKS_MAX(_) => return Err("FORKS_MAX"),
        A::FORK_NOTICE(_) => return Err("FORK_NOTICE"),
        A::GAS_LIMIT_MAX(_) => return Err("GAS_LIMIT_MAX"),
        A::GAS_LIMIT_MIN(_) => return Err("GAS_LIMIT_MIN"),
        A::KEYS_MAX(_) => return Err("KEYS_MAX"),
        A::LISTED_MAX(_) => return Err("LISTED_MAX"),
        A::ORGANISATIONS_MAX(_) => return Err("ORGANISATIONS_MAX"),
        A::SENDERS_MAX(_) => return Err("SENDERS_MAX"),
        A::SERIALS_MAX(_) => return Err("SERIALS_MAX"),
        A::standby(_) => return Err("standby"),
        A::kindOf(_) => return Err("kindOf"),
    })
}

// Attack: a name with control characters, by which an approver's terminal shows another action.
/// A name as it stands in calldata, which the contract has not judged yet.
fn shown(name: &str) -> impl std::fmt::Display {
    name.escape_debug()
}

/// `2 of 3 keys (0x…, 0x…, 0x…)`.
pub fn keys(threshold: u8, keys: &[Address]) -> String {
    format!("{threshold} of {} keys ({})", keys.len(), list(keys))
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// The peer id of a node's key.
pub fn peer(key: &B256) -> PeerId {
    PeerId(PublicKey(*key))
}

fn after_notice(height: u64) -> String {
    match height {
        0 => "101 blocks after the vote".into(),
        height => format!("from height {height} on"),
    }
}

/// An approver learns of a typing error, or that programs must be updated first.
fn stop_before(is_known: bool, height: u64) -> String {
    match (is_known, height) {
        (true, _) => String::new(),
        (false, 0) => "; this program does not know it and stops before that block".into(),
        (false, height) => {
            format!("; this program does not know it and stops before block {height}")
        }
    }
}

fn from(height: u64) -> String {
    match height {
        0 => "from the next block on".into(),
        height => format!("from height {height} on"),
    }
}

fn who(listed: bool) -> &'static str {
    if listed { "only listed accounts" } else { "all accounts" }
}

fn permissions(accounts: &[Address], granted: &[U256]) -> String {
    let one = |(account, bits): (&Address, &U256)| {
        let may = match (bits.bit(0), bits.bit(1)) {
            (false, false) => "is on no list",
            (true, false) => "may send transactions",
            (false, true) => "may deploy contracts",
            (true, true) => "may send transactions and deploy contracts",
        };
        format!("{account} {may}")
    };
    accounts.iter().zip(granted).map(one).collect::<Vec<_>>().join("; ")
}
