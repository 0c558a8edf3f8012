//! The file that says which snapshot a node was joining by when it ended.

use std::{
    fs,
    path::{Path, PathBuf},
};

use trefoil_os::{
    FileError,
    disk::{remove_file, write_whole},
};
use trefoil_swarm::Announced;

use crate::HostError;

/// The file that is there until the node has joined.
// When the state is restored, the ledger looks whole: only this file then says that the
// archives of the blocks before it are still to come.
pub struct JoinMarker(PathBuf);

impl JoinMarker {
    /// Beside the ledger in `data`.
    pub fn of(data: &Path) -> Self {
        Self(data.join("joining"))
    }

    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    /// The snapshot that the node was fetching when it ended.
    pub fn read(&self) -> Option<Announced> {
        let text = fs::read_to_string(&self.0).ok()?;
        let (height, index) = text.split_once(' ')?;
        let index = hex::decode(index).ok()?.try_into().ok()?;
        Some(Announced { height: height.parse().ok()?, index })
    }

    pub fn write(&self, target: &Announced) -> Result<(), HostError> {
        let text = format!("{} {}", target.height, hex::encode(target.index));
        let written = write_whole(&self.0, |file| file.write_all(text.as_bytes()));
        Ok(written.map_err(|e| FileError::new("write", &self.0, e))?)
    }

    pub fn remove(&self) -> Result<(), HostError> {
        Ok(remove_file(&self.0).map_err(|e| FileError::new("remove", &self.0, e))?)
    }
}
