//! The limit on the size of files (`ulimit -f`, systemd: `LimitFSIZE=`).

use std::io;

use rustix::process::Signal;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

/// Makes a write beyond the limit an error, as on a full disk. By default it is SIGXFSZ, which ends
/// the process without a word: a validator, when its log is long enough.
///
/// # Errors
/// The system gives no handler: then the default stays.
pub fn survive() -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    // tokio leaves its handler in place for ever. Commands that are started do not inherit it, as
    // they would an ignored signal.
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}
