//! A data directory from which a node cannot go on, and `trefoil repair`, which judges
//! by the code that `trefoil run` uses.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{Process, free_ports, reach, refuse, succeed};
use tempfile::tempdir;
use trefoil_ledger::{Journal, Record};
use trefoil_os::disk::FileDisk;

/// Early programs named records of a height that was over as of the next, and every start panicked:
/// "the journal does not continue this chain: consensus record 0 belongs to height …", and `trefoil
/// repair` said that all is whole.
#[test]
fn records_of_a_height_that_is_over_are_dropped() {
    let dir = tempdir().unwrap();
    let node = Alone::found(dir.path());
    let height = node.stop_at(2);
    let disk = Arc::new(FileDisk::open(&node.home.join("data")).unwrap());
    let (mut journal, recovered) = Journal::open(disk).unwrap();
    let over = recovered.records.into_iter().filter_map(|record| match record {
        Record::Consensus { height: of, bytes } if of <= height => Some(bytes),
        _ => None,
    });
    // It may have stopped a block later.
    let of_next = |bytes: Vec<u8>| [1, 2].map(|more| (height + more, bytes.clone()));
    let records = over.flat_map(of_next).map(|(height, bytes)| Record::Consensus { height, bytes });
    let records: Vec<_> = records.collect();
    assert!(!records.is_empty());
    journal.append(&records).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let said = succeed(&["repair", "--dir", node.home.to_str().unwrap()]);
    assert!(said.contains("nothing to repair"), "{said}");
    assert!(node.stop_at(height + 1) > height);
}

/// The only validator of a private network.
struct Alone {
    home: PathBuf,
    port: u16,
}

impl Alone {
    fn found(dir: &Path) -> Self {
        let net = dir.join("net");
        let port = free_ports(2);
        let at = format!("127.0.0.1:{}", port + 1);
        let founded =
            ["network", "new", "--kind", "private", "--chain-id", "5", "--validators", "1"];
        let to = ["--at", &at, "--idle-block-s", "1", net.to_str().unwrap()];
        succeed(&[&founded[..], &to].concat());
        Self { home: net.join("node-0"), port }
    }

    /// Runs it up to a height; the height at which it was stopped, or one less.
    fn stop_at(&self, height: u64) -> u64 {
        let rpc = format!("127.0.0.1:{}", self.port);
        let mut node =
            Process::start(&["run", "--dir", self.home.to_str().unwrap(), "--rpc", &rpc]);
        let height = reach(self.port, height, || node.said());
        assert!(node.end("-TERM").success());
        height
    }
}

/// `repair` sees and cures whatever stops `run`.
#[test]
fn what_stops_a_node_is_named_by_run_and_set_aside_by_repair() {
    let dir = tempdir().unwrap();
    let node = Alone::found(dir.path());
    let height = node.stop_at(2);
    say_nonsense(&node.home.join("data"), height + 1);

    let (home, rpc) = (node.home.to_str().unwrap(), format!("127.0.0.1:{}", node.port));
    let run = ["run", "--dir", home, "--rpc", &rpc];
    refuse(&run, &["consensus record 0 of height", "trefoil repair"]);
    let said = succeed(&["repair", "--dir", home]);
    assert!(said.contains("consensus record 0 of height") && said.contains("moved to"), "{said}");
    node.stop_at(height + 1);
}

/// Adds a record that no program wrote to the journal of a stopped node, for each height
/// at which the node may stand.
fn say_nonsense(data: &Path, height: u64) {
    let disk = Arc::new(FileDisk::open(data).unwrap());
    assert!(fs::exists(data.join("journal-00000001")).unwrap());
    let (mut journal, _) = Journal::open(disk).unwrap();
    let record = |height| Record::Consensus { height, bytes: b"nonsense".to_vec() };
    journal.append(&(height..height + 20).map(record).collect::<Vec<_>>()).unwrap();
    journal.sync().unwrap();
}
