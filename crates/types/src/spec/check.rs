//! Checks of a chain specification: value by value, with the key and the cure.
//!
//! Checked when it is read, since nothing can be mended later: all of it enters the genesis
//! hash.

use std::{collections::BTreeSet, fmt::Display};

use alloy_primitives::U256;
use trefoil_crypto::Address;

use super::{
    ACCOUNT_ACTIONS, CHAIN_ACTIONS, CONTENT_REGISTRY, ChainSpec, ED25519_VERIFIER, Fork,
    FoundingOrganisation, FoundingValidator, GOVERNING_ACTIONS, GOVERNING_CONTRACT, Kind,
    Parameter, SpecError, Staking,
};
use crate::limits;

// Attack, or mistake: a floor beyond what accounts own would stop all transactions, and
// with them the votes that could lower it. The governing contract has the same bound.
/// The largest floor of the base fee, wei.
const MIN_BASE_FEE_MAX: u64 = 1_000_000_000_000;

/// Seats for newcomers on probation, with a unit of power each (`contracts/src/Election.sol`).
const PROBATION_SEATS: usize = 8;

/// The most validators of a public network: the other seats.
const SEATS_MAX: usize = limits::VALIDATORS_MAX - PROBATION_SEATS;

/// Refuses unless `sound`.
pub(super) fn require(
    sound: bool,
    key: &'static str,
    got: impl Display,
    cure: &'static str,
) -> Result<(), SpecError> {
    if sound { Ok(()) } else { Err(SpecError::Value { key, got: got.to_string(), cure }) }
}

// Names enter paths, log lines and certificates: no separators, spaces or look-alikes.
/// Whether `text` may name a network or an organisation.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.len() <= 32 && text.chars().all(fits)
}

const NAME_CURE: &str = "use 1 to 32 letters, digits, - or _";
const ORGANISATION_CURE: &str = "use 1 to 32 letters, digits, - or _, not digits only";

/// The first of `items` that is there twice.
fn twice<T: Ord + Copy>(items: impl IntoIterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    items.into_iter().find(|item| !seen.insert(*item))
}

impl ChainSpec {
    /// # Errors
    /// A value outside its range, or parties that do not fit the kind.
    pub fn check(&self) -> Result<(), SpecError> {
        self.check_numbers()?;
        self.check_fees()?;
        self.check_forks()?;
        self.validators.iter().try_for_each(|v| v.key.check())?;
        self.validator_set()?;
        for reserved in [
            GOVERNING_CONTRACT,
            GOVERNING_ACTIONS,
            CHAIN_ACTIONS,
            ACCOUNT_ACTIONS,
            ED25519_VERIFIER,
            CONTENT_REGISTRY,
        ] {
            require(
                !self.alloc.contains_key(&reserved),
                "alloc",
                format_args!("setting {reserved}"),
                "leave that address out: a contract of trefoil lies there",
            )?;
        }
        match self.kind {
            Kind::Public => self.check_public(),
            Kind::Private | Kind::Consortium => self.check_members(),
        }
    }

    fn check_numbers(&self) -> Result<(), SpecError> {
        require(is_name(&self.name), "name", format_args!("{:?}", self.name), NAME_CURE)?;
        require(
            // JavaScript's numbers are doubles.
            (1..1 << 53).contains(&self.chain_id),
            "chain_id",
            self.chain_id,
            "use 1 to 9007199254740991 (wallets read it as a double)",
        )?;
        require(
            // Below, the vote that raises the limit again (960,000 gas in the largest
            // network) would not fit in a block. Above, 21,000-gas transfers would exceed
            // the most transactions of a block.
            (1_000_000..=600_000_000).contains(&self.gas_limit),
            "gas_limit",
            self.gas_limit,
            "use 1000000 to 600000000",
        )?;
        let interval = self.block_interval_ms;
        let in_range = (10..=60_000).contains(&interval);
        require(in_range, "block_interval_ms", interval, "use 10 to 60000")
    }

