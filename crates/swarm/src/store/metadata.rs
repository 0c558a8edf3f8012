//! The metadata of a resource (`about.json`), and the options of a put.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use trefoil_content::{AllowList, ContentId, IdError};
use trefoil_os::{clock, disk::write_whole};

use super::{StoreError, failed};

pub const METADATA_FILE: &str = "about.json";

/// The metadata of a resource; its JSON is `about.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    /// Bytes of the file, or of the manifest.
    pub size: u64,
    /// Bytes of all files of a directory, once the manifest is here.
    pub tree_bytes: Option<u64>,
    /// Where it is shared from; ours if there is none.
    pub shared: Option<PathBuf>,
    /// Never removed to make room.
    pub pinned: bool,
    /// HTTP servers that have it, as the operator put them.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Whether this node spreads it first: the others spare it.
    pub origin: bool,
    /// When it was last asked for, seconds since 1970.
    pub used_s: u64,
    /// All of it was here.
    pub whole: bool,
    /// The organisations whose members may have it from this node.
    #[serde(default, skip_serializing_if = "AllowList::is_open")]
    pub allow: AllowList,
}

impl Metadata {
    /// Of something of which nothing is here yet, and that is for everyone.
    pub fn new(id: ContentId, name: Option<String>, size: u64) -> Self {
        Self { id: id.to_string(), name, size, used_s: now_s(), ..Self::default() }
    }
}

/// The options of a put.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// A name for people; `None`: the file name.
    pub name: Option<String>,
    pub allow: AllowList,
    /// Whether [`crate::sealed::seal`] made it.
    pub sealed: bool,
    /// Whether this node spreads it first: the others spare it.
    pub origin: bool,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self { name: None, allow: AllowList::default(), sealed: false, origin: true }
    }
}

pub fn now_s() -> u64 {
    clock::wall().0 / 1_000
}

/// `None`: there is none, as it is written last.
///
/// # Errors
/// Why the one that is there cannot be read: a failing disk, or another version wrote it.
pub fn read_metadata(dir: &Path) -> Result<Option<(ContentId, Metadata)>, String> {
    let text = match fs::read(dir.join(METADATA_FILE)) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        text => text.map_err(|error| error.to_string())?,
    };
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let id = metadata.id.parse().map_err(|error: IdError| error.to_string())?;
    Ok(Some((id, metadata)))
}

pub fn write_metadata(dir: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    let path = dir.join(METADATA_FILE);
    let text = serde_json::to_vec_pretty(metadata).expect("it is plain data");
    write_whole(&path, |file| file.write_all(&text)).map_err(failed("write", &path))
}
