//! The machine under a node: its disk, its clock, its log, and the files of its keys.
//!
//! Owns: the lock on a node's directory, the formats of key files, the file of its
//! certificate, the one clock, which lines of a kind the log shows.
//!
//! What always holds: a file appears whole or not at all, a secret is never written in
//! the clear, and time never goes back.
//!
//! What it must never know: a chain, a connection or a setting. The caller names the
//! directory.

// A node may have a stdout or stderr that nobody reads: `println!` panics there.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod certificate;
pub mod clock;
pub mod disk;
pub mod disk_space;
pub mod inherited;
pub mod keystore;
pub mod log_limit;
pub mod operator_file;
pub mod private;
pub mod size_limit;

use std::{
    io,
    path::{Path, PathBuf},
};

/// A file operation that failed, with what an operator can do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {path}: {source}; {}", disk::cure(.source))]
pub struct FileError {
    pub act: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl FileError {
    pub fn new(act: &'static str, path: &Path, source: io::Error) -> Self {
        Self { act, path: path.into(), source }
    }
}
