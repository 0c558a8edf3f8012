//! A data directory from which a node cannot go on, and `trefoil repair`, which judges
//! by the code that `trefoil run` uses.

mod common;

use std::{fs, path::Path, sync::Arc};

use common::{Process, finish, free_ports, reach, refuse, succeed, text, trefoil};
use tempfile::{TempDir, tempdir};
use trefoil_ledger::{Journal, Record};
use trefoil_os::disk::FileDisk;

/// The directory of a validator whose clock was 6 s slow (`tests/fixtures/README.md`),
/// as an early program left it after a clean stop: its journal's last records are
/// of height 2, and the journal names height 3 for them.
fn records_of_another_height() -> TempDir {
    let dir = tempdir().unwrap();
    let packed = include_bytes!("fixtures/records-of-another-height.tar.zst");
    let tar = ruzstd::decoding::StreamingDecoder::new(&packed[..]).unwrap();
    tar::Archive::new(tar).unpack(dir.path()).unwrap();
    dir
}

/// Every start panicked: "the journal does not continue this chain: consensus record 0
/// belongs to height …", and `trefoil repair` said that all is whole.
#[test]
fn records_of_a_height_that_is_over_are_dropped() {
    let dir = records_of_another_height();
    let path = dir.path().to_str().unwrap();
    let ports = free_ports(2);
    let (rpc, p2p) = (format!("127.0.0.1:{ports}"), format!("127.0.0.1:{}", ports + 1));
    let mut node = trefoil(&["run", "--dir", path, "--rpc", &rpc, "--p2p", &p2p]);
    let node = Process::spawn(node.env("TREFOIL_PASSWORD", "devnet"));
    node.hear("rpc ");
    assert!(reach(ports, 1, || node.said()) > 0);
    drop(node);
    let output = finish(trefoil(&["repair", "--dir", path]).env("TREFOIL_PASSWORD", "devnet"));
    assert!(text(&output).contains("nothing to repair"), "{}", text(&output));
}

/// `repair` sees and cures whatever stops `run`.
#[test]
fn what_stops_a_node_is_named_by_run_and_set_aside_by_repair() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("net");
    let ports = free_ports(2);
    let (rpc, at) = (format!("127.0.0.1:{ports}"), format!("127.0.0.1:{}", ports + 1));
    let net = path.to_str().unwrap();
    let founded = ["network", "new", "--kind", "private", "--chain-id", "5", "--validators", "1"];
    succeed(&[&founded[..], &["--at", &at, "--idle-block-s", "1", net]].concat());
    let home = path.join("node-0");
    let run = ["run", "--dir", home.to_str().unwrap(), "--rpc", &rpc];
    let mut node = Process::start(&run);
    let height = reach(ports, 2, || node.said());
    assert!(node.end("-TERM").success());
    say_nonsense(&home.join("data"), height + 1);

    refuse(&run, &["consensus record 0 of height", "trefoil repair"]);
    let said = succeed(&["repair", "--dir", home.to_str().unwrap()]);
    assert!(said.contains("consensus record 0 of height") && said.contains("moved to"), "{said}");
    let node = Process::start(&run);
    reach(ports, height + 1, || node.said());
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
