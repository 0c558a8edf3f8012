//! The running node that does the work of content, and its jobs.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use trefoil_host::home::Home;
use trefoil_os::{
    disk::{DiskError, FileDisk},
    keystore::PasswordSource,
    operator_file,
};
use trefoil_rpc::content::{
    admin::{JobOutcome, JobStatus},
    admin_server::token_file,
};
use trefoil_swarm::StoppedContent;
use trefoil_types::Kind;

use super::{
    arguments::PasswordArgs,
    devnet::{default_dir, node_dir},
};
use crate::{
    chain_client::{client::Client, contract::Contract, governance::Organisations},
    error::CommandError,
};

// The progress line moves smoothly, and a poll costs the node a look at some counters.
/// How often a job is asked for its progress.
pub const POLL: Duration = Duration::from_millis(100);

/// The longest token, bytes; a node's has 32.
const TOKEN_BYTES_MAX: u64 = 1_024;

/// Which running node does the work.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The node's directory, or a devnet's with --node [default: the devnet's]
    #[arg(long, value_name = "DIR", env = "TREFOIL_DIR")]
    dir: Option<PathBuf>,
    /// Node N of a devnet
    #[arg(long, value_name = "N")]
    node: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl WorkerArgs {
    /// The node's directory: the named one, or a node's of a devnet.
    pub fn home(&self) -> Result<Home, CommandError> {
        let dir = match (&self.dir, self.node) {
            // A devnet's directory holds node directories and is none itself.
            (Some(dir), None) if Home::new(dir).is_founded() => dir.clone(),
            (Some(dir), node) => node_dir(dir, node.unwrap_or(0)),
            (None, node) => node_dir(&default_dir()?, node.unwrap_or(0)),
        };
        Ok(Home::new(dir))
    }

    /// A client that holds the node's token.
    pub fn client(&self) -> Result<Client, CommandError> {
        let home = self.home()?;
        let file = token_file(&home.data());
        // A program that can read the node's directory may command the node; one on the
        // network may not.
        let token = operator_file::read_text(&file, TOKEN_BYTES_MAX).map_err(|error| {
            let what = format!("cannot read {}: {error}", file.display());
            CommandError::with_cure(
                what,
                "start the node, or name its directory with --dir (and --node)",
            )
        })?;
        let listen = home.settings(&[])?.settings.rpc.listen;
        Ok(Client::new(&format!("http://{listen}/admin")).with_token(token))
    }

    /// The content of a node that does not run; `None`: it runs, or there is none.
    pub fn stopped(&self) -> Result<Option<StoppedContent>, CommandError> {
        let home = self.home()?;
        if !home.is_founded() || !home.data().exists() {
            return Ok(None);
        }
        match FileDisk::open(&home.data()) {
            Ok(lock) => Ok(Some(StoppedContent::open(lock, &home.content())?)),
            Err(DiskError::Locked { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The node's JSON-RPC, as anyone may call it.
    pub fn rpc(&self) -> Result<Client, CommandError> {
        let listen = self.home()?.settings(&[])?.settings.rpc.listen;
        Ok(Client::new(&listen.to_string()))
    }

    // A password in the environment is that of the user's own nodes. A devnet's is everyone's, and
    // is always in its files.
    /// The password that was given, or that of the node's settings.
    pub fn password(&self, given: &PasswordArgs) -> Result<PasswordSource, CommandError> {
        let (home, given) = (self.home()?, given.source());
        let own = Some(home.settings(&[])?.settings.keys.password_file).filter(|own| own.is_file());
        Ok(match self.dir.as_ref() == Some(&home.dir) {
            true => PasswordSource { configured: own, ..given },
            false => PasswordSource { file: given.file.or(own), ..given },
        })
    }

    /// The organisations of the node's network, which `flag` names, and the contract
    /// that knows more of them.
    pub async fn organisations(
        &self,
        flag: &str,
        instead: &str,
    ) -> Result<(Contract, Organisations), CommandError> {
        let contract = Contract::governing(self.rpc()?);
        if contract.kind().await? == Kind::Public {
            let what = format!("{flag} names organisations, and a public network has none");
            return Err(CommandError::with_cure(what, instead));
        }
        let organisations = Organisations::read(&contract).await?;
        Ok((contract, organisations))
    }

    /// Starts a job and waits for its end; Ctrl-C ends it, and what came stays.
    pub async fn work(
        &self,
        method: &str,
        param: Value,
        mut show: impl FnMut(&JobStatus),
    ) -> Result<JobOutcome, CommandError> {
        let client = self.client()?;
        let job = client.call(method, json!([param])).await?;
        loop {
            let status = client.call("admin_job", json!([job])).await?;
            let status: JobStatus =
                serde_json::from_value(status).map_err(|_| client.odd(method))?;
            show(&status);
            if let Some(ended) = status.ended {
                let cure = "try again when that is mended";
                return ended.map_err(|why| CommandError::with_cure(why, cure));
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                _ = tokio::signal::ctrl_c() => {
                    client.call("admin_cancel", json!([job])).await?;
                    let cure = "the same command goes on from there";
                    return Err(CommandError::with_cure("interrupted: what came so far is kept", cure));
                }
            }
        }
    }
}
