//! Why a command ends without having done its work: what happened, why, and
//! what to do. `main` prints it and exits with 1.

use std::{io, net::SocketAddr, path::Path};

use trefoil_host::{HostError, settings::SettingsError};
use trefoil_ledger::{JournalError, LedgerError, state_sync::JoinError};
use trefoil_net::NetError;
use trefoil_node::OpenError;
use trefoil_os::{
    FileError, certificate::CertificateFileError, disk::DiskError, keystore::KeysError,
};
use trefoil_swarm::{
    ExportError, FetchError, LibraryError, http::CredentialsError, sealed::SealedError,
};
use trefoil_types::SpecError;

use crate::{
    chain_client::{client::ClientError, contract::ContractError},
    genesis::invite::InviteError,
};

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Host(#[from] HostError),
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
    #[error(transparent)]
    Certificate(#[from] CertificateFileError),
    #[error(transparent)]
    File(#[from] FileError),
    /// Of one command only, and nobody decides on it.
    #[error("{what}; {cure}")]
    Told { what: String, cure: String },
}

impl Failure {
    pub fn told(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Told { what: what.into(), cure: cure.into() }
    }

    pub fn file(act: &'static str, path: &Path, source: io::Error) -> Self {
        FileError::new(act, path, source).into()
    }
}
