//! Stakes for keys that nobody runs, on a network of the default terms: they get seats on probation and no power, so
//! that the chain goes on, however large they are.

mod common;

use common::{
    Process, RICH_ADDRESS, Trickle, check_refusal, finish, free_ports, height, reach, succeed,
    trefoil,
};
use serde_json::Value;
use tempfile::tempdir;

const FOUNDERS: u16 = 4;
const EPOCH: u64 = 12;

/// The least of a careful newcomer, what documentation once named, and twice what all founders have.
const STAKES: [&str; 3] = ["2", "32", "8000000"];

/// Each of them has an account and a consensus key, and no node.
struct Newcomer {
    dir: String,
    account: String,
    stake: &'static str,
}

impl Newcomer {
    fn new(path: &str, stake: &'static str) -> Self {
        let dir = format!("{path}/with-{stake}");
        succeed(&["keys", "new", "validator", "--dir", &dir]);
        let made = succeed(&["keys", "new", "account", "--dir", &dir]);
        let account = made.split_whitespace().nth(1).unwrap().to_owned();
        Self { dir, account, stake }
    }
}

/// Four founders as `network new` makes them, but for shorter epochs.
struct Network {
    ports: u16,
    nodes: Vec<Process>,
}

impl Network {
    fn found(path: &str, newcomers: &[Newcomer]) -> Self {
        let ports = free_ports(2 * FOUNDERS);
        let net = format!("{path}/net");
        let mut args = vec!["network", "new", "--kind", "public", "--chain-id", "56"];
        args.extend(["--validators", "4", "--block-time", "100", "--idle-block-s", "1"]);
        let mut funds = vec![format!("{RICH_ADDRESS}=100")];
        funds.extend(newcomers.iter().map(|who| format!("{}=9000000", who.account)));
        funds.iter().for_each(|fund| args.extend(["--fund", fund]));
        let at = (0..FOUNDERS).map(|i| format!("127.0.0.1:{}", ports + 2 * i + 1));
        let at: Vec<String> = at.collect();
        at.iter().for_each(|at| args.extend(["--at", at]));
        args.push(&net);
        succeed(&args);
        let mut network = Self { ports, nodes: vec![] };
        for i in 0..FOUNDERS {
            let dir = format!("{net}/node-{i}");
            shorten(&format!("{dir}/chain.toml"));
            let rpc = format!("127.0.0.1:{}", network.rpc(i));
            let run = ["run", "--dir", &dir, "--rpc", &rpc, "--p2p", &at[usize::from(i)]];
            network.nodes.push(Process::start(&run));
        }
        network.reach(1);
        network
    }

    fn rpc(&self, index: u16) -> u16 {
        self.ports + 2 * index
    }

    /// All founders do.
    fn reach(&self, wanted: u64) {
        for (i, node) in (0..).zip(&self.nodes) {
            reach(self.rpc(i), wanted, || node.said());
        }
    }

    fn height(&self) -> u64 {
        height(self.rpc(0)).unwrap()
    }

    /// A newcomer gives `trefoil validator …`.
    fn try_out(&self, who: &Newcomer, args: &[&str]) -> (bool, String) {
        let rpc = format!("127.0.0.1:{}", self.rpc(0));
        let all = [&["validator"], args, &["--dir", &who.dir, "--rpc", &rpc]].concat();
        let output = finish(&mut trefoil(&all));
        let done = output.status.success();
        if !done {
            check_refusal(&all, &output, &[]);
        }
        (done, common::text(&output))
    }

    fn does(&self, who: &Newcomer, args: &[&str], words: &str) {
        let (done, said) = self.try_out(who, args);
        assert!(done && said.contains(words), "{args:?}: {said}");
    }

    fn refused(&self, who: &Newcomer, args: &[&str], words: &[&str]) {
        let (done, said) = self.try_out(who, args);
        assert!(!done && words.iter().all(|word| said.contains(word)), "{args:?}: {said}");
    }

    /// The rows of the newcomers, of which none is active or has more power than a seat on probation.
    fn rows(&self, of: &[Newcomer]) -> Vec<Value> {
        let rpc = format!("127.0.0.1:{}", self.rpc(0));
        let list = succeed(&["validator", "list", "--json", "--rpc", &rpc]);
        let list: Vec<Value> = serde_json::from_str(&list).unwrap();
        let accounts: Vec<String> = of.iter().map(|who| who.account.to_lowercase()).collect();
        let is_of = |row: &Value| {
            row["feeRecipient"].as_str().is_some_and(|owner| accounts.iter().any(|a| a == owner))
        };
        let rows: Vec<Value> = list.into_iter().filter(is_of).collect();
        let powers = rows.iter().map(|row| row["power"].as_u64().unwrap());
        assert!(powers.max() <= Some(1), "a key that nobody runs: {rows:?}");
        let active = rows.iter().find(|row| row["state"] == "validates");
        assert_eq!(active, None, "a key that nobody runs");
        rows
    }

    /// Until each of the newcomers had its seat on probation and is jailed: it signed nothing.
    fn wait_for_jail(&self, of: &[Newcomer]) {
        let mut seated = 0;
        let jailed = |row: &Value| row["state"].as_str().unwrap().starts_with("jailed");
        let all_jailed = || {
            let rows = self.rows(of);
            seated = seated.max(rows.iter().filter(|row| row["power"] == 1).count());
            (rows.len() == of.len() && rows.iter().all(jailed)).then_some(())
        };
        common::wait_for("jail", all_jailed, || format!("{:?}", self.rows(of)));
        assert!(seated > 0, "nobody saw a seat");
    }
}

/// Epochs and jails of seconds instead of minutes.
fn shorten(file: &str) {
    let mut spec = std::fs::read_to_string(file).unwrap();
    for (name, default, short) in [("epoch_blocks", 120, EPOCH), ("jail_blocks", 1_200, 2 * EPOCH)]
    {
        let found = format!("{name} = {default}\n");
        assert!(spec.contains(&found), "no {found:?} in {spec}");
        spec = spec.replace(&found, &format!("{name} = {short}\n"));
    }
    std::fs::write(file, spec).unwrap();
}

/// Issue 16, finding 1: two ether for such a key stopped the chain for ever.
#[test]
fn stakes_for_keys_that_nobody_runs_get_no_power() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let newcomers = STAKES.map(|stake| Newcomer::new(path, stake));
    let network = Network::found(path, &newcomers);
    let trickle = Trickle::start(network.rpc(0), 56);
    let [least, documented, largest] = &newcomers;

    network.refused(least, &["stake", "0.5"], &["TooLittleStake", "at least 1 ether"]);
    let larger = "more than 3333 ten thousandths of all stake";
    network.refused(largest, &["stake", largest.stake], &[larger, "--yes"]);
    network.refused(least, &["add-stake", "1"], &["NoCandidate", "trefoil validator stake"]);
    for who in &newcomers {
        network.does(who, &["stake", who.stake, "--yes"], "ether");
    }
    network.refused(documented, &["stake", "32"], &["AlreadyCandidate", "add-stake"]);

    network.wait_for_jail(&newcomers);
    network.refused(largest, &["unjail"], &["JailedYet", "try again"]);
    network.reach(network.height() + 3 * EPOCH);
    // Whoever repeats it has nothing of it but a longer jail.
    network.does(least, &["unjail"], "may be chosen again");
    network.wait_for_jail(std::slice::from_ref(least));
    network.reach(network.height() + 3 * EPOCH);
    network.rows(&newcomers);
    trickle.end();
}
