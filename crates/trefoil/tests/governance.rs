//! The steps of docs/operations.md for organisations on a running network: admit
//! one, change a setting, revoke, rotate, remove; by commands alone.

mod common;

use common::{Process, free_ports, reach, refuse, succeed, wait_for, with_input};
use serde_json::{Value, json};
use tempfile::tempdir;

/// Of the account that is to vote for the fourth organisation (Foundry's second).
const KEY_SECRET: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

/// A network of three organisations on one machine, gas-free, with short blocks.
struct Network {
    dirs: Vec<String>,
    rpcs: Vec<String>,
    nodes: Vec<Process>,
}

impl Network {
    fn found(path: &str) -> Self {
        let names = ["acme", "bolt", "cora"];
        let ports = free_ports(6);
        let mut args = vec!["network", "new", "--kind", "consortium", "--chain-id", "77"];
        args.extend(["--validators", "3", "--yes", "--base-fee", "0", "--block-time", "50"]);
        args.extend(["--idle-block-s", "1"]);
        let addresses: Vec<String> = (0..3).map(|i| format!("127.0.0.1:{}", ports + i)).collect();
        for (name, address) in names.iter().zip(&addresses) {
            args.extend(["--org", name, "--at", address]);
        }
        args.push(path);
        succeed(&args);
        let dirs: Vec<String> =
            (0..3).map(|i| format!("{path}/{}-{i}", names[i as usize])).collect();
        let rpcs: Vec<String> = (3..6).map(|i| format!("127.0.0.1:{}", ports + i)).collect();
        let run =
            |(dir, rpc): (&String, &String)| Process::start(&["run", "--dir", dir, "--rpc", rpc]);
        let nodes: Vec<Process> = dirs.iter().zip(&rpcs).map(run).collect();
        for (i, node) in (3..).zip(&nodes) {
            reach(ports + i, 1, || node.said());
        }
        Self { dirs, rpcs, nodes }
    }

    fn read(&self, args: &[&str]) -> Value {
        let args = [args, &["--json", "--rpc", &self.rpcs[0]]].concat();
        serde_json::from_str(&succeed(&args)).unwrap()
    }

    /// Organisation `who` sends it; what came of it.
    fn write(&self, who: usize, args: &[&str]) -> Value {
        let at = ["--json", "--dir", &self.dirs[who], "--rpc", &self.rpcs[who]];
        serde_json::from_str(&succeed(&[args, &at].concat())).unwrap()
    }

    fn refuse(&self, who: usize, args: &[&str], words: &[&str]) {
        let at = ["--dir", &self.dirs[who], "--rpc", &self.rpcs[who]];
        refuse(&[args, &at].concat(), words);
    }

    /// The proof of the key of a kind in `dir`, for an organisation of this network.
    fn prove(&self, dir: &str, kind: &str, org: &str) -> String {
        let chain = format!("{}/chain.toml", self.dirs[0]);
        std::fs::copy(chain, format!("{dir}/chain.toml")).unwrap();
        succeed(&["keys", "prove", kind, "--org", org, "--dir", dir]).trim().into()
    }

    /// Gives a node's directory one more account.
    fn import_account(&self, who: usize, secret: &str) {
        let args = ["keys", "import", "account", "--dir", &self.dirs[who]];
        assert!(with_input(&args, secret).status.success());
    }

