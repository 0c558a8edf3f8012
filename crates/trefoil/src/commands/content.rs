//! `trefoil put`, `get`, `ls`, `pin`, `unpin`, `rm`: content by way of a running
//! node, which does the work; these commands show how far it is.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};
use trefoil_content::{AllowList, Kind as ContentKind, Link};
use trefoil_host::home::Home;
use trefoil_os::keystore::PasswordSource;
use trefoil_rpc::content::{
    admin::{self, GetRequest, JobOutcome, JobStatus, PutOriginRequest, PutRequest},
    admin_server::token_file,
};
use trefoil_swarm::{About, draft_directory};
use trefoil_types::Kind;

use super::{
    Password, block_on,
    devnet::{default_dir, node_dir},
    names::{Signer, only, own_title},
    progress::Bar,
    sealing,
};
use crate::{
    chain_client::{
        client::Client,
        contract::Contract,
        governance::Organisations,
        registry::{self, Registry, Title},
        wallet::Wallet,
    },
    failure::Failure,
};

/// How often a job is asked after.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// Which running node does the work.
#[derive(Debug, Args)]
pub struct Worker {
    /// The node's directory, or a devnet's with --node [default: the devnet's]
    #[arg(long, value_name = "DIR", env = "TREFOIL_DIR")]
    dir: Option<PathBuf>,
    /// Node N of a devnet
    #[arg(long, value_name = "N")]
    node: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Worker {
    /// The node's directory: the named one, or a node's of a devnet.
    pub(super) fn home(&self) -> Result<Home, Failure> {
        let dir = match (&self.dir, self.node) {
            (Some(dir), None) if Home::new(dir).is_founded() => dir.clone(),
            (Some(dir), node) => node_dir(dir, node.unwrap_or(0)),
            (None, node) => node_dir(&default_dir()?, node.unwrap_or(0)),
        };
        Ok(Home::new(dir))
    }

    /// A client that holds the node's token.
    fn client(&self) -> Result<Client, Failure> {
        let home = self.home()?;
        let file = token_file(&home.data());
        let token = std::fs::read_to_string(&file).map_err(|error| {
            let what = format!("cannot read {}: {error}", file.display());
            Failure::told(what, "start the node, or name its directory with --dir (and --node)")
        })?;
        let listen = home.settings(&[])?.settings.rpc.listen;
        Ok(Client::new(&format!("http://{listen}/admin")).with_token(token))
    }

    /// The node's JSON-RPC, as anyone may call it.
    pub(super) fn rpc(&self) -> Result<Client, Failure> {
        let listen = self.home()?.settings(&[])?.settings.rpc.listen;
        Ok(Client::new(&listen.to_string()))
    }

    /// The password that was given, or else the node's own file.
    pub(super) fn password(&self, given: &Password) -> Result<PasswordSource, Failure> {
        let own = self.home()?.settings(&[])?.settings.keys.password_file;
        let file = given.source().file.or(Some(own).filter(|own| own.is_file()));
        Ok(PasswordSource { file })
    }

    /// The organisations of the node's network, which `flag` names, and the contract
    /// that knows more of them.
    pub(super) async fn organisations(
        &self,
        flag: &str,
        instead: &str,
    ) -> Result<(Contract, Organisations), Failure> {
        let contract = Contract::governing(self.rpc()?);
        if contract.kind().await? == Kind::Public {
            let what = format!("{flag} names organisations, and a public network has none");
            return Err(Failure::told(what, instead));
        }
        let organisations = Organisations::read(&contract).await?;
        Ok((contract, organisations))
    }

    async fn call(&self, client: &Client, method: &str, param: Value) -> Result<Value, Failure> {
        Ok(client.call(method, json!([param])).await?)
    }

    /// Starts a job and waits for its end; Ctrl-C ends it, and what came stays.
    async fn work(
        &self,
        method: &str,
        param: Value,
        mut show: impl FnMut(&JobStatus),
    ) -> Result<JobOutcome, Failure> {
        let client = self.client()?;
        let job = self.call(&client, method, param).await?;
        let odd = || Failure::from(client.odd(method));
        loop {
            let status = self.call(&client, "admin_job", job.clone()).await?;
            let status: JobStatus = serde_json::from_value(status).map_err(|_| odd())?;
            show(&status);
            match status.ended {
                Some(Ok(outcome)) => return Ok(outcome),
                Some(Err(why)) => return Err(Failure::told(why, "try again when that is mended")),
                None => {}
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                _ = tokio::signal::ctrl_c() => {
                    self.call(&client, "admin_cancel", job).await?;
                    let cure = "the same command goes on from there";
                    return Err(Failure::told("interrupted: what came so far is kept", cure));
                }
            }
        }
    }

    fn one(&self, method: &str, link: &str) -> Result<(), Failure> {
        let client = self.client()?;
        block_on(self.call(&client, method, json!(link))).map(drop)
    }
}

#[derive(Debug, Args)]
pub struct Put {
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
    signer: Signer,
    #[command(flatten)]
    worker: Worker,
}

impl Put {
    pub fn run(self) -> Result<(), Failure> {
        // First of all, so that nothing is hashed in vain.
        let title = self.name.as_ref();
        let wallet =
            title.map(|title| Ok::<_, Failure>((self.signer.wallet(&self.worker)?, title)));
        let wallet = wallet.transpose()?;
        let outcome = self.share()?;
        // Whatever comes of its name, it is shared.
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
    fn share(&self) -> Result<JobOutcome, Failure> {
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
                    bytes_of(&call.path).map_err(|e| Failure::file("read", &call.path, e))?;
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

    /// What the node is to share, which may have to be sealed first.
    fn local(&self, path: &Path, name: Option<String>) -> Result<PutRequest, Failure> {
        let path = path.canonicalize().map_err(|e| Failure::file("find", path, e))?;
        let allow = block_on(self.allow_list())?;
        if self.seal.is_empty() {
            return Ok(PutRequest { path, name, allow, sealed: false });
        }
        let keys = block_on(sealing::recipients(&self.worker, &self.seal))?;
        let name = name.or_else(|| Some(path.file_name()?.to_str()?.to_owned()));
        let path = sealing::seal(&path, &keys, self.worker.json)?;
        Ok(PutRequest { path, name, allow, sealed: true })
    }

    /// The organisations that were named, by their numbers.
    async fn allow_list(&self) -> Result<AllowList, Failure> {
        if self.allow.is_empty() {
            return Ok(AllowList::default());
        }
        let instead = "leave it out: anyone may have what is shared there";
        let (_, organisations) = self.worker.organisations("--allow", instead).await?;
        let ids = self.allow.iter().map(|named| organisations.find(named));
        let list = AllowList::new(ids.collect::<Result<Vec<_>, _>>()?);
        list.map_err(|error| Failure::told(error.to_string(), "name fewer with --allow"))
    }

    /// Gives it its name, and tells which version it became.
    fn publish(&self, (wallet, title): (Wallet, &Title), link: &str) -> Result<String, Failure> {
        let registry = Registry::new(self.worker.rpc()?);
        let version = block_on(registry.publish(&wallet, title, &parse(link)?))?;
        let (publisher, name) = (Some(wallet.address()), title.name.clone());
        Ok(Title { publisher, name, version: Some(version) }.to_string())
    }
}

#[derive(Debug, Args)]
pub struct Get {
    /// What `trefoil put` printed, the id in it, or what was published: [PUBLISHER/]NAME[@VERSION]
    #[arg(value_name = "LINK|NAME")]
    what: String,
    /// Where to write it [default: its name, here]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Only this file of a directory
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Only the bytes from A to before B
    #[arg(long, value_name = "A-B", value_parser = range)]
    range: Option<(u64, u64)>,
    /// In order, for who reads along
    #[arg(long)]
    sequential: bool,
    /// Leave it sealed: write it as it is stored
    #[arg(long)]
    sealed: bool,
    #[command(flatten)]
    password: Password,
    #[command(flatten)]
    worker: Worker,
}

impl Get {
    pub fn run(self) -> Result<(), Failure> {
        let link = self.link()?;
        let output = output(self.output.as_deref(), self.path.as_deref(), &link)?;
        let outcome = match link.id.kind {
            ContentKind::Sealed if self.sealed => {
                let named = self.output.is_some();
                self.fetch(&link, if named { output } else { sealing::beside(&output) })?
            }
            ContentKind::Sealed => self.open(&link, output)?,
            ContentKind::File | ContentKind::Directory => self.fetch(&link, output)?,
        };
        tell(self.worker.json, &outcome, || {
            println!("{}", outcome.output.clone().unwrap_or_default().display());
        });
        Ok(())
    }

    /// Has the node fetch it and write it to `output`.
    fn fetch(&self, link: &Link, output: PathBuf) -> Result<JobOutcome, Failure> {
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
    fn open(&self, link: &Link, output: PathBuf) -> Result<JobOutcome, Failure> {
        if self.path.is_some() || self.range.is_some() {
            return Err(Failure::told(
                "it is sealed, and opened whole or not at all",
                "leave --path and --range out",
            ));
        }
        // First of all, so that nothing is fetched in vain.
        let keys = sealing::identities(&self.worker, &self.password, link)?;
        let parent = output.parent().unwrap_or(Path::new("/"));
        let failed = |error| Failure::file("write", parent, error);
        std::fs::create_dir_all(parent).map_err(failed)?;
        let staging = draft_directory(&output).map_err(failed)?;
        let sealed = staging.path().join("sealed");
        let outcome = self.fetch(link, sealed.clone())?;
        sealing::open(&sealed, &keys, &output, self.worker.json)?;
        Ok(JobOutcome { output: Some(output), ..outcome })
    }

    /// What is to be fetched; a name is looked up on the node's chain.
    fn link(&self) -> Result<Link, Failure> {
        if let Ok(link) = admin::link(&self.what) {
            return Ok(link);
        }
        match self.what.parse::<Title>() {
            Ok(title) => {
                let entry = block_on(Registry::new(self.worker.rpc()?).find(&title))?;
                let odd = |error| Failure::told(format!("{title}: {error}"), "ask its publisher");
                registry::link(&entry).map_err(odd)
            }
            // What was meant for a link is refused as one.
            Err(_) if self.what.contains(':') => parse(&self.what),
            Err(error) => {
                let cure =
                    "give [PUBLISHER/]NAME[@VERSION], or the link that `trefoil put` printed";
                Err(Failure::told(format!("{:?}: {error}", self.what), cure))
            }
        }
    }
}

#[derive(Debug, Args)]
pub struct Ls {
    #[command(flatten)]
    worker: Worker,
}

impl Ls {
    pub fn run(self) -> Result<(), Failure> {
        let client = self.worker.client()?;
        let answer = block_on(client.call("admin_contents", json!([])))?;
        if self.worker.json {
            println!("{answer:#}");
            return Ok(());
        }
        let abouts: Vec<About> =
            serde_json::from_value(answer).map_err(|_| client.odd("admin_contents"))?;
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
}

/// One resource of a node.
#[derive(Debug, Args)]
pub struct One {
    /// Its link or id
    link: String,
    #[command(flatten)]
    worker: Worker,
}

impl One {
    pub fn pin(self) -> Result<(), Failure> {
        self.worker.one("admin_pin", &self.link)
    }

    pub fn unpin(self) -> Result<(), Failure> {
        self.worker.one("admin_unpin", &self.link)
    }

    pub fn remove(self) -> Result<(), Failure> {
        self.worker.one("admin_remove", &self.link)
    }
}

fn tell(json: bool, outcome: &JobOutcome, words: impl FnOnce()) {
    match json {
        true => println!("{:#}", json!(outcome)),
        false => words(),
    }
}

pub(super) fn parse(text: &str) -> Result<Link, Failure> {
    admin::link(text).map_err(|error| {
        let cure = "give what `trefoil put` printed: trefoil:<id>?name=…&size=…";
        Failure::told(format!("{text:?} is no link: {error}"), cure)
    })
}

/// Where a resource is written: absolute, and free.
pub(super) fn output(
    given: Option<&Path>,
    path: Option<&str>,
    link: &Link,
) -> Result<PathBuf, Failure> {
    let name = || match path.and_then(|path| path.rsplit('/').next()) {
        Some(name) => name.to_owned(),
        None => link.name.clone().unwrap_or_else(|| link.id.to_string()),
    };
    let output = given.map_or_else(|| PathBuf::from(name()), Path::to_path_buf);
    let output = std::path::absolute(&output).map_err(|e| Failure::file("find", &output, e))?;
    if output.exists() {
        let what = format!("{} is there already", output.display());
        return Err(Failure::told(what, "name another place with -o, or remove it"));
    }
    Ok(output)
}

/// `A-B`: two numbers of bytes.
pub(super) fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once('-').ok_or("write A-B, as in 0-1000000")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number of bytes"));
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok((from, to)) } else { Err("it ends before it begins".into()) }
}

/// Bytes of a file, or of all below a directory.
pub(super) fn bytes_of(path: &Path) -> std::io::Result<u64> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    std::fs::read_dir(path)?.try_fold(0, |sum, entry| {
        let path = entry?.path();
        // Links to directories are not followed.
        let link = std::fs::symlink_metadata(&path)?.is_symlink();
        let bytes = if link && path.is_dir() { 0 } else { bytes_of(&path)? };
        Ok(sum + bytes)
    })
}
