//! How far a directory is on its way to holding a chain.

use trefoil_types::{Disk, Height};

use super::JoinError;
use crate::store::{FILE, Store};

/// What a disk holds of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainOnDisk {
    /// Nothing, or a restore that did not finish.
    Nothing { unfinished: bool },
    /// A chain up to block `tip`, whose blocks before `blocks_from` are not here.
    Chain { tip: Height, blocks_from: Height },
}

/// Reads the disk and changes nothing.
///
/// # Errors
/// A failed disk, or a database of another format.
pub fn standing(disk: &dyn Disk) -> Result<ChainOnDisk, JoinError> {
    let listed = disk.list()?;
    if !listed.iter().any(|name| name == FILE) {
        // A journal without a database belongs to a chain too: its votes must not be lost
        // under a restore.
        let journal = listed.iter().any(|name| name.starts_with("journal-"));
        return Ok(match journal {
            true => ChainOnDisk::Chain { tip: 0, blocks_from: 0 },
            false => ChainOnDisk::Nothing { unfinished: false },
        });
    }
    let base = Store::open(disk)?.base()?;
    Ok(match (base.is_restoring()?, base.genesis) {
        (true, _) => ChainOnDisk::Nothing { unfinished: true },
        (false, None) => ChainOnDisk::Nothing { unfinished: false },
        (false, Some(_)) => ChainOnDisk::Chain { tip: base.tip, blocks_from: base.blocks_from },
    })
}
