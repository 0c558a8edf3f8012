//! How a new node comes to the chain: a state snapshot and the archives of the
//! blocks before it, from all peers at once; each believed only when it follows
//! from the chain specification.
//!
//! What always holds: a node that began to join so has the file `joining` beside
//! its ledger until it is through; whatever ends the process, the next start goes
//! on from what came.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, interval, sleep},
};
use trefoil_content::{ContentId, Link};
use trefoil_ledger::{
    Ledger,
    state_sync::{self, JoinError, Standing},
};
use trefoil_net::NetHandle;
use trefoil_os::FileError;
use trefoil_os::disk::{FileDisk, remove_file};
use trefoil_swarm::{Announced, Content, FetchError, Selection};
use trefoil_types::{ChainSpec, Disk, MemDisk, Offence, PeerId};

use crate::{
    HostError,
    home::Home,
    network_config::{self, NodeKeys},
    settings::{Settings, SyncMode},
    snapshots::{Folder, Index, Listed, Name, file_id, senders_are_right},
};

/// Is there until the node has joined; says what it fetches.
const MARK: &str = "joining";

const LOOK: Duration = Duration::from_millis(200);

/// How long peers are heard after the first told of a snapshot.
const GATHER: Duration = Duration::from_secs(1);

/// Who is connected for so long and told of no snapshot has none.
const QUIET: Duration = Duration::from_secs(3);

/// How long a node looks for peers before it begins at genesis.
const ALONE: Duration = Duration::from_secs(15);

/// When nothing came for so long, another snapshot is looked for.
const STALL: Duration = Duration::from_secs(20);

/// How often the log has how far a fetch is.
const TELL: Duration = Duration::from_secs(5);

/// Files that are fetched at once.
const AT_ONCE: usize = 8;

/// The longest list of files that is taken, bytes.
const INDEX_BYTES_MAX: u64 = 16 << 20;

/// Brings a node that has no chain yet, or began to join, to a recent block.
/// Otherwise, or when no peer has a snapshot, does nothing: the node executes what
/// it lacks.
///
/// # Errors
/// A disk that fails; a network that cannot be joined as this node is set up.
pub async fn join(
    home: &Home,
    spec: &Arc<ChainSpec>,
    settings: &Settings,
    keys: &NodeKeys,
) -> Result<(), HostError> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&home.data())?);
    let mark = Mark(home.data().join(MARK));
    if !is_due(state_sync::standing(&*disk)?, mark.0.exists(), spec, settings.sync, keys)? {
        return Ok(());
    }
    let (newcomer, drains) = Newcomer::start(home, spec, settings, keys, disk).await?;
    let joined = newcomer.join(settings.sync == SyncMode::Snapshot).await;
    newcomer.net.shutdown();
    for drain in drains {
        // It ends with the network.
        let _ = drain.await;
    }
    joined?;
    Ok(remove_file(&mark.0).map_err(|e| FileError::new("remove", &mark.0, e))?)
}

/// The file that is there until the node has joined.
struct Mark(PathBuf);

impl Mark {
    /// What the node was fetching when it ended.
    fn read(&self) -> Option<Announced> {
        let text = fs::read_to_string(&self.0).ok()?;
        let (height, index) = text.split_once(' ')?;
        let index = hex::decode(index).ok()?.try_into().ok()?;
        Some(Announced { height: height.parse().ok()?, index })
    }

    fn write(&self, target: &Announced) -> Result<(), HostError> {
        let text = format!("{} {}", target.height, hex::encode(target.index));
        Ok(fs::write(&self.0, text).map_err(|e| FileError::new("write", &self.0, e))?)
    }
}

