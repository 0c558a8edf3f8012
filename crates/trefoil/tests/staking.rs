//! The life of a validator on a public network, by commands alone: it knows one
//! address, stakes, validates, earns, is jailed and freed, leaves and is paid.
//! And a chain whose validators changed is verified from its specification.

mod common;

use alloy_primitives::U256;
use common::{
    Process, RICH_ADDRESS, Trickle, ask, check_refusal, finish, free_ports, height, reach, succeed,
    trefoil,
};
use serde_json::{Value, json};
use tempfile::tempdir;

const FOUNDERS: u16 = 3;

/// Epochs, absence and unbonding of seconds instead of days.
const TERMS: &str = "
[staking]
epoch_blocks = 16
unbonding_blocks = 32
window_blocks = WINDOW
window_seconds = 1
jail_blocks = 32
validators_min = 3
";

/// Three founders, and the newcomer's directory, with its account only.
struct Network {
    ports: u16,
    nodes: Vec<Process>,
    /// The newcomer's.
    dir: String,
    account: String,
}

impl Network {
    /// `window`: the blocks over which absence is judged.
    fn found(path: &str, window: u32) -> Self {
        let dir = format!("{path}/newcomer");
        let made = succeed(&["keys", "new", "account", "--dir", &dir]);
        let account = made.split_whitespace().nth(1).unwrap().to_owned();
        let ports = free_ports(2 * (FOUNDERS + 2));
        let net = format!("{path}/net");
        let mut args = vec!["network", "new", "--kind", "public", "--chain-id", "55"];
        args.extend(["--validators", "3", "--yes", "--block-time", "100", "--idle-block-s", "1"]);
        // Turns follow power: the newcomer's 10 beside 60 propose every seventh block.
        args.extend(["--stake", "20"]);
        let (fund, rich) = (format!("{account}=100"), format!("{RICH_ADDRESS}=100"));
        args.extend(["--fund", &fund, "--fund", &rich]);
        let at: Vec<String> =
            (0..FOUNDERS).map(|i| format!("127.0.0.1:{}", ports + 2 * i + 1)).collect();
        at.iter().for_each(|at| args.extend(["--at", at]));
        args.push(&net);
        succeed(&args);
        let mut network = Self { ports, nodes: Vec::new(), dir, account };
        network.set_terms(path, window);
        for i in 0..FOUNDERS {
            network.nodes.push(network.run(&format!("{net}/node-{i}"), i));
        }
        network.reach(1);
        network
    }

    /// Before the first start, in every copy.
    fn set_terms(&self, path: &str, window: u32) {
        let terms = TERMS.replace("WINDOW", &window.to_string());
        let founders = (0..FOUNDERS).map(|i| format!("/node-{i}"));
        for dir in founders.chain([String::new()]) {
            let file = format!("{path}/net{dir}/chain.toml");
            let spec = std::fs::read_to_string(&file).unwrap();
            let (before, staking) = spec.split_once("[staking]").unwrap();
            let after = staking.find("\n[").map_or("", |at| &staking[at..]);
            std::fs::write(&file, format!("{before}{terms}{after}")).unwrap();
        }
    }

    fn rpc(&self, index: u16) -> u16 {
        self.ports + 2 * index
    }

    fn run(&self, dir: &str, index: u16) -> Process {
        let (rpc, p2p) = (self.rpc(index), self.rpc(index) + 1);
        let [rpc, p2p] = [rpc, p2p].map(|port| format!("127.0.0.1:{port}"));
        Process::start(&["run", "--dir", dir, "--rpc", &rpc, "--p2p", &p2p])
    }

    fn reach(&self, wanted: u64) {
        reach(self.rpc(0), wanted, || self.nodes[0].said());
    }

    /// The newcomer's process; it validates.
    fn enters(&self, path: &str) -> Process {
        let node = self.join_in(path, &self.dir, FOUNDERS);
        reach(self.rpc(FOUNDERS), height(self.rpc(0)).unwrap(), || node.said());
        self.does(&["stake", "10"], "stakes 10 ether");
        self.wait("it signs", |row| row["state"] == "validates" && row["signedLast"] == true);
        node
    }

    /// A node's directory, from the specification and one address; and its process.
    fn join_in(&self, path: &str, dir: &str, index: u16) -> Process {
        let chain = format!("{path}/net/chain.toml");
        let bootstrap = format!("127.0.0.1:{}", self.rpc(0) + 1);
        let args = ["init", "--chain", &chain, "--dir", dir, "--validator"];
        let output = finish(trefoil(&args).env("TREFOIL_P2P_BOOTSTRAP", bootstrap));
        assert!(output.status.success(), "{}", common::text(&output));
        self.run(dir, index)
    }

    /// The newcomer gives `trefoil validator …`, at a founder's node.
    fn args<'a>(&'a self, args: &[&'a str], rpc: &'a str) -> Vec<&'a str> {
        [&["validator"], args, &["--dir", &self.dir, "--rpc", rpc]].concat()
    }

    fn does(&self, args: &[&str], words: &str) {
        let rpc = format!("127.0.0.1:{}", self.rpc(0));
        let said = succeed(&self.args(args, &rpc));
        assert!(said.contains(words), "{args:?}: {words:?} is not in: {said}");
    }

    fn refused(&self, args: &[&str], words: &[&str]) {
        let rpc = format!("127.0.0.1:{}", self.rpc(0));
        let args = self.args(args, &rpc);
        check_refusal(&args, &finish(&mut trefoil(&args)), words);
    }

    /// The newcomer's row in the list of validators; null: none.
    fn standing(&self) -> Value {
        let rpc = format!("127.0.0.1:{}", self.rpc(0));
        let list = succeed(&["validator", "list", "--json", "--rpc", &rpc]);
        let list: Vec<Value> = serde_json::from_str(&list).unwrap();
        let own = |row: &Value| row["feeRecipient"].as_str() == Some(&self.account.to_lowercase());
        list.into_iter().find(own).unwrap_or_default()
    }

    /// Waits until its row is so.
    fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let found = || Some(self.standing()).filter(&holds).map(drop);
        common::wait_for(what, found, || format!("{}", self.standing()));
    }

    fn balance(&self) -> U256 {
        let balance = ask(self.rpc(0), "eth_getBalance", json!([self.account, "latest"])).unwrap();
        balance.as_str().unwrap().parse().unwrap()
    }
}

