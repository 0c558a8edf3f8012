//! Why a node does not start or goes no further: what happened, and the cure.

use std::{io, net::SocketAddr, path::PathBuf};

use trefoil_ledger::{JournalError, LedgerError, state_sync::JoinError};
use trefoil_node::OpenError;
use trefoil_os::{
    FileError, certificate::CertificateFileError, disk::DiskError, keystore::KeysError,
};
use trefoil_p2p::NetError;
use trefoil_swarm::{FetchError, StoreError, http::CredentialsError};
use trefoil_types::{B256, PeerId, PublicKey, SpecError};

use crate::settings::SettingsError;

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Certificate(#[from] CertificateFileError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    File(#[from] FileError),
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
    Library(#[from] StoreError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(
        "cannot listen for RPC on {address}: {source}; another program may use the port: choose another with --rpc or stop it"
    )]
    RpcListen { address: SocketAddr, source: io::Error },
    #[error(
        "{dir} is not a node's directory: it has no chain.toml; name one with --dir, or make one with `trefoil init` or `trefoil join`"
    )]
    NotFounded { dir: PathBuf },
    #[error("{dir} holds a node already; choose another directory with --dir, or remove that one")]
    Founded { dir: PathBuf },
    #[error(
        "setting `log` is wrong: {filter:?}: {why}; write error, warn, info, debug or trace, or MODULE=LEVEL,…"
    )]
    LogFilter { filter: String, why: String },
    #[error(
        "this network keeps no snapshots: its chain.toml has snapshot_every = 0; set sync to \"auto\" or \"full\""
    )]
    NoSnapshots,
    #[error("{path} is of {peer}, which is another node; put this node's own there")]
    OtherNode { path: PathBuf, peer: PeerId },
    #[error(
        "{path} is for network {named}, and chain.toml here is of {genesis}; if chain.toml was changed before the first start, put the same one on every node and certify each anew (`trefoil node certify`), else put this network's certificate there"
    )]
    OtherNetwork { path: PathBuf, named: B256, genesis: B256 },
    #[error(
        "it cannot be renewed: CA key {key} counts for its organisation no more; put the CA key that counts where this node looks for it, and restart the node"
    )]
    CaRevoked { key: PublicKey },
}
