//! Who may have a resource: the members of some organisations only.
//!
//! The list is part of what a resource is called between peers
//! ([`crate::swarm::Resource::among`]): who changes it asks for something that
//! nobody has, so that no node needs to be believed about it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use trefoil_types::OrganisationId;

/// The longest list (`contracts/src/ContentRegistry.sol` has the same).
pub const ALLOWED_MAX: usize = 16;

/// Organisations by ascending numbers, each once; none: whoever may connect.
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

    /// Whether it restricts nobody.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a member of this organisation may have it; `None`: of no organisation.
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
        let mut between = "";
        for organisation in &self.0 {
            write!(f, "{between}{organisation}")?;
            between = ",";
        }
        Ok(())
    }
}

impl FromStr for AllowList {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let numbers =
            text.split(',').map(|number| number.parse().map_err(|_| AllowError::Malformed));
        let list = Self::new(numbers.collect::<Result<Vec<_>, _>>()?)?;
        if list.to_string() == text { Ok(list) } else { Err(AllowError::Malformed) }
    }
}