fn ether(amount: u64) -> U256 {
    U256::from(amount) * U256::from(10).pow(U256::from(18))
}

#[test]
fn a_newcomer_stakes_validates_is_jailed_and_leaves() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let network = Network::found(path, 32);
    let trickle = Trickle::start(network.rpc(0), 55);
    let mut node = network.enters(path);
    let in_the_set = height(network.rpc(0)).unwrap() - 1;
    let before = network.balance();
    common::wait_for(
        "fees",
        || (network.balance() > before).then_some(()),
        || format!("{before} wei\n{}", node.said()),
    );

    node.end("-KILL");
    network.wait("jail", |row| row["state"].as_str().is_some_and(|s| s.starts_with("jailed")));
    network.refused(&["unjail"], &["JailedYet", "try again"]);
    let mut node = network.run(&network.dir, FOUNDERS);
    let state = network.standing()["state"].as_str().unwrap().to_owned();
    let free = state.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    network.reach(free);
    network.does(&["unjail"], "may be chosen again");
    network.wait("it signs again", |row| row["signedLast"] == true);

    network.does(&["unstake", "--all", "--yes"], "on their way out");
    network.refused(&["withdraw"], &["withdraw"]);
    network.wait("it is out", Value::is_null);
    let left = height(network.rpc(0)).unwrap();
    network.reach(left + 32);
    let before = network.balance();
    network.does(&["withdraw"], "ether were paid");
    assert!(network.balance() > before + ether(1) / U256::from(2), "the stake is back");
    trickle.end();
    assert!(node.end("-TERM").success());

    verify(path, network.rpc(0), in_the_set, left);
}

/// The seat of a killed node moves by itself; the standby signs without a restart, and the old node, when it is
/// back, sees that it does not.
#[test]
fn a_seat_moves_to_its_standby() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let network = Network::found(path, 1_000);
    let trickle = Trickle::start(network.rpc(0), 55);
    let mut node = network.enters(path);
    let standby_dir = format!("{path}/standby");
    let mut standby = network.join_in(path, &standby_dir, FOUNDERS + 1);
    let standby_rpc = network.rpc(FOUNDERS + 1);
    reach(standby_rpc, height(network.rpc(0)).unwrap(), || standby.said());
    let old = network.standing()["key"].clone();

    let status = |rpc: u16| ask(rpc, "trefoil_status", json!([])).unwrap();
    let key = status(standby_rpc)["validator"].as_str().unwrap().to_owned();
    network.refused(&["standby", &key], &["has not agreed to stand by", "keys prove validator"]);
    let prove = ["keys", "prove", "validator", "--owner", &network.account, "--dir"];
    let proof = succeed(&[&prove[..], &[&standby_dir]].concat());
    network.does(&["standby", &key, "--proof", proof.trim()], "when its own has signed none of 64");
    assert_eq!(network.standing()["standby"], *key);
    assert_eq!(
        (&network.standing()["key"], &status(standby_rpc)["validating"]),
        (&old, &json!(false))
    );

    node.end("-KILL");
    network.wait("the standby signs", |row| row["key"] == *key && row["signedLast"] == true);
    assert_eq!(
        (&network.standing()["power"], &network.standing()["standby"]),
        (&json!(10), &Value::Null)
    );
    let mut node = network.run(&network.dir, FOUNDERS);
    let now = height(network.rpc(0)).unwrap();
    reach(network.rpc(FOUNDERS), now + 5, || node.said());
    let [of_old, of_new] = [FOUNDERS, FOUNDERS + 1].map(|index| status(network.rpc(index)));
    assert_eq!((&of_old["validator"], &of_old["validating"]), (&old, &json!(false)));
    assert_eq!(of_new["validating"], true);
    // A certificate is whole without it, so that not each has its signature.
    network.wait("it signs on", |row| row["signedLast"] == true);
    trickle.end();
    assert!(standby.end("-TERM").success());
    assert!(node.end("-TERM").success());
}

/// From the specification alone, across all these changes.
fn verify(path: &str, rpc: u16, in_the_set: u64, last: u64) {
    let (chain, file) = (format!("{path}/net/chain.toml"), format!("{path}/blocks"));
    let (rpc, last) = (format!("127.0.0.1:{rpc}"), last.to_string());
    let from_one = ["verify", "--chain", &chain, "--rpc", &rpc, "--height", &last, "--from", "1"];
    let said = succeed(&[&from_one[..], &["--save", &file]].concat());
    assert!(said.contains(&format!("{last} blocks checked\nstate root")), "{said}");
    assert_eq!(succeed(&["verify", "--chain", &chain, "--file", &file]), said);
    // The founders alone do not explain who signed while the newcomer validated.
    let height = in_the_set.to_string();
    let alone = ["verify", "--chain", &chain, "--rpc", &rpc, "--height", &height];
    common::refuse(&alone, &["NOT proven", "--from 1"]);
}