/// Whether a node is to join by a snapshot. `begun`: it began to.
fn is_due(
    standing: Standing,
    begun: bool,
    spec: &ChainSpec,
    mode: SyncMode,
    keys: &NodeKeys,
) -> Result<bool, HostError> {
    if spec.snapshot_every == 0 && mode == SyncMode::Snapshot {
        return Err(HostError::NoSnapshots);
    }
    let validator = keys.validator.as_ref().map(|key| key.public());
    let founded = spec.validators.iter().any(|founder| Some(founder.key) == validator);
    match (mode, standing) {
        (SyncMode::Full, Standing::Nothing { unfinished: true }) if begun => {
            Err(HostError::Joining)
        }
        (SyncMode::Full, _) => Ok(false),
        (_, Standing::Chain { .. }) => Ok(begun),
        (_, Standing::Nothing { unfinished: true }) => Ok(begun),
        (SyncMode::Snapshot, _) => Ok(true),
        (SyncMode::Auto, _) => Ok(begun || !founded && spec.snapshot_every > 0),
    }
}

/// Why an attempt came to nothing.
enum Setback {
    /// What peers told of is not so.
    False(String),
    /// What peers told of may be so, and does not go in here.
    NoRoom(String),
    /// Nothing comes any more.
    Stalled,
    /// It is on us.
    Ours(HostError),
}

impl<E: Into<HostError>> From<E> for Setback {
    fn from(error: E) -> Self {
        Self::Ours(error.into())
    }
}

/// What a peer tells of is for nobody but it to answer for: no size, and no lie, ends
/// the newcomer.
fn setback(error: FetchError) -> Setback {
    match error {
        FetchError::Size { .. } | FetchError::TooLong { .. } => Setback::False(error.to_string()),
        FetchError::NoRoom(why) => Setback::NoRoom(why),
        // It is asked for again, of whoever is there then.
        FetchError::Damaged { .. } => Setback::Stalled,
        error => Setback::Ours(error.into()),
    }
}

struct Newcomer {
    mark: Mark,
    folder: Folder,
    spec: Arc<ChainSpec>,
    disk: Arc<dyn Disk>,
    net: NetHandle,
    content: Content,
}

impl Newcomer {
    /// Connects to the network, with nothing behind it but content: also with those whom
    /// this node's old list of members cannot judge, as they give and get nothing.
    async fn start(
        home: &Home,
        spec: &Arc<ChainSpec>,
        settings: &Settings,
        keys: &NodeKeys,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Vec<JoinHandle<()>>), HostError> {
        // Who is a member, as far as this node knows yet.
        let ledger = match state_sync::standing(&*disk)? {
            Standing::Chain { .. } => disk.clone(),
            Standing::Nothing { .. } => Arc::new(MemDisk::default()) as Arc<dyn Disk>,
        };
        let ledger = Ledger::open(ledger, spec.clone(), settings.history.0)?;
        let access = network_config::access(home, &settings.p2p, &ledger)?;
        let me = PeerId(keys.identity.public());
        let sharing = network_config::sharing(home, settings, me, &access)?;
        let config =
            network_config::network(home, &settings.p2p, &ledger, keys.identity.clone(), access);
        drop(ledger);
        let (net, lanes) = trefoil_net::start_newcomer(config).await?;
        let content = Content::start(sharing, net.clone(), lanes.content)?;
        let drain = |mut lane: trefoil_net::Inbox| {
            tokio::spawn(async move { while lane.recv().await.is_some() {} })
        };
        let drains = [lanes.consensus, lanes.catch_up, lanes.gossip].map(drain).into();
        let (mark, folder) = (Mark(home.data().join(MARK)), home.snapshots());
        fs::create_dir_all(&folder.dir).map_err(|e| FileError::new("make", &folder.dir, e))?;
        Ok((Self { mark, folder, spec: spec.clone(), disk, net, content }, drains))
    }

