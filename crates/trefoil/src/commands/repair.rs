//! `trefoil repair`: for a journal or a database from which `trefoil run` cannot
//! go on. It judges as `run` does: by opening the node on them, with its keys.
//!
//! The blocks are fetched again from peers. No peer has this validator's memory of
//! what it signed at the height that was being decided. So the damaged files are
//! kept, and the command prints what to wait for.

use std::{fs, path::PathBuf, sync::Arc};

use clap::Args;
use trefoil_host::{HostError, home::Home};
use trefoil_ledger::{DATABASE_FILE, Journal, JournalError, Ledger, LedgerError};
use trefoil_node::{Effects, Node, OpenError};
use trefoil_os::{clock, disk::FileDisk, keystore};
use trefoil_types::{ChainSpec, Disk as _, PeerId};

use super::{
    arguments::{DirArgs, PasswordArgs},
    run,
};
use crate::error::CommandError;

#[derive(Debug, Args)]
pub struct RepairArgs {
    #[command(flatten)]
    dir: DirArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

/// How the journal's files are called.
const JOURNAL_PREFIX: &str = "journal-";

impl RepairArgs {
    pub fn run(self) -> Result<(), CommandError> {
        let home = self.dir.home();
        let spec = home.spec()?;
        // This locks the directory: a running node must not lose its files.
        let disk = Arc::new(FileDisk::open(&home.data())?);
        let Err(error) = self.open(&home, &disk, spec) else {
            println!("the database and the journal are whole: there is nothing to repair");
            return Ok(());
        };
        // The journal continues the database, so it is of no use without it.
        let with_database = match error {
            CommandError::Host(
                HostError::Ledger(LedgerError::Damaged(_))
                | HostError::Open(OpenError::Invalid { .. }),
            ) => true,
            CommandError::Host(
                HostError::Journal(JournalError::Damaged { .. }) | HostError::Open(_),
            ) => false,
            error => return Err(error),
        };
        println!("{error}");
        let names = disk.list().map_err(|e| CommandError::file("read", &home.data(), e))?;
        let moved = |name: &&String| {
            name.starts_with(JOURNAL_PREFIX) || with_database && *name == DATABASE_FILE
        };
        // Moved, not removed: what no peer can give again may still be in it.
        let aside = home.dir.join(format!("damaged-{}", clock::wall().as_secs()));
        fs::create_dir_all(&aside).map_err(|e| CommandError::file("make", &aside, e))?;
        for name in names.iter().filter(moved) {
            let from: PathBuf = home.data().join(name);
            fs::rename(&from, aside.join(name))
                .map_err(|e| CommandError::file("move", &from, e))?;
        }
        println!("moved to {}", aside.display());
        println!("`trefoil run` now fetches the missing blocks from the node's peers");
        if keystore::holds_validator(&home.dir) {
            println!(
                "this node validates, and no longer knows what it signed last: start it only when \
                 the other nodes have made at least one more block (`trefoil status --rpc URL` of \
                 one of them), or it may sign twice"
            );
        }
        Ok(())
    }

    /// Opens the node as `run` does, and drops its messages.
    fn open(
        &self,
        home: &Home,
        disk: &Arc<FileDisk>,
        spec: Arc<ChainSpec>,
    ) -> Result<(), CommandError> {
        let settings = home.settings(&[])?.settings;
        let ledger = Ledger::open(disk.clone(), spec, settings.history.0)?;
        let (_, recovered) = Journal::open(disk.clone())?;
        // With an empty journal there is nothing more to check than the ledger, which is open.
        if recovered.records.is_empty() {
            return Ok(());
        }
        let keys = run::open_keys(home, &settings, self.password.source())?;
        let config = trefoil_node::Config {
            validator_keys: keys.validators,
            peer: PeerId(keys.identity.public()),
            pool: settings.pool,
        };
        Node::open(config, ledger, recovered.records, clock::wall(), &mut Effects::default())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use trefoil_ledger::History;
    use trefoil_types::Address;

    use super::*;

    fn names(dir: &std::path::Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_damaged_database_goes_aside_with_its_journal() {
        let dir = tempfile::tempdir().unwrap();
        let key = |n| trefoil_crypto::SecretKey::from_seed(&[n; 32]).public();
        let spec = ChainSpec::from_toml(&format!(
            "name = \"t\"\nkind = \"private\"\nchain_id = 5\ngenesis_time = 1\n\
             gas_limit = 30000000\nbase_fee = 0\n[forks]\ncancun = 0\n\
             [[organisations]]\nname = \"one\"\nthreshold = 1\nkeys = [\"{0}\"]\nca_keys = [\"{1}\"]\n\
             [[validators]]\nkey = \"{2}\"\npower = 1\nfee_recipient = \"{0}\"\nnode = \"{3}\"\norganisation = \"one\"\n",
            Address::repeat_byte(1),
            key(1),
            key(2),
            PeerId(key(3)),
        ));
        let spec = Arc::new(spec.unwrap());
        fs::write(dir.path().join("chain.toml"), spec.to_toml()).unwrap();
        let data = dir.path().join("data");
        let open = || {
            let disk = Arc::new(FileDisk::open(&data).unwrap());
            Journal::open(disk.clone()).unwrap();
            Ledger::open(disk, spec.clone(), History::Archive).map(drop)
        };
        let repair = || {
            let dir = DirArgs { dir: dir.path().into() };
            RepairArgs { dir, password: PasswordArgs { password_file: None } }.run().unwrap();
        };
        open().unwrap();
        repair();
        assert_eq!(names(dir.path()), ["chain.toml", "data"], "it was whole");

        let file = data.join(DATABASE_FILE);
        let mut bytes = fs::read(&file).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
        fs::write(&file, bytes).unwrap();
        let error = open().unwrap_err().to_string();
        assert!(error.contains(DATABASE_FILE) && error.contains("trefoil repair"), "{error}");
        repair();
        let aside = names(dir.path()).into_iter().find(|name| name.starts_with("damaged-"));
        let aside = names(&dir.path().join(aside.unwrap()));
        assert_eq!(aside, ["journal-00000001", DATABASE_FILE]);
        open().unwrap();
    }
}
