//! What waits for room on the disk.
//!
//! What always holds: a disk that others fill ends no node that runs. What cannot be written for
//! want of room is tried again each second; the reason is in the log once a minute, and in the
//! status for as long as it lasts. Any other error of the disk goes to the caller.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use trefoil_types::{Disk, DiskFile, room_cure};

/// What waits, in words.
pub const JOURNAL: &str = "the journal";
const LEDGER: &str = "the ledger";

/// The pause between two tries.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// The log says so often that something waits.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The waits of a process; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct DiskRoom(Arc<RoomWaits>);

#[derive(Debug, Default)]
struct RoomWaits {
    waits: Mutex<Waits>,
    stopped: Condvar,
    reason: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct Waits {
    /// Whether anybody may wait: from [`DiskRoom::begin`] to [`DiskRoom::give_up`].
    allowed: bool,
    /// What lacks room: why, and when the log said so.
    lacking: BTreeMap<&'static str, (String, Instant)>,
}

impl DiskRoom {
    /// The node runs. Before this, a start on a full disk ends with the error.
    pub fn begin(&self) {
        self.lock().allowed = true;
    }

    /// The node is to stop: nobody waits any more.
    pub fn give_up(&self) {
        self.lock().allowed = false;
        self.0.stopped.notify_all();
    }

    /// Whether something was not written since the node is to stop.
    pub fn has_given_up(&self) -> bool {
        let waits = self.lock();
        !waits.allowed && !waits.lacking.is_empty()
    }

    /// Why something waits; `None`: nothing does.
    pub fn reason(&self) -> watch::Receiver<Option<String>> {
        self.0.reason.subscribe()
    }

    /// Waits a second for room for `what`, which lacks it by an error. `false`: the process starts
    /// or stops, and the error is final.
    pub fn wait(&self, what: &'static str, why: &dyn std::fmt::Display) -> bool {
        let mut waits = self.lock();
        let why = why.to_string();
        let said = waits.lacking.get(what).map(|(_, said)| *said);
        let said = said.filter(|said| said.elapsed() < SAY_EVERY || !waits.allowed);
        let said = said.unwrap_or_else(|| {
            tracing::error!("no room for {what}: {why}");
            Instant::now()
        });
        waits.lacking.insert(what, (why, said));
        self.publish(&waits);
        let waited = self.0.stopped.wait_timeout_while(waits, TRY_EVERY, |waits| waits.allowed);
        waited.unwrap_or_else(PoisonError::into_inner).0.allowed
    }

    /// There was room for `what`.
    pub fn found(&self, what: &'static str) {
        let mut waits = self.lock();
        if waits.lacking.remove(what).is_some() {
            tracing::info!("there is room for {what} again");
            self.publish(&waits);
        }
    }

    fn publish(&self, waits: &Waits) {
        let all = waits.lacking.iter().map(|(what, (why, _))| format!("no room for {what}: {why}"));
        let all = all.collect::<Vec<_>>();
        self.0.reason.send_replace((!all.is_empty()).then(|| all.join("; ")));
    }

    fn lock(&self) -> MutexGuard<'_, Waits> {
        self.0.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// A database that saw one failed write takes no more (redb's `PreviousIo`): so the write itself
// waits, below it.
/// A disk whose files wait for room.
#[derive(Debug)]
pub struct PatientDisk {
    pub disk: Arc<dyn Disk>,
    pub room: DiskRoom,
}

#[derive(Debug)]
struct PatientFile {
    name: String,
    file: Arc<dyn DiskFile>,
    room: DiskRoom,
}

impl Disk for PatientDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let (name, file, room) = (name.into(), self.disk.open(name)?, self.room.clone());
        Ok(Arc::new(PatientFile { name, file, room }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

impl PatientFile {
    /// Does what can be done twice, until there is room for it.
    fn patiently(&self, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut waited = false;
        loop {
            let error = match work() {
                Err(error) => error,
                Ok(()) => {
                    if waited {
                        self.room.found(LEDGER);
                    }
                    return Ok(());
                }
            };
            let Some(cure) = room_cure(&error) else { return Err(error) };
            if !self.room.wait(LEDGER, &format!("{}: {error}; {cure}", self.name)) {
                return Err(error);
            }
            waited = true;
        }
    }
}

impl DiskFile for PatientFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.patiently(|| self.file.write_at(offset, data))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.patiently(|| self.file.set_len(len))
    }

    // A second success would not say that what was written before the first one is durable (see
    // `Journal`), and what that was is not known here any more.
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::{task::spawn_blocking, time::timeout};

    use super::*;
    use crate::refusing_disk::{Refused, RefusingDisk};

    /// Longer than anything here takes.
    const LIMIT: Duration = Duration::from_secs(60);

    fn disk() -> (RefusingDisk, DiskRoom, Arc<dyn DiskFile>) {
        let (disk, room) = (RefusingDisk::default(), DiskRoom::default());
        let patient = PatientDisk { disk: Arc::new(disk.clone()), room: room.clone() };
        (disk, room, patient.open("ledger.redb").unwrap())
    }

    const FULL: Refused = Refused { write: Some(ErrorKind::StorageFull), sync: None };

    #[tokio::test]
    async fn a_write_waits_for_room_and_says_so_meanwhile() {
        let (disk, room, file) = disk();
        room.begin();
        let mut reason = room.reason();
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
            disk.refuse(Refused { write: Some(kind), sync: None });
            let own = file.clone();
            let write = spawn_blocking(move || own.write_at(3, b"row"));
            let why = timeout(LIMIT, reason.wait_for(Option::is_some)).await.unwrap();
            let why = why.unwrap().clone().unwrap();
            assert!(why.contains("the ledger") && why.contains("ledger.redb"), "{why}");
            assert_eq!(why.contains("LimitFSIZE"), kind == ErrorKind::FileTooLarge, "{why}");
            disk.refuse(Refused::default());
            timeout(LIMIT, write).await.unwrap().unwrap().unwrap();
            assert_eq!(*room.reason().borrow(), None);
        }
        assert_eq!(file.len().unwrap(), 6);
        assert!(!room.has_given_up());
    }

    #[tokio::test]
    async fn a_node_that_stops_or_starts_waits_for_no_room() {
        let (disk, room, file) = disk();
        disk.refuse(FULL);
        let full = |written: io::Result<()>| written.unwrap_err().kind() == ErrorKind::StorageFull;
        assert!(full(file.write_at(0, b"x")), "before it runs");
        room.begin();
        let (own, mut reason) = (file.clone(), room.reason());
        let write = spawn_blocking(move || own.write_at(0, b"x"));
        timeout(LIMIT, reason.changed()).await.unwrap().unwrap();
        room.give_up();
        assert!(full(timeout(LIMIT, write).await.unwrap().unwrap()));
        assert!(room.has_given_up());
    }

    #[test]
    fn other_errors_and_those_of_a_sync_wait_for_nothing() {
        let (disk, room, file) = disk();
        room.begin();
        let (other, full) = (Some(ErrorKind::Other), Some(ErrorKind::StorageFull));
        disk.refuse(Refused { write: other, sync: full });
        assert_eq!(file.write_at(0, b"x").unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(*room.reason().borrow(), None);
    }
}