    /// Until the node is at a recent block with all blocks before it, or (not
    /// `patient`) no peer has a snapshot.
    async fn join(&self, patient: bool) -> Result<(), HostError> {
        let mut unwanted = Unwanted::default();
        // What came of it already should not be for nothing.
        let mut begun = self.mark.read();
        loop {
            let chosen = match begun.take() {
                Some(begun) => Some(begun),
                None => self.choose(&mut unwanted, patient).await?,
            };
            let Some(target) = chosen else {
                tracing::info!("no peer has a snapshot: executing the chain");
                return Ok(());
            };
            self.mark.write(&target)?;
            match self.take(target).await {
                Ok(()) => return Ok(()),
                Err(Setback::Ours(failure)) => return Err(failure),
                Err(Setback::Stalled) => {
                    tracing::warn!(height = target.height, "nothing comes of a snapshot any more");
                    unwanted.stalled.insert(target.index);
                }
                Err(Setback::NoRoom(why)) => {
                    tracing::error!(height = target.height, why, "a snapshot is not taken");
                    unwanted.refused.insert(target.index);
                }
                Err(Setback::False(why)) => {
                    tracing::warn!(height = target.height, why, "peers told of a false snapshot");
                    unwanted.refused.insert(target.index);
                    let told = self.content.announced().await?;
                    for (peer, _) in told.into_iter().filter(|(_, told)| *told == target) {
                        self.content.blame(peer, Offence::BadContent).await;
                    }
                }
            }
        }
    }

    /// Waits until peers tell of a snapshot; the one that most tell of.
    async fn choose(
        &self,
        unwanted: &mut Unwanted,
        patient: bool,
    ) -> Result<Option<Announced>, HostError> {
        let began = Instant::now();
        let (mut met, mut heard) = (None, None);
        loop {
            let told = self.content.announced().await?;
            let chosen = unwanted.choose(told.into_values());
            if chosen.is_some() && heard.get_or_insert_with(Instant::now).elapsed() >= GATHER {
                return Ok(chosen);
            }
            if !self.net.peers().is_empty() {
                met.get_or_insert_with(Instant::now);
            }
            let silent = met.map_or(began.elapsed() >= ALONE, |met| met.elapsed() >= QUIET);
            if silent && chosen.is_none() && !patient {
                return Ok(None);
            }
            sleep(LOOK).await;
        }
    }

    /// Fetches and takes in what a peer's list names, as far as it lacks here.
    async fn take(&self, target: Announced) -> Result<(), Setback> {
        let index = self.index(target).await?;
        if let Standing::Nothing { .. } = self.standing()? {
            tracing::info!(height = target.height, bytes = index.state.size, "fetching a snapshot");
            let paths = self.fetch(vec![index.state.clone()]).await?;
            let history = index.before(index.height.saturating_add(1)).cloned().collect();
            let restored = self.restore(&index.state, &paths[&index.state.id]);
            tokio::try_join!(restored, self.fetch(history))?;
        }
        let Standing::Chain { blocks_from, .. } = self.standing()? else {
            unreachable!("restored")
        };
        let missing: Vec<Listed> = index.before(blocks_from).cloned().collect();
        let paths = self.fetch(missing.clone()).await?;
        for archive in &missing {
            self.import(archive, &paths[&archive.id]).await?;
        }
        Ok(())
    }

    fn standing(&self) -> Result<Standing, HostError> {
        Ok(state_sync::standing(&*self.disk)?)
    }

    /// The list of files that peers told of.
    async fn index(&self, target: Announced) -> Result<Index, Setback> {
        let id = file_id(target.index);
        let link = id.into();
        let bytes = tokio::select! {
            bytes = self.content.read_small(&link, INDEX_BYTES_MAX) => bytes,
            () = sleep(STALL) => return Err(Setback::Stalled),
        };
        let bytes = match bytes {
            Err(error @ FetchError::Changed { .. }) => {
                return self.drop_changed(id, Name::Index(target.height), &error).await;
            }
            bytes => bytes.map_err(setback)?,
        };
        let listed = Listed { name: Name::Index(target.height), id, size: bytes.len() as u64 };
        self.fetch(vec![listed]).await?;
        let index = Index::decode(&bytes).filter(|index| index.height == target.height);
        index.ok_or_else(|| Setback::False("its list of files is none".into()))
    }

