//! `trefoil put`, `get`, `ls`, `pin`, `unpin`, `rm`: content by way of a running
//! node, which does the work; these commands show how far it is. Of a node that does not run,
//! `ls`, `pin`, `unpin` and `rm` work in its directory.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use trefoil_content::{AllowList, Link, ResourceKind};
use trefoil_rpc::content::admin::{self, GetRequest, JobOutcome, PutOriginRequest, PutRequest};
use trefoil_swarm::{Metadata, draft_directory};

use super::{
    arguments::PasswordArgs,
    block_on::block_on,
    names::{SignerArgs, only, own_title},
    progress::Bar,
    resource::{byte_range, bytes_of, output_path, parse_link},
    sealing,
    worker::WorkerArgs,
};
use crate::{
    chain_client::{
        account_key::AccountKey,
        registry::{self, Registry, Title},
    },
    error::CommandError,
};

#[derive(Debug, Args)]
pub struct PutArgs {
    /// A file or directory, which is shared from where it is
    #[arg(required_unless_present = "origin")]
    path: Option<PathBuf>,
    /// An HTTP server's file instead, which is read once and stays where it is
    #[arg(long, value_name = "URL", conflicts_with = "path")]
    origin: Option<String>,
    /// Publish it on the chain under this name; without @VERSION as the next
    #[arg(long, value_name = "NAME[@VERSION]", value_parser = own_title)]
    name: Option<Title>,
    /// Only these organisations may have it, and the node's own; by name or number
    #[arg(long, value_name = "ORG,…", value_delimiter = ',')]
    allow: Vec<String>,
    /// Only these can read it, whoever stores it: organisations, or keys (age1…).
    /// It is shared from a file PATH.sealed
    #[arg(long, value_name = "ORG|KEY,…", value_delimiter = ',', conflicts_with = "origin")]
    seal: Vec<String>,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    worker: WorkerArgs,
}

impl PutArgs {
    pub fn run(self) -> Result<(), CommandError> {
        // First of all, so that nothing is hashed in vain.
        let title = self.name.as_ref();
        let wallet =
            title.map(|title| Ok::<_, CommandError>((self.signer.wallet(&self.worker)?, title)));
        let wallet = wallet.transpose()?;
        let outcome = self.share()?;
        // It is shared now, even if its publication fails.
        if !self.worker.json {
            println!("{}", outcome.link);
        }
        let published = wallet.map(|wallet| self.publish(wallet, &outcome.link)).transpose()?;
        if self.worker.json {
            println!("{:#}", json!({ "link": outcome.link, "published": published }));
        } else if let Some(title) = published {
            println!("published as {title}");
        }
        Ok(())
    }

    /// Has the node hash and share it.
    fn share(&self) -> Result<JobOutcome, CommandError> {
        // First of all, so that nothing is sealed in vain.
        self.worker.client()?;
        let name = self.name.as_ref().map(|title| title.name.clone());
        let (method, call, total) = match (&self.origin, &self.path) {
            (Some(url), _) => {
                let (url, allow) = (url.clone(), block_on(self.allow_list())?);
                ("admin_putOrigin", json!(PutOriginRequest { url, name, allow }), None)
            }
            (None, path) => {
                let call = self.local(path.as_deref().unwrap_or(Path::new(".")), name)?;
                let total =
                    bytes_of(&call.path).map_err(|e| CommandError::file("read", &call.path, e))?;
                ("admin_put", json!(call), Some(total))
            }
        };
        let (mut bar, mut hashed) = (Bar::new(self.worker.json), 0);
        let work = self.worker.work(method, call, |status| {
            hashed = status.read;
            bar.show(hashed, total.or(status.total), "hashed");
        });
        let outcome = block_on(work)?;
        bar.end(total.unwrap_or(hashed), "hashed");
        Ok(outcome)
    }

