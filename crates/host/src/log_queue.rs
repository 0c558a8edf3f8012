//! The log's way to stderr: lines wait for a thread of their own, so that nobody who logs waits
//! for who reads the log.
//!
//! What always holds: a pipe that is full, closed or without a reader, or a full disk under a
//! file, costs lines of the log and nothing else. Which were lost is said when writing works
//! again.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

// Minutes of a busy node's log at `info`, so that a reader that is slow for a while loses nothing.
/// Bytes of lines that wait. What comes beyond them is lost.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Lines on their way.
#[derive(Clone, Debug)]
pub struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// Of the lines, and of those that are being written.
    bytes: usize,
    /// Lines that were lost since it was last said.
    lost: u64,
}

impl LogQueue {
    /// Starts the thread that writes to `to`.
    pub fn start(to: impl Write + Send + 'static) -> Self {
        let queue = Self(Arc::default());
        let writer = queue.clone();
        let thread = thread::Builder::new().name("log".into());
        thread.spawn(move || writer.run(to)).expect("the system starts threads");
        queue
    }

    /// Takes a line. Never waits for its writing.
    pub fn put(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes + line.len() > WAITING_BYTES_MAX {
            waiting.lost += 1;
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_vec());
        self.0.changed.notify_all();
    }

    /// Waits, not long, until what was taken is written.
    pub fn flush(&self) {
        let unwritten = |waiting: &mut Waiting| waiting.bytes > 0;
        drop(self.0.changed.wait_timeout_while(self.lock(), LAST_LINES, unwritten));
    }

    fn run(&self, mut to: impl Write) {
        let none = |waiting: &mut Waiting| waiting.lines.is_empty();
        loop {
            let waiting = self.0.changed.wait_while(self.lock(), none);
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            let lines = std::mem::take(&mut waiting.lines);
            let lost = std::mem::take(&mut waiting.lost);
            drop(waiting);
            let (bytes, lost) = write_lines(&mut to, &lines, lost);
            let mut waiting = self.lock();
            waiting.bytes -= bytes;
            waiting.lost += lost;
            self.0.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes lines, and that `lost` were lost before them. Their bytes, and how many are lost now.
fn write_lines(to: &mut impl Write, lines: &VecDeque<Vec<u8>>, mut lost: u64) -> (usize, u64) {
    for line in lines {
        if lost > 0 && writeln!(to, "{lost} lines of the log were lost").is_ok() {
            lost = 0;
        }
        if to.write_all(line).is_err() {
            lost += 1;
        }
    }
    (lines.iter().map(Vec::len).sum(), lost)
}

/// A line at a time, as the log's formatter writes.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader that takes a write only when it is told to, and refuses the first ones.
    struct Reader {
        begun: mpsc::Sender<()>,
        turns: mpsc::Receiver<()>,
        read: mpsc::Sender<String>,
        refuses: u32,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.send(());
            if self.turns.recv().is_err() || self.refuses > 0 {
                self.refuses = self.refuses.saturating_sub(1);
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let _ = self.read.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Rig {
        queue: LogQueue,
        begun: mpsc::Receiver<()>,
        turns: mpsc::Sender<()>,
        lines: mpsc::Receiver<String>,
    }

    impl Rig {
        fn new(refuses: u32) -> Self {
            let ((begin, begun), (turns, turn)) = (mpsc::channel(), mpsc::channel());
            let (read, lines) = mpsc::channel();
            let reader = Reader { begun: begin, turns: turn, read, refuses };
            Self { queue: LogQueue::start(reader), begun, turns, lines }
        }

        fn turns(&self, count: usize) {
            (0..count).for_each(|_| self.turns.send(()).unwrap());
        }

        fn said(&self) -> String {
            self.queue.flush();
            self.lines.try_iter().collect()
        }
    }

    #[test]
    fn a_reader_that_does_not_read_holds_up_nobody_and_costs_bounded_memory() {
        let rig = Rig::new(0);
        let line = [b'x'; 1_024];
        let count = 10 * WAITING_BYTES_MAX / line.len();
        rig.queue.put(&line);
        rig.begun.recv().unwrap();
        (1..count).for_each(|_| rig.queue.put(&line));
        assert!(rig.queue.lock().bytes <= WAITING_BYTES_MAX);
        let lost = count - WAITING_BYTES_MAX / line.len();
        assert_eq!(rig.queue.lock().lost, lost as u64);
        // It reads again. A line may be written in parts.
        rig.turns(count);
        rig.queue.flush();
        rig.queue.put(b"after");
        let said = rig.said();
        assert!(said.contains(&format!("{lost} lines of the log were lost")));
        assert!(said.ends_with("after"));
    }

    #[test]
    fn a_reader_that_is_gone_ends_nothing() {
        let rig = Rig::new(2);
        // For the line, for that it was lost, and for the next.
        rig.turns(3);
        rig.queue.put(b"one");
        assert_eq!(rig.said(), "");
        assert_eq!(rig.queue.lock().lost, 1);
        rig.queue.put(b"two");
        assert_eq!(rig.said(), "two", "it goes on when writing works");
        let Rig { queue, turns, .. } = rig;
        drop(turns);
        queue.put(b"three");
        queue.flush();
        let waiting = queue.lock();
        assert_eq!((waiting.bytes, waiting.lost), (0, 2));
    }
}