    /// Fetches files, several at once, and shares them from the folder; where they are.
    async fn fetch(&self, files: Vec<Listed>) -> Result<BTreeMap<ContentId, PathBuf>, Setback> {
        let total = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        let (coming, mut done) = (Coming::default(), 0);
        let one = |file: Listed| {
            let coming = &coming;
            async move {
                coming.begin(file.id);
                let (name, size) = (Some(file.name.to_string()), Some(file.size));
                let link = Link { name, size, ..file.id.into() };
                // It is moved out and pinned.
                let selection = Selection { apart: true, ..Selection::default() };
                self.content.get(&link, selection).await.map_err(setback)?;
                let from = self.content.progress(file.id).await?.unwrap_or_default().by_peer;
                coming.end(file.id);
                let path = self.take_out(&file).await?;
                Ok::<_, Setback>((file, path, from))
            }
        };
        let mut all = std::pin::pin!(stream::iter(files).map(one).buffer_unordered(AT_ONCE));
        let (began, mut look) = (Instant::now(), interval(LOOK));
        let (mut here, mut moved, mut told) = (0, began, began);
        let (mut shares, mut paths) = (BTreeMap::<PeerId, u64>::new(), BTreeMap::new());
        loop {
            tokio::select! {
                next = all.next() => {
                    let Some(ended) = next else { break };
                    let (file, path, from) = ended?;
                    done += file.size;
                    paths.insert(file.id, path);
                    from.into_iter().for_each(|(peer, bytes)| *shares.entry(peer).or_default() += bytes);
                }
                _ = look.tick() => {
                    let now = done + self.here(coming.ids()).await?;
                    if now != here {
                        (here, moved) = (now, Instant::now());
                    }
                    if moved.elapsed() >= STALL {
                        return Err(Setback::Stalled);
                    }
                    if told.elapsed() >= TELL {
                        told = Instant::now();
                        tracing::info!(here, total, "fetching");
                    }
                }
            }
        }
        tracing::info!(bytes = total, seconds = began.elapsed().as_secs_f64(), "fetched");
        for (peer, bytes) in shares {
            tracing::info!(%peer, bytes, "gave");
        }
        Ok(paths)
    }

    /// Brings a file that is here into the folder.
    async fn take_out(&self, file: &Listed) -> Result<PathBuf, Setback> {
        match self.content.move_out(file.id, &self.folder.path(file.name)).await {
            Err(error @ FetchError::Changed { .. }) => {
                self.drop_changed(file.id, file.name, &error).await
            }
            moved => moved.map_err(setback),
        }
    }

    /// A file of the folder that has changed on disk is nobody's fault who gave it: it
    /// goes, and is fetched again.
    async fn drop_changed<T>(
        &self,
        id: ContentId,
        name: Name,
        error: &FetchError,
    ) -> Result<T, Setback> {
        tracing::warn!(%error, "fetched again");
        self.content.remove(id).await?;
        let path = self.folder.path(name);
        remove_file(&path).map_err(|e| FileError::new("remove", &path, e))?;
        Err(Setback::Stalled)
    }

    /// How many bytes are here of what is coming.
    async fn here(&self, ids: Vec<ContentId>) -> Result<u64, FetchError> {
        let mut here = 0;
        for id in ids {
            here += self.content.progress(id).await?.map_or(0, |progress| progress.here);
        }
        Ok(here)
    }

    async fn restore(&self, state: &Listed, path: &Path) -> Result<(), Setback> {
        let (disk, spec) = (self.disk.clone(), self.spec.clone());
        let began = Instant::now();
        let restored = self
            .read(state, path, move |file| state_sync::restore(&*disk, &spec, file, None))
            .await?;
        let seconds = began.elapsed().as_secs_f64();
        tracing::info!(height = restored.height, counts = ?restored.counts, seconds, "restored the state");
        Ok(())
    }

