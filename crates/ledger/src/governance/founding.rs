//! Founding of the governing contract: its code, and the founders that a specification
//! names.

use alloy_genesis::GenesisAccount;
use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{SolCall, SolValue};
use serde::Deserialize;
use trefoil_types::{
    Address, B256, ChainSpec, Header, Height, PublicKey,
    spec::{
        ACCOUNT_ACTIONS, CHAIN_ACTIONS, CONTENT_REGISTRY, ED25519_VERIFIER, Fork,
        FoundingOrganisation, FoundingValidator, GOVERNING_ACTIONS, GOVERNING_CONTRACT, Parameter,
    },
};

use super::{GoverningContract, IGovernance, IMembership, IStaking};
use crate::{LedgerError, StateDiff, StateReader};

/// The artifacts that `contracts/build.mjs` wrote.
const GOVERNANCE: &str = include_str!("../../../../contracts/artifacts/Governance.json");
const ACTIONS: &str = include_str!("../../../../contracts/artifacts/GovernanceActions.json");
const CHAIN: &str = include_str!("../../../../contracts/artifacts/ChainActions.json");
const ACCOUNTS: &str = include_str!("../../../../contracts/artifacts/AccountActions.json");
const VERIFIER: &str = include_str!("../../../../contracts/artifacts/Ed25519Verifier.json");
const STAKING: &str = include_str!("../../../../contracts/artifacts/Staking.json");
const REGISTRY: &str = include_str!("../../../../contracts/artifacts/ContentRegistry.json");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    deployed_bytecode: Bytes,
}

fn contract(artifact: &str, balance: U256) -> GenesisAccount {
    let artifact: Artifact = serde_json::from_str(artifact).expect("a checked-in artifact");
    let code = Some(artifact.deployed_bytecode);
    GenesisAccount { nonce: Some(1), balance, code, ..Default::default() }
}

/// The contracts of this kind of network, as they are in genesis before the governing one
/// knows the founders.
pub(crate) fn contracts(spec: &ChainSpec) -> Vec<(Address, GenesisAccount)> {
    let registry = (CONTENT_REGISTRY, contract(REGISTRY, U256::ZERO));
    let verifier = (ED25519_VERIFIER, contract(VERIFIER, U256::ZERO));
    if spec.kind.has_members() {
        return vec![
            registry,
            verifier,
            (CHAIN_ACTIONS, contract(CHAIN, U256::ZERO)),
            (ACCOUNT_ACTIONS, contract(ACCOUNTS, U256::ZERO)),
            (GOVERNING_CONTRACT, contract(GOVERNANCE, U256::ZERO)),
            (GOVERNING_ACTIONS, contract(ACTIONS, U256::ZERO)),
        ];
    }
    // The contract must own the stake of the founders, or it could not pay them when they
    // leave.
    let unit = spec.staking.clone().unwrap_or_default().stake_unit;
    let power: U256 = spec.validators.iter().map(|v| U256::from(v.power)).sum();
    vec![registry, verifier, (GOVERNING_CONTRACT, contract(STAKING, power * unit))]
}

// Its writes are part of the genesis state root: founders are bound twice, there and in the
// hash of the specification (ADR 14).
/// Gives the contract in `state` the founders of the network. Returns the changes.
///
/// # Errors
/// [`LedgerError::Founding`]: the contract refuses.
pub(crate) fn found<S: StateReader>(
    spec: &ChainSpec,
    genesis: &Header,
    state: &S,
) -> Result<StateDiff, LedgerError> {
    let mut contract = GoverningContract::new(spec, genesis, state);
    let founding = match spec.kind.has_members() {
        true => founding(spec).abi_encode(),
        false => staking(spec).abi_encode(),
    };
    let call = IMembership::foundCall { founding: founding.into() };
    let founded = contract.call(call.abi_encode().into())?;
    founded.map_err(LedgerError::Founding)?;
    Ok(contract.0.finish())
}

