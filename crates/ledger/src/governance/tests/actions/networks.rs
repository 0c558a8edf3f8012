//! The networks that walks begin on: of both kinds of government, under different rules.

use std::collections::BTreeMap;

use alloy_genesis::GenesisAccount;
use trefoil_types::spec::FOUNDING_STAKE;

use super::{super::*, calls::Dice};

/// Accounts with a key: of organisations four each, from here on.
const SPEAKERS: u8 = 0x10;
/// Guardians, administrators, recovery keys to be.
pub(super) const OFFICERS: [u8; 4] = [0x40, 0x41, 0x42, 0x43];
/// Of stakers and whoever comes.
pub(super) const OTHERS: [u8; 6] = [0x57, 0x58, 0x61, 0x62, 0x63, 0x64];
/// Calls whom the first word of its input names, with the rest.
pub(super) const WALLETS: [u8; 2] = [0xc0, 0xc1];
/// Its code is a wallet's (EIP-7702), and it has a key.
pub(super) const DELEGATING: u8 = 0xd0;
/// Destroys itself in favour of whom its input names.
pub(super) const SUICIDE: u8 = 0xc2;

/// All accounts with a key.
pub(super) fn holders() -> Vec<Address> {
    let speakers = SPEAKERS..SPEAKERS + 16;
    let founders = 1..=4;
    let all = speakers.chain(OFFICERS).chain(OTHERS).chain(founders).chain([DELEGATING]);
    all.map(address).collect()
}

/// A network by chance, which its governing contract accepts.
pub(super) fn network(dice: &mut Dice) -> ChainSpec {
    let kind =
        dice.one(&[Kind::Public, Kind::Public, Kind::Private, Kind::Consortium, Kind::Consortium]);
    let base_fee = dice.one(&[0, GWEI]);
    let mut spec = ChainSpec {
        kind,
        snapshot_every: 4,
        alloc: alloc(),
        ..crate::testing::chain::spec(base_fee)
    };
    let since = dice.below(3);
    spec.forks = Fork::ALL.into_iter().take(since + 1).map(|fork| (fork, 0)).collect();
    spec.validators = (1..=4).map(|n| founder(dice, kind, n)).collect();
    if kind == Kind::Public {
        spec.staking = Some(terms(dice));
        if dice.once_in(4) {
            enlarge(&mut spec);
        }
    } else {
        let count = if kind == Kind::Private { 1 } else { 2 + dice.below(3) as u8 };
        spec.organisations = (0..count).map(|o| organisation(dice, o)).collect();
        for (at, validator) in spec.validators.iter_mut().enumerate() {
            validator.organisation = Some(name(at as u8 % count));
        }
        spec.validator_delay = dice.one(&[1, 2, 3, 20]);
        spec.decision_delay_s = dice.one(&[0, 60, 172_800]);
        spec.quorum = dice.one(&[[2, 3], [1, 2], [65_534, 65_535]]);
        spec.accounts = dice.once_in(4).then(|| vec![address(OTHERS[0]), address(OTHERS[1])]);
        if dice.once_in(3) {
            spec.parameters =
                [(Parameter::CodeSize, 65_536), (Parameter::TxGas, 16_777_216)].into();
        }
        spec.deployers = dice.once_in(4).then(|| vec![address(OTHERS[0])]);
    }
    spec.check().expect("a sound specification");
    spec
}

/// The name of a founding organisation, counted from 0.
pub(super) fn name(organisation: u8) -> String {
    format!("org-{organisation}")
}

fn organisation(dice: &mut Dice, o: u8) -> FoundingOrganisation {
    let count = 1 + dice.below(3) as u8;
    let mut keys: Vec<Address> = (0..count).map(|k| address(SPEAKERS + 4 * o + k)).collect();
    // A wallet is a contract: what it sends, others send.
    if usize::from(o) < WALLETS.len() && dice.once_in(4) {
        keys[0] = address(WALLETS[usize::from(o)]);
    }
    let threshold = 1 + dice.below(keys.len().min(2)) as u8;
    // Who sends for the wallets.
    let senders = vec![address(OTHERS[2])];
    let (name, ca_keys) = (name(o), vec![key(201 + o)]);
    FoundingOrganisation { name, threshold, keys, recovery_key: None, ca_keys, senders }
}

fn founder(dice: &mut Dice, kind: Kind, n: u8) -> FoundingValidator {
    let members = kind.has_members();
    FoundingValidator {
        key: key(n),
        power: if members { dice.one(&[1, 100, 100, 1 << 58]) } else { FOUNDING_STAKE },
        fee_recipient: address(n),
        owner: (!members).then(|| address(n)),
        node: members.then(|| PeerId(key(100 + n))),
        organisation: None,
    }
}

/// Terms under which all ends within a walk.
fn terms(dice: &mut Dice) -> Staking {
    let epoch_blocks = dice.one(&[5, 6, 9]);
    let validators_max = dice.one(&[4, 5, 6, 64]);
    Staking {
        epoch_blocks,
        unbonding_blocks: epoch_blocks * dice.one(&[2, 3]),
        window_blocks: epoch_blocks as u32 * dice.one(&[2, 3]),
        window_seconds: dice.one(&[0, 10, 1_200]),
        jail_blocks: dice.one(&[1, 10]),
        validators_max,
        validators_min: dice.one(&[1, 3, 4]),
        power_share_max: dice.one(&[1, 3_333, 10_000]),
        slash_parts: dice.one(&[1_000, 10_000]),
        absence_parts: dice.one(&[0, 10, 1_000]),
        ..Staking::default()
    }
}

/// A unit of stake is a wei, and founders have the most power that there is.
fn enlarge(spec: &mut ChainSpec) {
    let terms = spec.staking.as_mut().expect("a public network");
    (terms.stake_unit, terms.min_stake) = (U256::ONE, U256::from(1 << 20));
    for validator in &mut spec.validators {
        validator.power = 1 << 53;
    }
}

fn alloc() -> BTreeMap<Address, GenesisAccount> {
    let rich = GenesisAccount::default().with_balance(U256::ONE << 120);
    let code = |code: Bytes| GenesisAccount { nonce: Some(1), code: Some(code), ..rich.clone() };
    let mut alloc: BTreeMap<_, _> =
        holders().into_iter().map(|holder| (holder, rich.clone())).collect();
    // calldatacopy(0, 32, size - 32); call(gas, calldata[0], value, 0, size - 32, 0, 0)
    let wallet = bytes!("602036038060205f375f5f915f345f355af100");
    for at in WALLETS {
        alloc.insert(address(at), code(wallet.clone()));
    }
    let delegation = [&[0xef, 0x01, 0x00], address(WALLETS[0]).as_slice()].concat();
    alloc.insert(address(DELEGATING), code(delegation.into()));
    // selfdestruct(calldata[0])
    alloc.insert(address(SUICIDE), code(bytes!("5f35ff")));
    alloc
}
