//! A fifth node takes the state from a snapshot and the blocks before it from
//! archives, and follows four that run; a sixth executes all, to the same roots.

mod common;

use common::{Process, ask, free_ports, reach, refuse, succeed, wait_for};
use serde_json::{Value, json};
use tempfile::tempdir;

const EVERY: u64 = 3;

struct Node {
    dir: String,
    rpc: u16,
    process: Process,
}

impl Node {
    fn run(dir: String, rpc: u16) -> Self {
        Self::run_with(dir, rpc, "auto")
    }

    fn run_with(dir: String, rpc: u16, sync: &str) -> Self {
        let address = format!("127.0.0.1:{rpc}");
        let process = Process::start(&["run", "--dir", &dir, "--rpc", &address, "--sync", sync]);
        Self { dir, rpc, process }
    }

    fn said(&self) -> String {
        format!("{}: {}", self.dir, self.process.said())
    }

    fn reach(&self, wanted: u64) -> u64 {
        reach(self.rpc, wanted, || self.said())
    }

    fn stop(mut self) -> String {
        let status = self.process.end("-TERM");
        assert!(status.success(), "{status}: {}", self.said());
        self.dir
    }

    fn block(&self, height: u64) -> Value {
        ask(self.rpc, "eth_getBlockByNumber", json!([format!("{height:#x}"), false])).unwrap()
    }
}

/// Founds a public network of four on loopback and starts its nodes.
fn found(dir: &str) -> (Vec<Node>, u16) {
    let ports = free_ports(12);
    let every = EVERY.to_string();
    let mut args: Vec<String> = ["network", "new", "--kind", "public", "--chain-id", "99"]
        .into_iter()
        .chain(["--idle-block-s", "1", "--snapshot-every", &every])
        .map(String::from)
        .collect();
    for p2p in ports..ports + 4 {
        args.extend(["--at".into(), format!("127.0.0.1:{p2p}")]);
    }
    args.push(dir.into());
    succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 4, "{names:?}");
    let node = |(name, rpc): (String, u16)| Node::run(format!("{dir}/{name}"), rpc);
    (names.into_iter().zip(ports + 4..).map(node).collect(), ports + 8)
}

fn snapshots(dir: &str) -> Vec<Value> {
    let listed = succeed(&["snapshot", "list", "--dir", dir, "--json"]);
    serde_json::from_str(&listed).unwrap()
}

#[test]
fn a_restored_node_follows_to_the_same_roots_as_one_that_executes_all() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (mut nodes, ports) = found(path);
    let chain = format!("{path}/chain.toml");

    let (at, bytes) = common_snapshot(&nodes.iter().collect::<Vec<_>>(), EVERY);
    let file = format!("{path}/state");
    std::fs::write(&file, &bytes).unwrap();
    let said = succeed(&["snapshot", "verify", &file, "--chain", &chain]);
    assert!(said.contains(&format!("block {at} ")), "{said}");
    let names = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let left = names.filter(|name| name.to_string_lossy().starts_with(".trefoil-"));
    assert_eq!(left.count(), 0, "a directory of its own, which it removes");

    // A stopped node writes its blocks; the others go on.
    let rpc = nodes[3].rpc;
    let history = format!("{path}/history");
    refuse(&["snapshot", "history", "--dir", &nodes[3].dir, "--out", &history], &["in use"]);
    let stopped = nodes.pop().unwrap().stop();
    succeed(&["snapshot", "make", "--dir", &stopped]);
    let written = succeed(&["snapshot", "history", "--dir", &stopped, "--out", &history]);
    assert!(written.lines().count() >= 2, "{written}");
    nodes.push(Node::run(stopped, rpc));

    let join = |name: &str, p2p| join(path, &nodes[0], name, p2p);
    let fifth = join("fifth", ports);
    let mut bad = bytes;
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    let damaged = format!("{path}/damaged");
    std::fs::write(&damaged, bad).unwrap();
    refuse(&["restore", &damaged, "--dir", &fifth], &["damaged at byte", "fetch it again"]);
    refuse(&["run", "--dir", &fifth], &["not finished", "trefoil restore"]);
    let archives: Vec<String> = (1..=at / EVERY)
        .map(|n| format!("{history}/blocks-{}-{}", (n - 1) * EVERY + 1, n * EVERY))
        .collect();
    let mut args = vec!["restore", &file, "--dir", &fifth, "--history"];
    args.extend(archives.iter().map(String::as_str));
    let said = succeed(&args);
    assert!(said.contains("blocks 1 to 3") && said.contains("blocks 4 to 6"), "{said}");
    refuse(&["restore", &file, "--dir", &fifth], &["holds a chain already"]);

    let fifth = Node::run(fifth, ports + 1);
    let sixth = Node::run_with(join("sixth", ports + 2), ports + 3, "full");
    let tip = nodes[0].reach(at + EVERY + 2);
    for node in [&fifth, &sixth] {
        node.reach(tip);
    }
    for height in 0..=tip {
        let wanted = nodes[0].block(height);
        assert!(wanted["stateRoot"].is_string(), "{height}");
        assert_eq!(fifth.block(height), wanted, "{height}");
        assert_eq!(sixth.block(height), wanted, "{height}");
    }
    // It makes the same snapshots as the others from then on.
    common_snapshot(&[&fifth, &sixth], at);
}

