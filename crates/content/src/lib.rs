//! The rules by which nodes exchange content-addressed resources.
//!
//! Owns: ids, links and manifests; groups with their proofs; stores that hold a resource in
//! part; and the swarm's decisions ([`scheduler::Swarm`]). Those are the piece picker (rarest
//! first), choking, the upload queue, request windows and rate limiters.
//!
//! What always holds: bytes count only after their hash was verified; every decoder is
//! bounded; one value has one encoding; the same inputs with the same seed give the same
//! effects.
//!
//! What it must never know: a clock, a socket, a thread or a directory (time, chance and
//! files are handed in), and anything of the chain's blocks or state. `docs/content.md` has
//! the ideas and the measured figures.

// A node may have a stdout or stderr that nobody reads: `println!` panics there.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod allow;
mod bits;
mod id;
mod layout;
mod link;
mod manifest;
pub mod message;
pub mod message_rule;
mod news;
mod origin;
mod path;
pub mod proof;
mod runs;
pub mod scheduler;
mod store;
mod varint;

pub use allow::{ALLOWED_MAX, AllowError, AllowList};
pub use bits::Bits;
pub use id::{ContentId, IdError, ResourceKind};
pub use layout::{BYTES_MAX, FILES_MAX, GROUP_BYTES, Layout, LayoutError, Part, groups};
pub use link::{LINK_BYTES_MAX, Link, LinkError};
pub use manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestEntry, ManifestError};
pub use news::{News, NewsError};
pub use origin::{ORIGIN_BYTES_MAX, ORIGINS_MAX, Origin, OriginError};
pub use path::{PATH_BYTES_MAX, PathError, check as check_path};
pub use runs::Runs;
pub use store::{FileDigest, Files, PartialStore, StoreReader};

#[cfg(test)]
mod tests;
