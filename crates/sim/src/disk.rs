//! A simulated disk that tears, refuses and loses writes, as its owner orders.
//!
//! What always holds: synced bytes survive everything. Other bytes survive a killed process,
//! since the operating system has them. A power cut keeps any part of them, in any order, as
//! [`trefoil_types::DiskFile`] warns. A handle of a process that ended reaches nothing any
//! more.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use trefoil_types::{Disk, DiskFile};

use crate::rng::Rng;

/// One directory of one machine.
#[derive(Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<DiskState>>,
}

#[derive(Debug, Default)]
struct DiskState {
    files: BTreeMap<String, File>,
    /// Handles of an earlier mount are dead.
    mount: u64,
    /// Bytes of all files together; a write beyond it fails.
    capacity: Option<u64>,
    /// The power goes when so many more writes and syncs were done.
    operations_left: Option<u64>,
    /// An injected bug: sync reports success and does nothing.
    forgets_sync: bool,
    /// Whether an operation of this mount was refused on purpose.
    refused: bool,
}

#[derive(Debug, Default)]
struct File {
    /// As a running process sees it.
    now: Vec<u8>,
    /// As of the last sync.
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Whether the file's directory entry was ever synced.
    founded: bool,
}

#[derive(Debug)]
enum Pending {
    Write { offset: u64, data: Vec<u8> },
    Length(u64),
}

impl SimDisk {
    /// The directory for a new process; all handles before it are dead.
    pub fn mount(&self) -> Arc<dyn Disk> {
        let mut state = self.state();
        state.mount += 1;
        // A planned failure was for the process before.
        state.operations_left = None;
        state.refused = false;
        Arc::new(Mounted { state: self.state.clone(), mount: state.mount })
    }

    /// The process ended; all it wrote is there.
    pub fn unmount(&self) {
        let mut state = self.state();
        state.mount += 1;
        for file in state.files.values_mut() {
            file.settle();
        }
    }

    /// Cuts the power: each write that was not synced is kept, lost or torn.
    pub fn power_cut(&self, rng: &mut Rng) {
        let mut state = self.state();
        state.mount += 1;
        // A file whose directory entry was never synced may be gone as a whole.
        // How much tends to be lost differs from one power cut to the next.
        let kept = *rng.pick(&[0, 100, 500, 900]);
        state.files.retain(|_, file| {
            let exists = file.founded || !rng.permille(500);
            file.lose(kept, rng);
            exists
        });
    }

    /// From now on at most `free` more bytes fit; `None`: any number.
    pub fn set_free(&self, free: Option<u64>) {
        let mut state = self.state();
        let used: u64 = state.used();
        state.capacity = free.map(|free| used + free);
    }

    /// All fails after so many more writes and syncs, until the next mount.
    pub fn fail_after(&self, operations: u64) {
        self.state().operations_left = Some(operations);
    }

    /// Nothing more will fail.
    pub fn relent(&self) {
        self.state().operations_left = None;
    }

    /// Whether it refused an operation since it was mounted, as it was ordered to.
    pub fn has_refused(&self) -> bool {
        self.state().refused
    }

    pub fn forget_syncs(&self) {
        self.state().forgets_sync = true;
    }

    /// Flips a bit of each `needle` on the disk: bit rot, for an injected bug.
    pub fn rot(&self, needle: &[u8]) {
        for file in self.state().files.values_mut() {
            let found = file.now.windows(needle.len()).enumerate();
            let found: Vec<usize> =
                found.filter(|(_, window)| *window == needle).map(|(at, _)| at).collect();
            for at in found {
                file.now[at + needle.len() - 1] ^= 1;
            }
            // On the disk itself, so that no later crash brings the old bit back.
            file.durable.clone_from(&file.now);
        }
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        lock(&self.state)
    }
}