    async fn import(&self, archive: &Listed, path: &Path) -> Result<(), Setback> {
        let (disk, spec) = (self.disk.clone(), self.spec.clone());
        let import = move |mut file| {
            state_sync::import_archive(&*disk, &spec, &mut file, &senders_are_right)
        };
        self.read(archive, path, import).await.map(drop)
    }

    /// Takes a file in. One that proves false is removed.
    async fn read<T: Send + 'static>(
        &self,
        listed: &Listed,
        path: &Path,
        take: impl FnOnce(BufReader<fs::File>) -> Result<T, JoinError> + Send + 'static,
    ) -> Result<T, Setback> {
        let file = fs::File::open(path).map_err(|e| FileError::new("read", path, e))?;
        let file = BufReader::with_capacity(1 << 20, file);
        let taken = spawn_blocking(move || take(file)).await;
        match taken.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(taken) => Ok(taken),
            Err(error) if is_false(&error) => {
                self.content.remove(listed.id).await?;
                let shared = self.folder.path(listed.name);
                remove_file(&shared).map_err(|e| FileError::new("remove", &shared, e))?;
                Err(Setback::False(format!("{}: {error}", listed.name)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Snapshots that were tried and are not tried again, or not before all others: one that
/// nobody gives would be chosen for ever by the height that is claimed for it.
#[derive(Default)]
struct Unwanted {
    refused: BTreeSet<[u8; 32]>,
    stalled: BTreeSet<[u8; 32]>,
}

impl Unwanted {
    fn choose(&mut self, told: impl Iterator<Item = Announced>) -> Option<Announced> {
        let told: Vec<_> = told.filter(|told| !self.refused.contains(&told.index)).collect();
        let fresh = told.iter().filter(|told| !self.stalled.contains(&told.index));
        most(fresh.copied()).or_else(|| {
            self.stalled.clear();
            most(told.iter().copied())
        })
    }
}

/// The snapshot that most peers tell of, of equals the newest.
fn most(told: impl Iterator<Item = Announced>) -> Option<Announced> {
    let mut tellers = BTreeMap::<Announced, usize>::new();
    told.for_each(|announced| *tellers.entry(announced).or_default() += 1);
    let most = tellers.into_iter().max_by_key(|(announced, count)| (*count, announced.height));
    most.map(|(announced, _)| announced)
}

/// Whether a file's error is that of who made it.
fn is_false(error: &JoinError) -> bool {
    match error {
        JoinError::NotOurs { .. }
        | JoinError::Truncated { .. }
        | JoinError::Damaged { .. }
        | JoinError::OtherChain { .. }
        | JoinError::Unproven(_)
        | JoinError::NotNext { .. } => true,
        JoinError::Ledger(_)
        | JoinError::File(_)
        | JoinError::Taken { .. }
        | JoinError::Missing(_) => false,
    }
}

/// What is being fetched just now.
#[derive(Default)]
struct Coming(Mutex<BTreeSet<ContentId>>);

impl Coming {
    fn begin(&self, id: ContentId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn end(&self, id: ContentId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn ids(&self) -> Vec<ContentId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_nobody_gives_is_not_chosen_again_by_its_height() {
        let told = |height: u64| Announced { height, index: [height.to_le_bytes()[5]; 32] };
        let (claimed, true_one) = (told(1 << 40), told(2048));
        let mut unwanted = Unwanted::default();
        let both = || [claimed, true_one].into_iter();
        assert_eq!(unwanted.choose(both()), Some(claimed));
        unwanted.stalled.insert(claimed.index);
        assert_eq!(unwanted.choose(both()), Some(true_one));
        unwanted.stalled.insert(true_one.index);
        assert_eq!(unwanted.choose(both()), Some(claimed), "each had its turn");
        unwanted.refused.insert(claimed.index);
        assert_eq!(unwanted.choose(both()), Some(true_one));
        assert_eq!(unwanted.choose([claimed].into_iter()), None);
    }
}
