//! Reading a specification, the checks of its values, and the coverage of its hash.

use alloy_primitives::U256;
use trefoil_crypto::{PeerId, SecretKey};

use super::*;

/// A consortium of two, with a validator each.
fn spec() -> ChainSpec {
    let key = |n: u8| SecretKey::from_seed(&[n; 32]).public();
    let organisation = |n: u8| FoundingOrganisation {
        name: format!("org-{n}"),
        threshold: 1,
        keys: vec![Address::repeat_byte(n)],
        recovery_key: None,
        ca_keys: vec![key(100 + n)],
        senders: vec![],
    };
    let validator = |n: u8| FoundingValidator {
        key: key(n),
        power: 1,
        fee_recipient: Address::repeat_byte(n),
        node: Some(PeerId(key(50 + n))),
        organisation: Some(format!("org-{n}")),
        owner: None,
    };
    ChainSpec {
        name: "t".into(),
        kind: Kind::Consortium,
        chain_id: 7331,
        genesis_time: 0,
        gas_limit: 30_000_000,
        base_fee: 5,
        min_base_fee: None,
        block_interval_ms: 500,
        idle_block_s: 60,
        validator_delay: 2,
        decision_delay_s: 172_800,
        quorum: [2, 3],
        snapshot_every: 1_024,
        accounts: None,
        deployers: None,
        parameters: Default::default(),
        staking: None,
        forks: [(Fork::Cancun, 0)].into(),
        organisations: [1, 2].map(organisation).into(),
        validators: [1, 2].map(validator).into(),
        alloc: BTreeMap::new(),
    }
}

/// The same chain without members.
fn public() -> ChainSpec {
    let mut spec = ChainSpec {
        kind: Kind::Public,
        organisations: vec![],
        staking: Some(Staking::default()),
        ..spec()
    };
    for validator in &mut spec.validators {
        (validator.node, validator.organisation) = (None, None);
        validator.owner = Some(validator.fee_recipient);
        validator.power = FOUNDING_STAKE;
    }
    spec
}

/// An account with so many wei.
fn owning(wei: u64) -> GenesisAccount {
    GenesisAccount::default().with_balance(U256::from(wei))
}

/// Accounts are listed where gas is free, and the second organisation's key is a contract: another
/// account sends for it. Parameters hold from genesis.
fn listed_wallet() -> ChainSpec {
    let mut spec = ChainSpec { base_fee: 0, accounts: Some(vec![]), ..spec() };
    let wallet = GenesisAccount { code: Some(vec![0x5f].into()), ..Default::default() };
    spec.alloc.insert(Address::repeat_byte(2), wallet);
    spec.organisations[1].senders = vec![Address::repeat_byte(7)];
    spec.parameters = [(Parameter::CodeSize, 65_536), (Parameter::TxGas, 16_777_216)].into();
    spec
}

/// So many contracts, which cannot send, are named as senders before the one that can.
fn wallets_before(spec: &mut ChainSpec, count: u8) {
    let wallet = spec.alloc[&Address::repeat_byte(2)].clone();
    let wallets: Vec<_> = (20..20 + count).map(Address::repeat_byte).collect();
    spec.alloc.extend(wallets.iter().map(|account| (*account, wallet.clone())));
    spec.organisations[1].senders.splice(0..0, wallets);
}

#[test]
fn a_spec_reads_back_what_it_prints() {
    let mut eighth = listed_wallet();
    wallets_before(&mut eighth, 7);
    for spec in [spec(), public(), listed_wallet(), eighth] {
        assert_eq!(ChainSpec::from_toml(&spec.to_toml()), Ok(spec));
    }
}

type Change = fn(&mut ChainSpec);

