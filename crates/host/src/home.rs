//! A node's directory: where each thing is kept, and how it is founded.
//!
//! ```text
//! DIR/chain.toml   the chain specification, the same on every node
//! DIR/node.toml    this node's settings
//! DIR/keys/        node.json, validator.json, next-validator.json (encrypted)
//! DIR/data/        the ledger and the journal, locked by the running node
//! DIR/snapshots/   the newest state snapshots and the blocks before them, for
//!                  newcomers
//! DIR/node.log     what a node started by `trefoil devnet` logs
//! ```
//!
//! What always holds: while a node runs, only its owner may enter `keys`, `data` and `snapshots`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use trefoil_os::{FileError, disk::write_whole, operator_file, private};
use trefoil_types::ChainSpec;

use crate::{
    HostError,
    settings::{self, Effective, Settings},
    snapshots::SnapshotFolder,
};

// An operator names the file, and may name a wrong one of any size.
/// The largest chain specification that is read, bytes.
pub const CHAIN_BYTES_MAX: u64 = 4 << 20;

#[derive(Clone, Debug)]
pub struct Home {
    pub dir: PathBuf,
}

impl Home {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    pub fn chain_file(&self) -> PathBuf {
        self.dir.join("chain.toml")
    }

    pub fn settings_file(&self) -> PathBuf {
        self.dir.join(settings::FILE)
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The resources that the node keeps and shares.
    pub fn content(&self) -> PathBuf {
        self.data().join("content")
    }

    pub fn snapshots(&self) -> SnapshotFolder {
        SnapshotFolder { dir: self.dir.join("snapshots"), data: self.data() }
    }

    // A directory of an earlier version, or one that was copied. (`data/` is closed when it is
    // locked.) Keys may lie in a read-only mount, and are encrypted: that ends no node.
    /// Closes the keys and snapshots to other users of the machine, if they are there.
    pub fn close_to_others(&self) {
        for dir in [self.dir.join("keys"), self.snapshots().dir] {
            if dir.exists()
                && let Err(error) = private::directory(&dir)
            {
                tracing::warn!(dir = %dir.display(), %error, "others may enter it");
            }
        }
    }

    pub fn log_file(&self) -> PathBuf {
        self.dir.join("node.log")
    }

    /// Whether a node was founded here.
    pub fn is_founded(&self) -> bool {
        self.chain_file().exists()
    }

    /// The chain this directory is of.
    ///
    /// # Errors
    /// No such directory, or a specification that is wrong.
    pub fn spec(&self) -> Result<Arc<ChainSpec>, HostError> {
        if !self.is_founded() {
            return Err(HostError::NotFounded { dir: self.dir.clone() });
        }
        read_spec(&self.chain_file())
    }

    /// The settings in force here, flags included.
    ///
    /// # Errors
    /// A wrong `node.toml`, variable or flag.
    pub fn settings(&self, flags: &[(&'static str, String)]) -> Result<Effective, HostError> {
        let env = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Ok(Effective::load(&self.settings_file(), env, flags)?)
    }

    /// That there is a node here already.
    pub fn taken(&self) -> HostError {
        HostError::Founded { dir: self.dir.clone() }
    }

    /// Founds a node's directory: its chain and its settings.
    ///
    /// # Errors
    /// When there is a node already, or the directory cannot be written.
    pub fn found(&self, spec: &ChainSpec, settings: &Settings) -> Result<(), HostError> {
        if self.is_founded() {
            return Err(self.taken());
        }
        write(&self.settings_file(), &settings.to_toml())?;
        // Last, since it makes the directory a node's.
        write(&self.chain_file(), &spec.to_toml())
    }
}

/// Reads and checks a chain specification.
///
/// # Errors
/// An unreadable file, or what is wrong in it.
pub fn read_spec(path: &Path) -> Result<Arc<ChainSpec>, HostError> {
    let text = read(path, CHAIN_BYTES_MAX)?;
    Ok(Arc::new(ChainSpec::from_toml(&text)?))
}

/// Reads a text file of at most `bytes_max`.
///
/// # Errors
/// When it cannot be read or is longer.
pub fn read(path: &Path, bytes_max: u64) -> Result<String, HostError> {
    let read = operator_file::read_text(path, bytes_max);
    Ok(read.map_err(|source| FileError::new("read", path, source))?)
}

/// Writes a text file, with the directories above it; whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<(), HostError> {
    // A new directory is its owner's; one that was there may hold other things than a node.
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        private::directory(dir).map_err(|source| FileError::new("make", dir, source))?;
    }
    let written = write_whole(path, |file| file.write_all(text.as_bytes()));
    Ok(written.map_err(|source| FileError::new("write", path, source))?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use super::*;

    #[test]
    fn what_an_earlier_version_left_open_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        home.close_to_others();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is made");
        let [keys, snapshots] = ["keys", "snapshots"].map(|name| dir.path().join(name));
        for path in [&keys, &snapshots] {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        home.close_to_others();
        for path in [keys, snapshots] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }
}
