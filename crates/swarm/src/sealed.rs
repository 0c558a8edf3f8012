//! A file or directory that only the holders of some keys can read. It is a tar in an age file
//! (<https://c2sp.org/age>), so that `age -d | tar x` opens it as well.
//!
//! What always holds: a sealed file is authenticated to its end before its content gets its
//! final name; nothing is written anywhere else.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use age::{DecryptError, Decryptor, Encryptor, Identity, Recipient, x25519};
use tar::{Archive, Builder, Entry, EntryType, Header};
use trefoil_content::{FILES_MAX, PATH_BYTES_MAX, PathError, check_path};
use trefoil_os::{
    disk_space::{DiskSpace, SpareWriter},
    keystore::SealingKey,
};

use crate::{
    export::{create_file, draft_directory, draft_file, file_into_place, into_place, parent},
    store::{Counted, StoreError, failed, files_below},
};

// Attack: a header without an end, which age would read whole into memory.
/// The longest header. One that names 16 keys has about 1,700 bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;
// age seals 64 KiB at a time: one system call serves 16 of them.
/// Bytes that are read or written at once.
const BUFFER_BYTES: u64 = 1 << 20;
/// How the header's last line begins, after the line before.
const HEADER_END: &[u8] = b"\n--- ";

#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("{0} is there already; move it away, or name another place")]
    Taken(PathBuf),
    #[error(
        "it is sealed to other keys than those here; ask whoever put it to seal it to one of yours"
    )]
    NotForUs,
    #[error("it is not sealed as `put --seal` does it: {0}; ask whoever put it")]
    Malformed(String),
}

fn malformed(why: impl ToString) -> SealedError {
    SealedError::Malformed(why.to_string())
}

/// The progress of sealing or opening, and whether to stop.
#[derive(Debug, Default)]
pub struct Watch {
    /// Bytes.
    pub read: AtomicU64,
    pub stopped: AtomicBool,
}

struct Watched<'a, R>(Counted<'a, R>, &'a AtomicBool);

impl Watch {
    fn over<R: Read>(&self, reader: R) -> Watched<'_, R> {
        Watched(Counted(reader, &self.read), &self.stopped)
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.1.load(Ordering::Relaxed) {
            true => Err(io::Error::other("interrupted")),
            false => self.0.read(buf),
        }
    }
}

/// Seals a file, or all below a directory, into the file `to`. `data`: the node's directory, whose
/// journal keeps its room.
///
/// # Errors
/// A file that cannot be read, or whose name others could not write; `to` is there
/// already, or cannot be written.
pub fn seal(
    path: &Path,
    keys: &[SealingKey],
    to: &Path,
    data: &Path,
    watch: &Watch,
) -> Result<(), SealedError> {
    let unwritten = failed("write", to);
    let recipients: Vec<_> = keys.iter().map(|key| key.recipient()).collect();
    let recipients = recipients.iter().map(|key| key as &dyn Recipient);
    let encryptor = Encryptor::with_recipients(recipients).expect("there is a key");
    let new = draft_file(to).map_err(&unwritten)?;
    let space = DiskSpace::below(parent(to), data);
    let spare = SpareWriter { to: new.as_file(), space: &space };
    let output = BufWriter::with_capacity(BUFFER_BYTES as usize, spare);
    let mut tar = Builder::new(encryptor.wrap_output(output).map_err(&unwritten)?);
    for (name, source) in contents(path)? {
        check_path(&name)?;
        append(&mut tar, &name, &source, watch, &unwritten)?;
    }
    let output = tar.into_inner().and_then(|age| age.finish()).map_err(&unwritten)?;
    output.into_inner().map_err(|error| unwritten(error.into_error()))?;
    file_into_place(new, to).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => SealedError::Taken(to.into()),
        _ => unwritten(error).into(),
    })
}

/// The entries of the archive, by name: a file, or a directory and the
/// files below it.
fn contents(path: &Path) -> Result<Vec<(String, PathBuf)>, SealedError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| StoreError::Name(path.into()))?.to_owned();
    if !path.is_dir() {
        return Ok(vec![(name, path.into())]);
    }
    let below = files_below(path)?.into_iter();
    let below = below.map(|(file, _)| (format!("{name}/{file}"), path.join(file)));
    Ok([(name.clone(), path.into())].into_iter().chain(below).collect())
}

/// Appends a directory by name, or a file with the bytes that it has now, no more
/// and no fewer.
fn append<W: Write>(
    tar: &mut Builder<W>,
    name: &str,
    source: &Path,
    watch: &Watch,
    unwritten: impl Fn(io::Error) -> StoreError,
) -> Result<(), StoreError> {
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    let unread = failed("read", source);
    let file = File::open(source).map_err(&unread)?;
    let meta = file.metadata().map_err(&unread)?;
    if meta.is_dir() {
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        return tar.append_data(&mut header, name, io::empty()).map_err(unwritten);
    }
    header.set_mode(0o644);
    header.set_size(meta.len());
    let mut bytes = watch.over(file).take(meta.len());
    tar.append_data(&mut header, name, &mut bytes).map_err(unwritten)?;
    match bytes.limit() {
        0 => Ok(()),
        _ => Err(unread(io::Error::other("it became shorter while it was read"))),
    }
}

