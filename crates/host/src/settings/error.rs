//! Why settings are refused, and the source that such an error names.

use std::{fmt, io, path::PathBuf};

use trefoil_os::keystore::KeysError;
use trefoil_types::spec::Kind;

/// Where a value came from; a later one overrides an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingSource {
    Default,
    File(PathBuf),
    /// The variable's name.
    Environment(String),
    Flag,
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read {file}: {source}; check the path and its permissions")]
    Read { file: PathBuf, source: io::Error },
    #[error("{file} is not TOML: {message}")]
    Toml { file: PathBuf, message: String },
    #[error("unknown setting `{key}` in {source_}; {hint}")]
    Unknown { key: String, source_: SettingSource, hint: String },
    #[error("setting `{key}` in {source_} is wrong: {message}")]
    Value { key: String, source_: SettingSource, message: String },
    #[error(
        "setting `p2p.encrypt` is for public networks and this one is {kind:?}: its wire is always encrypted; remove the setting"
    )]
    Encrypted { kind: Kind },
    #[error(
        "setting `keys.ca` is no public key: {why}; name the key that `keys.ca_command` signs with"
    )]
    CaKey { why: String },
    /// The file of the CA key cannot be opened.
    #[error(transparent)]
    CaFile(#[from] KeysError),
}
