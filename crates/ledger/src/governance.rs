//! The contract that governs a network, as the node calls and reads it.
//!
//! Owns: every call into that contract (founding it, opening a block, reading its views),
//! and its answers as one value. What always holds: a [`Governed`] follows from the state
//! after one block alone, so it can be read again at any time, and every node reads the
//! same (ADR 14).

pub(crate) mod founding;
mod parameters;
mod views;

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use revm::{
    context::{TxEnv, result::ExecutionResult},
    handler::SYSTEM_ADDRESS,
};
use trefoil_types::{
    Address, Attached, B256, ChainSpec, Header, Height, Members, PublicKey, Turns, ValidatorSet,
    keccak256,
    spec::{Fork, Forks, GOVERNING_CONTRACT, Parameter, fork_at},
};

use crate::{
    BlockRules, LedgerError, StateDiff, StateReader, create_gate::CreateGate, evm::VirtualMachine,
    fault::TxFault,
};

pub use parameters::Parameters;

sol!("../../contracts/src/IMembership.sol");
sol!("../../contracts/src/IGovernance.sol");
sol!("../../contracts/src/IStaking.sol");

// One slot instead of all views: a quiet block then costs nothing, and a light client needs
// the proof of this slot only.
/// The slot of the contract's `version`: a block that changes it changes the rules that
/// nodes act on.
const VERSION_SLOT: U256 = U256::ZERO;

/// The slot of `mapping(address => uint256) permissions` (`contracts/src/IGovernance.sol`).
const PERMISSIONS_SLOT: U256 = U256::ONE;

/// The bit of the permission to send transactions (`contracts/src/Permissions.sol`).
const MAY_SEND: usize = 0;
/// The bit of the permission to deploy contracts.
const MAY_DEPLOY: usize = 1;
/// The bit by which an organisation takes back that its account may send.
const FROZEN: usize = 3;
/// The bit of an organisation whose accounts may send, in the word of the address that is its
/// number.
const ACTIVE: usize = 4;
/// The first bit of the number of the organisation that an account belongs to, 32 bits.
const BELONGS: usize = 32;

// Measured for the largest network (`docs/governance.md`): 9 million for `organisations()`, 98
// million for `found`, 131 million for the dearest `open`. Nobody pays for these calls, so the
// bound only stops an endless loop. With the 30 million of Ethereum's system calls a block whose
// evidence convicts many could not open, and its proposer would end.
/// The gas of one call of the node. The contract bounds its own lists; this is far above
/// the gas that they take.
pub(crate) const NODE_CALL_GAS: u64 = 10_000_000_000;

/// The demands of the state after a block on the block after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Governed {
    /// Its validator set.
    pub validators: ValidatorSet,
    /// Where each of them wants the fees of its blocks.
    pub fee_recipients: BTreeMap<PublicKey, Address>,
    /// The members that may connect; empty on a public network.
    pub members: Arc<Members>,
    pub settings: ChainSettings,
    // The contract takes heights at least 100 ahead only, so the newest schedule is right
    // for every block of the past.
    /// The height from which each rule set holds.
    pub forks: Forks,
    // The contract keeps all values, so they are right for every block of the past too.
    /// The numbers that the network has set by vote.
    pub parameters: Parameters,
    /// The first voted rule set or parameter that this program does not know.
    pub unknown_fork: Option<(Height, String)>,
}

/// The settings of block production that a network may change by vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainSettings {
    /// Gas that one block may use.
    pub gas_limit: u64,
    /// The base fee never falls below this, wei; 0: gas is free.
    pub min_base_fee: u64,
    /// Whether only accounts on a list may send transactions.
    pub accounts_listed: bool,
    /// Whether only accounts on a list may deploy contracts.
    pub deployers_listed: bool,
}

impl ChainSettings {
    /// Whether no fee is required or charged.
    pub fn is_gas_free(&self) -> bool {
        self.min_base_fee == 0
    }

    /// The settings at the founding.
    pub fn of_founding(spec: &ChainSpec) -> Self {
        Self {
            gas_limit: spec.gas_limit,
            min_base_fee: spec.min_base_fee(),
            accounts_listed: spec.accounts.is_some(),
            deployers_listed: spec.deployers.is_some(),
        }
    }
}

impl Governed {
    /// As [`Self::read`], if the block of `diff` changed the answers.
    pub(crate) fn read_if_changed<S: StateReader>(
        spec: &ChainSpec,
        header: &Header,
        state: &S,
        diff: &StateDiff,
    ) -> Result<Option<Arc<Self>>, LedgerError> {
        let change = diff.accounts.get(&GOVERNING_CONTRACT);
        if change.is_none_or(|change| !change.storage.contains_key(&VERSION_SLOT)) {
            return Ok(None);
        }
        let after = crate::state::After { state, diff };
        Self::read(spec, header, &after).map(|governed| Some(Arc::new(governed)))
    }