/// Opens the file `sealed` with one of the keys, and writes it to
/// `to`: a file or a directory. `data` as of [`seal`].
///
/// # Errors
/// It is sealed to other keys, or not as [`seal`] does it; `to` is there already, or
/// cannot be written.
pub fn open(
    sealed: &Path,
    keys: &[x25519::Identity],
    to: &Path,
    data: &Path,
    watch: &Watch,
) -> Result<(), SealedError> {
    let unwritten = failed("write", to);
    if to.exists() {
        return Err(SealedError::Taken(to.into()));
    }
    let file = File::open(sealed).map_err(failed("read", sealed))?;
    let mut input = BufReader::with_capacity(BUFFER_BYTES as usize, watch.over(file));
    check_header(input.fill_buf().map_err(failed("read", sealed))?)?;
    let decryptor = Decryptor::new_buffered(input).map_err(malformed)?;
    let keys = keys.iter().map(|key| key as &dyn Identity);
    let plain = decryptor.decrypt(keys).map_err(|error| match error {
        DecryptError::NoMatchingKeys => SealedError::NotForUs,
        error => malformed(error),
    })?;
    let staging = draft_directory(to).map_err(&unwritten)?;
    let space = DiskSpace::below(staging.path(), data);
    let name = unpack(plain, staging.path(), &space, &unwritten)?;
    Ok(into_place(&staging.path().join(name), to).map_err(unwritten)?)
}

/// Checks that the header ends, since age reads it whole into memory before it judges it.
fn check_header(start: &[u8]) -> Result<(), SealedError> {
    let start = &start[..start.len().min(HEADER_BYTES_MAX)];
    let end = start.windows(HEADER_END.len()).position(|bytes| bytes == HEADER_END);
    let ends = end.is_some_and(|end| start[end + 1..].contains(&b'\n'));
    if ends { Ok(()) } else { Err(malformed("it has no header of age")) }
}

/// Unpacks a tar below `dir`: one file, or one directory with files.
/// Returns its name there.
fn unpack(
    plain: impl Read,
    dir: &Path,
    space: &DiskSpace,
    unwritten: impl Fn(io::Error) -> StoreError,
) -> Result<String, SealedError> {
    let mut tar = Archive::new(plain);
    let mut top = None;
    let mut long = None;
    let mut count = 0;
    // Raw, so that the length of a long name is bounded here.
    for entry in tar.entries().map_err(malformed)?.raw(true) {
        let mut entry = entry.map_err(malformed)?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            long = Some(long_name(&mut entry)?);
            continue;
        }
        let name = long.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8(name).map_err(|_| malformed("a name is no UTF-8"))?;
        let name = if kind.is_dir() { name.trim_end_matches('/').to_owned() } else { name };
        check_path(&name)?;
        count += 1;
        match (kind, &top) {
            _ if count > FILES_MAX + 1 => return Err(malformed("it has too many files")),
            (EntryType::Directory, None) if !name.contains('/') => {
                fs::create_dir(dir.join(&name)).map_err(&unwritten)?;
                top = Some(format!("{name}/"));
            }
            (EntryType::Regular, None) if !name.contains('/') => {
                write(&mut entry, &dir.join(&name), space, &unwritten)?;
                top = Some(name);
            }
            (EntryType::Regular, Some(top)) if top.ends_with('/') && name.starts_with(top) => {
                write(&mut entry, &dir.join(&name), space, &unwritten)?;
            }
            _ => return Err(malformed(format!("{name:?} has no place in it"))),
        }
    }
    // Only its authenticated end proves that nothing was cut off.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(malformed)?;
    let top = top.ok_or_else(|| malformed("it is empty"))?;
    Ok(top.trim_end_matches('/').into())
}

/// A name that is too long for a tar's header. It stands in an entry before, with a zero at its
/// end.
fn long_name(entry: &mut impl Read) -> Result<Vec<u8>, SealedError> {
    let mut name = Vec::new();
    entry.take(PATH_BYTES_MAX as u64 + 1).read_to_end(&mut name).map_err(malformed)?;
    match name.pop() {
        Some(0) => Ok(name),
        _ => Err(malformed("a name is too long")),
    }
}

fn write(
    bytes: &mut Entry<impl Read>,
    to: &Path,
    space: &DiskSpace,
    unwritten: impl Fn(io::Error) -> StoreError,
) -> Result<(), SealedError> {
    let mut file = SpareWriter { to: create_file(to).map_err(&unwritten)?, space };
    let mut buffer = vec![0; bytes.size().clamp(1, BUFFER_BYTES) as usize];
    loop {
        match bytes.read(&mut buffer).map_err(malformed)? {
            0 => break,
            count => file.write_all(&buffer[..count]).map_err(&unwritten)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
