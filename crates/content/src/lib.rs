//! Content-addressed resources: manifests, who has which part, what to ask whom next.

mod bits;
mod layout;
mod news;
pub mod swarm;

pub use bits::Bits;
pub use layout::{BYTES_MAX, FILES_MAX, GROUP_BYTES, Layout, LayoutError, Part, groups};
pub use news::News;
