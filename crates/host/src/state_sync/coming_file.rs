//! A file that is read from its start while it comes.

use std::{
    io::{self, ErrorKind, Read},
    sync::Weak,
    thread,
    time::Duration,
};

/// Between two looks at whether more is here.
// A look reads a map in memory.
const LOOK: Duration = Duration::from_millis(20);

/// The bytes that come of a file. A read waits for the next of them.
pub struct ComingFile<F> {
    /// Bytes from a place on that are here, at most so many; none: they have not come.
    pub here: F,
    pub size: u64,
    /// Where the next read begins.
    pub at: u64,
    pub pace: Pace,
    /// Nobody waits for what is read once its owner has dropped it.
    pub caller: Weak<()>,
}

/// Bytes that must come within a time, of which only the waits count.
pub struct Pace {
    bytes: u64,
    within: Duration,
    /// Where the time began, and how much of it was waited.
    from: u64,
    waited: Duration,
}

impl Pace {
    pub fn new(bytes: u64, within: Duration) -> Self {
        Self { bytes, within, from: 0, waited: Duration::ZERO }
    }

    /// Counts a wait for the byte at a place.
    fn wait(&mut self, at: u64) -> io::Result<()> {
        if at >= self.from.saturating_add(self.bytes) {
            (self.from, self.waited) = (at, Duration::ZERO);
        }
        if self.waited >= self.within {
            return Err(ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK);
        self.waited += LOOK;
        Ok(())
    }
}

impl<F: FnMut(u64, usize) -> io::Result<Vec<u8>>> Read for ComingFile<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buf.is_empty() {
            return Ok(0);
        }
        loop {
            if self.caller.strong_count() == 0 {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let bytes = (self.here)(self.at, buf.len())?;
            if !bytes.is_empty() {
                buf[..bytes.len()].copy_from_slice(&bytes);
                self.at += bytes.len() as u64;
                return Ok(bytes.len());
            }
            self.pace.wait(self.at)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A file of 100 bytes that gives 10 of them for each look.
    fn coming(
        comes: u64,
        pace: Pace,
        caller: Weak<()>,
    ) -> ComingFile<impl FnMut(u64, usize) -> io::Result<Vec<u8>>> {
        let mut looks = 0;
        let here = move |at: u64, most: usize| {
            looks += 1;
            let end = comes.min(looks * 10).min(at + most as u64);
            Ok((at..end).map(|byte| byte as u8).collect())
        };
        ComingFile { here, size: 100, at: 0, pace, caller }
    }

    #[test]
    fn it_is_read_as_it_comes_to_its_end() {
        let (caller, mut read) = (Arc::new(()), Vec::new());
        let pace = Pace::new(100, Duration::from_secs(60));
        let mut file = coming(100, pace, Arc::downgrade(&caller));
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read, (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn it_ends_when_too_little_comes_or_nobody_waits() {
        let caller = Arc::new(());
        // A drip counts as nothing.
        let slow = |comes| coming(comes, Pace::new(100, 3 * LOOK), Arc::downgrade(&caller));
        for comes in [0, 10, 99] {
            let error = slow(comes).read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{comes}");
        }
        let mut file = slow(100);
        drop(caller);
        let error = file.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
