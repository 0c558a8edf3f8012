//! The descriptors that whoever started this process left open for it.
//!
//! What always holds: what this process opens itself is closed in the commands that it starts, as
//! the standard library sees to. Inherited descriptors are not, until [`withhold`].

use std::{
    fs,
    os::fd::{IntoRawFd as _, RawFd},
    sync::{Mutex, PoisonError},
};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Those above the three of stdin, stdout and stderr that no command was kept from yet.
static INHERITED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

// Later, a descriptor of the same number may be one that a library opened.
/// Notes them. It is the first thing that a process does.
pub fn note() {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let inherited = numbers.filter(|number| *number > 2 && reaches_commands(*number));
    *INHERITED.lock().unwrap_or_else(PoisonError::into_inner) = inherited.collect();
}

// A parent may wait for the end of a pipe, or have locked a file by a descriptor (flock): what they
// stand for stays open, under another number.
/// Keeps them from the commands that are started from now on. Whatever was to be read from them
/// by their numbers was read.
pub fn withhold() {
    let mut inherited = INHERITED.lock().unwrap_or_else(PoisonError::into_inner);
    for number in inherited.drain(..).filter(|number| reaches_commands(*number)) {
        let own = pidfd_open(getpid(), PidfdFlags::empty());
        // It is closed in commands. Where the system does not allow that (some containers), nothing
        // stays open.
        let kept = own.and_then(|own| pidfd_getfd(own, number, PidfdGetfdFlags::empty()));
        // For as long as this process lives.
        let _ = kept.map(|kept| kept.into_raw_fd());
        // An error says that it is closed already.
        let _ = nix::unistd::close(number);
    }
}

/// Whether a descriptor is open and not closed in commands (`O_CLOEXEC`, proc(5)).
fn reaches_commands(number: RawFd) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & rustix::fs::OFlags::CLOEXEC.bits() == 0)
}
