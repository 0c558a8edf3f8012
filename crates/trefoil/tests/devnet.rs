//! `trefoil devnet` as a person uses it: real processes, real sockets.

mod common;

use common::{Process, free_ports, height, is_alive, reach, signal, wait_for};
use tempfile::tempdir;

const NODES: u16 = 4;

struct Devnet {
    process: Process,
    rpc: u16,
}

impl Devnet {
    fn start(dir: &str, more: &[&str]) -> Self {
        let ports = free_ports(2 * NODES);
        let (rpc, p2p) = (ports.to_string(), (ports + NODES).to_string());
        let mut args = vec!["devnet", "--dir", dir, "--rpc-port", &rpc, "--p2p-port", &p2p];
        args.extend(more);
        Self { process: Process::start(&args), rpc: ports }
    }

    fn pids(&self) -> Vec<u32> {
        self.process.hear("accounts with");
        let said = self.process.said();
        let nodes = said.lines().filter(|line| line.starts_with("node ") && line.contains("http"));
        nodes.map(|line| line.rsplit_once("pid ").unwrap().1.parse().unwrap()).collect()
    }

    /// Waits until all nodes are at `wanted`.
    fn reach(&self, wanted: u64) {
        for port in self.rpc..self.rpc + NODES {
            reach(port, wanted, || self.process.said());
        }
    }

    fn stop(mut self) {
        let pids = self.pids();
        let status = self.process.end("-INT");
        assert!(status.success(), "{status}: {}", self.process.said());
        for pid in pids {
            assert!(!is_alive(pid), "node {pid} outlives its devnet");
        }
    }
}

#[test]
fn four_nodes_make_blocks_a_killed_one_comes_back_and_all_end() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let devnet = Devnet::start(path, &[]);
    let pids = devnet.pids();
    assert_eq!(pids.len(), 4);
    let said = devnet.process.said();
    assert!(said.contains("chain id 7331"), "{said}");
    assert!(said.contains("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"), "{said}");
    devnet.reach(5);

    signal(pids[2], "-KILL");
    devnet.process.hear("node 2: started again");
    let tip = height(devnet.rpc).unwrap();
    reach(devnet.rpc + 2, tip + 1, || devnet.process.said());
    devnet.process.hear("4/4 nodes up");
    devnet.stop();

    // The chain goes on where it was; another number of nodes is another network.
    let devnet = Devnet::start(path, &[]);
    devnet.reach(tip + 2);
    devnet.stop();
    let args = ["devnet", "--dir", path, "--validators", "3"];
    common::refuse(&args, &["another network", "4 validators", "--reset"]);
}

#[test]
fn reset_starts_from_nothing() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let one = ["--validators", "1", "--idle-block-s", "1"];
    let devnet = Devnet::start(path, &one);
    reach(devnet.rpc, 3, || devnet.process.said());
    let genesis = |port| {
        common::ask(port, "trefoil_status", serde_json::json!([])).unwrap()["genesisHash"].clone()
    };
    let before = genesis(devnet.rpc);
    devnet.stop();
    let devnet = Devnet::start(path, &[&one[..], &["--reset"]].concat());
    reach(devnet.rpc, 1, || devnet.process.said());
    assert_ne!(before, genesis(devnet.rpc));
    devnet.stop();
}

/// Killed with no chance to end its nodes, which watch for that themselves.
#[test]
fn nodes_do_not_outlive_a_killed_devnet() {
    let dir = tempdir().unwrap();
    let mut devnet = Devnet::start(dir.path().to_str().unwrap(), &["--validators", "2"]);
    let pids = devnet.pids();
    reach(devnet.rpc, 1, || devnet.process.said());
    devnet.process.end("-KILL");
    for pid in pids {
        wait_for("the node's end", || (!is_alive(pid)).then_some(()), String::new);
    }
}
