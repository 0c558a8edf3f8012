//! How a new node comes to the chain: a state snapshot and the archives of the
//! blocks before it, from all peers at once; each believed only when it follows
//! from the chain specification.
//!
//! What always holds: a node that began to join so has the file `joining` beside
//! its ledger until it is through; whatever ends the process, the next start goes
//! on from what came.

mod candidates;
mod choice;
mod coming_file;
mod fetch;
mod marker;
mod restore;
mod stall;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use trefoil_ledger::{
    Ledger,
    state_sync::{self, ChainOnDisk},
};
use trefoil_os::{FileError, disk::FileDisk, private};
use trefoil_p2p::{NetGroup, NetHandle};
use trefoil_swarm::{Content, FetchError};
use trefoil_types::{ChainSpec, Disk, MemDisk, Offence, PeerId, Standing};

use self::{
    choice::{Choice, RejectedSnapshots, Teller, Told, Trust},
    marker::JoinMarker,
};
use crate::{
    HostError,
    home::Home,
    network_config::{self, NodeKeys},
    settings::{Settings, SyncMode},
    snapshots::{ListedFile, SnapshotFolder, SnapshotIndex},
};

// A look reads counters in memory. The waits below are seconds: a fifth of one makes none
// of them much longer.
/// How often the announcements and the progress are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long announcements are gathered after the first one.
// The snapshot that peers of most networks announce goes first, so the first peer must not decide
// alone.
const GATHER: Duration = Duration::from_secs(1);

/// When a peer has been connected for so long and nothing was announced, there is no
/// snapshot. A snapshot of others waits for so long for one of a peer that the operator named.
// A peer that has one announces it first of all, so 3 s are many round trips.
const QUIET: Duration = Duration::from_secs(3);

/// How long a node looks for peers before it begins at genesis.
// One whole attempt in the worst case: 5 s between two dials of a configured peer, 5 s of
// handshake, 5 s until the hello.
const ALONE: Duration = Duration::from_secs(15);

/// When too little came for so long, another snapshot is looked for.
// A peer can announce a snapshot that it never sends; without an end to the wait, one
// announcement would hold up the newcomer for ever.
const STALL: Duration = Duration::from_secs(20);

/// What must come in that time: 64 KiB a second.
// Attack: a piece each 19 s. Over a slower line a node could not follow the chain either.
const STALL_BYTES: u64 = 20 * (64 << 10);

/// While somebody else who was never left tells of another snapshot, files that would take longer
/// than this at their rate are left.
// Attack: true bytes, at just more than that rate, of a file that claims to be 1 TiB: nothing of a
// state can be judged before its end. Eight such attempts take 80 minutes; over a slow line an
// honest snapshot has its turn again when all were left once.
const ATTEMPT: Duration = Duration::from_secs(600);

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
    let marker = JoinMarker::of(&home.data());
    let standing = state_sync::standing(&*disk)?;
    if !is_due(standing, marker.exists(), spec, settings.sync, keys)? {
        // A restore by hand is for the operator to finish.
        if marker.exists() && standing == (ChainOnDisk::Nothing { unfinished: true }) {
            tracing::info!("what came of a snapshot is dropped: executing the chain");
            state_sync::abandon(&*disk)?;
            marker.remove()?;
        }
        return Ok(());
    }
    let (sync, drains) = StateSync::start(home, spec, settings, keys, disk).await?;
    let joined = sync.join(settings.sync == SyncMode::Snapshot).await;
    sync.net.shutdown();
    for drain in drains {
        // It ends with the network.
        let _ = drain.await;
    }
    if joined? {
        marker.remove()?;
    }
    Ok(())
}

