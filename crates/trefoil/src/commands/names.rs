//! Names of content: the account that signs a publication, `trefoil names` and `withdraw`.

use clap::Args;
use serde_json::json;
use trefoil_types::{Address, OrganisationId};

use super::{
    account_file::find_account,
    arguments::{PasswordArgs, account},
    block_on::block_on,
    progress::bytes,
    worker::WorkerArgs,
};
use crate::{
    chain_client::{
        account_key::AccountKey,
        registry::{self, Registry, Title, abi::IContentRegistry::Entry},
    },
    error::{CommandError, OrCure as _},
};

/// Which account publishes.
#[derive(Debug, Args)]
pub struct SignerArgs {
    /// The account that signs; without: the only one in the node's directory
    #[arg(long, value_name = "ADDRESS", value_parser = account)]
    account: Option<Address>,
    #[command(flatten)]
    password: PasswordArgs,
}

impl SignerArgs {
    /// Opens the account's key.
    pub fn wallet(&self, worker: &WorkerArgs) -> Result<AccountKey, CommandError> {
        let home = worker.home()?;
        let (_, file) = find_account(&home.dir, self.account)?;
        Ok(AccountKey::open(&file.path, &worker.password(&self.password)?)?)
    }
}

/// A title of the user's own, which names no publisher.
pub fn own_title(text: &str) -> Result<Title, String> {
    match text.parse::<Title>() {
        Ok(Title { publisher: Some(_), .. }) => {
            Err("write NAME or NAME@VERSION: the publisher is the account that signs".into())
        }
        Ok(title) => Ok(title),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Debug, Args)]
pub struct NamesArgs {
    /// Every version of this name, of all who published it [default: all names]
    #[arg(value_name = "[PUBLISHER/]NAME")]
    name: Option<Title>,
    #[command(flatten)]
    worker: WorkerArgs,
}

impl NamesArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let registry = Registry::new(self.worker.rpc()?);
        let entries = block_on(self.entries(&registry))?;
        if self.worker.json {
            println!("{:#}", json!(entries.iter().map(as_json).collect::<Vec<_>>()));
            return Ok(());
        }
        if entries.is_empty() {
            println!("nothing yet: `trefoil put PATH --name NAME`");
        }
        entries.iter().for_each(print);
        Ok(())
    }

    async fn entries(&self, registry: &Registry) -> Result<Vec<Entry>, CommandError> {
        let Some(title) = &self.name else { return Ok(registry.names().await?) };
        let publishers = match title.publisher {
            Some(publisher) => vec![publisher],
            None => registry.publishers(&title.name).await?,
        };
        let mut entries = Vec::new();
        for publisher in publishers {
            entries.extend(registry.versions(publisher, &title.name).await?);
        }
        entries.retain(|entry| title.version.is_none_or(|version| version == entry.version));
        Ok(entries)
    }
}

fn print(entry: &Entry) {
    let Entry { publisher, name, version, height, .. } = entry;
    let size = bytes(entry.size);
    let withdrawn = if entry.withdrawn { "  withdrawn" } else { "" };
    let allow = only(&entry.organisations);
    println!("{publisher}/{name}@{version}  {size}  block {height}{allow}{withdrawn}");
}

/// The organisations that content is for, if not for all members.
pub fn only(organisations: &[OrganisationId]) -> String {
    match organisations {
        [] => String::new(),
        some => format!("  for organisations {some:?}"),
    }
}

fn as_json(entry: &Entry) -> serde_json::Value {
    json!({
        "publisher": entry.publisher.to_string(),
        "name": entry.name,
        "version": entry.version,
        "link": registry::link(entry).ok().map(|link| link.to_string()),
        "organisations": entry.organisations,
        "block": entry.height,
        "withdrawn": entry.withdrawn,
    })
}

#[derive(Debug, Args)]
pub struct WithdrawArgs {
    /// The version that you published
    #[arg(value_name = "NAME@VERSION", value_parser = own_title)]
    title: Title,
    #[command(flatten)]
    signer: SignerArgs,
    #[command(flatten)]
    worker: WorkerArgs,
}

impl WithdrawArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let name = &self.title.name;
        let version = self.title.version.or_cure(
            format!("{name} has no version"),
            format!("say which is withdrawn: `trefoil names {name}` shows them"),
        )?;
        let wallet = self.signer.wallet(&self.worker)?;
        let registry = Registry::new(self.worker.rpc()?);
        let block = block_on(registry.withdraw(&wallet, name, version))?;
        match self.worker.json {
            true => println!("{:#}", json!({ "block": block })),
            false => println!("{}/{name}@{version} is withdrawn (block {block})", wallet.address()),
        }
        Ok(())
    }
}
