//! The limit of open files, raised by what the port needs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits;

/// More than the port, the peers and the disk together ever open.
const ENOUGH: u64 = 16_384;

// The peers' sockets and the disk's files were counted when the network started; these come
// on top, so that a flood of either kind leaves the other its descriptors.
/// Allows this process the port's sockets besides the files that it may open already, as far as the
/// system lets it.
pub fn allow() {
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    let Some(current) = limit.current else { return };
    let wanted = current.saturating_add(limits::FILES_MAX as u64);
    let allowed = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), ..limit });
    // A limit of a million, which containers have, is enough as it is.
    if raised.is_err() || (allowed < wanted && allowed < ENOUGH) {
        tracing::warn!(
            wanted,
            allowed,
            "few open files are allowed: under a flood of RPC connections the node may lack some; raise `ulimit -Hn` (systemd: LimitNOFILE)"
        );
    }
}
