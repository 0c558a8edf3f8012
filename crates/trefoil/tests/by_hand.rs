//! The steps of docs/operations.md for four people, with four processes, and a fifth
//! node that joins.

mod common;

use common::{Process, free_ports, height, reach, succeed};
use serde_json::Value;
use tempfile::tempdir;

/// A founder's node: directory, RPC port, process.
struct Node {
    dir: String,
    rpc: u16,
    process: Process,
}

impl Node {
    fn run(dir: String, rpc: u16) -> Self {
        let address = format!("127.0.0.1:{rpc}");
        let process = Process::start(&["run", "--dir", &dir, "--rpc", &address]);
        Self { dir, rpc, process }
    }

    fn reach(&self, wanted: u64) -> u64 {
        reach(self.rpc, wanted, || format!("{}: {}", self.dir, self.process.said()))
    }

    fn stop(mut self) -> String {
        let status = self.process.end("-TERM");
        assert!(status.success(), "{status}: {}", self.process.said());
        self.dir
    }
}

/// Founds a network of four on loopback and starts its nodes.
fn found(dir: &str) -> (Vec<Node>, u16) {
    let ports = free_ports(10);
    let mut args: Vec<String> =
        ["network", "new", "--kind", "consortium", "--chain-id", "99"].map(String::from).to_vec();
    args.extend(["--org", "acme", "--org", "bolt", "--idle-block-s", "1"].map(String::from));
    for p2p in ports..ports + 4 {
        args.extend(["--at".into(), format!("127.0.0.1:{p2p}")]);
    }
    args.push(dir.into());
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let names = ["acme-0", "bolt-1", "acme-2", "bolt-3"];
    let node = |(name, rpc): (&str, u16)| Node::run(format!("{dir}/{name}"), rpc);
    (names.into_iter().zip(ports + 4..).map(node).collect(), ports + 8)
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(args)).unwrap()
}

#[test]
fn four_founders_run_a_network_and_a_fifth_node_joins() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (mut nodes, ports) = found(path);
    for node in &nodes {
        node.reach(2);
    }

    let fifth = format!("{path}/fifth");
    let p2p = format!("127.0.0.1:{ports}");
    let made = succeed(&["keys", "new", "node", "--dir", &fifth]);
    let peer = made.split_whitespace().find(|word| word.starts_with("12D3KooW")).unwrap();
    let at = own_address(&nodes[0]);
    let invite =
        succeed(&["network", "invite", "--dir", &nodes[0].dir, "--at", &at, "--for", peer]);
    // It is for that node alone.
    let other = format!("{path}/other");
    common::refuse(&["join", invite.trim(), "--dir", &other], &["the invite is for node", peer]);
    succeed(&["join", invite.trim(), "--dir", &fifth, "--p2p", &p2p]);
    let fifth = Node::run(fifth, ports + 1);
    let tip = nodes[0].reach(3);
    fifth.reach(tip);

    let rpc = format!("http://127.0.0.1:{}", fifth.rpc);
    let status = json(&["status", "--rpc", &rpc, "--json"]);
    assert_eq!(status["chainId"], 99);
    assert_eq!((&status["validators"], &status["validating"]), (&4.into(), &false.into()));
    let peers = json(&["peers", "--rpc", &rpc, "--json"]);
    assert_eq!(peers.as_array().unwrap().len(), 4, "{peers:#}");
    assert!(succeed(&["status", "--rpc", &rpc]).contains("no validator key"));
    let keys = json(&["keys", "list", "--dir", &nodes[2].dir, "--json"]);
    assert_eq!((&keys[0]["kind"], &keys[1]["kind"]), (&"node".into(), &"validator".into()));

    // One node stops in order: the others go on without it, and it catches up.
    let rpc = nodes[3].rpc;
    let stopped = nodes.pop().unwrap().stop();
    let tip = height(nodes[0].rpc).unwrap();
    let tip = nodes[0].reach(tip + 2);
    let again = Node::run(stopped, rpc);
    again.reach(tip);
    verify(path, fifth.rpc, tip);
}

/// Where a founder's node listens, by its settings.
fn own_address(node: &Node) -> String {
    let settings = json(&["config", "--dir", &node.dir, "--json"]);
    let listen = settings["p2p.listen"]["value"].as_str().unwrap();
    listen.replace("0.0.0.0", "127.0.0.1")
}

/// A node's word is checked against the chain specification, and a file later.
fn verify(dir: &str, rpc: u16, tip: u64) {
    let (chain, file) = (format!("{dir}/chain.toml"), format!("{dir}/blocks"));
    let (rpc, tip) = (format!("127.0.0.1:{rpc}"), tip.to_string());
    let said = succeed(&[
        "verify", "--chain", &chain, "--rpc", &rpc, "--height", &tip, "--from", "1", "--save",
        &file,
    ]);
    assert!(said.contains("is final") && said.contains(&format!("{tip} blocks checked")), "{said}");
    assert_eq!(succeed(&["verify", "--chain", &chain, "--file", &file]), said);

    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    common::refuse(&["verify", "--chain", &chain, "--file", &file], &["NOT proven", "signature"]);
    // Another network's validators have signed nothing here.
    let spec = std::fs::read_to_string(&chain).unwrap().replace("chain_id = 99", "chain_id = 98");
    std::fs::write(&chain, spec).unwrap();
    common::refuse(&["verify", "--chain", &chain, "--rpc", &rpc, "--height", "1"], &["NOT proven"]);
}
