//! Allow-lists: a resource for the members of some organisations only.
//!
//! The list is part of the resource's name between peers
//! ([`crate::scheduler::Resource::among`]). A peer that changes the list asks for a name that
//! nobody has, so no node has to be believed about a list (ADR 21).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use trefoil_types::OrganisationId;

// The list travels in every link and is stored on the chain, which pays for each entry.
/// The longest list (`contracts/src/ContentRegistry.sol` has the same).
pub const ALLOWED_MAX: usize = 16;

/// Organisations by ascending number, each once. An empty list: any peer that may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<OrganisationId>", into = "Vec<OrganisationId>")]
pub struct AllowList(Vec<OrganisationId>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    #[error("a list of {0} organisations; it may have {ALLOWED_MAX}, the one that puts included")]
    TooMany(usize),
    #[error("organisations are numbered from 1")]
    Zero,
    #[error("a list of organisations is of numbers with commas, ascending, as in 1,3,20")]
    Malformed,
}

impl AllowList {
    /// Of organisations in any order.
    ///
    /// # Errors
    /// Too many, or the number 0.
    pub fn new(
        organisations: impl IntoIterator<Item = OrganisationId>,
    ) -> Result<Self, AllowError> {
        let mut organisations: Vec<_> = organisations.into_iter().collect();
        organisations.sort_unstable();
        organisations.dedup();
        match organisations[..] {
            [0, ..] => Err(AllowError::Zero),
            _ if organisations.len() > ALLOWED_MAX => Err(AllowError::TooMany(organisations.len())),
            _ => Ok(Self(organisations)),
        }
    }

    /// Whether it restricts no peer.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a member of this organisation may have the resource. `None`: a peer of no
    /// organisation.
    pub fn admits(&self, organisation: Option<OrganisationId>) -> bool {
        self.is_open() || organisation.is_some_and(|id| self.0.binary_search(&id).is_ok())
    }

    pub fn organisations(&self) -> &[OrganisationId] {
        &self.0
    }
}

impl TryFrom<Vec<OrganisationId>> for AllowList {
    type Error = AllowError;

    fn try_from(organisations: Vec<OrganisationId>) -> Result<Self, AllowError> {
        Self::new(organisations)
    }
}

impl From<AllowList> for Vec<OrganisationId> {
    fn from(list: AllowList) -> Self {
        list.0
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

impl FromStr for AllowList {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let numbers =
            text.split(',').map(|number| number.parse().map_err(|_| AllowError::Malformed));
        let list = Self::new(numbers.collect::<Result<Vec<_>, _>>()?)?;
        // One list has one spelling, since its bytes enter the resource's name.
        if list.to_string() == text { Ok(list) } else { Err(AllowError::Malformed) }
    }
}