    /// The rules of the block with this header, of which height and base fee are used. `self`
    /// is of its parent's state. For a block that is already final it may be of any later
    /// state; then the list of deployers is to be set to the block's own ([`lists_deployers`]).
    ///
    /// # Errors
    /// As [`Self::fork_at`].
    pub(crate) fn rules(
        &self,
        spec: &ChainSpec,
        header: &Header,
    ) -> Result<BlockRules, LedgerError> {
        Ok(BlockRules {
            // By the header, not by today's settings: with base fee 0 gas was free in that
            // block, also after a vote changed it (ADR 14).
            gas_free: header.base_fee_per_gas == Some(0),
            accounts_listed: self.settings.accounts_listed,
            deployers_listed: self.settings.deployers_listed,
            code_bytes_max: self.parameters.at(Parameter::CodeSize, header.number),
            tx_gas_max: self.parameters.at(Parameter::TxGas, header.number),
            ..BlockRules::of_fork(spec.chain_id, self.fork_at(header.number)?)
        })
    }

    // Not the proposer's own: a header names no round, and a later round proposes the block of an
    // earlier one again.
    /// Checks that a block's fees go where one of its validators wants them.
    pub(crate) fn check_beneficiary(&self, beneficiary: &Address) -> Result<(), String> {
        match self.fee_recipients.values().any(|recipient| recipient == beneficiary) {
            true => Ok(()),
            false => Err(format!("beneficiary {beneficiary} is no validator's fee recipient")),
        }
    }

    /// The rule set of the block at `height`.
    ///
    /// # Errors
    /// [`LedgerError::UnknownFork`] if it is one that this program does not know.
    fn fork_at(&self, height: Height) -> Result<Fork, LedgerError> {
        match &self.unknown_fork {
            Some((from, name)) if *from <= height => {
                Err(LedgerError::UnknownFork { name: name.clone(), height: *from })
            }
            _ => Ok(fork_at(&self.forks, height)),
        }
    }
}

/// The permissions of an account, as the contract's word of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions(U256);

impl Permissions {
    /// Those of `account` in `state`, and all that no list in force restricts: `accounts` and
    /// `deployers` tell which lists are. Without any the state is not read.
    ///
    /// # Errors
    /// A failed disk.
    pub(crate) fn in_force<S: StateReader>(
        state: &S,
        account: &Address,
        accounts: bool,
        deployers: bool,
    ) -> Result<Self, LedgerError> {
        if !accounts && !deployers {
            return Ok(Self(U256::MAX));
        }
        let mut word = permissions_word(state, account)?;
        let organisation = (word >> BELONGS).as_limbs()[0] as u32;
        if organisation != 0 && !word.bit(FROZEN) {
            let number = Address::left_padding_from(&organisation.to_be_bytes());
            let active = permissions_word(state, &number)?.bit(ACTIVE);
            word.set_bit(MAY_SEND, word.bit(MAY_SEND) || active);
        }
        word.set_bit(MAY_SEND, word.bit(MAY_SEND) || !accounts);
        word.set_bit(MAY_DEPLOY, word.bit(MAY_DEPLOY) || !deployers);
        Ok(Self(word))
    }

    /// The gate through which the creates go of transactions of `sender`, whose these are.
    pub(crate) fn create_gate(self, sender: Address) -> CreateGate {
        match self.may_deploy() {
            true => CreateGate::default(),
            false => CreateGate::closed_to(sender),
        }
    }

    pub fn may_send(self) -> bool {
        self.0.bit(MAY_SEND)
    }

    pub fn may_deploy(self) -> bool {
        self.0.bit(MAY_DEPLOY)
    }
}

fn permissions_word<S: StateReader>(state: &S, account: &Address) -> Result<U256, LedgerError> {
    let key = [account.into_word().0, PERMISSIONS_SLOT.to_be_bytes()].concat();
    state.storage(&GOVERNING_CONTRACT, keccak256(key).into())
}

/// The gate through which the creates of `sender`'s transactions go; `state` is that before the
/// block.
///
/// # Errors
/// A failed disk.
pub(crate) fn create_gate<S: StateReader>(
    rules: &BlockRules,
    state: &S,
    sender: Address,
) -> Result<CreateGate, LedgerError> {
    let permissions = Permissions::in_force(state, &sender, false, rules.deployers_listed)?;
    Ok(permissions.create_gate(sender))
}

