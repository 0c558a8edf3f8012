//! A directory as bytes: the paths, sizes and roots of its files.
//!
//! What always holds: paths are relative and stay below the directory; they are sorted by
//! their bytes, each there once, and no file is also a directory. One directory has one
//! encoding, so that all nodes that put it get the same id.

use std::collections::BTreeSet;

use crate::{
    BYTES_MAX, FILES_MAX, Layout, LayoutError,
    path::{self, PathError},
    varint,
};

/// The first byte: this format's number.
const VERSION: u8 = 1;

/// The least bytes of an entry: length, one letter, size, root.
const ENTRY_BYTES_MIN: usize = 1 + 1 + 1 + 32;

// A manifest is decoded whole in memory. 64 MiB are enough for the most files, with paths of
// about 470 bytes.
/// The longest manifest: 64 MiB.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// The file's BLAKE3 root.
    pub root: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest(Vec<ManifestEntry>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("{0} files; a directory has at most {FILES_MAX}: split it")]
    TooManyFiles(u64),
    #[error("files of more than {BYTES_MAX} bytes together, or a manifest over 64 MiB: split it")]
    TooLarge,
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("{0:?} is there twice, or is both a file and a directory")]
    Twice(String),
    #[error("not a manifest, or one of a later version")]
    Malformed,
}

impl Manifest {
    /// Of files in any order.
    pub fn new(mut entries: Vec<ManifestEntry>) -> Result<Self, ManifestError> {
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Self::checked(entries)
    }

    /// Sorted by path.
    pub fn entries(&self) -> &[ManifestEntry] {
        &self.0
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        let paths: usize = self.0.iter().map(|entry| entry.path.len()).sum();
        self.0.len() * size_of::<ManifestEntry>() + paths
    }

    /// How its files are cut into pieces.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        Layout::files(&self.0.iter().map(|entry| entry.size).collect::<Vec<_>>())
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        varint::put(&mut out, self.0.len() as u64);
        for entry in &self.0 {
            varint::put(&mut out, entry.path.len() as u64);
            out.extend(entry.path.as_bytes());
            varint::put(&mut out, entry.size);
            out.extend(entry.root);
        }
        out
    }

    // Attack: a manifest whose count claims more entries than its bytes can hold.
    /// Takes memory for the entries that are there, never for the count that the bytes
    /// claim.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge);
        }
        let (version, mut rest) = bytes.split_first().ok_or(ManifestError::Malformed)?;
        if *version != VERSION {
            return Err(ManifestError::Malformed);
        }
        let count = varint::take(&mut rest).ok_or(ManifestError::Malformed)?;
        if count > FILES_MAX as u64 {
            return Err(ManifestError::TooManyFiles(count));
        }
        if (rest.len() / ENTRY_BYTES_MIN) < count as usize {
            return Err(ManifestError::Malformed);
        }
        let entries = (0..count).map(|_| take_entry(&mut rest).ok_or(ManifestError::Malformed));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        if !rest.is_empty() || !entries.is_sorted_by(|a, b| a.path < b.path) {
            return Err(ManifestError::Malformed);
        }
        Self::checked(entries)
    }

    /// `entries` are sorted.
    fn checked(entries: Vec<ManifestEntry>) -> Result<Self, ManifestError> {
        if entries.len() > FILES_MAX {
            return Err(ManifestError::TooManyFiles(entries.len() as u64));
        }
        let mut bytes = 0u64;
        for entry in &entries {
            path::check(&entry.path)?;
            bytes = bytes.checked_add(entry.size).ok_or(ManifestError::TooLarge)?;
        }
        if bytes > BYTES_MAX {
            return Err(ManifestError::TooLarge);
        }
        // Attack: `a` and `a/b` in one manifest. Written in order, the second would need a
        // directory where the first is a file.
        let files: BTreeSet<&str> = entries.iter().map(|entry| &*entry.path).collect();
        let is_file = |path: &str| {
            let mut ends = path.match_indices('/').map(|(at, _)| &path[..at]);
            ends.any(|directory| files.contains(directory))
        };
        let twice = entries.windows(2).find(|pair| pair[0].path == pair[1].path);
        let twice = twice.map(|pair| &pair[0]);
        if let Some(entry) = twice.or(entries.iter().find(|entry| is_file(&entry.path))) {
            return Err(ManifestError::Twice(entry.path.clone()));
        }
        Ok(Self(entries))
    }
}

fn take_entry(rest: &mut &[u8]) -> Option<ManifestEntry> {
    let len = varint::take(rest)?;
    let path = std::str::from_utf8(varint::take_bytes(rest, len)?).ok()?.to_owned();
    let size = varint::take(rest)?;
    let root = varint::take_bytes(rest, 32)?.try_into().ok()?;
    Some(ManifestEntry { path, size, root })
}
