//! The content of one node: its store, its origins, and the tasks that fetch and serve.
//!
//! Owns: the resources on disk ([`Content`] is the handle for RPC, the gateway and the
//! host), the service that drives the scheduler of [`trefoil_content`], two tasks for
//! each peer (bulk bytes), one for each HTTP server, and sealed files ([`sealed`]).
//! `docs/content.md` has the ideas.
//!
//! What always holds: no byte is stored, served or written out that was not verified;
//! nothing is allocated for a size that is only claimed; a slow peer or server delays
//! nobody else.
//!
//! What it must never know: the chain. Which organisations may have a resource comes
//! from the resource's allow-list, and a peer's organisation from its connection.

mod content;
mod damage;
mod error;
mod events;
mod export;
mod fetch;
pub mod http;
mod origins;
mod peer;
pub mod sealed;
mod service;
mod shared_tree;
mod store;

pub use content::{Content, ContentConfig};
pub use error::FetchError;
pub use events::Announced;
pub use export::{ExportError, draft_directory};
pub use fetch::{Progress, Selection};
pub use store::{Metadata, OpenStore, PutOptions, StoreError};
