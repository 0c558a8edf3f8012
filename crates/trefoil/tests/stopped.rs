//! The content of a node that does not run: on a disk that is too full for the node to start, what
//! takes room is found and removed.

mod common;

use std::fs;

use common::{Process, free_ports, refuse, succeed};
use serde_json::Value;
use tempfile::tempdir;

#[test]
fn content_of_a_stopped_node_is_listed_unpinned_and_removed() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("net");
    let ports = free_ports(2);
    let (rpc, at) = (format!("127.0.0.1:{ports}"), format!("127.0.0.1:{}", ports + 1));
    let founded = ["network", "new", "--kind", "private", "--chain-id", "5", "--validators", "1"];
    succeed(&[&founded[..], &["--at", &at, "--base-fee", "0", path.to_str().unwrap()]].concat());
    let home = path.join("node-0").to_str().unwrap().to_owned();
    // The commands look there for the node.
    let settings = path.join("node-0/node.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}\n[rpc]\nlisten = \"{rpc}\"\n")).unwrap();
    let file = dir.path().join("file");
    fs::write(&file, vec![7; 100_000]).unwrap();

    refuse(&["ls", "--dir", &home], &["start the node"]);
    let run = ["run", "--dir", &home];
    let mut node = Process::start(&run);
    node.hear("rpc ");
    let link = succeed(&["put", file.to_str().unwrap(), "--dir", &home]);
    let link = link.trim();
    let list = || -> Vec<Value> {
        serde_json::from_str(&succeed(&["ls", "--json", "--dir", &home])).unwrap()
    };
    let running = list();
    assert!(node.end("-TERM").success());

    assert_eq!(list(), running, "the same as of the running node");
    assert_eq!((running.len(), &running[0]["pinned"]), (1, &Value::Bool(true)));
    succeed(&["unpin", link, "--dir", &home]);
    assert_eq!(list()[0]["pinned"], false);
    refuse(&["rm", "nonsense", "--dir", &home], &["is no link"]);
    succeed(&["rm", link, "--dir", &home]);
    assert!(list().is_empty());
    refuse(&["rm", link, "--dir", &home], &["is not here"]);
    assert!(file.exists(), "it was the user's");
    assert_eq!(fs::read_dir(format!("{home}/data/content")).unwrap().count(), 0);

    let node = Process::start(&run);
    node.hear("rpc ");
    assert!(list().is_empty(), "and of the running node again");
}
