//! Links that people pass on: `trefoil:<id>?name=…&size=…&allow=…`.
//!
//! One link has one spelling. The name is a hint; the size is proven by the last group; the
//! allow-list is part of the resource's name between peers.

use std::{fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{
    AllowError, AllowList, BYTES_MAX, ContentId, IdError,
    path::{self, PathError},
};

const SCHEME: &str = "trefoil:";

/// All but what is unreserved in a URL (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

// A link has at most 1,047 bytes: 72 of scheme and id, 771 of a name of which every byte is
// escaped, 22 of the size and 182 of the longest list. Longer text is not parsed.
/// The longest link that is taken.
pub const LINK_BYTES_MAX: usize = 1_280;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: ContentId,
    /// A file name: no separators, 255 bytes at most.
    pub name: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// The organisations that may have it.
    pub allow: AllowList,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("a link of {0} bytes; at most {LINK_BYTES_MAX} are taken")]
    TooLong(usize),
    #[error("a link starts with \"trefoil:\"")]
    NoScheme,
    #[error(transparent)]
    Id(#[from] IdError),
    #[error("the link's name: {0}")]
    Name(#[from] PathError),
    #[error("the link's allow-list: {0}")]
    Allow(#[from] AllowError),
    #[error(
        "a link says ?name=…&size=…&allow=… in this order, escaped as a URL, sizes to {BYTES_MAX}"
    )]
    Parameters,
}

/// Of a resource of which only the id is known.
impl From<ContentId> for Link {
    fn from(id: ContentId) -> Self {
        Self { id, name: None, size: None, allow: AllowList::default() }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.id)?;
        let mut mark = '?';
        if let Some(name) = &self.name {
            write!(f, "{mark}name={}", utf8_percent_encode(name, ESCAPED))?;
            mark = '&';
        }
        if let Some(size) = self.size {
            write!(f, "{mark}size={size}")?;
            mark = '&';
        }
        match self.allow.is_open() {
            true => Ok(()),
            false => write!(f, "{mark}allow={}", self.allow),
        }
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        if text.len() > LINK_BYTES_MAX {
            return Err(LinkError::TooLong(text.len()));
        }
        let rest = text.strip_prefix(SCHEME).ok_or(LinkError::NoScheme)?;
        let (id, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let mut link = Self::from(id.parse::<ContentId>()?);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("name", name)) => {
                    let name = percent_decode_str(name).decode_utf8();
                    link.name = Some(name.map_err(|_| LinkError::Parameters)?.into());
                }
                Some(("size", size)) => link.size = size.parse().ok(),
                Some(("allow", list)) => link.allow = list.parse()?,
                _ => return Err(LinkError::Parameters),
            }
        }
        if let Some(name) = &link.name {
            path::check_name(name)?;
        }
        // One spelling: a parameter that is repeated, out of order or escaped otherwise
        // does not survive the round trip.
        let sane = link.size.is_none_or(|size| size <= BYTES_MAX) && link.to_string() == text;
        if sane { Ok(link) } else { Err(LinkError::Parameters) }
    }
}