    fn check_fees(&self) -> Result<(), SpecError> {
        let floor = self.min_base_fee();
        require(
            (floor == 0) == (self.base_fee == 0),
            "min_base_fee",
            floor,
            "use 0 if and only if `base_fee` is 0, which makes gas free",
        )?;
        require(floor <= self.base_fee, "min_base_fee", floor, "use at most `base_fee`")?;
        let cure = "use at most 1000000000000 (1000 gwei)";
        require(floor <= MIN_BASE_FEE_MAX, "min_base_fee", floor, cure)
    }

    fn check_forks(&self) -> Result<(), SpecError> {
        require(
            self.forks.get(&Fork::Cancun) == Some(&0),
            "forks.cancun",
            "not 0",
            "write `cancun = 0`: a chain starts at Cancun or later",
        )?;
        for pair in Fork::ALL.windows(2) {
            let (a, b) = (self.forks.get(&pair[0]), self.forks.get(&pair[1]));
            require(
                // A rule set includes those before it.
                b.is_none() || (a.is_some() && a <= b),
                "forks",
                format_args!("{} before {}", pair[1], pair[0]),
                "order them cancun, prague, osaka",
            )?;
        }
        Ok(())
    }

    fn check_public(&self) -> Result<(), SpecError> {
        require(
            self.organisations.is_empty(),
            "organisations",
            "set on a public network",
            "leave it out, or make the network private or consortium",
        )?;
        let members = self.validators.iter().any(|v| v.node.is_some() || v.organisation.is_some());
        require(
            !members,
            "validators",
            "naming nodes or organisations on a public network",
            "leave `node` and `organisation` out, or make the network private or consortium",
        )?;
        for validator in &self.validators {
            require(
                validator.owner.is_some_and(|owner| owner != Address::ZERO),
                "validators.owner",
                validator.owner.map_or("missing".into(), |owner| owner.to_string()),
                "write the account that owns the validator's stake",
            )?;
        }
        if let Some(owner) = twice(self.validators.iter().filter_map(|v| v.owner)) {
            let cure = "give each validator an owner of its own";
            require(false, "validators.owner", format!("{owner} twice"), cure)?;
        }
        let cure = "leave it out: it is of networks of members";
        require(self.parameters.is_empty(), "parameters", "set on a public network", cure)?;
        let listed = self.accounts.is_some() || self.deployers.is_some();
        let cure = "leave them out: nobody could vote to change a list";
        require(!listed, "accounts", "a list, or `deployers`, on a public network", cure)?;
        self.staking.clone().unwrap_or_default().check(&self.validators)
    }

    fn check_members(&self) -> Result<(), SpecError> {
        require(
            self.staking.is_none(),
            "staking",
            "set on a network of members",
            "leave it out, or make the network public",
        )?;
        let count = self.organisations.len();
        match self.kind {
            Kind::Private => require(
                count == 1,
                "organisations",
                format_args!("{count} entries on a private network"),
                "write exactly one [[organisations]], its owner; a second one is voted in later",
            )?,
            _ => require(
                (1..=limits::ORGANISATIONS_MAX).contains(&count),
                "organisations",
                format_args!("{count} entries on a consortium"),
                "write 1 to 128 [[organisations]] with name, keys and ca_keys",
            )?,
        }
        self.organisations.iter().try_for_each(FoundingOrganisation::check)?;
        self.check_apart()?;
        self.check_seats()?;
        require(
            // At least one: the validators of a block are those that its parent's state
            // names, so the next block is the soonest. At most as many as a vote can set later
            // (`DELAY_MAX` in `contracts/src/ValidatorActions.sol`).
            (1..=10_000).contains(&self.validator_delay),
            "validator_delay",
            self.validator_delay,
            "use 1 to 10000 blocks",
        )?;
        require(
            // As `DECISION_DELAY_MAX` in `contracts/src/OrganisationActions.sol`.
            self.decision_delay_s <= 30 * 86_400,
            "decision_delay_s",
            self.decision_delay_s,
            "use 0 to 2592000 seconds",
        )?;
        let [numerator, denominator] = self.quorum;
        require(
            // At least a half, and a vote passes with more than that: two opposite
            // decisions cannot both pass. Less than the whole, since more than the whole
            // can never agree.
            numerator < denominator && u32::from(numerator) * 2 >= denominator.into(),
            "quorum",
            format_args!("[{numerator}, {denominator}]"),
            "use a share of at least a half and less than the whole, such as [2, 3]",
        )?;
        self.check_lists()?;
        self.check_parameters()
    }

