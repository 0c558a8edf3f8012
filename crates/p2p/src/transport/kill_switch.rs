//! Ends one connection from elsewhere, for good.

use std::{
    future::poll_fn,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::Poll,
};

use futures::task::AtomicWaker;

/// How a connection ends; a later one is harsher and takes the place of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Kill {
    /// The session ends, and closes the connection in peace.
    Stopped = 1,
    /// Its place was given to another: nothing more is read, and what it was given to send is
    /// still sent.
    Evicted,
    /// The chain speaks against the peer: the socket is reset.
    Cut,
}

/// The switch of one connection. Its socket looks at it before it moves a byte.
#[derive(Debug, Default)]
pub(crate) struct KillSwitch {
    kill: AtomicU8,
    // What follows from the first cause (streams that break) would hide it from the operator.
    /// The first reason counts.
    reason: OnceLock<String>,
    /// The tasks that read, write, and run the session. They register before they look at the
    /// switch: a kill that comes between is then not missed.
    pub reader: AtomicWaker,
    pub writer: AtomicWaker,
    session: AtomicWaker,
    /// The peer has proven an identity: the bound on its silence ends.
    pub proven: AtomicBool,
}

impl KillSwitch {
    pub fn stop(&self, reason: impl Into<String>) {
        self.kill(Kill::Stopped, reason.into());
    }

    pub fn evict(&self) {
        self.kill(Kill::Evicted, "its place was given to another".into());
    }

    /// Whoever waits for the socket is woken and finds it gone.
    pub fn cut(&self, reason: String) {
        self.kill(Kill::Cut, reason);
    }

    fn kill(&self, kill: Kill, reason: String) {
        let _ = self.reason.set(reason);
        self.kill.fetch_max(kill as u8, Ordering::AcqRel);
        self.reader.wake();
        self.writer.wake();
        self.session.wake();
    }

    pub fn is_evicted(&self) -> bool {
        self.kill.load(Ordering::Acquire) >= Kill::Evicted as u8
    }

    pub fn is_cut(&self) -> bool {
        self.kill.load(Ordering::Acquire) >= Kill::Cut as u8
    }

    /// Why the connection ends, once it does.
    pub fn reason(&self) -> Option<&str> {
        let ends = self.kill.load(Ordering::Acquire) > 0;
        self.reason.get().filter(|_| ends).map(String::as_str)
    }

    /// Waits until the connection is to end. One task may wait.
    pub async fn ended(&self) -> String {
        poll_fn(|cx| {
            self.session.register(cx.waker());
            self.reason().map_or(Poll::Pending, |reason| Poll::Ready(reason.into()))
        })
        .await
    }
}