#[test]
fn every_field_of_a_spec_changes_its_hash() {
    let changes: [Change; 33] = [
        |s| s.name = "u".into(),
        |s| s.kind = Kind::Private,
        |s| s.chain_id += 1,
        |s| s.genesis_time += 1,
        |s| s.gas_limit += 1,
        |s| s.base_fee += 1,
        |s| s.min_base_fee = Some(2),
        |s| s.block_interval_ms += 1,
        |s| s.idle_block_s += 1,
        |s| s.snapshot_every += 1,
        |s| s.validator_delay += 1,
        |s| s.decision_delay_s += 1,
        |s| s.quorum = [1, 2],
        |s| s.accounts = Some(vec![]),
        |s| s.accounts = Some(vec![Address::repeat_byte(7)]),
        |s| s.deployers = Some(vec![]),
        |s| s.deployers = Some(vec![Address::repeat_byte(7)]),
        |s| _ = s.parameters.insert(Parameter::CodeSize, 30_000),
        |s| _ = s.parameters.insert(Parameter::TxGas, 30_000),
        |s| s.organisations[0].senders.push(Address::ZERO),
        |s| s.staking = Some(Staking::default()),
        |s| s.staking = Some(Staking { slash_parts: 11, ..Staking::default() }),
        |s| _ = s.forks.insert(Fork::Prague, 9),
        |s| s.organisations[0].name = "other".into(),
        |s| s.organisations[0].threshold = 2,
        |s| s.organisations[0].keys.push(Address::ZERO),
        |s| s.organisations[0].recovery_key = Some(Address::repeat_byte(7)),
        |s| _ = s.organisations[1].ca_keys.pop(),
        |s| s.organisations.swap(0, 1),
        |s| s.validators[0].power += 1,
        |s| s.validators[0].node = None,
        |s| s.validators[0].organisation = Some("org-2".into()),
        |s| s.validators[0].owner = Some(Address::repeat_byte(7)),
    ];
    let mut hashes = vec![spec().hash()];
    for change in changes {
        let mut changed = spec();
        change(&mut changed);
        hashes.push(changed.hash());
    }
    let count = hashes.len();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

#[test]
fn the_order_of_validators_does_not_matter() {
    let mut other = spec();
    other.validators.reverse();
    assert_eq!(other.hash(), spec().hash());
}

/// Each wrong value is refused with its key, and what to write instead.
#[test]
fn a_wrong_spec_names_the_key_and_the_cure() {
    let wrong: [(&str, Change); 41] = [
        ("`chain_id` is 0; use 1", |s| s.chain_id = 0),
        ("`name` is \"a b\"", |s| s.name = "a b".into()),
        ("`gas_limit` is 5", |s| s.gas_limit = 5),
        ("`min_base_fee` is 0; use 0 if and only if", |s| s.min_base_fee = Some(0)),
        ("`min_base_fee` is 6; use at most", |s| s.min_base_fee = Some(6)),
        ("`forks.cancun`", |s| s.forks.clear()),
        ("osaka before prague", |s| _ = s.forks.insert(Fork::Osaka, 1)),
        ("a contract of trefoil lies there", |s| {
            s.alloc.insert(GOVERNING_CONTRACT, GenesisAccount::default());
        }),
        ("a contract of trefoil lies there", |s| {
            s.alloc.insert(CONTENT_REGISTRY, GenesisAccount::default());
        }),
        ("0 entries on a consortium; write 1 to 128", |s| s.organisations.clear()),
        ("2 entries on a private network; write exactly one", |s| s.kind = Kind::Private),
        ("set on a public network; leave it out", |s| s.kind = Kind::Public),
        ("naming nodes or organisations on a public network", |s| {
            s.kind = Kind::Public;
            s.organisations.clear();
        }),
        ("`staking` is set on a network of members", |s| s.staking = Some(Staking::default())),
        ("\"org-1\" twice", |s| s.organisations[1].name = "org-1".into()),
        ("`organisations.name` is \"\"", |s| s.organisations[0].name.clear()),
        ("0 accounts of org-1", |s| s.organisations[0].keys.clear()),
        ("`organisations.threshold` is 2 of 1 keys of org-1", |s| s.organisations[0].threshold = 2),
        ("an account that is none of its keys", |s| {
            s.organisations[0].recovery_key = Some(s.organisations[0].keys[0]);
        }),
        ("`organisations.recovery_key` is 0x0000", |s| {
            s.organisations[0].recovery_key = Some(Address::ZERO);
        }),
        ("0 keys of org-1; write 1 to 4 Ed25519", |s| s.organisations[0].ca_keys.clear()),
        ("which is used twice; give each CA", |s| {
            s.organisations[1].ca_keys = s.organisations[0].ca_keys.clone();
        }),
        ("twice; let each account vote for one", |s| {
            s.organisations[1].keys = s.organisations[0].keys.clone();
        }),
        ("`validators.node` is missing; write the peer id", |s| s.validators[0].node = None),
        ("which is used twice; give each CA, validator and node", |s| {
            s.validators[1].node = s.validators[0].node;
        }),
        ("`validators.organisation` is \"org-9\"", |s| {
            s.validators[0].organisation = Some("org-9".into());
        }),
        ("`validator_delay` is 0", |s| s.validator_delay = 0),
        ("`decision_delay_s` is 2592001", |s| s.decision_delay_s = 2_592_001),
        ("\"org-1\" twice", |s| s.organisations[1].name = "ORG-1".into()),
        ("not digits only", |s| s.organisations[1].name = "12".into()),
        ("`quorum` is [3, 3]", |s| s.quorum = [3, 3]),
        ("nobody could vote to change a list", |s| {
            *s = public();
            s.deployers = Some(vec![]);
        }),
        ("`parameters.code-size` is 70000; use 24576 to 65536 bytes", |s| {
            s.parameters.insert(Parameter::CodeSize, 70_000);
        }),
        ("`parameters.tx-gas` is 16777215; use 16777216 to 600000000 gas", |s| {
            s.parameters.insert(Parameter::TxGas, 16_777_215);
        }),
        ("`parameters` is set on a public network; leave it out", |s| {
            *s = public();
            s.parameters.insert(Parameter::TxGas, 30_000_000);
        }),
        ("`organisations.senders` is 17 accounts of org-1; write at most 16", |s| {
            s.organisations[0].senders = vec![Address::repeat_byte(7); 17];
        }),
        ("`organisations.senders` is 1 accounts of org-2", |s| {
            s.organisations[1].senders = vec![Address::ZERO];
        }),
        ("under which 1 of the 2 organisations that must agree could vote", |s| {
            s.accounts = Some(vec![]);
            s.alloc.insert(Address::repeat_byte(1), owning(10_000_000));
            s.alloc.insert(Address::repeat_byte(2), owning(9_999_999));
        }),
        ("1 of the 2 organisations that must agree could vote to change it; give", |s| {
            *s = listed_wallet();
            s.organisations[1].senders.clear();
        }),
        ("accounts that own as much among the first 8 of `organisations.senders`", |s| {
            *s = listed_wallet();
            wallets_before(s, 8);
        }),
        ("list it in `accounts` too", |s| {
            (s.base_fee, s.accounts) = (0, Some(vec![Address::repeat_byte(7)]));
            s.deployers = Some([1, 7, 8].map(Address::repeat_byte).into());
        }),
    ];
    assert_eq!(spec().check(), Ok(()));
    for (text, change) in wrong {
        let mut changed = spec();
        change(&mut changed);
        let error = changed.check().expect_err(text).to_string();
        assert!(error.contains(text), "{error:?} should say {text:?}");
    }
    let unknown = format!("{}\n[parameters]\nblobs = 7", spec().to_toml());
    let error = ChainSpec::from_toml(&unknown).unwrap_err().to_string();
    assert!(error.contains("`blobs`, expected `code-size` or `tx-gas`"), "{error}");
    let unknown = format!("chain_idd = 1\n{}", spec().to_toml());
    assert!(ChainSpec::from_toml(&unknown).unwrap_err().to_string().contains("chain_idd"));
}

#[test]
fn the_terms_of_staking_are_bounded() {
    type Change = fn(&mut Staking);
    let wrong: [(&str, Change); 11] = [
        ("`staking.epoch_blocks` is 0", |s| s.epoch_blocks = 0),
        ("`staking.unbonding_blocks` is 239", |s| s.unbonding_blocks = 239),
        ("`staking.window_blocks` is 239", |s| s.window_blocks = 239),
        ("`staking.absence_parts` is 1001; use at most `staking.slash_parts`", |s| {
            s.absence_parts = 1_001;
        }),
        ("`staking.validators_max` is 121", |s| s.validators_max = 121),
        ("`staking.validators_min` is 121", |s| s.validators_min = 121),
        ("`staking.power_share_max` is 0", |s| s.power_share_max = 0),
        ("`staking.min_stake` is 0", |s| s.min_stake = Default::default()),
        ("`staking.validators_max` is 1", |s| {
            (s.validators_min, s.validators_max) = (1, 1);
        }),
        ("`staking.slash_parts` is 10001", |s| s.slash_parts = 10_001),
        ("1000000, so that newcomers' least stakes can stop the chain; use more than 16", |s| {
            s.stake_unit /= U256::from(500_000);
        }),
    ];
    assert_eq!(public().check(), Ok(()));
    for (text, change) in wrong {
        let mut staking = Staking::default();
        change(&mut staking);
        let error = ChainSpec { staking: Some(staking), ..public() }.check().expect_err(text);
        assert!(error.to_string().contains(text), "{error} should say {text:?}");
    }
    let mut small = public();
    small.validators[0].power = 16;
    let error = small.check().expect_err("eight newcomers have half of it").to_string();
    assert!(error.contains("16, so that newcomers' least stakes can stop the chain"), "{error}");
    small.validators[0].power = 17;
    assert_eq!(small.check(), Ok(()));
    let mut nobodys = public();
    nobodys.validators[0].owner = None;
    let error = nobodys.check().expect_err("nobody owns its stake").to_string();
    assert!(error.contains("`validators.owner` is missing"), "{error}");
}

#[test]
fn the_fuzzers_examples_are_sound() {
    for text in [
        include_str!("../../../../fuzz/corpus/chain_spec/consortium"),
        include_str!("../../../../fuzz/corpus/chain_spec/public"),
    ] {
        ChainSpec::from_toml(text).expect("an example");
    }
}