/// Whether a node is to join by a snapshot. `begun`: it began to.
fn is_due(
    standing: ChainOnDisk,
    begun: bool,
    spec: &ChainSpec,
    mode: SyncMode,
    keys: &NodeKeys,
) -> Result<bool, HostError> {
    if spec.snapshot_every == 0 && mode == SyncMode::Snapshot {
        return Err(HostError::NoSnapshots);
    }
    let founded = keys
        .validators
        .iter()
        .any(|key| spec.validators.iter().any(|founder| founder.key == key.public()));
    match (mode, standing) {
        (SyncMode::Full, _) => Ok(false),
        (_, ChainOnDisk::Chain { .. }) => Ok(begun),
        (_, ChainOnDisk::Nothing { unfinished: true }) => Ok(begun),
        (SyncMode::Snapshot, _) => Ok(true),
        (SyncMode::Auto, _) => Ok(begun || !founded && spec.snapshot_every > 0),
    }
}

/// Why an attempt with one snapshot failed.
enum AttemptError {
    /// The snapshot contradicts itself or the chain specification.
    False(String),
    /// The snapshot may be good, and this node has no room for it, as it says itself.
    NoRoom(String),
    /// What it holds has no room here, and may be made so that it has none anywhere.
    TooLarge(String),
    /// No bytes come any more.
    Stalled,
    /// This node failed.
    Ours(HostError),
}

impl<E: Into<HostError>> From<E> for AttemptError {
    fn from(error: E) -> Self {
        Self::Ours(error.into())
    }
}

/// Only a failure of this node itself ends the state sync.
// A peer chooses what it announces. If its lie, or a size that it claims, ended the sync,
// any peer could keep a newcomer out of the chain.
fn attempt_error(error: FetchError) -> AttemptError {
    match error {
        FetchError::Size { .. } | FetchError::TooLong { .. } => {
            AttemptError::False(error.to_string())
        }
        FetchError::NoRoom(why) => AttemptError::NoRoom(why),
        // The bytes on this disk changed: they are fetched again.
        FetchError::Damaged { .. } => AttemptError::Stalled,
        error => AttemptError::Ours(error.into()),
    }
}

/// A snapshot that is being fetched, and those that were left before.
struct Attempt<'a> {
    choice: &'a Choice,
    rejected: &'a RejectedSnapshots,
}

struct StateSync {
    marker: JoinMarker,
    folder: SnapshotFolder,
    spec: Arc<ChainSpec>,
    disk: Arc<dyn Disk>,
    net: NetHandle,
    content: Content,
    /// The peers that the operator named.
    configured: BTreeSet<PeerId>,
}

impl StateSync {
    /// Connects to the network with nothing behind the connections but content.
    // Peers are admitted that this node's old list of members cannot judge: such a peer is
    // sent nothing, and what it sends is verified against the chain specification.
    async fn start(
        home: &Home,
        spec: &Arc<ChainSpec>,
        settings: &Settings,
        keys: &NodeKeys,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Vec<JoinHandle<()>>), HostError> {
        // The members as of genesis, or of the block that an unfinished sync came to.
        let ledger = match state_sync::standing(&*disk)? {
            ChainOnDisk::Chain { .. } => disk.clone(),
            ChainOnDisk::Nothing { .. } => Arc::new(MemDisk::default()) as Arc<dyn Disk>,
        };
        let ledger = Ledger::open(ledger, spec.clone(), settings.history.0)?;
        let access = network_config::access(home, &settings.p2p, &ledger)?;
        let me = PeerId(keys.identity.public());
        let sharing = network_config::sharing(home, settings, me, &access)?;
        let config =
            network_config::network(home, &settings.p2p, &ledger, keys.identity.clone(), access);
        drop(ledger);
        let (net, lanes) = trefoil_p2p::start_newcomer(config).await?;
        let content = Content::start(sharing, net.clone(), lanes.content)?;
        let drain = |mut lane: trefoil_p2p::LaneReceiver| {
            tokio::spawn(async move { while lane.recv().await.is_some() {} })
        };
        let drains = [lanes.consensus, lanes.catch_up, lanes.gossip].map(drain).into();
        let (marker, folder) = (JoinMarker::of(&home.data()), home.snapshots());
        private::directory(&folder.dir).map_err(|e| FileError::new("make", &folder.dir, e))?;
        let configured = settings.p2p.peers.iter().map(|known| known.peer).collect();
        let spec = spec.clone();
        Ok((Self { marker, folder, spec, disk, net, content, configured }, drains))
    }

