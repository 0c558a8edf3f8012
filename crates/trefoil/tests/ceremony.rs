//! The key ceremony of docs/operations.md: two organisations make their keys, found a network with
//! the public parts, compare it, and run it.

mod common;

use std::fs;

use common::{Process, finish, free_ports, reach, refuse, succeed, text, trefoil};
use tempfile::{TempDir, tempdir};

const NETWORK: [&str; 4] = ["--network", "example", "--chain-id", "4242"];

/// The folder of both, and the first of two ports for each.
struct Ceremony {
    folder: TempDir,
    ports: u16,
}

impl Ceremony {
    /// Keys: acme's two accounts and its CA key lie on machines of their own.
    fn begin() -> Self {
        let ceremony = Self { folder: tempdir().unwrap(), ports: free_ports(4) };
        let machines: [(&str, &[&str]); 6] = [
            ("anna", &["account"]),
            ("berta", &["account"]),
            ("safe", &["account"]),
            ("ca", &["ca"]),
            ("acme", &["node", "validator"]),
            ("bolt", &["account", "ca", "node", "validator"]),
        ];
        for (dir, kinds) in machines {
            let dir = ceremony.path(dir);
            kinds.iter().for_each(|kind| drop(succeed(&["keys", "new", kind, "--dir", &dir])));
        }
        ceremony
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().into()
    }

    fn account(&self, dir: &str) -> String {
        let listed = succeed(&["keys", "list", "--dir", &self.path(dir), "--json"]);
        let keys: serde_json::Value = serde_json::from_str(&listed).unwrap();
        keys[0]["public"].as_str().unwrap().into()
    }

    /// That acme's CA key agrees to its use by `org`.
    fn proof(&self, org: &str) -> String {
        let agree = ["keys", "prove", "ca", "--org", org, "--founding", "example:4242", "--dir"];
        succeed(&[&agree[..], &[&self.path("ca")]].concat()).trim().into()
    }

    /// What acme gives to `network declare`, with this proof of its CA key.
    fn acme(&self, proof: &str) -> Vec<String> {
        let [anna, berta, safe] = ["anna", "berta", "safe"].map(|dir| self.account(dir));
        let mut args = self.declare("acme", self.ports);
        let keys = ["--key", &anna, "--key", &berta, "--threshold", "2", "--recovery-key", &safe];
        args.extend(owned(&keys));
        args.extend(owned(&["--proof", proof]));
        args
    }

    fn declare(&self, org: &str, port: u16) -> Vec<String> {
        let (at, out) = (format!("127.0.0.1:{port}"), self.path(&format!("{org}.toml")));
        let dir = self.path(org);
        let own = ["--at", &at, "--out", &out, "--dir", &dir];
        owned(&[&["network", "declare", org][..], &NETWORK, &own].concat())
    }

    /// Both declare, and the network is founded.
    fn found(&self) {
        succeed(&borrow(&self.acme(&self.proof("acme"))));
        let bolt = self.declare("bolt", self.ports + 1);
        succeed(&[&borrow(&bolt)[..], &["--threshold", "1"]].concat());
        let said = succeed(&borrow(&self.new_network(&["acme.toml", "bolt.toml"], "net")));
        assert!(said.contains("genesis 0x"), "{said}");
    }

    fn new_network(&self, declarations: &[&str], net: &str) -> Vec<String> {
        let mut args = vec!["network", "new", "--kind", "consortium", "--chain-id", "4242"];
        args.extend(["--name", "example", "--base-fee", "0", "--idle-block-s", "1", "--yes"]);
        let files: Vec<String> = declarations.iter().map(|file| self.path(file)).collect();
        files.iter().for_each(|file| args.extend(["--declaration", file]));
        let net = self.path(net);
        args.push(&net);
        owned(&args)
    }

    /// A copy of a file, in which `from` is replaced.
    fn altered(&self, file: &str, from: &str, to: &str) -> String {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{from:?} is not in: {text}");
        let copy = self.path("altered.toml");
        fs::write(&copy, text.replace(from, to)).unwrap();
        copy
    }

    fn check(&self, file: &str, declaration: &str) -> Vec<String> {
        owned(&["network", "check", file, "--declaration", &self.path(declaration)])
    }

