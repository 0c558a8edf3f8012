//! Why the store does not take or give a resource, in words for the operator.

use std::{
    io,
    path::{Path, PathBuf},
};

use trefoil_content::{
    AllowError, ContentId, LayoutError, ManifestError, Origin, proof::ProofError,
};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {act} {path}: {source}; {}", trefoil_os::disk::cure(.source))]
    File { act: &'static str, path: PathBuf, source: io::Error },
    #[error("{0} is neither a file nor a directory; name one")]
    Odd(PathBuf),
    #[error("{0:?} is no UTF-8: other systems could not write this name; rename it")]
    Name(PathBuf),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Allow(#[from] AllowError),
    #[error(
        "a list of organisations is for networks of members, and this node is of no organisation; leave the list out: anyone may have what it shares"
    )]
    NoOrganisation,
    #[error("{0} is here already, for others; remove it first: `trefoil rm`")]
    OtherList(ContentId),
    #[error("{0} is not here")]
    NotHere(ContentId),
    #[error("{0} is not whole here yet; get it first")]
    NotWhole(ContentId),
    #[error(
        "{bytes} bytes, and {used} of what is being fetched, are more than this node keeps: {quota}; raise `content.quota_mib`, or get a part with --range or --path"
    )]
    Quota { bytes: u64, used: u64, quota: u64 },
    #[error(
        "{bytes} bytes are more than is free at {dir}, besides what is kept for the journal and for other fetches: {free}; free some space on that disk (`trefoil rm`), or get a part with --range or --path"
    )]
    NoRoom { bytes: u64, free: u64, dir: PathBuf },
    #[error("cannot read {origin}: {source}")]
    Origin { origin: Origin, source: io::Error },
}

impl StoreError {
    /// Whether there is no room for it.
    pub fn lacks_room(&self) -> bool {
        match self {
            Self::Quota { .. } | Self::NoRoom { .. } => true,
            Self::File { source, .. } | Self::Proof(ProofError::Io(source)) => is_full(source),
            _ => false,
        }
    }
}

/// Whether the disk is full, or all but what is kept for the journal.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

pub fn failed(act: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::File { act, path: path.into(), source }
}
