//! Ends one socket from elsewhere, at once and for good.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use futures::task::AtomicWaker;

/// The switch of one socket. The socket looks at it before it moves a byte.
#[derive(Debug, Default)]
pub(crate) struct KillSwitch {
    /// Why the chain speaks against the peer, once it does.
    revoked: OnceLock<String>,
    /// Its place was given to another connection.
    evicted: AtomicBool,
    /// The tasks that read and write. They register before they look at the switch: a cut that
    /// comes between is then not missed.
    pub reader: AtomicWaker,
    pub writer: AtomicWaker,
}

impl KillSwitch {
    /// The socket is reset. Whoever waits for it is woken and finds it gone. The first
    /// reason counts.
    pub fn cut(&self, reason: String) {
        let _ = self.revoked.set(reason);
        self.wake();
    }

    /// Why it was cut, if it was.
    pub fn reason(&self) -> Option<&str> {
        self.revoked.get().map(String::as_str)
    }

    /// The socket ends, and what it was given to send is still sent.
    pub fn evict(&self) {
        self.evicted.store(true, Ordering::Release);
        self.wake();
    }

    pub fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Acquire)
    }

    fn wake(&self) {
        self.reader.wake();
        self.writer.wake();
    }
}
