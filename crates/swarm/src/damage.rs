//! Bytes of a store that have changed on disk: found and named.

use std::{ops::Range, path::Path, sync::PoisonError};

use trefoil_content::{GROUP_BYTES, Part, proof::ProofError};

use crate::{export::ExportError, fetch::Selection, store::OpenStore};

// One line of the log, however much is damaged.
/// Runs that are named one by one.
const NAMED_MAX: usize = 4;

/// Bytes that have changed on disk, in words.
pub struct Damage {
    pub parts: Vec<Part>,
    pub words: String,
}

impl OpenStore {
    /// Names damage: which file and which of its bytes.
    pub fn damage(&self, parts: Vec<Part>) -> Damage {
        let (mut words, shared) = (Vec::new(), !self.store.is_ours());
        for part in parts.iter().take(NAMED_MAX) {
            let from = part.groups.start * GROUP_BYTES;
            let upto = from + self.layout.part_bytes(part);
            let place = self.place.display();
            words.push(match self.entry(part.file) {
                Some(path) if shared => format!("bytes {from}-{upto} of {place}/{path}"),
                Some(path) => format!("bytes {from}-{upto} of {path} in {place}"),
                None => format!("bytes {from}-{upto} of {place}"),
            });
        }
        if parts.len() > NAMED_MAX {
            words.push(format!("{} more", parts.len() - NAMED_MAX));
        }
        Damage { words: words.join(", "), parts }
    }

    /// Notes damage: the next reader of these bytes waits only as long as anything comes.
    pub fn note(&self, damage: Option<String>) {
        *self.damaged.lock().unwrap_or_else(PoisonError::into_inner) = damage;
    }

    /// The damage that was noted, until all is here again.
    pub fn noted(&self) -> Option<String> {
        let noted = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        noted.filter(|_| !self.store.is_whole())
    }

    fn entry(&self, file: u32) -> Option<&str> {
        Some(&self.manifest.as_ref()?.entries().get(file as usize)?.path)
    }

    /// The damage of these bytes of these files.
    pub fn look(&self, what: &[(u32, Range<u64>)]) -> Result<Damage, ProofError> {
        let mut parts = Vec::new();
        for (file, bytes) in what {
            let damaged = self.store.damaged(*file, bytes.clone())?;
            parts.extend(damaged.into_iter().map(|groups| Part { file: *file, groups }));
        }
        Ok(self.damage(parts))
    }

    /// The files and bytes of a selection of it.
    pub fn selected(&self, selection: &Selection) -> Result<Vec<(u32, Range<u64>)>, ExportError> {
        let cut = |size: u64| {
            let range = selection.range.clone().unwrap_or(0..size);
            range.start.min(size)..range.end.min(size)
        };
        Ok(match (&self.manifest, &selection.path) {
            (None, _) => vec![(0, cut(self.layout.bytes()))],
            (Some(_), Some(path)) => {
                let (file, size) =
                    self.file(path).ok_or_else(|| ExportError::NoFile(path.clone()))?;
                vec![(file, cut(size))]
            }
            (Some(manifest), None) => {
                let sizes = manifest.entries().iter().map(|entry| 0..entry.size);
                (0..).zip(sizes).collect()
            }
        })
    }

    pub fn export(&self, selection: &Selection, to: &Path) -> Result<(), ExportError> {
        if self.manifest.is_some() && selection.path.is_none() {
            return self.export_tree(to);
        }
        match self.selected(selection)?.pop() {
            Some((file, bytes)) => self.export_file(file, bytes, to),
            None => Ok(()),
        }
    }
}
