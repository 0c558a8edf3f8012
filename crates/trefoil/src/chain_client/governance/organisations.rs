//! The organisations of a network, by number, name and key.

use serde_json::{Value, json};
use trefoil_os::keystore::SealingKey;
use trefoil_types::{Address, B256};

use super::abi::{
    Governance, GovernanceActions,
    IGovernance::{Node, Organisation},
};
use crate::{
    chain_client::contract::{Contract, ContractError},
    error::{CommandError, OrCure as _},
};

/// `IGovernance.Status` (the ABI has a bare number).
const STATUSES: [&str; 5] = ["none", "active", "suspended", "removed", "invited"];

/// All that there ever were, in order of their numbers.
#[derive(Clone, Default)]
pub struct Organisations(pub Vec<Organisation>);

impl Organisations {
    /// # Errors
    /// As [`Contract::view`].
    pub async fn read(contract: &Contract) -> Result<Self, ContractError> {
        let page = |from, count| Governance::organisationsCall { from, count };
        contract.list(page).await.map(Self)
    }

    pub fn get(&self, id: u32) -> Option<&Organisation> {
        self.0.iter().find(|organisation| organisation.id == id)
    }

    /// `acme (1)`.
    pub fn label(&self, id: u32) -> String {
        match self.get(id) {
            Some(organisation) => format!("{} ({id})", organisation.name),
            None => format!("organisation {id}"),
        }
    }

    pub fn labels(&self, ids: &[u32]) -> String {
        ids.iter().map(|id| self.label(*id)).collect::<Vec<_>>().join(", ")
    }

    /// The organisation that an account speaks for.
    pub fn of_key(&self, account: Address) -> Option<&Organisation> {
        self.0.iter().find(|organisation| organisation.keys.contains(&account))
    }

    /// The organisation whose certificates a key signs, now or at another time.
    pub fn of_ca_key(&self, key: &B256) -> Option<&Organisation> {
        self.0.iter().find(|organisation| organisation.caKeys.iter().any(|ca| ca.key == *key))
    }

    /// The one that a person means by a name or a number: no name is a number. A removed
    /// one's may be given again.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, text: &str) -> Result<u32, CommandError> {
        let named = self.0.iter().filter(|o| o.name == text);
        // Numbers are never given again, names are: of two, the one that still exists is
        // meant.
        let named = named.min_by_key(|organisation| status(organisation) == "removed");
        let numbered = || text.parse().ok().and_then(|id| self.get(id));
        named.or_else(numbered).map(|organisation| organisation.id).or_cure(
            format!("there is no organisation {text:?}"),
            "give a name or number that `trefoil org list` shows",
        )
    }
}

/// Seats that an organisation offers to accounts, which have not all accepted.
pub struct SeatOffer {
    /// When so many have accepted, they replace those that vote now; 0: they did.
    threshold: u8,
    /// Each account, and whether it accepted.
    accounts: Vec<(Address, bool)>,
}

impl SeatOffer {
    /// # Errors
    /// As [`Contract::view`].
    pub async fn read(contract: &Contract, organisation: u32) -> Result<Self, ContractError> {
        let offer = contract.view(GovernanceActions::offerCall { organisation }).await?;
        let accounts = offer.keys.into_iter().zip(offer.accepted).collect();
        Ok(Self { threshold: offer.threshold, accounts })
    }

    /// So many more accounts must accept before they vote.
    pub fn missing(&self) -> usize {
        let accepted = self.accounts.iter().filter(|(_, accepted)| *accepted).count();
        usize::from(self.threshold).saturating_sub(accepted)
    }

    /// The offer in words, a line for each account.
    pub fn lines(&self) -> Vec<String> {
        let accounts = self.accounts.iter().map(|(account, accepted)| match accepted {
            true => format!("{account} is to vote, and accepted"),
            false => format!("{account} is to vote, and must accept (`trefoil org accept`)"),
        });
        let missing = self.missing();
        let rest = (missing > 0).then(|| format!("{missing} more must accept before these vote"));
        accounts.chain(rest).collect()
    }

    pub fn as_json(&self) -> Value {
        let account = |(account, accepted): &(Address, bool)| json!({ "account": account, "accepted": accepted });
        let accounts: Vec<_> = self.accounts.iter().map(account).collect();
        json!({ "threshold": self.threshold, "missing": self.missing(), "accounts": accounts })
    }
}

/// The nodes that the chain knows.
///
/// # Errors
/// As [`Contract::view`].
pub async fn nodes(contract: &Contract) -> Result<Vec<Node>, ContractError> {
    contract.list(|from, count| Governance::nodesCall { from, count }).await
}

/// The keys to which content is sealed, in order of the organisations' numbers; 0: none.
pub struct SealingKeys(Vec<B256>);

impl SealingKeys {
    /// # Errors
    /// As [`Contract::view`].
    pub async fn read(contract: &Contract) -> Result<Self, ContractError> {
        let page = |from, count| Governance::sealingKeysCall { from, count };
        contract.list(page).await.map(Self)
    }

    pub fn of(&self, organisation: u32) -> Option<SealingKey> {
        // Organisations are numbered from 1, the contract's list of keys from 0.
        let key = self.0.get((organisation as usize).checked_sub(1)?)?;
        (!key.is_zero()).then_some(SealingKey(key.0))
    }
}

/// `active`, `invited`, `suspended` or `removed`.
pub fn status(organisation: &Organisation) -> &'static str {
    STATUSES.get(usize::from(organisation.status)).copied().unwrap_or("unknown")
}