/// Makes the directory of one more node, which knows the first.
fn join(path: &str, first: &Node, name: &str, p2p: u16) -> String {
    let invite = succeed(&["network", "invite", "--dir", &first.dir, "--at", &at_of(first)]);
    let dir = format!("{path}/{name}");
    succeed(&["join", invite.trim(), "--dir", &dir, "--p2p", &format!("127.0.0.1:{p2p}")]);
    dir
}

/// However often it is killed, a new node comes to the chain by the files of those
/// that run; another joins from it alone.
#[test]
fn a_new_node_joins_by_the_swarm() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (mut nodes, ports) = found(path);
    let (at, _) = common_snapshot(&nodes.iter().collect::<Vec<_>>(), EVERY);

    let mut fifth = Node::run(join(path, &nodes[0], "fifth", ports), ports + 1);
    for pause_ms in [50, 400, 1_100, 1_300] {
        std::thread::sleep(std::time::Duration::from_millis(pause_ms));
        fifth.process.end("-KILL");
        fifth = Node::run(fifth.dir, fifth.rpc);
    }
    let tip = nodes[0].reach(at + EVERY + 2);
    fifth.reach(tip);
    assert!(!std::path::Path::new(&fifth.dir).join("data/joining").exists());
    let archive = format!("{}/snapshots/blocks-1-{EVERY}", fifth.dir);
    assert!(std::path::Path::new(&archive).exists(), "{}", fifth.said());
    for height in 0..=tip {
        assert_eq!(fifth.block(height), nodes[0].block(height), "{height}");
    }

    let mut sixth = join(path, &fifth, "sixth", ports + 2);
    nodes.drain(..).for_each(|node| drop(node.stop()));
    let node = Node::run_with(sixth, ports + 3, "snapshot");
    node.reach(at);
    assert_eq!(node.block(at), fifth.block(at));
    assert_eq!(node.block(1), fifth.block(1));
    sixth = node.stop();
    // It has a chain now: there is nothing to join.
    let node = Node::run_with(sixth, ports + 3, "full");
    node.reach(at);
}

