//! Sealing (`put --seal`) and opening (`get`): both in this process, so that the
//! running node never sees the key.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    thread,
};

use age::x25519;
use trefoil_content::Link;
use trefoil_os::keystore::{self, KeyKind, SealingKey, sealing};
use trefoil_swarm::sealed::{self, SealedError, Watch};

use super::{
    arguments::PasswordArgs,
    block_on::block_on,
    progress::Bar,
    resource::bytes_of,
    worker::{POLL, WorkerArgs},
};
use crate::{
    chain_client::governance::SealingKeys,
    error::{CommandError, OrCure as _},
};

/// The keys of the named recipients: organisations by name or number, keys by
/// themselves.
pub async fn recipients(
    worker: &WorkerArgs,
    named: &[String],
) -> Result<Vec<SealingKey>, CommandError> {
    let key = |name: &String| name.parse::<SealingKey>();
    // Keys alone need no chain, so that this also works on a public network.
    if let Ok(keys) = named.iter().map(key).collect() {
        return Ok(keys);
    }
    let instead = "name keys: age1…, as `trefoil keys list` shows them";
    let (contract, known) = worker.organisations("--seal", instead).await?;
    let theirs = SealingKeys::read(&contract).await?;
    let of = |name: &String| match key(name) {
        Ok(key) => Ok(key),
        Err(_) => {
            let id = known.find(name)?;
            theirs.of(id).or_cure(
                format!("{} has no sealing key", known.label(id)),
                "it sets one with `trefoil keys new sealing` and `trefoil org sealing-key`",
            )
        }
    };
    named.iter().map(of).collect()
}

/// Seals a file or directory into a file beside it, from where it is then shared.
/// `data`: where the journal of this machine's node is.
pub fn seal(
    path: &Path,
    keys: &[SealingKey],
    data: &Path,
    quiet: bool,
) -> Result<PathBuf, CommandError> {
    let sealed = beside(path);
    if sealed.exists() {
        return Err(CommandError::Sealed(SealedError::Taken(sealed)));
    }
    let total = bytes_of(path).map_err(|e| CommandError::file("read", path, e))?;
    watched(quiet, total, "sealed", |watch| sealed::seal(path, keys, &sealed, data, watch))?;
    Ok(sealed)
}

/// The name of the sealed file of a path.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sealed");
    name.into()
}

/// Opens a sealed file with the keys of the node's directory.
pub fn open(
    sealed: &Path,
    keys: &[x25519::Identity],
    to: &Path,
    data: &Path,
    quiet: bool,
) -> Result<(), CommandError> {
    let total = fs::metadata(sealed).map_err(|e| CommandError::file("read", sealed, e))?.len();
    watched(quiet, total, "opened", |watch| sealed::open(sealed, keys, to, data, watch))
}

/// The sealing keys in the node's directory, opened.
pub fn identities(
    worker: &WorkerArgs,
    password: &PasswordArgs,
    link: &Link,
) -> Result<Vec<x25519::Identity>, CommandError> {
    let home = worker.home()?;
    let source = worker.password(password)?;
    let files = keystore::list(&home.dir)?.into_iter().filter(|file| file.kind == KeyKind::Sealing);
    let open = |path: PathBuf| -> Result<_, CommandError> {
        let password = source.get(&path.display().to_string())?;
        Ok(sealing::identity(&*keystore::open(&path, &password)?))
    };
    let identities = files.map(|file| open(file.path)).collect::<Result<Vec<_>, _>>()?;
    if identities.is_empty() {
        return Err(CommandError::with_cure(
            format!(
                "{} is sealed, and {} has no sealing key",
                link.id,
                home.dir.join("keys").display()
            ),
            "take one of your organisation's in with `trefoil keys import sealing`; --sealed keeps it as it is",
        ));
    }
    Ok(identities)
}

/// Does long work while it is shown and can be interrupted.
fn watched(
    quiet: bool,
    total: u64,
    what: &str,
    work: impl FnOnce(&Watch) -> Result<(), SealedError> + Send,
) -> Result<(), CommandError> {
    let (watch, mut bar) = (Watch::default(), Bar::new(quiet));
    // A thread of its own: the work blocks, and the runtime must still receive Ctrl-C.
    let done = thread::scope(|scope| {
        let working = scope.spawn(|| work(&watch));
        block_on(async {
            while !working.is_finished() {
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    _ = tokio::signal::ctrl_c() => watch.stopped.store(true, Ordering::Relaxed),
                }
                bar.show(watch.read.load(Ordering::Relaxed), Some(total), what);
            }
        });
        working.join()
    });
    let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if watch.stopped.into_inner() {
        return Err(CommandError::with_cure(
            "interrupted: nothing was written",
            "the same command begins anew",
        ));
    }
    done.map_err(CommandError::Sealed)?;
    bar.end(total, what);
    Ok(())
}
