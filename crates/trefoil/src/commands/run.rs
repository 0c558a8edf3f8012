//! `trefoil run`: a node in the foreground, until a signal.

use std::{
    io::{self, Read as _, Write as _},
    pin::pin,
    thread,
};

use clap::Args;
use tokio::sync::oneshot;
use trefoil_host::{Host, NodeKeys, home::Home, logging, settings::Settings};
use trefoil_os::keystore::{self, KeyKind, PasswordSource};

use super::{
    arguments::{DirArgs, SettingsArgs},
    block_on::block_on,
    end_signal::end_signal,
};
use crate::error::CommandError;

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    dir: DirArgs,
    #[command(flatten)]
    flags: SettingsArgs,
    /// Stop when stdin closes: the parent holds its other end
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

impl RunArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let home = self.dir.home();
        let spec = home.spec()?;
        let settings = home.settings(&self.flags.given())?.settings;
        logging::start(&settings.log)?;
        let keys = open_keys(&home, &settings, self.flags.password.source())?;
        block_on(async {
            // Before the host starts: a signal that comes meanwhile must not be lost.
            let mut ended = pin!(end_asked(self.exit_with_parent));
            // A start takes hours when it joins a large chain, and for ever when nobody has the
            // snapshot that it waits for. As after a kill, the next one goes on from there.
            let host = tokio::select! {
                host = Host::start(&home, spec, &settings, keys) => host?,
                why = &mut ended => {
                    tracing::info!("{why}: stopping before the start was over");
                    return Ok(());
                }
            };
            announce(&host, &settings);
            let why = ended.await;
            tracing::info!("{why}: stopping");
            host.stop().await;
            Ok(())
        })
    }
}

/// Opens the node's keys with one password: the `given` one, or that of its settings.
pub(super) fn open_keys(
    home: &Home,
    settings: &Settings,
    given: PasswordSource,
) -> Result<NodeKeys, CommandError> {
    let configured = Some(settings.keys.password_file.clone());
    let configured = configured.filter(|file| !file.as_os_str().is_empty());
    let password = PasswordSource { configured, ..given }.get("this node's keys")?;
    Ok(NodeKeys {
        identity: keystore::open_ed25519(&home.dir, KeyKind::Node, &password)?,
        validators: keystore::open_validators(&home.dir, &password)?,
        ca: settings.keys.ca(&home.dir, &password)?,
    })
}

/// Says where the node is. By a thread of its own: a stdout that is closed, full or without a
/// reader is no reason for a node to end, or to wait.
fn announce(host: &Host, settings: &Settings) {
    let (backend, spec) = (&host.backend, &host.backend.spec);
    let kind = spec.kind.name();
    let validator = match backend.validator_keys_in_turn() {
        [Some(key), Some(next)] => format!("{key}\nnext key   {next}"),
        [Some(key), None] => key.to_string(),
        [None, _] => "none: a full node, which checks and serves".into(),
    };
    let text = format!(
        "chain      {} ({kind}), id {}, genesis {}\n\
         node       {}@{}\n\
         validator  {validator}\n\
         rpc        http://{5} ws://{5}\n\
         height     {6}\n",
        spec.name,
        spec.chain_id,
        backend.genesis_hash,
        backend.peer,
        settings.p2p.listen,
        host.rpc,
        backend.snapshot().tip().number,
    );
    thread::spawn(move || io::stdout().write_all(text.as_bytes()));
}

/// Resolves, with the reason, when the process is asked to end.
fn end_asked(with_parent: bool) -> impl Future<Output = &'static str> {
    let signal = end_signal();
    let (orphan, orphaned) = oneshot::channel();
    if with_parent {
        // A thread, not a task: the runtime would wait at its end for a read that never
        // returns.
        thread::spawn(move || {
            // Nothing is ever written there: this returns when the parent closes
            // its end, or dies.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = orphan.send(());
        });
    }
    async move {
        tokio::select! {
            reason = signal => reason,
            // Without a parent to watch, the channel closes at once, which is no reason.
            Ok(()) = orphaned => "the parent process is gone",
        }
    }
}
