//! The state snapshots that a node keeps for those who want to join: made while
//! it runs, each beside the chain, the newest two.
//!
//! What always holds: a file under its name is whole; one that is being made has
//! the ending `.part`.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use alloy_consensus::transaction::SignerRecoverable as _;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use tokio::sync::{oneshot, watch};
use trefoil_ledger::{
    Snapshot,
    joining::{self, JoinError, StateCounts},
};
use trefoil_types::{ChainSpec, Height, RecoveredBlock};

/// How many are kept: who began to fetch one has it until the next but one.
const KEPT: usize = 2;

/// What a file's name begins with; the height follows.
const PREFIX: &str = "state-";

/// The ending of a file that is being made.
const PART: &str = "part";

/// Where the snapshots of one node are.
#[derive(Clone, Debug)]
pub struct Folder {
    pub dir: PathBuf,
}

impl Folder {
    pub fn path(&self, height: Height) -> PathBuf {
        self.dir.join(format!("{PREFIX}{height}"))
    }

    /// Height and path of each, oldest first.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn list(&self) -> io::Result<Vec<(Height, PathBuf)>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let height = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
            found.extend(height.map(|height: Height| (height, entry.path())));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Makes the snapshot of a block, and drops those that are too old.
    ///
    /// # Errors
    /// A state that is not here any more, or a failed disk.
    pub fn make(&self, snapshot: &Snapshot, height: Height) -> Result<StateCounts, JoinError> {
        fs::create_dir_all(&self.dir)?;
        self.drop_unfinished()?;
        let path = self.path(height);
        let counts = write_whole(&path, |file| joining::write_state(snapshot, height, file))?;
        let mut kept = self.list()?;
        kept.truncate(kept.len().saturating_sub(KEPT));
        for (_, path) in kept {
            fs::remove_file(path)?;
        }
        Ok(counts)
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

/// Writes a file that is there whole or not at all.
///
/// # Errors
/// What `write` says, or a failed disk.
pub fn write_whole<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> Result<T, JoinError>,
) -> Result<T, JoinError> {
    let part = path.with_added_extension(PART);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&part)?);
    let written = write(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    fs::rename(&part, path)?;
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        File::open(dir)?.sync_all()?;
    }
    Ok(written)
}

/// Makes each snapshot as it falls due, one at a time, until the node stops. When
/// blocks come faster than snapshots can be made, the newest counts.
pub async fn keep(folder: Folder, spec: Arc<ChainSpec>, mut chain: watch::Receiver<Snapshot>) {
    let mut made = None;
    while chain.changed().await.is_ok() {
        let snapshot = chain.borrow_and_update().clone();
        let due = joining::snapshot_height(&spec, snapshot.tip().number);
        let Some(height) = due.filter(|due| made < Some(*due)) else { continue };
        made = Some(height);
        if folder.path(height).exists() {
            continue;
        }
        let (end, ended) = oneshot::channel();
        let folder = folder.clone();
        let work = move || {
            match folder.make(&snapshot, height) {
                Ok(counts) => tracing::info!(height, ?counts, "made a state snapshot"),
                Err(error) => tracing::warn!(height, %error, "made no state snapshot"),
            }
            // Gone if the node stops.
            let _ = end.send(());
        };
        let thread = thread::Builder::new().name("snapshot".into());
        thread.spawn(work).expect("the system starts a thread");
        let _ = ended.await;
    }
}

/// Whether each transaction was signed by the sender that stands beside it.
pub fn senders_are_right(block: &RecoveredBlock) -> bool {
    block
        .transactions
        .par_iter()
        .all(|tx| tx.inner().recover_signer().is_ok_and(|signer| signer == tx.signer()))
}

#[cfg(test)]
mod tests {
    use alloy_consensus::transaction::Recovered;
    use trefoil_types::{Address, Attached};

    use super::*;

    #[test]
    fn what_is_unfinished_or_not_ours_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder { dir: dir.path().join("snapshots") };
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
        let tx = crate::backend::recover(raw).unwrap();
        let block =
            |tx| RecoveredBlock::new(Default::default(), vec![Arc::new(tx)], Attached::default());
        assert!(senders_are_right(&block(Recovered::clone(&tx))));
        let stolen = Recovered::new_unchecked(tx.inner().clone(), Address::ZERO);
        assert!(!senders_are_right(&block(stolen)));
    }

    #[test]
    fn a_file_that_failed_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state-8");
        let failed: Result<(), _> = write_whole(&path, |file| {
            file.write_all(b"half")?;
            Err(JoinError::NotOurs { wanted: "test" })
        });
        assert!(failed.is_err() && !path.exists());
        write_whole(&path, |file| Ok(file.write_all(b"whole")?)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
}
