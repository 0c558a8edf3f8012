//! An HTTP server that has a resource, by the URL of its bytes.

use std::{fmt, str::FromStr};

use url::Url;

// One message names up to eight: 8 KiB.
/// The longest URL of an origin.
pub const ORIGIN_BYTES_MAX: usize = 1_024;

// Attack: a peer names many servers, so that this node connects to all of them (ADR 20).
/// The most origins of one resource.
pub const ORIGINS_MAX: usize = 8;

/// `http` or `https`, with a host, without credentials or a fragment. Peers get the
/// whole URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Url);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("a URL of {0} bytes; at most {ORIGIN_BYTES_MAX} are taken")]
    TooLong(usize),
    #[error("{0}: write http://HOST/PATH or https://HOST/PATH")]
    Url(#[from] url::ParseError),
    #[error("{0} is no scheme of an origin; http and https are")]
    Scheme(String),
    #[error("a user name or password in a URL would be told to all: put them in a file")]
    Credentials,
    #[error("a fragment (#…) names no bytes of a server; leave it out")]
    Fragment,
}

impl Origin {
    pub fn url(&self) -> &Url {
        &self.0
    }

    // One URL has one spelling, so that one server is not asked twice under two names.
    /// Decodes a URL from a peer. Only its one spelling is taken.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        text.parse::<Self>().ok().filter(|origin| origin.0.as_str() == text)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text.len() > ORIGIN_BYTES_MAX {
            return Err(OriginError::TooLong(text.len()));
        }
        let url = Url::parse(text)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(OriginError::Scheme(url.scheme().into()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OriginError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(OriginError::Fragment);
        }
        // Parsing escapes characters, and each escape makes the URL longer.
        match url.as_str().len() {
            len if len > ORIGIN_BYTES_MAX => Err(OriginError::TooLong(len)),
            _ => Ok(Self(url)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