/// The newcomer knows the organisations of genesis only. Whom it may reach was certified
/// by a CA key of later: it cannot be judged before the state is here, and gives it.
#[test]
fn a_new_node_joins_by_one_that_its_old_chain_toml_cannot_judge() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let ports = free_ports(6);
    let (at, rpc) = (format!("127.0.0.1:{ports}"), format!("127.0.0.1:{}", ports + 1));
    let every = EVERY.to_string();
    let kind = ["network", "new", "--kind", "consortium", "--chain-id", "99", "--base-fee", "0"];
    let shape = ["--validators", "1", "--yes", "--org", "acme", "--at", &at, "--idle-block-s", "1"];
    let net = format!("{path}/net");
    succeed(&[&kind[..], &shape, &["--snapshot-every", &every, &net]].concat());
    let founder = Node::run(format!("{net}/acme-0"), ports + 1);
    founder.reach(1);

    let tell = |args: &[&str]| succeed(&[args, &["--dir", &founder.dir, "--rpc", &rpc]].concat());
    let listed = tell(&["org", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let old = listed[0]["caKeys"][0]["key"].as_str().unwrap();
    let new_ca = format!("{path}/ca");
    let new = succeed(&["keys", "new", "ca", "--dir", &new_ca]);
    std::fs::copy(format!("{}/chain.toml", founder.dir), format!("{new_ca}/chain.toml")).unwrap();
    let proof = succeed(&["keys", "prove", "ca", "--org", "acme", "--dir", &new_ca]);
    let new = new.split_whitespace().nth(1).unwrap();
    tell(&["org", "rotate-ca", "--add", new, "--proof", proof.trim()]);
    std::fs::rename(format!("{new_ca}/keys/ca.json"), format!("{}/keys/ca.json", founder.dir))
        .unwrap();
    tell(&["org", "rotate-ca", "--end", old]);

    let certified = |name: &str, p2p: u16| {
        let dir = format!("{path}/{name}");
        let made = succeed(&["keys", "new", "node", "--dir", &dir]);
        let peer = made.split_whitespace().nth(1).unwrap().to_owned();
        let invite = ["network", "invite", "--dir", &founder.dir, "--at", &at, "--for", &peer];
        let invite = succeed(&invite);
        succeed(&["join", invite.trim(), "--dir", &dir, "--p2p", &format!("127.0.0.1:{p2p}")]);
        (dir, peer)
    };
    let (second, peer) = certified("second", ports + 2);
    let second = Node::run(second, ports + 3);
    let (at, _) = common_snapshot(&[&founder, &second], founder.reach(2 * EVERY));

    let (third, _) = certified("third", ports + 4);
    let rpc = format!("127.0.0.1:{}", ports + 5);
    let known = format!("{peer}@127.0.0.1:{}", ports + 2);
    let run = ["run", "--dir", &third, "--rpc", &rpc, "--sync", "snapshot", "--peer", &known];
    let process = Process::start(&run);
    let third = Node { dir: third, rpc: ports + 5, process };
    third.reach(at);
    assert_eq!(third.block(at), founder.block(at));
    assert!(third.said().contains("restored the state"), "{}", third.said());
    assert!(third.said().contains("Unjudged"), "{}", third.said());
}

/// Waits for a snapshot above a height that all of the nodes have, the same bytes.
fn common_snapshot(nodes: &[&Node], above: u64) -> (u64, Vec<u8>) {
    let of = |node: &Node, height: u64| {
        let file = snapshots(&node.dir).into_iter().find(|row| row["height"] == height)?;
        // It may be dropped for newer ones meanwhile.
        std::fs::read(file["path"].as_str()?).ok()
    };
    let common = || {
        let newest = snapshots(&nodes[0].dir).last()?["height"].as_u64().filter(|h| *h > above)?;
        let files: Vec<_> = nodes.iter().map(|node| of(node, newest)).collect::<Option<_>>()?;
        Some((newest, files))
    };
    let said = || nodes.iter().map(|node| node.said()).collect();
    let (height, files) = wait_for("a common snapshot", common, said);
    assert!(files.iter().all(|file| *file == files[0]), "at {height}");
    (height, files.into_iter().next().unwrap())
}

/// Where a founder's node listens, by its settings.
fn at_of(node: &Node) -> String {
    let settings: Value =
        serde_json::from_str(&succeed(&["config", "--dir", &node.dir, "--json"])).unwrap();
    settings["p2p.listen"]["value"].as_str().unwrap().replace("0.0.0.0", "127.0.0.1")
}
