//! Names of content on the chain: `[PUBLISHER/]NAME[@VERSION]`, and what was
//! published under them.
//!
//! What always holds: a name is looked up on the chain of the node that is asked;
//! nothing of it is kept here.

use std::{fmt, str::FromStr};

use abi::{
    ContentRegistry::{
        Published, entryCall, latestCall, namesCall, publishCall, publishersCall, versionsCall,
        withdrawCall,
    },
    IContentRegistry::Entry,
};
use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{SolCall as _, SolEvent as _};
use trefoil_content::{AllowError, AllowList, ContentId, Link, ResourceKind};
use trefoil_types::Address;

use crate::{
    chain_client::{
        account_key::AccountKey,
        client::Client,
        contract::{Contract, ContractError},
    },
    error::{CommandError, OrCure as _},
};

/// The registry's calls, answers, events and errors, from the artifact that is deployed.
pub mod abi {
    #![allow(missing_docs, clippy::all, reason = "generated")]
    alloy_sol_types::sol!(ContentRegistry, "../../contracts/artifacts/ContentRegistry.json");
}

// A longer one is refused here with words, and not by the contract after a call.
/// Bytes of a name, as `contracts/src/ContentRegistry.sol` bounds them.
const NAME_BYTES_MAX: usize = 128;

/// `IContentRegistry.Kind`.
const KINDS: [ResourceKind; 3] =
    [ResourceKind::File, ResourceKind::Directory, ResourceKind::Sealed];

// Each costs the node's `eth_call` some storage reads, and the gas of a call is capped at 50
// million (`CALL_GAS_MAX`): half a million an entry.
/// Entries that are asked for at once.
const PAGE: u64 = 100;

/// A name that a person writes for published content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title {
    /// `None`: the only publisher of the name.
    pub publisher: Option<Address>,
    pub name: String,
    /// `None`: the newest that is not withdrawn; in publishing, the next.
    pub version: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    #[error(
        "a name has 1 to {NAME_BYTES_MAX} letters, digits, `.`, `-` and `_`, and begins with a letter or digit"
    )]
    Name,
    #[error("{0:?} is no version: write a number from 1 on, as in NAME@3")]
    Version(String),
    #[error("{0:?} is no publisher: write an account, 0x and 40 hexadecimal digits")]
    Publisher(String),
    #[error("this is the id of a resource; choose a name that cannot be taken for one")]
    Id,
}

impl FromStr for Title {
    type Err = TitleError;

    fn from_str(text: &str) -> Result<Self, TitleError> {
        let (publisher, rest) = match text.split_once('/') {
            None => (None, text),
            Some((account, rest)) => {
                let bad = |_| TitleError::Publisher(account.into());
                (Some(account.parse().map_err(bad)?), rest)
            }
        };
        let (name, version) = match rest.split_once('@') {
            None => (rest, None),
            Some((name, number)) => {
                let version = number.parse().ok().filter(|version| *version > 0);
                (name, Some(version.ok_or_else(|| TitleError::Version(number.into()))?))
            }
        };
        // `trefoil get` takes an id or a name: of such a name it would only ever see the id.
        if name.parse::<ContentId>().is_ok() {
            return Err(TitleError::Id);
        }
        match is_name(name) {
            true => Ok(Self { publisher, name: name.into(), version }),
            false => Err(TitleError::Name),
        }
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(publisher) = &self.publisher {
            write!(f, "{publisher}/")?;
        }
        f.write_str(&self.name)?;
        self.version.map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.bytes().all(allowed)
}

/// Why an entry of the registry cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("content of kind {0}, which this version does not know")]
    Kind(u8),
    #[error(transparent)]
    Allow(#[from] AllowError),
}

/// The registry of a node's chain.
#[derive(Clone, Debug)]
pub struct Registry(Contract);

impl Registry {
    pub fn new(client: Client) -> Self {
        Self(Contract::registry(client))
    }

    /// The entry that a title stands for.
    ///
    /// # Errors
    /// Nobody published it, several did and the title names none of them, or it was withdrawn.
    pub async fn find(&self, title: &Title) -> Result<Entry, CommandError> {
        let name = title.name.clone();
        let publisher = match title.publisher {
            Some(publisher) => publisher,
            None => self.only_publisher(&name).await?,
        };
        let Some(version) = title.version else {
            // The contract passes over versions that were withdrawn.
            return Ok(self.0.view(latestCall { publisher, name }).await?);
        };
        let entry = self.0.view(entryCall { publisher, name, version }).await?;
        if entry.withdrawn {
            let what = format!("{publisher} has withdrawn {} in version {version}", title.name);
            let cure = format!("choose another: `trefoil names {publisher}/{}`", title.name);
            return Err(CommandError::with_cure(what, cure));
        }
        Ok(entry)
    }

