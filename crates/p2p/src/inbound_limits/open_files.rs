//! File descriptors: a node without a free one can neither accept nor write.
//! What others can make it hold is known, so that is seen to at the start.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::NetError;

/// For the disk, the RPC and the dials of this node.
const RESERVE: usize = 256;

/// Allows this process at least what `sockets` of others and its own files need.
///
/// # Errors
/// The system does not allow so many.
pub(crate) fn provide(sockets: usize) -> Result<(), NetError> {
    let needed = sockets.saturating_add(RESERVE) as u64;
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit })
        .map_err(|_| NetError::Files { needed, allowed: limit.maximum.unwrap_or(u64::MAX) })
}
