//! Async work in a command.

/// Runs an async command to its end.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("the system starts threads")
        .block_on(work)
}
