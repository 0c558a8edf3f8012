//! Founding the contract: its code, and what a specification tells it.

use alloy_primitives::Bytes;
use alloy_sol_types::{SolCall, SolValue};
use serde::Deserialize;
use trefoil_types::{
    B256, ChainSpec, Header, PublicKey,
    spec::{FoundingValidator, Organisation},
};

use super::{Contract, IGovernance, IMembership};
use crate::{LedgerError, StateDiff, StateReader};

/// What `contracts/build.mjs` wrote.
const GOVERNANCE: &str = include_str!("../../../../contracts/artifacts/Governance.json");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    deployed_bytecode: Bytes,
}

/// The contract that governs a network of this kind, as it lies in genesis.
pub(crate) fn code(_spec: &ChainSpec) -> Bytes {
    let artifact: Artifact = serde_json::from_str(GOVERNANCE).expect("a checked-in artifact");
    artifact.deployed_bytecode
}

/// Tells the contract in `state` who founds the network; what changes by it.
///
/// # Errors
/// [`LedgerError::Founding`] if the contract refuses.
pub(crate) fn found<S: StateReader>(
    spec: &ChainSpec,
    genesis: &Header,
    state: &S,
) -> Result<StateDiff, LedgerError> {
    let mut contract = Contract::new(spec, genesis, state);
    let call = IMembership::foundCall { founding: founding(spec).abi_encode().into() };
    let founded = contract.call(call.abi_encode().into())?;
    founded.map_err(LedgerError::Founding)?;
    Ok(contract.0.finish())
}

fn founding(spec: &ChainSpec) -> IGovernance::Founding {
    let forks = spec.forks.iter();
    IGovernance::Founding {
        organisations: (1..).zip(&spec.organisations).map(organisation).collect(),
        nodes: spec.validators.iter().map(|validator| node(spec, validator)).collect(),
        settings: IGovernance::Settings {
            gasLimit: spec.gas_limit,
            minBaseFee: spec.min_base_fee(),
            accountsListed: false,
            deployersListed: false,
        },
        forks: forks
            .map(|(fork, height)| IGovernance::Fork {
                name: fork.name().into(),
                height: *height,
            })
            .collect(),
        quorumNumerator: spec.quorum[0],
        quorumDenominator: spec.quorum[1],
        validatorDelay: spec.validator_delay,
    }
}

/// Organisations are numbered from 1 in the order of the specification.
fn organisation((id, organisation): (u32, &Organisation)) -> IGovernance::Organisation {
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

fn node(spec: &ChainSpec, validator: &FoundingValidator) -> IGovernance::Node {
    let name = validator.organisation.as_deref();
    let at = spec.organisations.iter().position(|o| Some(o.name.as_str()) == name);
    IGovernance::Node {
        peer: validator.node.map_or(B256::ZERO, |peer| peer.0.0),
        // 0 is no organisation's: the contract refuses it, as the check of the
        // specification does.
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
