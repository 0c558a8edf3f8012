//! Why a command ends without having done its work: what happened, why, and
//! what to do. `main` prints it and exits with 1.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use trefoil_ledger::{JournalError, LedgerError, joining::JoinError};
use trefoil_net::NetError;
use trefoil_node::OpenError;
use trefoil_types::SpecError;

use crate::{
    client::ClientError,
    content::{ExportError, FetchError, LibraryError, sealed::SealedError, web::CredentialsError},
    contract::ContractError,
    disk::{DiskError, cure},
    invite::InviteError,
    keys::KeysError,
    settings::SettingsError,
};

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{0}; restore the node's blocks from its peers with `trefoil repair --dir DIR`")]
    Open(#[from] OpenError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Invite(#[from] InviteError),
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Sealed(#[from] SealedError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Contract(#[from] ContractError),
    #[error(
        "cannot listen for RPC on {address}: {source}; another program may use the port: choose another with --rpc or stop it"
    )]
    RpcListen { address: SocketAddr, source: io::Error },
    #[error("cannot {act} {path}: {source}; {}", cure(.source))]
    File { act: &'static str, path: PathBuf, source: io::Error },
    /// Of one command only, and nobody decides on it.
    #[error("{what}; {cure}")]
    Told { what: String, cure: String },
}

impl Failure {
    pub fn told(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Told { what: what.into(), cure: cure.into() }
    }

    pub fn file(act: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { act, path: path.into(), source }
    }
}
