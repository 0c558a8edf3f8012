//! Why a command ends without having done its work: the fact, and the cure.
//!
//! Every error ends a command in the same way: `main` prints it and exits with 1.
//! Scripts that need more detail read the `--json` output.

use std::{
    io,
    path::{Path, PathBuf},
};

use trefoil_host::HostError;
use trefoil_os::FileError;
use trefoil_swarm::sealed::SealedError;

use crate::{
    chain_client::{client::ClientError, contract::ContractError},
    genesis::{declaration::DeclarationError, invite::InviteError},
};

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Of this machine and the node's parts, which the node process reports in the same words.
    #[error(transparent)]
    Host(HostError),
    #[error(transparent)]
    Invite(#[from] InviteError),
    #[error("{path}: {source}")]
    Declaration { path: PathBuf, source: DeclarationError },
    #[error(transparent)]
    Sealed(SealedError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// Of one command alone: no code decides on it.
    #[error("{what}; {cure}")]
    Other { what: String, cure: String },
}

impl CommandError {
    pub fn with_cure(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Other { what: what.into(), cure: cure.into() }
    }

    /// Of the declaration in a file.
    pub fn declaration(path: &Path, source: DeclarationError) -> Self {
        Self::Declaration { path: path.into(), source }
    }

    pub fn file(act: &'static str, path: &Path, source: io::Error) -> Self {
        FileError::new(act, path, source).into()
    }
}

/// Makes an absent value the error that ends a command.
pub trait OrCure<T> {
    /// The value, or else the fact that there is none, and the cure.
    fn or_cure(self, what: impl Into<String>, cure: impl Into<String>) -> Result<T, CommandError>;
}

impl<T> OrCure<T> for Option<T> {
    fn or_cure(self, what: impl Into<String>, cure: impl Into<String>) -> Result<T, CommandError> {
        self.ok_or_else(|| CommandError::with_cure(what, cure))
    }
}

impl<E> From<E> for CommandError
where
    HostError: From<E>,
{
    fn from(error: E) -> Self {
        Self::Host(error.into())
    }
}
