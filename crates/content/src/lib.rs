//! Content-addressed resources: what they are called, how they are verified,
//! and what to ask whom next.
//!
//! Owns: ids, links and manifests; groups with their proofs; stores that are
//! here in part; and the swarm's choices ([`swarm::Swarm`]), as a value that
//! reads no clock and touches no socket. What always holds: bytes count only
//! when their hash was found right; every decoder is bounded; one value has
//! one encoding. `docs/content.md` tells the ideas and the measured figures.

mod allow;
mod bits;
mod id;
mod layout;
mod link;
mod manifest;
pub mod message;
mod news;
mod origin;
mod path;
pub mod proof;
mod runs;
mod store;
pub mod swarm;
mod varint;

pub use allow::{ALLOWED_MAX, AllowError, AllowList};
pub use bits::Bits;
pub use id::{ContentId, IdError, Kind};
pub use layout::{BYTES_MAX, FILES_MAX, GROUP_BYTES, Layout, LayoutError, Part, groups};
pub use link::{LINK_BYTES_MAX, Link, LinkError};
pub use manifest::{Entry, MANIFEST_BYTES_MAX, Manifest, ManifestError};
pub use news::{News, NewsError};
pub use origin::{ORIGIN_BYTES_MAX, ORIGINS_MAX, Origin, OriginError};
pub use path::{PATH_BYTES_MAX, PathError, check as check_path};
pub use runs::Runs;
pub use store::{Content, Files, PartialStore, Reader};

#[cfg(test)]
mod tests;
