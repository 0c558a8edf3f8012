//! The contract's views, called and decoded.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::U256;
use trefoil_crypto::{Role, Serial};
use trefoil_types::{
    Address, B256, CaKey, ChainSpec, Header, Height, MemberNode, Members, Organisation, PeerId,
    PublicKey, Validator, ValidatorSet,
    members::OrganisationStatus,
    spec::{Forks, Parameter},
};

use super::{ChainSettings, Governed, GoverningContract, IGovernance, IMembership, Parameters};
use crate::{LedgerError, StateReader};

fn broken(what: impl Into<String>) -> LedgerError {
    LedgerError::Governing(what.into())
}

/// The contract writes 0 for "no end".
fn end(until: u64) -> Height {
    if until == 0 { Height::MAX } else { until }
}

impl Governed {
    /// Reads the contract in `state`, which is that after the block with `header`.
    ///
    /// # Errors
    /// A failed disk, or [`LedgerError::Governing`] if the contract does not answer, or
    /// answers what cannot be. Its code is fixed at genesis, so either is a broken invariant.
    pub(crate) fn read<S: StateReader>(
        spec: &ChainSpec,
        header: &Header,
        state: &S,
    ) -> Result<Self, LedgerError> {
        let contract = &mut GoverningContract::new(spec, header, state);
        let (validators, fee_recipients) = validators(contract)?;
        if !spec.kind.has_members() {
            return Ok(Self {
                validators,
                fee_recipients,
                members: Arc::default(),
                settings: ChainSettings::of_founding(spec),
                forks: spec.forks.clone(),
                parameters: Parameters::default(),
                unknown_fork: None,
            });
        }
        let (forks, unknown_fork) = forks(contract.view(IGovernance::forksCall {})?);
        let (parameters, unknown) = parameters(contract.view(IGovernance::parametersCall {})?);
        Ok(Self {
            validators,
            fee_recipients,
            members: Arc::new(members(contract)?),
            settings: settings(&contract.view(IGovernance::settingsCall {})?),
            forks,
            parameters,
            unknown_fork: unknown_fork.into_iter().chain(unknown).min(),
        })
    }

    /// As [`Self::read`], only the validators.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_validators<S: StateReader>(
        spec: &ChainSpec,
        header: &Header,
        state: &S,
    ) -> Result<ValidatorSet, LedgerError> {
        Ok(validators(&mut GoverningContract::new(spec, header, state))?.0)
    }
}

/// The set, and where each of its validators wants its fees.
fn validators<S: StateReader>(
    contract: &mut GoverningContract<'_, S>,
) -> Result<(ValidatorSet, BTreeMap<PublicKey, Address>), LedgerError> {
    let list = contract.view(IMembership::validatorsCall {})?;
    let fee_recipients = list.iter().map(|v| (PublicKey(v.key), v.feeRecipient)).collect();
    let validator = |v: IMembership::Validator| Validator { key: PublicKey(v.key), power: v.power };
    let set = ValidatorSet::new(list.into_iter().map(validator).collect());
    let set = set.map_err(|e| broken(format!("its validators are no set: {e}")))?;
    Ok((set, fee_recipients))
}

fn settings(settings: &IGovernance::Settings) -> ChainSettings {
    ChainSettings {
        gas_limit: settings.gasLimit,
        min_base_fee: settings.minBaseFee,
        accounts_listed: settings.accountsListed,
        deployers_listed: settings.deployersListed,
    }
}

// An unknown rule set must not stop the node before its height: an operator has until then
// to install a newer program.
/// The known rule sets, and the first unknown one.
fn forks(list: Vec<IGovernance::Fork>) -> (Forks, Option<(Height, String)>) {
    let (mut forks, mut unknown) = (Forks::new(), None::<(Height, String)>);
    for IGovernance::Fork { name, height } in list {
        match name.parse() {
            Ok(fork) => _ = forks.insert(fork, height),
            Err(_) if unknown.as_ref().is_some_and(|(first, _)| *first <= height) => {}
            Err(_) => unknown = Some((height, name)),
        }
    }
    (forks, unknown)
}

// As with rule sets: a program that does not know a parameter makes other blocks than those
// that do, from its height on.
/// The known parameters, and the first unknown one.
fn parameters(list: Vec<IGovernance::Parameter>) -> (Parameters, Option<(Height, String)>) {
    let (mut parameters, mut unknown) = (Parameters::default(), None);
    for IGovernance::Parameter { name, value, from } in list {
        match Parameter::of_name(&name) {
            Some(parameter) => parameters.add(parameter, from, value),
            None => unknown = unknown.into_iter().chain([(from, name)]).min(),
        }
    }
    (parameters, unknown)
}

fn members<S: StateReader>(
    contract: &mut GoverningContract<'_, S>,
) -> Result<Members, LedgerError> {
    // The node's own calls have gas for the whole lists; pages are for those who ask over RPC.
    let (from, count) = (U256::ZERO, U256::MAX);
    let organisations = contract.view(IGovernance::organisationsCall { from, count })?.into_iter();
    let nodes = contract.view(IGovernance::nodesCall { from, count })?.into_iter();
    let serials = contract.view(IGovernance::revokedSerialsCall { from, count })?.into_iter();
    Ok(Members {
        organisations: organisations.map(organisation).collect::<Result<BTreeMap<_, _>, _>>()?,
        nodes: nodes.map(node).collect(),
        revoked_serials: serials
            .map(|s| (s.organisation, Serial(s.serial.to_be_bytes())))
            .collect(),
    })
}

fn organisation(o: IGovernance::Organisation) -> Result<(u32, Organisation), LedgerError> {
    let status = match o.status {
        IGovernance::Status::Active => OrganisationStatus::Active,
        IGovernance::Status::Suspended => OrganisationStatus::Suspended,
        IGovernance::Status::Removed => OrganisationStatus::Removed,
        IGovernance::Status::Invited => OrganisationStatus::Invited,
        _ => return Err(broken(format!("organisation {} has no status", o.id))),
    };
    let ca_keys = o.caKeys.iter().map(|ca| CaKey {
        key: PublicKey(ca.key),
        from: ca.from,
        until: end(ca.until),
    });
    let organisation = Organisation {
        id: o.id,
        status,
        name: o.name,
        threshold: o.threshold,
        keys: o.keys,
        ca_keys: ca_keys.collect(),
    };
    Ok((o.id, organisation))
}

fn node(node: IGovernance::Node) -> (PeerId, MemberNode) {
    let role = match node.role {
        IGovernance::Role::Validator => Role::Validator,
        // A peer that is registered only because it was revoked has no role, so it is no
        // validator.
        _ => Role::Full,
    };
    let member = MemberNode {
        organisation: node.organisation,
        role,
        revoked: node.revoked,
        validator: (node.validatorKey != B256::ZERO).then_some(PublicKey(node.validatorKey)),
        from: node.from,
        until: end(node.until),
    };
    (PeerId(PublicKey(node.peer)), member)
}