    /// The request to share a local path, which is sealed first if keys are named.
    fn local(&self, path: &Path, name: Option<String>) -> Result<PutRequest, CommandError> {
        let path = path.canonicalize().map_err(|e| CommandError::file("find", path, e))?;
        let allow = block_on(self.allow_list())?;
        if self.seal.is_empty() {
            return Ok(PutRequest { path, name, allow, sealed: false });
        }
        let keys = block_on(sealing::recipients(&self.worker, &self.seal))?;
        let name = name.or_else(|| Some(path.file_name()?.to_str()?.to_owned()));
        let data = self.worker.home()?.data();
        let path = sealing::seal(&path, &keys, &data, self.worker.json)?;
        Ok(PutRequest { path, name, allow, sealed: true })
    }

    /// The organisations that were named, by their numbers.
    async fn allow_list(&self) -> Result<AllowList, CommandError> {
        if self.allow.is_empty() {
            return Ok(AllowList::default());
        }
        let instead = "leave it out: anyone may have what is shared there";
        let (_, organisations) = self.worker.organisations("--allow", instead).await?;
        let ids = self.allow.iter().map(|named| organisations.find(named));
        let list = AllowList::new(ids.collect::<Result<Vec<_>, _>>()?);
        list.map_err(|error| CommandError::with_cure(error.to_string(), "name fewer with --allow"))
    }

    /// Publishes it under its name; returns the title with its version.
    fn publish(
        &self,
        (wallet, title): (AccountKey, &Title),
        link: &str,
    ) -> Result<String, CommandError> {
        let registry = Registry::new(self.worker.rpc()?);
        let version = block_on(registry.publish(&wallet, title, &parse_link(link)?))?;
        let (publisher, name) = (Some(wallet.address()), title.name.clone());
        Ok(Title { publisher, name, version: Some(version) }.to_string())
    }
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// The link that `trefoil put` printed, the id in it, or a published [PUBLISHER/]NAME[@VERSION]
    #[arg(value_name = "LINK|NAME")]
    what: String,
    /// Where to write it [default: its name, here]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Only this file of a directory
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Only the bytes from A to before B
    #[arg(long, value_name = "A-B", value_parser = byte_range)]
    range: Option<(u64, u64)>,
    /// In order, for a program that reads along
    #[arg(long)]
    sequential: bool,
    /// Leave it sealed: write it as it is stored
    #[arg(long)]
    sealed: bool,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    worker: WorkerArgs,
}

impl GetArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let link = self.link()?;
        let output = output_path(self.output.as_deref(), self.path.as_deref(), &link)?;
        let outcome = match link.id.kind {
            ResourceKind::Sealed if self.sealed => {
                let named = self.output.is_some();
                self.fetch(&link, if named { output } else { sealing::beside(&output) })?
            }
            ResourceKind::Sealed => self.open(&link, output)?,
            ResourceKind::File | ResourceKind::Directory => self.fetch(&link, output)?,
        };
        match self.worker.json {
            true => println!("{:#}", json!(outcome)),
            false => println!("{}", outcome.output.unwrap_or_default().display()),
        }
        Ok(())
    }

    /// Has the node fetch it and write it to `output`.
    fn fetch(&self, link: &Link, output: PathBuf) -> Result<JobOutcome, CommandError> {
        let call = GetRequest {
            link: link.to_string(),
            output: Some(output),
            path: self.path.clone(),
            range: self.range,
            sequential: self.sequential,
        };
        let mut bar = Bar::new(self.worker.json);
        let work = self.worker.work("admin_get", json!(call), |status| bar.progress(status));
        let outcome = block_on(work)?;
        bar.fetched(outcome.progress.as_ref());
        Ok(outcome)
    }

    /// Fetches what is sealed beside `output`, and opens it.
    fn open(&self, link: &Link, output: PathBuf) -> Result<JobOutcome, CommandError> {
        if self.path.is_some() || self.range.is_some() {
            return Err(CommandError::with_cure(
                "it is sealed, and opened whole or not at all",
                "leave --path and --range out",
            ));
        }
        // First of all, so that nothing is fetched in vain.
        let keys = sealing::identities(&self.worker, &self.password, link)?;
        let parent = output.parent().unwrap_or(Path::new("/"));
        let failed = |error| CommandError::file("write", parent, error);
        std::fs::create_dir_all(parent).map_err(failed)?;
        // Beside the output, on the same disk; the sealed copy goes with the directory.
        let staging = draft_directory(&output).map_err(failed)?;
        let sealed = staging.path().join("sealed");
        let outcome = self.fetch(link, sealed.clone())?;
        let data = self.worker.home()?.data();
        sealing::open(&sealed, &keys, &output, &data, self.worker.json)?;
        Ok(JobOutcome { output: Some(output), ..outcome })
    }

    /// The link to fetch; a name is looked up on the node's chain.
    fn link(&self) -> Result<Link, CommandError> {
        if let Ok(link) = admin::link(&self.what) {
            return Ok(link);
        }
        match self.what.parse::<Title>() {
            Ok(title) => {
                let entry = block_on(Registry::new(self.worker.rpc()?).find(&title))?;
                let odd = |error| {
                    CommandError::with_cure(format!("{title}: {error}"), "ask its publisher")
                };
                registry::link(&entry).map_err(odd)
            }
            // Text with a colon was meant for a link, and is refused as one.
            Err(_) if self.what.contains(':') => parse_link(&self.what),
            Err(error) => {
                let cure =
                    "give [PUBLISHER/]NAME[@VERSION], or the link that `trefoil put` printed";
                Err(CommandError::with_cure(format!("{:?}: {error}", self.what), cure))
            }
        }
    }
}