    // The governing contract refuses such founders too, but names only an error, not the
    // key. An account of two organisations would have two votes.
    /// Organisations share no name and no account, and each Ed25519 key has one use.
    fn check_apart(&self) -> Result<(), SpecError> {
        let names: Vec<_> =
            self.organisations.iter().map(|o| o.name.to_ascii_lowercase()).collect();
        if let Some(name) = twice(names.iter().map(String::as_str)) {
            let got = format!("{name:?} twice");
            let cure = "give each organisation its own name, which differs by more than capitals";
            require(false, "organisations.name", got, cure)?;
        }
        let accounts = self.organisations.iter().flat_map(|o| o.keys.iter().copied());
        if let Some(account) = twice(accounts) {
            let cure = "let each account vote for one organisation";
            require(false, "organisations.keys", format!("{account} twice"), cure)?;
        }
        let cas = self.organisations.iter().flat_map(|o| o.ca_keys.iter().copied());
        let validators = self.validators.iter().map(|v| v.key);
        let nodes = self.validators.iter().filter_map(|v| v.node.map(|peer| peer.0));
        if let Some(key) = twice(cas.chain(validators).chain(nodes)) {
            let cure = "give each CA, validator and node a key of its own";
            require(false, "organisations.ca_keys", format!("{key}, which is used twice"), cure)?;
        }
        Ok(())
    }

    fn check_parameters(&self) -> Result<(), SpecError> {
        self.parameters.iter().try_for_each(|(parameter, value)| {
            let (key, cure) = match parameter {
                Parameter::CodeSize => ("parameters.code-size", "use 24576 to 65536 bytes"),
                Parameter::TxGas => ("parameters.tx-gas", "use 16777216 to 600000000 gas"),
            };
            require(parameter.range().contains(value), key, value, cure)
        })
    }

    /// Each validator runs on a node of its own, of an organisation that exists.
    fn check_seats(&self) -> Result<(), SpecError> {
        for validator in &self.validators {
            require(
                validator.node.is_some(),
                "validators.node",
                "missing",
                "write the peer id of the node that the validator runs on (12D3KooW…)",
            )?;
            let name = validator.organisation.as_deref();
            require(
                name.is_some_and(|name| self.organisations.iter().any(|o| o.name == name)),
                "validators.organisation",
                name.map_or("missing".into(), |name| format!("{name:?}")),
                "write the name of one of the [[organisations]]",
            )?;
            require(
                validator.owner.is_none(),
                "validators.owner",
                "set on a network of members",
                "leave it out: nobody stakes here",
            )?;
        }
        Ok(())
    }
}

impl FoundingOrganisation {
    /// # Errors
    /// A name, threshold, account or key that the governing contract would refuse.
    pub fn check(&self) -> Result<(), SpecError> {
        let Self { name, threshold, keys, recovery_key, ca_keys, senders } = self;
        // A name of digits would be taken for an organisation's number.
        let number = name.bytes().all(|c| c.is_ascii_digit());
        let fits = is_name(name) && !number;
        require(fits, "organisations.name", format_args!("{name:?}"), ORGANISATION_CURE)?;
        require(
            (1..=limits::GOVERNANCE_KEYS_MAX).contains(&keys.len())
                && !keys.contains(&Address::ZERO),
            "organisations.keys",
            format_args!("{} accounts of {name}", keys.len()),
            "write 1 to 16 accounts that vote for it, none of them zero",
        )?;
        require(
            (1..=keys.len()).contains(&usize::from(*threshold)),
            "organisations.threshold",
            format_args!("{threshold} of {} keys of {name}", keys.len()),
            "use 1 to the number of its keys",
        )?;
        // One of its own keys is lost or stolen together with the others.
        let apart = recovery_key.is_none_or(|key| key != Address::ZERO && !keys.contains(&key));
        require(
            apart,
            "organisations.recovery_key",
            format_args!("{} of {name}", recovery_key.unwrap_or_default()),
            "write an account that is none of its keys, or leave it out",
        )?;
        require(
            (1..=limits::CA_KEYS_MAX).contains(&ca_keys.len()),
            "organisations.ca_keys",
            format_args!("{} keys of {name}", ca_keys.len()),
            "write 1 to 4 Ed25519 keys that sign its nodes' certificates",
        )?;
        require(
            // As `SENDERS_MAX` in `contracts/src/Accounts.sol`.
            senders.len() <= 16 && !senders.contains(&Address::ZERO),
            "organisations.senders",
            format_args!("{} accounts of {name}", senders.len()),
            "write at most 16 accounts that may send for it, none of them zero",
        )?;
        ca_keys.iter().try_for_each(|key| key.check())?;
        Ok(())
    }
}

