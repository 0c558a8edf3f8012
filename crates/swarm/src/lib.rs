//! Keeps, fetches and serves the content of one node.
//!
//! Owns: the resources on disk; the service that drives the scheduler of
//! [`trefoil_content`]; a task for each peer (bulk bytes) and one for each HTTP server;
//! and sealed files ([`sealed`]). [`Content`] is the handle for RPC, the gateway and the
//! host. `docs/content.md` has the ideas.
//!
//! What always holds: only verified bytes are stored, served or written out; nothing is
//! allocated for a size that is only claimed; a slow peer or server delays nobody else.
//!
//! What it must never know: the chain. Which organisations may have a resource comes
//! from the resource's allow-list, and a peer's organisation from its connection.

// A node may have a stdout or stderr that nobody reads: `println!` panics there.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod content;
mod damage;
mod error;
mod events;
mod export;
mod fetch;
pub mod http;
mod message_rates;
mod named_peers;
mod origins;
mod outbox;
mod peer;
mod peer_backlog;
mod peer_writer;
pub mod sealed;
mod service;
mod shared_tree;
mod stopped;
mod store;

pub use content::{Content, ContentConfig};
pub use error::FetchError;
pub use events::Announced;
pub use export::{ExportError, draft_directory};
pub use fetch::{Progress, Selection};
pub use service::OPEN_BYTES_MAX;
pub use stopped::StoppedContent;
pub use store::{Metadata, OpenStore, PutOptions, StoreError};
