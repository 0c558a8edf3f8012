//! The files that a node keeps for newcomers: the newest two state snapshots, an
//! archive for each run of blocks up to them, and the list of both.
//!
//! ```text
//! DIR/snapshots/state-HEIGHT, blocks-FIRST-LAST, index-HEIGHT
//! ```
//!
//! What always holds: a file under its name is whole; one that is being made has
//! the ending `.part`.

mod index;
mod keeper;

use std::{fs, io, path::PathBuf};

use alloy_consensus::transaction::SignerRecoverable as _;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use trefoil_ledger::{
    Snapshot,
    state_sync::{self, Archived, JoinError, StateCounts},
};
use trefoil_os::{
    disk::{PART, write_whole},
    disk_space::{DiskSpace, SpareWriter},
    private,
};
use trefoil_types::{Height, RecoveredBlock};

pub use self::{
    index::{FileName, INDEX_BYTES_MAX, ListedFile, SnapshotIndex, file_id},
    keeper::keep,
};

// A newcomer that began to fetch one can still finish while the next one is the newest.
/// State snapshots that are kept.
const KEPT: usize = 2;

/// Where the snapshots of one node are.
#[derive(Clone, Debug)]
pub struct SnapshotFolder {
    pub dir: PathBuf,
    /// Where the node's journal is, which keeps its room.
    pub data: PathBuf,
}

impl SnapshotFolder {
    pub fn path(&self, name: FileName) -> PathBuf {
        self.dir.join(name.to_string())
    }

    fn names(&self) -> io::Result<Vec<FileName>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().to_str().and_then(FileName::parse));
        }
        Ok(names)
    }

    /// Height and path of each state snapshot, oldest first.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn list(&self) -> io::Result<Vec<(Height, PathBuf)>> {
        let state = |name| match name {
            FileName::State(height) => Some((height, self.path(name))),
            FileName::Blocks(_) | FileName::Index(_) => None,
        };
        let mut found: Vec<_> = self.names()?.into_iter().filter_map(state).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Makes the state snapshot of a block.
    ///
    /// # Errors
    /// A state that is not here any more, or a failed disk.
    pub fn make(&self, snapshot: &Snapshot, height: Height) -> Result<StateCounts, JoinError> {
        private::directory(&self.dir)?;
        self.drop_unfinished()?;
        let path = self.path(FileName::State(height));
        let space = DiskSpace::below(&self.dir, &self.data);
        write_whole(&path, |to| {
            state_sync::write_state(snapshot, height, &mut SpareWriter { to, space: &space })
        })
    }

    /// Removes what a process that ended was making.
    fn drop_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == PART) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// The archives of the blocks up to a snapshot's, as far as this node has the blocks, newest
/// first; each is of `every` blocks.
pub fn archives_up_to(
    snapshot: &Snapshot,
    height: Height,
    every: u64,
) -> impl Iterator<Item = Archived> {
    let oldest = snapshot.blocks_from();
    let ends = (1..=height / every).rev().map(move |n| n * every);
    let all = ends.map(move |last| Archived { first: last - every + 1, last });
    all.take_while(move |archived| archived.first >= oldest)
}

// A block's header binds its transactions and not their senders, which stand beside them in an
// archive: its maker could have written any.
/// Whether each transaction was signed by the sender that stands beside it.
pub fn senders_are_right(block: &RecoveredBlock) -> bool {
    block
        .transactions
        .par_iter()
        .all(|tx| tx.inner().recover_signer().is_ok_and(|signer| signer == tx.signer()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use alloy_consensus::transaction::Recovered;
    use trefoil_types::{Address, Attached};

    use super::*;

    #[test]
    fn what_is_unfinished_or_not_ours_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let (snapshots, data) = (dir.path().join("snapshots"), dir.path().join("data"));
        let folder = SnapshotFolder { dir: snapshots, data };
        assert_eq!(folder.list().unwrap(), []);
        fs::create_dir_all(&folder.dir).unwrap();
        for name in ["state-8", "state-16", "state-24.part", "state-", "other"] {
            fs::write(folder.dir.join(name), "").unwrap();
        }
        let heights: Vec<_> =
            folder.list().unwrap().into_iter().map(|(height, _)| height).collect();
        assert_eq!(heights, [8, 16]);
    }

    #[test]
    fn a_sender_is_who_signed() {
        let raw = include_bytes!("../../../fuzz/corpus/transaction/legacy");
        let tx = trefoil_rpc::backend::recover(raw).unwrap();
        let block =
            |tx| RecoveredBlock::new(Default::default(), vec![Arc::new(tx)], Attached::default());
        assert!(senders_are_right(&block(Recovered::clone(&tx))));
        let stolen = Recovered::new_unchecked(tx.inner().clone(), Address::ZERO);
        assert!(!senders_are_right(&block(stolen)));
    }
}