    fn forget_account(&self, who: usize, account: &str) {
        let keys = std::path::Path::new(&self.dirs[who]).join("keys");
        let account = account.to_lowercase();
        let of = |name: &str| name.to_lowercase().contains(account.trim_start_matches("0x"));
        for file in std::fs::read_dir(keys).unwrap().map(Result::unwrap) {
            if of(&file.file_name().to_string_lossy()) {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
    }

    /// Proposed by the first, approved by the others until it is carried out.
    fn decide(&self, args: &[&str]) {
        let proposed = self.write(0, args);
        assert_eq!(proposed["state"], "open", "{args:?}");
        let id = proposed["proposal"].to_string();
        assert_eq!(self.write(1, &["org", "vote", &id])["state"], "open", "{args:?}");
        assert_eq!(self.write(2, &["org", "vote", &id])["state"], "executed", "{args:?}");
    }
}

/// The public key of a new CA key in a directory of its own.
fn new_ca(dir: &str) -> String {
    let said = succeed(&["keys", "new", "ca", "--dir", dir]);
    said.split_whitespace().nth(1).unwrap().into()
}

#[test]
fn organisations_govern_by_commands() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut network = Network::found(&format!("{path}/net"));
    let organisations = network.read(&["org", "list"]);
    assert_eq!(organisations.as_array().unwrap().len(), 3, "{organisations}");
    assert_eq!(organisations[1]["name"], "bolt");

    admit(&network, path);
    settings(&network);
    revoke_and_rotate(&network, path);
    name_a_standby(&network, path);
    rotate_validator_key(&mut network);
    certify(&network, path);

    // Without the one that it is about it would wait for two days.
    network.refuse(0, &["org", "propose-remove", "dora"], &["3 organisations would", "--yes"]);
    let removal = network.write(0, &["org", "propose-remove", "dora", "--yes"]);
    let removal = removal["proposal"].to_string();
    for who in 1..3 {
        assert_eq!(network.write(who, &["org", "vote", &removal])["state"], "open");
    }
    network.import_account(0, KEY_SECRET);
    let dora = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let agreed = network.write(0, &["org", "vote", &removal, "--account", dora]);
    assert_eq!(agreed["state"], "executed", "{agreed}");
    assert_eq!(network.read(&["org", "list"])[3]["status"], "removed");
    let validators = network.read(&["validator", "list"]);
    assert_eq!(validators.as_array().unwrap().len(), 3, "{validators}");
    drop(network.nodes);
}

fn admit(network: &Network, path: &str) {
    let ca = new_ca(&format!("{path}/dora"));
    let key = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    let claim = ["org", "propose-add", "dora", "--key", key, "--ca", &ca];
    network.refuse(0, &claim, &["has not agreed", "trefoil keys prove ca --org dora"]);
    let proof = network.prove(&format!("{path}/dora"), "ca", "dora");
    let add = [&claim[..], &["--proof", &proof]].concat();
    // A wallet gets the same call as is sent.
    let call = network.write(0, &[&claim[..], &["--dry-run"]].concat());
    assert!(call["data"].as_str().unwrap().starts_with("0x37558af5"), "{call}");

    let proposed = network.write(0, &add);
    assert_eq!((&proposed["state"], &proposed["missing"]), (&json!("open"), &json!(2)));
    let open = network.read(&["org", "proposals"]);
    assert_eq!(open[0]["approving"], json!([1]));
    assert!(open[0]["action"].as_str().unwrap().starts_with("add organisation dora: 1 of 1"));
    let id = proposed["proposal"].to_string();
    assert_eq!(network.write(1, &["org", "vote", &id])["missing"], 1);
    assert_eq!(network.write(1, &["org", "unvote", &id])["missing"], 2);
    assert_eq!(network.write(1, &["org", "vote", &id])["missing"], 1);
    assert_eq!(network.write(2, &["org", "vote", &id])["state"], "executed");
    let dora = network.read(&["org", "list"])[3].clone();
    assert_eq!((&dora["name"], &dora["status"]), (&json!("dora"), &json!("invited")));
    assert_eq!(dora["offer"]["missing"], 1, "{dora}");
    network.refuse(0, &["org", "accept", "dora"], &["AccountInUse", "another account"]);
    network.import_account(0, KEY_SECRET);
    let accepted = network.write(0, &["org", "accept", "dora", "--account", key]);
    assert_eq!(accepted["missing"], 0, "{accepted}");
    assert_eq!(network.read(&["org", "list"])[3]["status"], "active");
    network.forget_account(0, key);
    assert_eq!(network.read(&["org", "proposals"]), json!([]));
    network.refuse(1, &["org", "vote", &id], &["ProposalClosed", "trefoil org proposals"]);
    network.refuse(0, &["org", "propose-remove", "eve"], &["\"eve\"", "trefoil org list"]);
    network.refuse(0, &["validator", "stake", "1"], &["consortium", "propose-add"]);
    let account = ["org", "vote", "1", "--account", key];
    network.refuse(0, &account, &["no key of account", "--dry-run"]);
}

/// Four organisations now, of which three agree.
fn settings(network: &Network) {
    network.decide(&["org", "set", "gas-limit", "40000000"]);
    assert_eq!(network.read(&["org", "settings"])["gasLimit"], 40_000_000);
}

fn revoke_and_rotate(network: &Network, path: &str) {
    let revoke = ["node", "revoke", "0x0aF1"];
    assert_eq!(network.write(1, &revoke)["state"], "executed", "its own affair");
    let nodes = network.read(&["node", "list"]);
    assert_eq!(nodes["revokedSerials"], json!([{ "organisation": 2, "serial": "0xaf1" }]));
    network.refuse(1, &revoke, &["NothingToChange"]);

    let old = network.read(&["org", "list"])[1]["caKeys"][0]["key"].clone();
    let old = old.as_str().unwrap();
    network.refuse(1, &["org", "rotate-ca", "--end", old], &["NoCaKeyAt", "--add"]);
    let new = new_ca(&format!("{path}/bolt"));
    let proof = network.prove(&format!("{path}/bolt"), "ca", "bolt");
    network.write(1, &["org", "rotate-ca", "--add", &new, "--proof", &proof]);
    assert_eq!(network.write(1, &["org", "rotate-ca", "--end", old])["state"], "executed");
}

/// Its organisation alone decides it, with a key that agrees.
fn name_a_standby(network: &Network, path: &str) {
    let dir = format!("{path}/standby");
    let made = succeed(&["keys", "new", "validator", "--dir", &dir]);
    let key = made.split_whitespace().nth(1).unwrap();
    let row = || network.read(&["validator", "list"])[1].clone();
    let peer = row()["peer"].as_str().unwrap().to_owned();
    let name = ["validator", "standby", key, "--node", &peer];
    network.refuse(1, &name[..3], &["which validator's seat", "--node"]);
    network.refuse(1, &name, &["has not agreed", "trefoil keys prove validator"]);
    let proof = network.prove(&dir, "validator", "bolt");
    let name = [&name[..], &["--proof", &proof]].concat();
    assert_eq!(network.write(1, &name)["state"], "executed", "its own affair");
    assert_eq!(row()["standby"], *key);
    let own = row()["key"].as_str().unwrap().to_owned();
    let proof = network.prove(&network.dirs[1], "validator", "bolt");
    let own = ["validator", "standby", &own, "--node", &peer, "--proof", &proof];
    network.refuse(1, &own, &["KeyInUse", "make a new key"]);
    let none = ["validator", "standby", "--none", "--node", &peer];
    assert_eq!(network.write(1, &none)["state"], "executed");
    assert_eq!(row()["standby"], Value::Null);
    network.refuse(1, &none, &["NothingToChange"]);
}

/// All three are needed for a quorum: blocks go on only if the node signs with the old key up to
/// a height, and with the next one from there on, without a restart in between.
fn rotate_validator_key(network: &mut Network) {
    let (dir, rpc) = (network.dirs[2].clone(), network.rpcs[2].clone());
    let made = succeed(&["keys", "new", "next-validator", "--dir", &dir]);
    let next = made.split_whitespace().nth(1).unwrap();
    assert!(network.nodes[2].end("-TERM").success());
    network.nodes[2] = Process::start(&["run", "--dir", &dir, "--rpc", &rpc]);
    network.nodes[2].hear("next key");
    let status = || -> Value {
        serde_json::from_str(&succeed(&["status", "--json", "--rpc", &rpc])).unwrap()
    };
    let before = status();
    assert_eq!((&before["validating"], &before["nextValidator"]), (&json!(true), &json!(next)));
    let old = before["validator"].as_str().unwrap();

    let proof = succeed(&["keys", "prove", "next-validator", "--org", "cora", "--dir", &dir]);
    let peer = before["peerId"].as_str().unwrap();
    let rotate = ["validator", "rotate-key", peer, next];
    network.refuse(2, &rotate, &["has not agreed", "next-validator"]);
    let rotate = [&rotate[..], &["--proof", proof.trim()]].concat();
    assert_eq!(network.write(2, &rotate)["state"], "executed", "its own affair");
    let signs = || {
        let validators = network.read(&["validator", "list"]);
        let mut validators = validators.as_array().unwrap().iter();
        validators.any(|v| v["key"] == *next && v["signedLast"] == true).then_some(())
    };
    wait_for("the next key signs", signs, || network.nodes[2].said());
    let after = status();
    assert_eq!((&after["validator"], &after["nextValidator"]), (&json!(next), &Value::Null));
    assert_eq!(after["validating"], true);
    network.nodes[2].hear(&format!("no longer names {old}"));
    assert!(!network.nodes[2].said().contains("signs on another machine"));
}

/// With the organisation's CA key, whose number the chain knows.
fn certify(network: &Network, path: &str) {
    let validators = network.read(&["validator", "list"]);
    let peer = validators[0]["peer"].as_str().unwrap();
    let file = format!("{path}/node.der");
    let args = ["node", "certify", peer, "--role", "validator", "--out", &file];
    let told = network.write(0, &args);
    assert_eq!((&told["organisation"], &told["role"]), (&json!(1), &json!("validator")));
    let certificate = trefoil_crypto::NodeCertificate::decode(&std::fs::read(file).unwrap());
    assert_eq!(certificate.unwrap().peer.to_string(), peer);
}