/// A panic in injected or product code must not hide behind a poisoned lock.
fn lock(state: &Mutex<DiskState>) -> MutexGuard<'_, DiskState> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl DiskState {
    fn used(&self) -> u64 {
        self.files.values().map(|file| file.now.len() as u64).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    /// Counts one write or sync of a process of `mount`.
    fn operate(&mut self, mount: u64) -> io::Result<()> {
        self.alive(mount)?;
        match &mut self.operations_left {
            // It goes on failing: after the first failed sync a program cannot know what of
            // its data is durable, and must not try again as if it did.
            Some(0) => {
                self.refused = true;
                Err(io::Error::other("the power went"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn alive(&self, mount: u64) -> io::Result<()> {
        if self.mount == mount { Ok(()) } else { Err(io::Error::other("this process has ended")) }
    }

    fn grow(&mut self, by: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.used() + by > capacity => {
                self.refused = true;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }
}

impl File {
    fn settle(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            pending.apply(&mut self.durable);
        }
        self.founded = true;
    }

    /// Each write since the last sync is kept so many times in a thousand; one
    /// that is not may be torn. The fate of a write hangs on where it was and
    /// not on when, since a database may write its pages in any order.
    fn lose(&mut self, kept_permille: u32, rng: &mut Rng) {
        let salt = rng.word();
        for pending in std::mem::take(&mut self.pending) {
            let mut fate = Rng::new(salt, &pending.name());
            match pending {
                _ if fate.permille(kept_permille) => pending.apply(&mut self.durable),
                Pending::Write { offset, mut data } if fate.permille(500) && data.len() > 1 => {
                    data.truncate(fate.index(data.len()));
                    Pending::Write { offset, data }.apply(&mut self.durable);
                }
                _ => {}
            }
        }
        self.now.clone_from(&self.durable);
    }
}

impl Pending {
    fn name(&self) -> String {
        match self {
            Self::Write { offset, data } => format!("write {offset} {}", data.len()),
            Self::Length(len) => format!("length {len}"),
        }
    }

    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => write(bytes, offset, &data),
            Self::Length(len) => bytes.resize(len as usize, 0),
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(data);
}

#[derive(Debug)]
struct Mounted {
    state: Arc<Mutex<DiskState>>,
    mount: u64,
}

impl Disk for Mounted {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = lock(&self.state);
        if state.files.contains_key(name) {
            state.alive(self.mount)?;
        } else {
            state.operate(self.mount)?;
            state.grow(0)?;
            state.files.insert(name.into(), File::default());
        }
        Ok(Arc::new(Handle { state: self.state.clone(), mount: self.mount, name: name.into() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = lock(&self.state);
        state.alive(self.mount)?;
        Ok(state.files.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.operate(self.mount)?;
        state.files.remove(name);
        Ok(())
    }
}

#[derive(Debug)]
struct Handle {
    state: Arc<Mutex<DiskState>>,
    mount: u64,
    name: String,
}

impl Handle {
    fn file<'a>(&self, state: &'a mut DiskState) -> io::Result<&'a mut File> {
        state.files.get_mut(&self.name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for Handle {
    fn len(&self) -> io::Result<u64> {
        let state = &mut *lock(&self.state);
        state.alive(self.mount)?;
        Ok(self.file(state)?.now.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        state.alive(self.mount)?;
        let end = offset.checked_add(buf.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let bytes = &self.file(state)?.now;
        let found = bytes.get(offset as usize..end as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        state.operate(self.mount)?;
        let end = offset.checked_add(data.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let by = end.saturating_sub(self.file(state)?.now.len() as u64);
        let grown = state.grow(by);
        // A full disk takes the part of a write that fits, and then refuses.
        let fits = match grown {
            Ok(()) => data.len(),
            Err(_) => data.len() - by.saturating_sub(state.free()) as usize,
        };
        let file = self.file(state)?;
        write(&mut file.now, offset, &data[..fits]);
        // The part that fitted is on the disk all the same: a journal must find that torn record.
        file.pending.push(Pending::Write { offset, data: data[..fits].to_vec() });
        grown
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        state.operate(self.mount)?;
        let by = len.saturating_sub(self.file(state)?.now.len() as u64);
        state.grow(by)?;
        let file = self.file(state)?;
        file.now.resize(len as usize, 0);
        file.pending.push(Pending::Length(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        state.operate(self.mount)?;
        if !state.forgets_sync {
            self.file(state)?.settle();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