impl Staking {
    fn check(&self, validators: &[FoundingValidator]) -> Result<(), SpecError> {
        // The bounds of `contracts/src/Staking.sol`, which would refuse without naming the
        // key.
        let Self { epoch_blocks, unbonding_blocks, jail_blocks, .. } = *self;
        let twice = epoch_blocks.saturating_mul(2);
        let (window, seconds) = (self.window_blocks.into(), self.window_seconds.into());
        let (floor, share) = (self.validators_min.into(), self.power_share_max.into());
        let (parts, absence) = (self.slash_parts.into(), self.absence_parts.into());
        let terms = [
            ("staking.epoch_blocks", epoch_blocks, 5..=1_000_000, "use 5 to 1000000 blocks"),
            (
                "staking.unbonding_blocks",
                unbonding_blocks,
                // Two epochs, so that a validator that has just left can still be slashed
                // for what it signed.
                twice..=1_000_000_000,
                "use twice `staking.epoch_blocks` to 1000000000 blocks",
            ),
            (
                "staking.window_blocks",
                window,
                twice..=100_000_000,
                "use twice `staking.epoch_blocks` to 100000000 blocks",
            ),
            ("staking.window_seconds", seconds, 0..=100_000_000, "use at most 100000000 seconds"),
            ("staking.jail_blocks", jail_blocks, 1..=1_000_000_000, "use 1 to 1000000000 blocks"),
            (
                "staking.validators_min",
                floor,
                1..=self.validators_max.into(),
                "use 1 to `staking.validators_max`",
            ),
            ("staking.power_share_max", share, 1..=10_000, "use 1 to 10000"),
            ("staking.slash_parts", parts, 1..=10_000, "use 1 to 10000"),
            ("staking.absence_parts", absence, 0..=parts, "use at most `staking.slash_parts`"),
        ];
        for (key, number, range, cure) in terms {
            require(range.contains(&number), key, number, cure)?;
        }
        let (unit, most) = (self.stake_unit, U256::from(u64::MAX));
        let range = "use 1 to 18446744073709551615 wei";
        require((U256::ONE..=most).contains(&unit), "staking.stake_unit", unit, range)?;
        let range = "use `staking.stake_unit` to 18446744073709551615 wei";
        let least = self.min_stake;
        require((unit..=most).contains(&least), "staking.min_stake", least, range)?;
        require(
            // The founders must all be elected, or the first epoch would shrink the set.
            (validators.len()..=SEATS_MAX).contains(&self.validators_max.into()),
            "staking.validators_max",
            self.validators_max,
            "use the number of founding validators to 120",
        )?;
        // Attack: least stakes, for keys that nobody runs, which get a unit each on all seats on
        // probation. Three founders of this power of four, and those of any number that bear one
        // more absent, still are a quorum beside them.
        let least = (self.min_stake / self.stake_unit).max(U256::from(PROBATION_SEATS));
        let least = least * U256::from(2);
        for validator in validators {
            require(
                U256::from(validator.power) > least,
                "validators.power",
                format_args!(
                    "{}, so that newcomers' least stakes can stop the chain",
                    validator.power
                ),
                "use more than 16 and more than twice the power that `staking.min_stake` gives: more stake, or a smaller `staking.min_stake`",
            )?;
        }
        Ok(())
    }
}
