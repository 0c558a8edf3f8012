//! Fixture files, from directories and from archives that are read as streams.
#![expect(clippy::disallowed_methods, reason = "a tool around the pure crate: it reads files")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
};

/// A fixture file, or why it could not be read.
pub struct File {
    pub name: String,
    pub bytes: io::Result<Vec<u8>>,
}

// Bounded, so that a large archive is not in memory whole.
/// The most files that wait to be run.
const QUEUE: usize = 16;

/// All `.json` files under `paths`, read on a thread of its own.
pub fn read(paths: Vec<PathBuf>) -> mpsc::Receiver<File> {
    let (send, receive) = mpsc::sync_channel(QUEUE);
    std::thread::spawn(move || {
        for path in paths {
            if let Err(error) = walk(&path, &send) {
                let file = File { name: path.display().to_string(), bytes: Err(error) };
                // Nobody listens only when the program is ending.
                let _ = send.send(file);
            }
        }
    });
    receive
}

fn walk(path: &Path, send: &mpsc::SyncSender<File>) -> io::Result<()> {
    let name = path.to_string_lossy().into_owned();
    if path.is_dir() {
        let mut entries: Vec<_> =
            fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| walk(entry, send));
    }
    if name.ends_with(".tar.zst") {
        return unpack(path, send);
    }
    // The index of a release is no fixture.
    if name.ends_with(".json") && !path.components().any(|part| part.as_os_str() == ".meta") {
        let _ = send.send(File { name, bytes: fs::read(path) });
    }
    Ok(())
}

fn unpack(path: &Path, send: &mpsc::SyncSender<File>) -> io::Result<()> {
    let compressed = io::BufReader::new(fs::File::open(path)?);
    let stream = ruzstd::decoding::StreamingDecoder::new(compressed).map_err(io::Error::other)?;
    for entry in tar::Archive::new(stream).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if name.ends_with(".json") && !name.contains(".meta/") {
            let mut bytes = Vec::new();
            let read = io::Read::read_to_end(&mut entry, &mut bytes);
            let _ = send.send(File { name, bytes: read.map(|_| bytes) });
        }
    }
    Ok(())
}