    async fn only_publisher(&self, name: &str) -> Result<Address, CommandError> {
        let publishers = self.publishers(name).await?;
        match publishers[..] {
            // Anyone may publish under any name, so a name alone means a publisher only if
            // there is but one.
            [publisher] => Ok(publisher),
            [] => Err(CommandError::with_cure(
                format!("nobody has published {name:?}"),
                "see `trefoil names`, or give the link that `trefoil put` printed",
            )),
            _ => {
                let each = publishers.iter().map(|publisher| format!("\n  {publisher}/{name}"));
                Err(CommandError::with_cure(
                    format!("{} have published {name:?}", publishers.len()),
                    format!("say whose you want:{}", each.collect::<String>()),
                ))
            }
        }
    }

    /// The publishers of a name, the first first.
    ///
    /// # Errors
    /// As [`Contract::view`].
    pub async fn publishers(&self, name: &str) -> Result<Vec<Address>, ContractError> {
        let page = async |from, count| {
            self.0.view(publishersCall { name: name.into(), from, count }).await
        };
        all(page).await
    }

    /// All versions of one name of one publisher, the first first.
    ///
    /// # Errors
    /// As [`Contract::view`].
    pub async fn versions(
        &self,
        publisher: Address,
        name: &str,
    ) -> Result<Vec<Entry>, ContractError> {
        let page = async |from, count| {
            let name = name.into();
            self.0.view(versionsCall { publisher, name, from, count }).await
        };
        all(page).await
    }

    /// All names of all publishers, each with its newest version.
    ///
    /// # Errors
    /// As [`Contract::view`].
    pub async fn names(&self) -> Result<Vec<Entry>, ContractError> {
        all(async |from, count| self.0.view(namesCall { from, count }).await).await
    }

    /// Publishes what a link leads to, in the wallet's name, and waits for its
    /// block, which is final; which version it became.
    ///
    /// # Errors
    /// The registry's refusal, or a transaction that comes into no block.
    pub async fn publish(
        &self,
        wallet: &AccountKey,
        title: &Title,
        link: &Link,
    ) -> Result<u64, CommandError> {
        let call = publishCall {
            name: title.name.clone(),
            version: title.version.unwrap_or(0),
            kind: KINDS.iter().position(|kind| *kind == link.id.kind).expect("all are there") as u8,
            root: link.id.root.into(),
            size: link.size.unwrap_or(0),
            organisations: link.allow.clone().into(),
        };
        let receipt = self.0.send(wallet, Bytes::from(call.abi_encode()), U256::ZERO).await?;
        let published = receipt.logs.iter().find_map(|log| Published::decode_log(log).ok());
        let published = published.or_cure(
            format!("transaction {} published nothing", receipt.transaction_hash),
            "use the same version of trefoil as the node",
        )?;
        Ok(published.version)
    }

    /// Marks a version that the wallet's account published.
    ///
    /// # Errors
    /// As [`Registry::publish`].
    pub async fn withdraw(
        &self,
        wallet: &AccountKey,
        name: &str,
        version: u64,
    ) -> Result<u64, ContractError> {
        let call = withdrawCall { name: name.into(), version };
        let receipt = self.0.send(wallet, Bytes::from(call.abi_encode()), U256::ZERO).await?;
        Ok(receipt.block_number.to())
    }
}

/// All pages of a list, by the index that each begins at and the number of entries.
async fn all<T>(
    page: impl AsyncFn(U256, U256) -> Result<Vec<T>, ContractError>,
) -> Result<Vec<T>, ContractError> {
    let mut all = Vec::new();
    loop {
        let next = page(U256::from(all.len()), U256::from(PAGE)).await?;
        let last = (next.len() as u64) < PAGE;
        all.extend(next);
        if last {
            return Ok(all);
        }
    }
}

/// The link to published content.
///
/// # Errors
/// A kind or a list of organisations that the registry would not have taken.
pub fn link(entry: &Entry) -> Result<Link, EntryError> {
    let kind = *KINDS.get(usize::from(entry.kind)).ok_or(EntryError::Kind(entry.kind))?;
    let id = ContentId { kind, root: entry.root.0 };
    let allow = AllowList::new(entry.organisations.iter().copied())?;
    Ok(Link { id, name: Some(entry.name.clone()), size: Some(entry.size), allow })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_read_as_it_is_written() {
        let account = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
        for text in ["maps", "maps-2.0_eu@20261128", &format!("{account}/maps@3")] {
            assert_eq!(text.parse::<Title>().unwrap().to_string(), text);
        }
        let id = ContentId { kind: ResourceKind::File, root: [7; 32] }.to_string();
        let long = "x".repeat(129);
        let wrong = [
            ("", TitleError::Name),
            ("a b", TitleError::Name),
            (".a", TitleError::Name),
            ("ä", TitleError::Name),
            ("trefoil:x", TitleError::Name),
            (&long, TitleError::Name),
            ("a@", TitleError::Version("".into())),
            ("a@0", TitleError::Version("0".into())),
            ("a@-1", TitleError::Version("-1".into())),
            ("a@18446744073709551616", TitleError::Version("18446744073709551616".into())),
            ("acme/a", TitleError::Publisher("acme".into())),
            (&id, TitleError::Id),
        ];
        for (text, error) in wrong {
            assert_eq!(text.parse::<Title>(), Err(error), "{text}");
        }
        assert_eq!("x".repeat(128).parse::<Title>().unwrap().version, None);
    }
}