    /// Makes the node ready, certifies it with the CA key in `ca`, and runs it.
    fn run(&self, org: &str, number: &str, ca: &str, port: u16) -> Process {
        let (dir, ca) = (self.path(org), self.path(ca));
        let p2p = format!("127.0.0.1:{port}");
        succeed(&["join", &self.path("net/invite"), "--dir", &dir, "--p2p", &p2p]);
        if ca != dir {
            fs::copy(format!("{dir}/chain.toml"), format!("{ca}/chain.toml")).unwrap();
        }
        let listed = succeed(&["keys", "list", "--dir", &dir, "--json"]);
        let keys: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        let node = keys.iter().find(|key| key["kind"] == "node").unwrap();
        let peer = node["public"].as_str().unwrap();
        let out = format!("{dir}/keys/node.der");
        let own = ["--org", number, "--role", "validator", "--dir", &ca, "--out", &out];
        succeed(&[&["node", "certify", peer][..], &own].concat());
        Process::start(&["run", "--dir", &dir, "--rpc", &format!("127.0.0.1:{}", port + 2)])
    }
}

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().copied().map(String::from).collect()
}

fn borrow(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn two_organisations_found_a_network_with_keys_of_their_own() {
    let ceremony = Ceremony::begin();
    ceremony.found();
    let mut files: Vec<_> = fs::read_dir(ceremony.path("net")).unwrap().collect();
    files.sort_by_key(|file| file.as_ref().unwrap().file_name());
    let names: Vec<_> = files.into_iter().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["chain.toml", "invite"], "no key is made");

    let [invite, chain] = ["net/invite", "net/chain.toml"].map(|file| ceremony.path(file));
    let said = succeed(&borrow(&ceremony.check(&invite, "acme.toml")));
    for words in ["1 acme, as it declared: power 100 of 200", "2 bolt, NOT COMPARED", "2 of these"]
    {
        assert!(said.contains(words), "{words:?}: {said}");
    }
    assert!(said.contains(&format!("{} can give it new ones", ceremony.account("safe"))), "{said}");
    let genesis = said.lines().next().unwrap();
    let said = succeed(&borrow(&ceremony.check(&chain, "bolt.toml")));
    assert_eq!(said.lines().next().unwrap(), genesis, "the file and the invite are one network");

    let ports = ceremony.ports;
    let nodes =
        [ceremony.run("acme", "1", "ca", ports), ceremony.run("bolt", "2", "bolt", ports + 1)];
    for (port, node) in (ports + 2..).zip(&nodes) {
        reach(port, 2, || node.said());
    }
}

#[test]
fn what_nobody_agreed_to_is_refused_with_the_cure() {
    let ceremony = Ceremony::begin();
    let other = ceremony.acme(&ceremony.proof("bolt"));
    refuse(&borrow(&other), &["has not agreed to its use by acme", "--founding example:4242"]);
    let nowhere = ceremony.acme(&ceremony.proof("acme"));
    let at = format!("127.0.0.1:{}", ceremony.ports);
    for wrong in ["0.0.0.0:30303", "[::]:30303", "10.0.0.1:0"] {
        let args: Vec<_> =
            nowhere.iter().map(|arg| if *arg == at { wrong } else { arg.as_str() }).collect();
        let output = finish(&mut trefoil(&args));
        assert!(text(&output).contains("no other node can dial it"), "{}", text(&output));
    }

    ceremony.found();
    let unmet = |from: &str, to: &str, words: &[&str]| {
        ceremony.altered("acme.toml", from, to);
        refuse(&borrow(&ceremony.new_network(&["altered.toml", "bolt.toml"], "no")), words);
    };
    unmet(&at, "0.0.0.0:30303", &["acme declares a node at 0.0.0.0:30303", "others reach"]);
    unmet(&at, "127.0.0.1:0", &["acme declares a node at 127.0.0.1:0", "others reach"]);
    unmet(&at, &format!("127.0.0.1:{}", ceremony.ports + 1), &["two nodes are declared at"]);
    unmet("chain_id = 4242", "chain_id = 4243", &["has not agreed"]);
    let twice = ceremony.new_network(&["acme.toml", "acme.toml"], "no");
    refuse(&borrow(&twice), &["acme is declared twice", "one declaration of each"]);

    let check = |from: &str, to: &str, words: &[&str]| {
        let file = ceremony.altered("net/chain.toml", from, to);
        refuse(&borrow(&ceremony.check(&file, "acme.toml")), &[words, &["do not run it"]].concat());
    };
    check("threshold = 2", "threshold = 1", &["threshold is 1, declared 2"]);
    let sender = "threshold = 2\nsenders = [\"0x0707070707070707070707070707070707070707\"]";
    check("threshold = 2", sender, &["senders is 0x07", "declared none"]);
    check("\"acme\"", "\"acne\"", &["it has no acme"]);
}
