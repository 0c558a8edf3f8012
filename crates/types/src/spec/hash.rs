//! The hash of a specification, which genesis binds.

use alloy_rlp::Encodable;
use trefoil_crypto::{B256, keccak256};

use super::{ChainSpec, Fork, FoundingOrganisation, FoundingValidator, Parameter, Staking};

impl ChainSpec {
    /// keccak256 over everything that the genesis state root does not cover;
    /// the genesis header carries it in `extra_data`.
    pub fn hash(&self) -> B256 {
        // By name, so that a new field is not forgotten. The state root covers `alloc`.
        let Self {
            name,
            kind,
            chain_id,
            genesis_time,
            gas_limit,
            base_fee,
            min_base_fee: _,
            block_interval_ms,
            idle_block_s,
            validator_delay,
            decision_delay_s,
            quorum: [numerator, denominator],
            snapshot_every,
            accounts,
            deployers,
            staking,
            forks,
            parameters,
            organisations,
            validators,
            alloc: _,
        } = self;
        let mut out = Vec::new();
        // A tag with a version: a new field changes the version, so that an old and a new
        // program never agree on a hash of different contents.
        b"trefoil/spec/6".as_slice().encode(&mut out);
        name.as_str().encode(&mut out);
        (*kind as u8).encode(&mut out);
        for number in [
            *chain_id,
            *genesis_time,
            *gas_limit,
            *base_fee,
            self.min_base_fee(),
            *block_interval_ms,
            *idle_block_s,
            *validator_delay,
            *decision_delay_s,
            (*numerator).into(),
            (*denominator).into(),
            *snapshot_every,
        ] {
            number.encode(&mut out);
        }
        for fork in Fork::ALL {
            // A fork that is not scheduled encodes as one beyond any height.
            // Every field is written, present or not, and every list begins with its
            // length: no two specifications encode to the same bytes.
            forks.get(&fork).copied().unwrap_or(u64::MAX).encode(&mut out);
        }
        for parameter in Parameter::ALL {
            // No value is 0.
            parameters.get(&parameter).copied().unwrap_or(0).encode(&mut out);
        }
        for list in [accounts, deployers] {
            list.is_some().encode(&mut out);
            list.as_deref().unwrap_or_default().to_vec().encode(&mut out);
        }
        encode_staking(staking.as_ref(), &mut out);
        encode_organisations(organisations, &mut out);
        encode_validators(validators, &mut out);
        keccak256(out)
    }
}

/// Nothing, or each field.
fn encode_staking(staking: Option<&Staking>, out: &mut Vec<u8>) {
    staking.is_some().encode(out);
    let Some(staking) = staking else { return };
    let Staking {
        epoch_blocks,
        unbonding_blocks,
        stake_unit,
        min_stake,
        validators_max,
        validators_min,
        power_share_max,
        slash_parts,
        window_blocks,
        window_seconds,
        absence_parts,
        jail_blocks,
    } = staking;
    stake_unit.encode(out);
    min_stake.encode(out);
    for number in [
        *epoch_blocks,
        *unbonding_blocks,
        (*validators_max).into(),
        (*validators_min).into(),
        (*power_share_max).into(),
        (*slash_parts).into(),
        (*window_blocks).into(),
        (*window_seconds).into(),
        (*absence_parts).into(),
        *jail_blocks,
    ] {
        number.encode(out);
    }
}

/// In the order of the file, since organisations are numbered by it.
fn encode_organisations(organisations: &[FoundingOrganisation], out: &mut Vec<u8>) {
    organisations.len().encode(out);
    for organisation in organisations {
        let FoundingOrganisation { name, threshold, keys, recovery_key, ca_keys, senders } =
            organisation;
        name.as_str().encode(out);
        threshold.encode(out);
        keys.encode(out);
        // The check refuses the zero address as one.
        recovery_key.unwrap_or_default().encode(out);
        ca_keys.encode(out);
        senders.encode(out);
    }
}

/// Sorted by key: a validator set has no order, so the order in the file does not matter.
fn encode_validators(validators: &[FoundingValidator], out: &mut Vec<u8>) {
    let mut validators: Vec<&FoundingValidator> = validators.iter().collect();
    validators.sort_by_key(|validator| validator.key);
    validators.len().encode(out);
    for validator in validators {
        let FoundingValidator { key: _, power: _, fee_recipient, owner, node, organisation } =
            validator;
        validator.validator().encode(out);
        fee_recipient.encode(out);
        let node: Vec<_> = node.iter().map(|peer| peer.0).collect();
        node.encode(out);
        organisation.as_deref().unwrap_or_default().encode(out);
        owner.unwrap_or_default().encode(out);
    }
}
