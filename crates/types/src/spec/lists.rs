//! Lists that hold from genesis shut out nobody who could change them.

use alloy_primitives::U256;
use trefoil_crypto::Address;

use super::{ChainSpec, FoundingOrganisation, SpecError, check::require};

/// The gas of ten approvals, none of which is more than the smallest block
/// (`contracts/src/Reach.sol`).
const APPROVALS_GAS: u64 = 10 * 1_000_000;

// Of more the contract does not look, so that a vote fits into a transaction.
/// Of the accounts that may send for contracts so many are looked at (`contracts/src/Reach.sol`).
const SENDERS_READ: usize = 8;

/// How the code of an account begins that delegates (EIP-7702): it can still send.
const DELEGATES: [u8; 3] = [0xef, 0x01, 0x00];

impl ChainSpec {
    pub(super) fn check_lists(&self) -> Result<(), SpecError> {
        let Some(accounts) = &self.accounts else { return Ok(()) };
        self.check_reach()?;
        // Whoever may deploy may send.
        let speaks = |account| {
            self.organisations
                .iter()
                .any(|o| o.keys.contains(account) || o.senders.contains(account))
        };
        let mut deployers = self.deployers.iter().flatten();
        let idle = deployers.find(|one| !accounts.contains(one) && !speaks(one));
        idle.map_or(Ok(()), |account| {
            let cure = "list it in `accounts` too, or it could not send what deploys";
            require(false, "deployers", format_args!("naming {account}"), cure)
        })
    }

    // The governing contract refuses such founders too, but names only an error. Whoever owns coins
    // could send them to nobody under the list.
    /// So many organisations as decide can send approvals and pay for them.
    fn check_reach(&self) -> Result<(), SpecError> {
        let price = U256::from(APPROVALS_GAS) * U256::from(self.min_base_fee());
        let able = self.organisations.iter().filter(|o| self.is_able(o, price)).count();
        let needed = self.organisations_needed();
        require(
            able >= needed,
            "accounts",
            format_args!(
                "a list under which {able} of the {needed} organisations that must agree could \
                 vote to change it"
            ),
            "give as many keys of each as vote for it coins for ten approvals in `alloc` (10000000 \
             gas at `min_base_fee`); where they are contracts, name accounts that own as much among \
             the first 8 of `organisations.senders`",
        )
    }

    fn is_able(&self, organisation: &FoundingOrganisation, price: U256) -> bool {
        let owns = |account: &Address| match self.alloc.get(account) {
            Some(founded) => founded.balance >= price,
            None => price.is_zero(),
        };
        let is_contract = |account: &Address| {
            let code = self.alloc.get(account).and_then(|founded| founded.code.as_ref());
            code.is_some_and(|code| !code.is_empty() && !code.starts_with(&DELEGATES))
        };
        let sends = |account: &Address| !is_contract(account) && owns(account);
        let others = organisation.senders.iter().take(SENDERS_READ).any(sends);
        let able = |key: &&Address| if is_contract(key) { others } else { owns(key) };
        organisation.keys.iter().filter(able).count() >= usize::from(organisation.threshold)
    }

    /// As `_needed` in `contracts/src/Organisations.sol`: of four or more never all.
    fn organisations_needed(&self) -> usize {
        let ([numerator, denominator], all) =
            (self.quorum.map(usize::from), self.organisations.len());
        // Checked before: no denominator is 0.
        let needed = all * numerator / denominator.max(1) + 1;
        if all >= 4 && needed == all { all - 1 } else { needed }
    }
}
