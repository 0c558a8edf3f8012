//! The order that ends a session, with its reason.

use tokio::sync::watch;

/// Ends a session from elsewhere. The first reason counts.
// What follows from the first cause (streams that break) would hide it from the operator.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Sender<Option<String>>);

impl Stop {
    pub fn new() -> (Self, watch::Receiver<Option<String>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), receiver)
    }

    pub fn now(&self, reason: impl Into<String>) {
        self.0.send_if_modified(|stop| {
            let first = stop.is_none();
            if first {
                *stop = Some(reason.into());
            }
            first
        });
    }
}