/// Whether the deployers of the block after the one with `header`, of which `state` is the state,
/// are listed. Of the newest block, [`Governed::settings`] tells it without a call.
///
/// # Errors
/// As [`Governed::read`].
pub(crate) fn lists_deployers<S: StateReader>(
    spec: &ChainSpec,
    header: &Header,
    state: &S,
) -> Result<bool, LedgerError> {
    if !spec.kind.has_members() {
        return Ok(false);
    }
    let mut contract = GoverningContract::new(spec, header, state);
    Ok(contract.view(IGovernance::settingsCall {})?.deployersListed)
}

// Both follow from the block alone, so every node makes the same call. A proposer could
// leave out signatures that it has, down to a quorum; only many such blocks lead to jail
// (ADR 14).
/// The input of the call that opens a block; `turns` are the parent's. It names the validators of the parent whose
/// signature the bound certificate lacks, and the validators that the evidence convicts; on a
/// public network also those that failed their turns to propose the parent.
pub(crate) fn opening(spec: &ChainSpec, turns: Option<&Turns>, attached: &Attached) -> Bytes {
    let signed = |key: &PublicKey| {
        let mut signatures = attached.parent_certificate.iter().flat_map(|c| &c.signatures);
        signatures.any(|signature| signature.validator == *key)
    };
    let validators = turns.into_iter().flat_map(|turns| turns.validators().iter());
    let absent = validators.map(|validator| validator.key).filter(|key| !signed(key));
    let absent = absent.map(|key| key.0).collect();
    let equivocators = attached.evidence.iter().map(|evidence| evidence.validator().0).collect();
    // Among members absence is for people to judge.
    match spec.kind.has_members() {
        true => IMembership::openCall { absent, equivocators }.abi_encode().into(),
        false => {
            let failed = failed_turns(turns, attached);
            IStaking::openAfterCall { failed, absent, equivocators }.abi_encode().into()
        }
    }
}

// Each once: the contract compares them with the heights of its window, by power.
/// The proposers of the parent's rounds in which nothing was decided.
fn failed_turns(turns: Option<&Turns>, attached: &Attached) -> Vec<B256> {
    let (Some(turns), Some(certificate)) = (turns, &attached.parent_certificate) else {
        return vec![];
    };
    turns.failed(certificate.round).into_iter().map(|key| key.0).collect()
}

/// The contract on one state, called by the node itself.
struct GoverningContract<'a, S: StateReader>(VirtualMachine<'a, S>);

impl<'a, S: StateReader> GoverningContract<'a, S> {
    fn new(spec: &ChainSpec, header: &Header, state: &'a S) -> Self {
        // Fixed, so that an answer never depends on the rule set in force: the contract is
        // compiled for Cancun, and later rule sets run such code the same way.
        let rules = BlockRules::of_fork(spec.chain_id, Fork::Cancun);
        Self(VirtualMachine::new(state, rules.cfg(), rules.block_env(header)))
    }

    /// The return data of a call, or why it failed.
    fn call(&mut self, input: Bytes) -> Result<Result<Bytes, String>, LedgerError> {
        let env = TxEnv {
            caller: SYSTEM_ADDRESS,
            kind: GOVERNING_CONTRACT.into(),
            data: input,
            gas_limit: NODE_CALL_GAS,
            ..Default::default()
        };
        match self.0.system_call(env).map_err(TxFault::from) {
            Ok(ExecutionResult::Success { output, .. }) => Ok(Ok(output.into_data())),
            Ok(failed) => Ok(Err(failure(&failed))),
            Err(TxFault::Ledger(error)) => Err(error),
            Err(fault) => Ok(Err(fault.to_string())),
        }
    }

    fn view<C: SolCall>(&mut self, call: C) -> Result<C::Return, LedgerError> {
        let broken = |why: String| LedgerError::Governing(format!("{}: {why}", C::SIGNATURE));
        let output = self.call(call.abi_encode().into())?.map_err(broken)?;
        C::abi_decode_returns_validate(&output).map_err(|e| broken(e.to_string()))
    }
}

/// Whether a validator was convicted of equivocation, by the `state` after the block with
/// `header`.
///
/// # Errors
/// As [`Governed::read`].
pub(crate) fn is_convicted<S: StateReader>(
    spec: &ChainSpec,
    header: &Header,
    state: &S,
    validator: &PublicKey,
) -> Result<bool, LedgerError> {
    let view = IMembership::convictedCall { key: validator.0 };
    GoverningContract::new(spec, header, state).view(view)
}

/// Why a call failed, in the contract's words if it gave some.
pub(crate) fn failure(result: &ExecutionResult) -> String {
    match result {
        ExecutionResult::Revert { output, .. } => {
            match alloy_sol_types::decode_revert_reason(output) {
                Some(reason) => reason,
                None => format!("it reverted with {output}"),
            }
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests;
