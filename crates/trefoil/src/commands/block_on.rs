//! Async work in a command.

use std::time::Duration;

// A state snapshot of a large chain takes minutes to write, and a name may take as long to be
// found. Whatever is cut off here is written whole or not at all, and begun anew.
/// How long work that nobody waits for any more may go on.
const LEFT_MAX: Duration = Duration::from_secs(2);

/// Runs an async command to its end.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("the system starts threads");
    let done = runtime.block_on(work);
    // To drop it would be to wait for what still runs on its threads, without end.
    runtime.shutdown_timeout(LEFT_MAX);
    done
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use super::*;

    #[test]
    fn a_command_ends_whatever_still_runs_beside_it() {
        let (release, released) = mpsc::channel::<()>();
        let began = Instant::now();
        let done = block_on(async {
            let left = move || released.recv_timeout(Duration::from_secs(60));
            drop(tokio::task::spawn_blocking(left));
            7
        });
        assert_eq!(done, 7);
        assert!(began.elapsed() < Duration::from_secs(30));
        drop(release);
    }
}
