//! `trefoil snapshot` and `trefoil restore`: files by which a new node joins
//! without executing the whole chain.

use std::{
    fs::{self, DirBuilder, File},
    io::BufReader,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use serde_json::json;
use trefoil_host::{
    home::{Home, read_spec},
    snapshots::{FileName, archives_up_to, senders_are_right},
};
use trefoil_ledger::{
    History, Ledger,
    state_sync::{self, Archived, JoinError, Restored},
};
use trefoil_os::{
    disk::{FileDisk, write_whole},
    keystore,
};
use trefoil_swarm::draft_directory;
use trefoil_types::{B256, ChainSpec, Height};

use super::arguments::DirArgs;
use crate::error::CommandError;

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Make the newest state snapshot of a node that is stopped; one that runs makes its own
    Make(DirArgs),
    /// The state snapshots that a node keeps
    List {
        #[command(flatten)]
        dir: DirArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a state snapshot against the chain specification, without trusting anyone
    Verify(VerifySnapshotArgs),
    /// Write a stopped node's blocks as history archives, for nodes that join by a snapshot
    History {
        #[command(flatten)]
        dir: DirArgs,
        /// Where the archives go
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

impl SnapshotCommand {
    pub fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Make(dir) => make(&dir),
            Self::List { dir, json } => list(&dir, json),
            Self::Verify(command) => command.run(),
            Self::History { dir, out } => history(&dir, &out),
        }
    }
}

fn make(dir: &DirArgs) -> Result<(), CommandError> {
    let home = dir.home();
    let (_, ledger, height) = stopped(&home)?;
    let folder = home.snapshots();
    let counts = folder.make(&ledger.snapshot(), height)?;
    println!(
        "{}  block {height}: {} accounts, {} slots, {} contracts' code",
        folder.path(FileName::State(height)).display(),
        counts.accounts,
        counts.slots,
        counts.codes
    );
    Ok(())
}

fn too_young(spec: &ChainSpec, tip: Height) -> CommandError {
    match spec.snapshot_every {
        0 => CommandError::with_cure(
            "this network keeps no snapshots",
            "its chain.toml has snapshot_every = 0; new nodes execute the chain",
        ),
        every => CommandError::with_cure(
            format!("the chain is at block {tip}, and the first snapshot is that of block {every}"),
            format!("wait for block {}", every.saturating_add(1)),
        ),
    }
}

/// The chain of a node that does not run, as of its last checkpoint, and the block that its
/// newest snapshot is of.
fn stopped(home: &Home) -> Result<(Arc<ChainSpec>, Ledger, Height), CommandError> {
    let spec = home.spec()?;
    let disk = Arc::new(FileDisk::open(&home.data())?);
    let ledger = Ledger::open(disk, spec.clone(), History::Archive)?;
    let tip = ledger.tip().number;
    let newest = state_sync::snapshot_height(&spec, tip).ok_or_else(|| too_young(&spec, tip))?;
    Ok((spec, ledger, newest))
}

fn list(dir: &DirArgs, as_json: bool) -> Result<(), CommandError> {
    let folder = dir.home().snapshots();
    let found = folder.list().map_err(|e| CommandError::file("read", &folder.dir, e))?;
    let mut rows = Vec::new();
    for (height, path) in found {
        // A running node may have dropped it just now.
        let Ok(file) = File::open(&path) else { continue };
        let bytes = file.metadata().map_err(|e| CommandError::file("read", &path, e))?.len();
        // The head alone: it names the block, and a snapshot may be as large as the state.
        let (_, hash) = state_sync::peek(BufReader::new(file))?;
        rows.push((height, hash, bytes, path));
    }
    if as_json {
        let row = |(height, hash, bytes, path): &(Height, B256, u64, PathBuf)| json!({ "height": height, "blockHash": hash, "bytes": bytes, "path": path });
        println!("{:#}", rows.iter().map(row).collect::<serde_json::Value>());
        return Ok(());
    }
    if rows.is_empty() {
        println!("there are none yet in {}", folder.dir.display());
    }
    for (height, hash, bytes, path) in rows {
        println!("block {height}  {hash}  {bytes} bytes  {}", path.display());
    }
    Ok(())
}

#[derive(Debug, Args)]
pub struct VerifySnapshotArgs {
    /// The state snapshot
    file: PathBuf,
    /// The chain specification: the only thing that is trusted
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// The hash that the snapshot's block must have, from someone you trust
    #[arg(long, value_name = "HASH")]
    hash: Option<B256>,
}

impl VerifySnapshotArgs {
    fn run(self) -> Result<(), CommandError> {
        let spec = read_spec(&self.chain)?;
        // Beside the file, where there is room for its content. The name is new: a directory
        // of a fixed name could be the user's, and this one is removed at the end.
        let scratch = draft_directory(&self.file)
            .map_err(|e| CommandError::file("make a directory beside", &self.file, e))?;
        // A draft directory is readable by all, since it mostly becomes the user's output.
        // The restored state is not for other users of this machine.
        let data = scratch.path().join("data");
        let made = DirBuilder::new().mode(0o700).create(&data);
        made.map_err(|e| CommandError::file("make", &data, e))?;
        let restored = restore(&data, &spec, &self.file, self.hash)?;
        println!("{}", summary(&restored));
        println!(
            "proven from genesis by those who validated; its state has the root that they signed"
        );
        Ok(())
    }
}

fn summary(restored: &Restored) -> String {
    let Restored { height, hash, state_root, counts } = restored;
    format!(
        "block {height} ({hash}), state root {state_root}: {} accounts, {} slots, {} contracts' code",
        counts.accounts, counts.slots, counts.codes
    )
}

fn open(path: &Path) -> Result<File, CommandError> {
    File::open(path).map_err(|e| CommandError::file("read", path, e))
}

fn restore(
    data: &Path,
    spec: &ChainSpec,
    file: &Path,
    hash: Option<B256>,
) -> Result<Restored, CommandError> {
    let file = BufReader::with_capacity(1 << 20, open(file)?);
    let disk = FileDisk::open(data)?;
    Ok(state_sync::restore(&disk, spec, file, hash)?)
}

fn history(dir: &DirArgs, out: &Path) -> Result<(), CommandError> {
    let (spec, ledger, newest) = stopped(&dir.home())?;
    let view = ledger.snapshot();
    fs::create_dir_all(out).map_err(|e| CommandError::file("make", out, e))?;
    for archived in archives_up_to(&view, newest, spec.snapshot_every) {
        let path = out.join(FileName::Blocks(archived).to_string());
        write_whole(&path, |file| state_sync::write_archive(&view, archived, file))?;
        println!("{}", path.display());
    }
    Ok(())
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The state snapshot; left out when only history is added
    #[arg(required_unless_present = "history")]
    snapshot: Option<PathBuf>,
    /// A history archive; may be given many times, in any order
    #[arg(long, value_name = "FILE", num_args = 1..)]
    history: Vec<PathBuf>,
    #[command(flatten)]
    dir: DirArgs,
    /// The hash that the snapshot's block must have, from someone you trust
    #[arg(long, value_name = "HASH")]
    hash: Option<B256>,
}

impl RestoreArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let home = self.dir.home();
        let spec = home.spec()?;
        if let Some(file) = &self.snapshot {
            let restored = restore(&home.data(), &spec, file, self.hash)?;
            println!("{}", summary(&restored));
        }
        self.import(&home, &spec)?;
        // A snapshot restores the chain, not the memory of what this validator signed last.
        if keystore::holds_validator(&home.dir) {
            println!(
                "this node has a validator key: if it validated before, start it only when the others \
                 have made at least one more block since, or it may sign twice"
            );
        }
        println!("start it with `trefoil run --dir {}`; it follows the chain", home.dir.display());
        Ok(())
    }

    /// From the newest blocks to the oldest, whatever the order of the files.
    fn import(&self, home: &Home, spec: &ChainSpec) -> Result<(), CommandError> {
        let disk = FileDisk::open(&home.data())?;
        // Each archive must end where the blocks that are here begin, so those that do not fit
        // yet wait for another round.
        let mut waiting = self.history.clone();
        while !waiting.is_empty() {
            let mut refused = None;
            let before = waiting.len();
            let mut left = Vec::new();
            for path in waiting {
                let mut file = BufReader::with_capacity(1 << 20, open(&path)?);
                match state_sync::import_archive(&disk, spec, &mut file, &senders_are_right) {
                    Ok(Archived { first, last }) => println!("blocks {first} to {last}"),
                    Err(error @ JoinError::NotNext { .. }) => {
                        refused = Some(error);
                        left.push(path);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            waiting = left;
            match refused {
                // A round without progress: the archives leave a gap.
                Some(error) if waiting.len() == before => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}
