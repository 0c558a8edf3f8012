//! The hash of a specification, which genesis binds.

use alloy_rlp::Encodable;
use trefoil_crypto::{B256, keccak256};

use super::{ChainSpec, Fork, FoundingOrganisation, FoundingValidator, Parameter, Staking};

impl ChainSpec {
    /// keccak256 over everything that the genesis state root does not cover;
    /// the genesis header carries it in `extra_data`.
    pub fn hash(&self) -> B256 {
        let mut out = Vec::new();
        // A tag with a version: a new field changes the version, so that an old and a new
        // program never agree on a hash of different contents.
        b"trefoil/spec/6".as_slice().encode(&mut out);
        self.name.as_str().encode(&mut out);
        (self.kind as u8).encode(&mut out);
        for number in [
            self.chain_id,
            self.genesis_time,
            self.gas_limit,
            self.base_fee,
            self.min_base_fee(),
            self.block_interval_ms,
            self.idle_block_s,
            self.validator_delay,
            self.decision_delay_s,
            self.quorum[0].into(),
            self.quorum[1].into(),
            self.snapshot_every,
        ] {
            number.encode(&mut out);
        }
        for fork in Fork::ALL {
            // A fork that is not scheduled encodes as one beyond any height.
            // Every field is written, present or not, and every list begins with its
            // length: no two specifications encode to the same bytes.
            self.forks.get(&fork).copied().unwrap_or(u64::MAX).encode(&mut out);
        }
        for parameter in Parameter::ALL {
            // No value is 0.
            self.parameters.get(&parameter).copied().unwrap_or(0).encode(&mut out);
        }
        for list in [&self.accounts, &self.deployers] {
            list.is_some().encode(&mut out);
            list.as_deref().unwrap_or_default().to_vec().encode(&mut out);
        }
        encode_staking(self.staking.as_ref(), &mut out);
        encode_organisations(&self.organisations, &mut out);
        encode_validators(&self.validators, &mut out);
        keccak256(out)
    }
}

/// Nothing, or each field.
fn encode_staking(staking: Option<&Staking>, out: &mut Vec<u8>) {
    staking.is_some().encode(out);
    let Some(staking) = staking else { return };
    staking.stake_unit.encode(out);
    staking.min_stake.encode(out);
    for number in [
        staking.epoch_blocks,
        staking.unbonding_blocks,
        staking.validators_max.into(),
        staking.validators_min.into(),
        staking.power_share_max.into(),
        staking.slash_parts.into(),
        staking.window_blocks.into(),
        staking.window_seconds.into(),
        staking.absence_parts.into(),
        staking.jail_blocks,
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
        validator.validator().encode(out);
        validator.fee_recipient.encode(out);
        let node: Vec<_> = validator.node.iter().map(|peer| peer.0).collect();
        node.encode(out);
        validator.organisation.as_deref().unwrap_or_default().encode(out);
        validator.owner.unwrap_or_default().encode(out);
    }
}
