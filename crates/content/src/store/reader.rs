//! Reads bytes of a store on this machine. Each group is verified against the tree as it is
//! read. A disk may rot, and a user may edit a shared file at any time, even during the
//! read.

use std::ops::Range;

use super::PartialStore;
use crate::{
    GROUP_BYTES, Part, groups,
    proof::{ProofError, Verifier, What},
};

/// Some bytes of one file, from first to last.
#[derive(Debug)]
pub struct StoreReader<'a> {
    store: &'a PartialStore,
    file: u32,
    encoder: Verifier,
    /// Bytes of the first group before what is wanted.
    skip: usize,
    left: u64,
    buf: Vec<u8>,
}

impl PartialStore {
    /// Reads bytes of a file. Bytes beyond its end are ignored.
    ///
    /// # Errors
    /// Not all of them are here.
    pub fn reader(&self, file: u32, bytes: Range<u64>) -> Result<StoreReader<'_>, ProofError> {
        if self.files.data.is_none() {
            return Err(ProofError::NotHere { group: 0 });
        }
        let size = self.places[file as usize].size;
        let bytes = bytes.start.min(size)..bytes.end.min(size);
        let part = part_of(file, &bytes);
        let encoder = self.give(What::Bare, &part)?;
        let skip = (bytes.start - part.groups.start * GROUP_BYTES) as usize;
        let left = bytes.end.saturating_sub(bytes.start);
        Ok(StoreReader { store: self, file, encoder, skip, left, buf: Vec::new() })
    }

    /// The groups of these bytes that are here and no longer verify, in runs.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn damaged(&self, file: u32, bytes: Range<u64>) -> Result<Vec<Range<u64>>, ProofError> {
        let size = self.places[file as usize].size;
        let Part { mut groups, .. } = part_of(file, &(bytes.start.min(size)..bytes.end.min(size)));
        let (mut found, mut buf) = (Vec::<Range<u64>>::new(), Vec::new());
        while !groups.is_empty() {
            let part = Part { file, groups: groups.clone() };
            let here = self.prefix(&part);
            let end = groups.start + here;
            let read = match here {
                0 => Ok(()),
                _ => self.read_through(&Part { file, groups: groups.start..end }, &mut buf),
            };
            match read {
                // A group that is not here is not damaged: it is skipped.
                Ok(()) => groups.start = end.max(groups.start + u64::from(here == 0)),
                Err(ProofError::Damaged { group, .. }) => {
                    groups.start = group + 1;
                    match found.last_mut().filter(|run| run.end == group) {
                        Some(run) => run.end += 1,
                        None => found.push(group..group + 1),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn read_through(&self, part: &Part, buf: &mut Vec<u8>) -> Result<(), ProofError> {
        let mut encoder = self.give(What::Bare, part)?;
        while !encoder.is_through() {
            buf.clear();
            self.encode(part.file, &mut encoder, buf, GROUP_BYTES as usize)?;
        }
        Ok(())
    }
}

/// The groups in which these bytes lie. An empty range lies in one group too.
fn part_of(file: u32, bytes: &Range<u64>) -> Part {
    let end = groups(bytes.end);
    Part { file, groups: (bytes.start / GROUP_BYTES).min(end - 1)..end }
}

impl StoreReader<'_> {
    /// The next bytes, about `enough` of them; none at the end.
    ///
    /// # Errors
    /// They no longer verify, or the disk cannot be read. Nothing follows.
    pub fn next(&mut self, enough: usize) -> Result<&[u8], ProofError> {
        self.buf.clear();
        if self.left == 0 {
            return Ok(&[]);
        }
        let enough = enough.max(self.skip + 1);
        let filled = self.store.encode(self.file, &mut self.encoder, &mut self.buf, enough);
        if let Err(error) = filled {
            self.left = 0;
            return Err(error);
        }
        let skip = std::mem::take(&mut self.skip);
        let end = (skip as u64 + self.left).min(self.buf.len() as u64) as usize;
        self.left -= (end - skip) as u64;
        Ok(&self.buf[skip..end])
    }
}