    // Attack: a forged file leaves half of a state, which is no state to go on from. A newcomer
    // that then waited for a true one, whatever came, was kept away by liars for ever.
    /// Until the node is at a recent block with all blocks before it, or (not
    /// `patient`) no peer has a snapshot, or none that it tells of comes. `false`: the next
    /// start is to go on from here.
    async fn join(&self, patient: bool) -> Result<bool, HostError> {
        let mut rejected = RejectedSnapshots::default();
        let resumed = restore::resume(&*self.disk, &self.marker, &mut rejected)?;
        let mut resumed: Vec<Choice> = resumed.into_iter().collect();
        loop {
            if rejected.is_over() && !patient {
                rejected.tell_of_room();
                tracing::warn!("no snapshot that peers told of came: going on without one");
                state_sync::abandon(&*self.disk)?;
                return Ok(matches!(self.standing()?, ChainOnDisk::Nothing { .. }));
            }
            let mut candidates = std::mem::take(&mut resumed);
            if candidates.is_empty() {
                candidates = self.choose(&mut rejected, patient).await?;
            }
            if candidates.is_empty() {
                rejected.tell_of_room();
                tracing::info!("no peer has a snapshot: executing the chain");
                state_sync::abandon(&*self.disk)?;
                return Ok(true);
            }
            if self.attempt(candidates, &mut rejected).await? {
                return Ok(true);
            }
            rejected.end_round();
            if rejected.lacks_room() && self.make_room(&mut rejected).await? {
                rejected.forgive_room();
            }
        }
    }

    /// Takes in the best of the candidates. `false`: nothing came of them.
    async fn attempt(
        &self,
        candidates: Vec<Choice>,
        rejected: &mut RejectedSnapshots,
    ) -> Result<bool, HostError> {
        let Some(proven) = self.first_proven(candidates, rejected).await? else {
            return Ok(false);
        };
        self.marker.write(&proven.choice.snapshot)?;
        let attempt = Attempt { choice: &proven.choice, rejected };
        let taken = self.take(&proven.index, proven.listed, &attempt).await;
        match taken {
            Ok(()) => Ok(true),
            Err(AttemptError::Ours(failure)) => Err(failure),
            Err(failed) => {
                match failed {
                    // What came of one that is slow may be of use at the next start.
                    AttemptError::Stalled => _ = rejected.parts.insert(proven.index.state.id),
                    _ => restore::drop_unfinished(&*self.disk, &self.marker)?,
                }
                self.reject(proven.choice, &failed, rejected).await?;
                Ok(false)
            }
        }
    }

    /// Leaves a snapshot that failed, and those who told of it.
    async fn reject(
        &self,
        mut choice: Choice,
        failed: &AttemptError,
        rejected: &mut RejectedSnapshots,
    ) -> Result<(), HostError> {
        let told = self.told().await?;
        let same = told.into_iter().filter(|(_, teller)| teller.snapshot == choice.snapshot);
        choice.tellers.extend(same.map(|(peer, _)| peer));
        let height = choice.snapshot.height;
        match failed {
            AttemptError::NoRoom(why) => {
                tracing::error!(height, why, "a snapshot is not taken");
                rejected.refuse_for_room(&choice, why);
            }
            // Nobody is blamed: a true one may be as large.
            AttemptError::TooLarge(why) => {
                tracing::error!(height, why, "a snapshot is not taken");
                rejected.refuse_as_too_large(&choice, why);
            }
            AttemptError::False(why) => {
                tracing::warn!(height, why, "peers told of a false snapshot");
                rejected.refuse(&choice);
                for peer in choice.tellers {
                    self.content.blame(peer, Offence::BadContent).await;
                }
            }
            AttemptError::Stalled | AttemptError::Ours(_) => {
                tracing::warn!(height, "too little comes of a snapshot");
                rejected.leave(&choice);
            }
        }
        Ok(())
    }

