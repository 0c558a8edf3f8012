//! Headers that are shown to servers, by a file of the operator's:
//!
//! ```text
//! # URL prefix             header: value
//! https://example.org/data Authorization: Bearer 1234
//! ```
//!
//! What always holds: a header goes only to URLs that begin with its own prefix
//! (scheme, host and port whole, the path by whole names), also after a redirect.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use reqwest::header::{HeaderName, HeaderValue};
use trefoil_os::{disk, operator_file};
use url::Url;

/// The longest file, bytes (1 MiB).
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("cannot read `content.origin_credentials` ({file}): {source}; {}", disk::cure(.source))]
    Read { file: PathBuf, source: io::Error },
    #[error("others than its owner can read {0}: chmod 600 {0}")]
    Open(PathBuf),
    #[error("line {line} of {file} {wrong}; write URL-PREFIX HEADER: VALUE")]
    Line { file: PathBuf, line: usize, wrong: &'static str },
}

/// None, by default.
#[derive(Clone, Default)]
pub struct Credentials(Vec<Credential>);

#[derive(Clone)]
struct Credential {
    prefix: Url,
    name: HeaderName,
    value: HeaderValue,
}

/// Secrets are not shown.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|credential| credential.prefix.as_str())).finish()
    }
}

impl Credentials {
    /// Reads the file that a setting names; an empty path is none.
    ///
    /// # Errors
    /// When others may read the file too, or a line is not understood.
    pub fn read(file: &Path) -> Result<Self, CredentialsError> {
        if file.as_os_str().is_empty() {
            return Ok(Self::default());
        }
        let failed = |source| CredentialsError::Read { file: file.into(), source };
        let meta = fs::metadata(file).map_err(failed)?;
        // The same rule as that of ssh for private keys.
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(CredentialsError::Open(file.into()));
        }
        let text = operator_file::read_text(file, FILE_BYTES_MAX).map_err(failed)?;
        let lines = text.lines().map(str::trim).zip(1..);
        let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let each = lines.map(|(text, line)| {
            let wrong = |wrong| CredentialsError::Line { file: file.into(), line, wrong };
            Credential::parse(text).map_err(wrong)
        });
        each.collect::<Result<_, _>>().map(Self)
    }

    /// The headers for a request.
    pub fn of(&self, url: &Url) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let own = self.0.iter().filter(|credential| credential.covers(url));
        own.map(|credential| (credential.name.clone(), credential.value.clone()))
    }
}

impl Credential {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let (prefix, header) =
            line.split_once(char::is_whitespace).ok_or("has a URL and nothing else")?;
        let prefix = prefix.parse::<Url>().map_err(|_| "does not begin with a URL")?;
        if !matches!(prefix.scheme(), "http" | "https") || prefix.query().is_some() {
            return Err("does not begin with http://HOST/PATH or https://HOST/PATH");
        }
        let (name, value) = header.split_once(':').ok_or("has no header and its value")?;
        let name = name.trim().parse().map_err(|_| "has no name of a header after the URL")?;
        let value = HeaderValue::from_str(value.trim());
        let mut value = value.map_err(|_| "has a value that no header can have")?;
        value.set_sensitive(true);
        Ok(Self { prefix, name, value })
    }

    fn covers(&self, url: &Url) -> bool {
        let same = self.prefix.origin() == url.origin();
        let rest = url.path().strip_prefix(self.prefix.path());
        // `/data` must not cover `/database`.
        let whole = |rest: &str| {
            rest.is_empty() || rest.starts_with('/') || self.prefix.path().ends_with('/')
        };
        same && rest.is_some_and(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, mode: u32) -> Result<Credentials, CredentialsError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        Credentials::read(&file)
    }

    #[test]
    fn a_header_goes_to_its_own_prefix_only() {
        let text = "# ours\n\nhttps://a.example/data Authorization: Bearer 12: 34\n";
        let credentials = read(text, 0o600).unwrap();
        let shown = |url: &str| credentials.of(&url.parse().unwrap()).count();
        let url = "https://a.example/data/x?y".parse().unwrap();
        let of: Vec<_> = credentials.of(&url).collect();
        assert_eq!(
            (of[0].0.as_str(), of[0].1.as_bytes()),
            ("authorization", &b"Bearer 12: 34"[..])
        );
        assert_eq!(shown("https://a.example/data"), 1);
        for other in [
            "http://a.example/data",
            "https://a.example:444/data",
            "https://a.example.evil/data",
            "https://b.example/data",
            "https://a.example/database",
            "https://a.example/data/../x",
            "https://a.example/",
        ] {
            assert_eq!(shown(other), 0, "{other}");
        }
        assert!(!format!("{credentials:?}").contains("12"), "secrets are not shown");
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_open_files_refused() {
        let line = "https://a/ A: b\n";
        for bad in ["https://a/", "a A: b", "ftp://a/ A: b", "https://a/ b", "https://a/ A b: c"] {
            let error = read(&format!("{line}{bad}\n"), 0o600).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{bad}: {error}");
        }
        assert!(matches!(read(line, 0o640), Err(CredentialsError::Open(_))));
        assert!(Credentials::read(Path::new("/no/such")).is_err());
    }
}
