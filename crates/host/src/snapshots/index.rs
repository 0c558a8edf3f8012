//! The list of the files by which a newcomer joins: a state snapshot and the
//! archives of the blocks up to it. Its bytes are a manifest's, the same on all
//! nodes that have the same files; each file is a resource of its own.

use trefoil_content::{ContentId, Manifest, ManifestEntry, ManifestError, ResourceKind};
use trefoil_ledger::state_sync::Archived;
use trefoil_types::Height;

// A manifest has 131,072 files at most: a chain that listed all its archives would have none to
// offer one day (after six, with a snapshot each 8 blocks of half a second). All nodes leave out the
// same ones.
/// The archives that an index lists, the newest.
pub const ARCHIVES_MAX: usize = 100_000;

// A peer claims its size, and it is read into memory whole, those of several peers at once. An
// archive takes at most 77 bytes in it, up to block 10^14.
/// The longest index that is taken, bytes (8 MiB).
pub const INDEX_BYTES_MAX: u64 = 8 << 20;

/// The kind of a file, as its name has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    State(Height),
    Blocks(Archived),
    Index(Height),
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::State(height) => write!(f, "state-{height}"),
            Self::Blocks(Archived { first, last }) => write!(f, "blocks-{first}-{last}"),
            Self::Index(height) => write!(f, "index-{height}"),
        }
    }
}

impl FileName {
    // All nodes must make the same bytes, so that each of them provides the same resource (ADR
    // 18).
    /// `None`: not a name of ours, or not in its one spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once('-')?;
        let name = match kind {
            "state" => Self::State(rest.parse().ok()?),
            "index" => Self::Index(rest.parse().ok()?),
            "blocks" => {
                let (first, last) = rest.split_once('-')?;
                Self::Blocks(Archived { first: first.parse().ok()?, last: last.parse().ok()? })
            }
            _ => return None,
        };
        (name.to_string() == text).then_some(name)
    }
}

/// A file and its resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    pub name: FileName,
    pub id: ContentId,
    /// Bytes.
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotIndex {
    pub height: Height,
    pub state: ListedFile,
    /// The oldest first, each where the one before it ends, up to `height`.
    pub history: Vec<ListedFile>,
}

impl SnapshotIndex {
    /// Of files in any order; `None`: they are not one state and the blocks that
    /// lead to it.
    pub fn of(files: impl IntoIterator<Item = ListedFile>) -> Option<Self> {
        let (mut states, mut history) = (Vec::new(), Vec::new());
        for file in files {
            match file.name {
                FileName::State(height) => states.push((height, file)),
                FileName::Blocks(archived) => history.push((archived, file)),
                FileName::Index(_) => return None,
            }
        }
        let (height, state) = states.pop().filter(|_| states.is_empty())?;
        history.sort_unstable_by_key(|(archived, _)| archived.first);
        let end = height.checked_add(1)?;
        let mut next = history.first().map_or(Some(end), |(a, _)| Some(a.first));
        for (Archived { first, last }, _) in &history {
            if Some(*first) != next || first > last {
                return None;
            }
            next = last.checked_add(1);
        }
        let history = history.into_iter().map(|(_, file)| file).collect();
        (next == Some(end)).then_some(Self { height, state, history })
    }

    /// # Errors
    /// More files than a manifest may have.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let entry = |listed: &ListedFile| ManifestEntry {
            path: listed.name.to_string(),
            size: listed.size,
            root: listed.id.root,
        };
        let entries = self.history.iter().chain([&self.state]).map(entry);
        Ok(Manifest::new(entries.collect())?.encode())
    }

    /// `None`: bytes that are no such list.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let manifest = Manifest::decode(bytes).ok()?;
        let listed = |entry: &ManifestEntry| {
            let (name, id) = (FileName::parse(&entry.path)?, file_id(entry.root));
            Some(ListedFile { name, id, size: entry.size })
        };
        Self::of(manifest.entries().iter().map(listed).collect::<Option<Vec<_>>>()?)
    }

    // Blocks are believed backwards: each by the hash that the block after it holds (ADR 18).
    /// The archives of the blocks before one, the newest first.
    pub fn before(&self, height: Height) -> impl Iterator<Item = &ListedFile> {
        let before = move |listed: &&ListedFile| match listed.name {
            FileName::Blocks(archived) => archived.last < height,
            FileName::State(_) | FileName::Index(_) => false,
        };
        self.history.iter().rev().filter(before)
    }
}

pub fn file_id(root: [u8; 32]) -> ContentId {
    ContentId { kind: ResourceKind::File, root }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str) -> ListedFile {
        ListedFile {
            name: FileName::parse(name).unwrap(),
            id: file_id([name.len() as u8; 32]),
            size: 7,
        }
    }

    #[test]
    fn a_name_has_one_spelling() {
        for name in ["state-8", "blocks-1-8", "index-16"] {
            assert_eq!(FileName::parse(name).unwrap().to_string(), name);
        }
        for name in ["state-08", "state-", "state-+8", "blocks-1", "blocks-1-2-3", "x-1", "state"] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_listed_is_one_state_and_the_blocks_that_lead_to_it() {
        let good = [
            &["blocks-5-8", "state-8", "blocks-1-4"][..],
            &["state-8"],
            &["blocks-8-8", "state-8"],
        ];
        for names in good {
            let index = SnapshotIndex::of(names.iter().map(|name| listed(name))).unwrap();
            assert_eq!(SnapshotIndex::decode(&index.encode().unwrap()), Some(index));
        }
        let bad = [
            &["blocks-1-8"][..],
            &["state-8", "state-9"],
            &["state-8", "blocks-1-4"],
            &["state-8", "blocks-1-4", "blocks-4-8"],
            &["state-8", "blocks-1-4", "blocks-6-8"],
            &["state-8", "index-8"],
            &["state-18446744073709551615", "blocks-1-18446744073709551615"],
        ];
        for names in bad {
            assert_eq!(SnapshotIndex::of(names.iter().map(|name| listed(name))), None, "{names:?}");
        }
    }

    #[test]
    fn the_longest_list_is_taken() {
        let end = 100_000_000_000_000;
        let blocks = |n: u64| Archived { first: end - n * 1_024 - 1_023, last: end - n * 1_024 };
        let id = file_id([7; 32]);
        let archive = |n| ListedFile { name: FileName::Blocks(blocks(n)), id, size: 1 << 32 };
        let state = ListedFile { name: FileName::State(end), id, size: 1 << 48 };
        let archives = (0..ARCHIVES_MAX as u64).map(archive);
        let index = SnapshotIndex::of(archives.chain([state])).unwrap();
        assert!(index.encode().unwrap().len() as u64 <= INDEX_BYTES_MAX);
    }

    #[test]
    fn the_archives_before_a_block_come_newest_first() {
        let names = ["state-12", "blocks-9-12", "blocks-1-4", "blocks-5-8"];
        let index = SnapshotIndex::of(names.map(listed)).unwrap();
        let before: Vec<_> = index.before(9).map(|listed| listed.name.to_string()).collect();
        assert_eq!(before, ["blocks-5-8", "blocks-1-4"]);
    }
}