    /// Who tells of which snapshot.
    async fn told(&self) -> Result<Told, HostError> {
        let announced = self.content.announced().await?.into_iter();
        let address = |text: &str| text.parse().ok().map(|address: SocketAddr| address.ip());
        let peers = self.net.peers().into_iter();
        let addresses: BTreeMap<PeerId, IpAddr> =
            peers.filter_map(|it| Some((it.peer, address(it.address.as_str())?))).collect();
        let told = announced.map(|(peer, (standing, snapshot))| {
            let trust = match standing {
                // One that the operator named may stand in for an organisation that it is not of.
                Standing::Unjudged => Trust::Unjudged,
                Standing::Member(_) | Standing::Validator => Trust::Known,
                Standing::Public if self.configured.contains(&peer) => Trust::Known,
                Standing::Public => Trust::Stranger,
            };
            // One that has just left counts for little.
            let unknown = Ipv4Addr::UNSPECIFIED.into();
            let group = NetGroup::of(addresses.get(&peer).copied().unwrap_or(unknown));
            (peer, Teller { trust, group, snapshot })
        });
        Ok(told.collect())
    }

    /// Waits for announcements, and ranks them. None: no peer has a snapshot.
    async fn choose(
        &self,
        rejected: &mut RejectedSnapshots,
        patient: bool,
    ) -> Result<Vec<Choice>, HostError> {
        let began = Instant::now();
        let (mut met, mut heard) = (None, None);
        loop {
            let candidates = rejected.choose(&self.told().await?);
            if let Some(best) = candidates.first() {
                let known = best.trust == Trust::Known || self.configured.is_empty();
                let gather = if known { GATHER } else { QUIET };
                if heard.get_or_insert_with(Instant::now).elapsed() >= gather {
                    return Ok(candidates);
                }
            }
            if !self.net.peers().is_empty() {
                met.get_or_insert_with(Instant::now);
            }
            let silent = met.map_or(began.elapsed() >= ALONE, |met| met.elapsed() >= QUIET);
            if silent && candidates.is_empty() && !patient {
                return Ok(candidates);
            }
            sleep(LOOK).await;
        }
    }

    /// Fetches and takes in the files of a snapshot's index that are missing here. `listed`: the
    /// index itself.
    async fn take(
        &self,
        index: &SnapshotIndex,
        listed: ListedFile,
        attempt: &Attempt<'_>,
    ) -> Result<(), AttemptError> {
        self.fetch(vec![listed], attempt).await?;
        if let ChainOnDisk::Nothing { .. } = self.standing()? {
            tracing::info!(height = index.height, bytes = index.state.size, "fetching a snapshot");
            let paths = self.fetch(vec![index.state.clone()], attempt).await?;
            // The blocks come over the network while the state is written to the disk.
            let history = index.before(index.height.saturating_add(1)).cloned().collect();
            let mut restored = pin!(self.restore(&index.state, &paths[&index.state.id]));
            let mut fetched = pin!(self.fetch(history, attempt));
            tokio::select! {
                // Attack: a false state, and a history that comes for as long as a liar likes.
                restored = &mut restored => {
                    restored?;
                    fetched.await?;
                }
                // To its end: a restore that is left would go on writing beside the next.
                fetched = &mut fetched => restored.await.and(fetched.map(drop))?,
            }
        }
        let ChainOnDisk::Chain { blocks_from, .. } = self.standing()? else {
            unreachable!("restored")
        };
        let missing: Vec<ListedFile> = index.before(blocks_from).cloned().collect();
        let paths = self.fetch(missing.clone(), attempt).await?;
        for archive in &missing {
            self.import(archive, &paths[&archive.id]).await?;
        }
        Ok(())
    }

    fn standing(&self) -> Result<ChainOnDisk, HostError> {
        Ok(state_sync::standing(&*self.disk)?)
    }
}
