//! Files that an operator names, read into memory.
//!
//! What always holds: no more of them is read than a bound, wherever the path leads, and nobody
//! waits without end for somebody to write to one.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, ErrorKind, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// The longest line that is read, bytes.
const LINE_BYTES_MAX: usize = 4_096;

// The length that the system names is no bound: of `/dev/zero` and of a pipe it is 0.
/// All of a regular file of at most `bytes_max`.
///
/// # Errors
/// It cannot be read; it is longer ([`ErrorKind::InvalidData`]), or a pipe, a device or a
/// directory.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Or the opening of a pipe waits for somebody to write to it.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let why = format!("it has more than {bytes_max} bytes");
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    Ok(bytes)
}

/// The same of a text.
///
/// # Errors
/// As [`read`]; or it is no UTF-8 ([`ErrorKind::InvalidData`]).
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(read(path, bytes_max)?).map_err(|_| not_text())
}

/// The first line of a file, a pipe or a terminal, which must be there within `wait_max`.
///
/// # Errors
/// It cannot be read; it is longer than a line is, or no UTF-8; nobody writes it in time
/// ([`ErrorKind::TimedOut`]).
pub fn read_line(path: &Path, wait_max: Duration) -> io::Result<Zeroizing<String>> {
    let (done, line) = mpsc::channel();
    let path = path.to_owned();
    // It may wait for ever in the opening of a pipe; then it ends with the process.
    thread::spawn(move || done.send(first_line(&path)));
    line.recv_timeout(wait_max).unwrap_or_else(|_| {
        let why = format!("nobody wrote a line to it within {} s", wait_max.as_secs());
        Err(io::Error::new(ErrorKind::TimedOut, why))
    })
}

fn first_line(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?.take(LINE_BYTES_MAX as u64 + 1);
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX + 1));
    // A byte at a time: it may be a secret, and no other copy stays in memory.
    BufReader::with_capacity(1, file).read_until(b'\n', &mut line)?;
    if line.len() > LINE_BYTES_MAX {
        let why = format!("its first line has more than {LINE_BYTES_MAX} bytes");
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    let text = std::str::from_utf8(&line).map_err(|_| not_text())?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(Zeroizing::new(text.to_owned()))
}

fn not_text() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "it is no text (UTF-8)")
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, path::PathBuf, process::Command};

    use super::*;

    // Longer than anything here takes.
    const LIMIT: Duration = Duration::from_secs(60);

    fn pipe(dir: &tempfile::TempDir) -> PathBuf {
        let path = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    #[test]
    fn a_regular_file_is_read_up_to_its_bound_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (text, whole) in [("", true), ("1234", true), ("12345", false)] {
            fs::write(&path, text).unwrap();
            let read = read_text(&path, 4);
            assert_eq!(read.as_deref().ok(), whole.then_some(text), "{read:?}");
        }
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), ErrorKind::InvalidData);
        // 3 GiB of zeros, which take no room on the disk.
        File::create(&path).unwrap().set_len(3 << 30).unwrap();
        assert_eq!(read(&path, 4).unwrap_err().kind(), ErrorKind::InvalidData);
        let pipe = pipe(&dir);
        for odd in [Path::new("/dev/zero"), dir.path(), pipe.as_path()] {
            assert!(read(odd, 4).is_err(), "{}", odd.display());
        }
        assert_eq!(read(Path::new("/no/such"), 4).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_line_is_the_first_one_without_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let long = "x".repeat(LINE_BYTES_MAX);
        for (text, line) in [
            ("", Some("")),
            ("one", Some("one")),
            ("one\ntwo\n", Some("one")),
            ("one \r\ntwo", Some("one ")),
            (&*long, Some(&*long)),
            (&*format!("{long}x\n"), None),
        ] {
            fs::write(&path, text).unwrap();
            let read = read_line(&path, LIMIT);
            assert_eq!(read.ok().as_ref().map(|line| line.as_str()), line);
        }
        File::create(&path).unwrap().set_len(3 << 30).unwrap();
        for endless in [&*path, Path::new("/dev/zero")] {
            assert_eq!(read_line(endless, LIMIT).unwrap_err().kind(), ErrorKind::InvalidData);
        }
        assert!(read_line(dir.path(), LIMIT).is_err());
    }

    #[test]
    fn a_line_of_a_pipe_is_waited_for_not_without_end() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [silent, path] = dirs.each_ref().map(pipe);
        let error = read_line(&silent, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        // It stays open behind the line, as of a program that goes on.
        let writer = thread::spawn({
            let path = path.clone();
            move || {
                let mut pipe = File::options().write(true).open(path).unwrap();
                pipe.write_all(b"secret\n").unwrap();
                pipe
            }
        });
        assert_eq!(*read_line(&path, LIMIT).unwrap(), "secret");
        drop(writer.join().unwrap());
    }
}
