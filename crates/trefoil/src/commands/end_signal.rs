//! When an operator asks a command that runs on to end.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves, with the reason, at SIGTERM or Ctrl-C. It listens from this call on, not
/// from the first poll: a signal that comes during a start must not be lost.
pub fn end_signal() -> impl Future<Output = &'static str> {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened to");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened to");
    async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "interrupted",
        }
    }
}
