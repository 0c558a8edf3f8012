//! The limit of open files, which is raised at the start to what the node may need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::NetError;

/// For the disk, the RPC and the dials of this node.
// A node without a free descriptor can neither accept a peer nor write a block. What others can
// make it hold is bounded by the gate, so the sum is known at the start, and a limit that is too
// low is named then and not under attack.
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