/// The amounts were bounded by the check of the specification.
fn staking(spec: &ChainSpec) -> IStaking::Founding {
    let terms = spec.staking.clone().unwrap_or_default();
    let founder = |validator: &FoundingValidator| IStaking::Founder {
        key: validator.key.0,
        power: validator.power,
        owner: validator.owner.unwrap_or_default(),
        feeRecipient: validator.fee_recipient,
    };
    IStaking::Founding {
        founders: spec.validators.iter().map(founder).collect(),
        parameters: IStaking::Parameters {
            epochBlocks: terms.epoch_blocks,
            unbondingBlocks: terms.unbonding_blocks,
            stakeUnit: terms.stake_unit.to(),
            minStake: terms.min_stake.to(),
            maxValidators: terms.validators_max,
            minValidators: terms.validators_min,
            maxShare: terms.power_share_max,
            slashParts: terms.slash_parts,
            windowBlocks: terms.window_blocks,
            windowSeconds: terms.window_seconds,
            absenceParts: terms.absence_parts,
            jailBlocks: terms.jail_blocks,
        },
    }
}

fn founding(spec: &ChainSpec) -> IGovernance::Founding {
    let forks = spec.forks.iter();
    let fork = |(fork, height): (&Fork, &Height)| IGovernance::Fork {
        name: fork.name().into(),
        height: *height,
    };
    IGovernance::Founding {
        organisations: (1..).zip(&spec.organisations).map(organisation).collect(),
        nodes: spec.validators.iter().map(|validator| node(spec, validator)).collect(),
        settings: IGovernance::Settings {
            gasLimit: spec.gas_limit,
            minBaseFee: spec.min_base_fee(),
            accountsListed: spec.accounts.is_some(),
            deployersListed: spec.deployers.is_some(),
        },
        forks: forks.map(fork).collect(),
        quorumNumerator: spec.quorum[0],
        quorumDenominator: spec.quorum[1],
        validatorDelay: spec.validator_delay,
        decisionDelay: spec.decision_delay_s,
        accounts: spec.accounts.clone().unwrap_or_default(),
        deployers: spec.deployers.clone().unwrap_or_default(),
        recoveryKeys: spec.organisations.iter().map(recovery_key).collect(),
        senders: spec.organisations.iter().map(|o| o.senders.clone()).collect(),
        parameters: spec.parameters.iter().map(parameter).collect(),
    }
}

fn parameter((parameter, value): (&Parameter, &u64)) -> IGovernance::Parameter {
    IGovernance::Parameter { name: parameter.name().into(), value: *value, from: 0 }
}

/// Organisations are numbered from 1 in the order of the specification.
fn organisation((id, organisation): (u32, &FoundingOrganisation)) -> IGovernance::Organisation {
    let ca_key = |key: &PublicKey| IGovernance::CaKey { key: key.0, from: 0, until: 0 };
    IGovernance::Organisation {
        id,
        status: IGovernance::Status::Active,
        threshold: organisation.threshold,
        name: organisation.name.clone(),
        keys: organisation.keys.clone(),
        caKeys: organisation.ca_keys.iter().map(ca_key).collect(),
    }
}

fn recovery_key(organisation: &FoundingOrganisation) -> Address {
    organisation.recovery_key.unwrap_or_default()
}

fn node(spec: &ChainSpec, validator: &FoundingValidator) -> IGovernance::Node {
    let name = validator.organisation.as_deref();
    let at = spec.organisations.iter().position(|o| Some(o.name.as_str()) == name);
    IGovernance::Node {
        peer: validator.node.map_or(B256::ZERO, |peer| peer.0.0),
        // 0 is no organisation: the contract refuses it, as the check of the specification
        // does.
        organisation: at.map_or(0, |at| at as u32 + 1),
        role: IGovernance::Role::Validator,
        revoked: false,
        validatorKey: validator.key.0,
        power: validator.power,
        feeRecipient: validator.fee_recipient,
        from: 1,
        until: 0,
    }
}