/// `trefoil ls`.
pub fn list(worker: &WorkerArgs) -> Result<(), CommandError> {
    let answer = match worker.stopped()? {
        Some(stopped) => json!(stopped.list()),
        None => block_on(worker.client()?.call("admin_contents", json!([])))?,
    };
    if worker.json {
        println!("{answer:#}");
        return Ok(());
    }
    let abouts: Vec<Metadata> = serde_json::from_value(answer).map_err(|error| {
        let what = format!("the node's answer is none: {error}");
        CommandError::with_cure(what, "use the program that the node runs")
    })?;
    if abouts.is_empty() {
        println!("nothing yet: `trefoil put PATH`, or `trefoil get LINK`");
    }
    for about in abouts {
        let bytes = super::progress::bytes(about.tree_bytes.unwrap_or(about.size));
        let state = if about.whole { "whole" } else { "part" };
        let pinned = if about.pinned { "pinned" } else { "" };
        let name = about.name.unwrap_or_default();
        let allow = only(about.allow.organisations());
        println!("{}  {bytes:>10}  {state:5}  {pinned:6}  {name}{allow}", about.id);
    }
    Ok(())
}

/// One resource of a node.
#[derive(Debug, Args)]
pub struct ResourceArgs {
    /// Its link or id
    link: String,
    #[command(flatten)]
    worker: WorkerArgs,
}

/// What is done with a resource.
#[derive(Clone, Copy, Debug)]
pub enum ResourceAction {
    Pin,
    Unpin,
    Remove,
}

impl ResourceArgs {
    pub fn run(self, action: ResourceAction) -> Result<(), CommandError> {
        let Some(stopped) = self.worker.stopped()? else { return self.ask(action) };
        let id = parse_link(&self.link)?.id;
        match action {
            ResourceAction::Pin => stopped.pin(id, true)?,
            ResourceAction::Unpin => stopped.pin(id, false)?,
            ResourceAction::Remove => stopped.remove(id)?,
        }
        Ok(())
    }

    /// Lets the running node do it.
    fn ask(&self, action: ResourceAction) -> Result<(), CommandError> {
        let method = match action {
            ResourceAction::Pin => "admin_pin",
            ResourceAction::Unpin => "admin_unpin",
            ResourceAction::Remove => "admin_remove",
        };
        block_on(self.worker.client()?.call(method, json!([self.link])))?;
        Ok(())
    }
}
