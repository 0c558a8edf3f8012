//! Content by names on the chain, by commands alone: a devnet of four nodes and
//! four organisations.

mod common;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use common::{Process, free_ports, reach, refuse, succeed};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const NODES: u16 = 4;

/// The accounts that node 0 and node 2 sign with.
const FIRST: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const THIRD: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

struct Devnet {
    dir: TempDir,
    _process: Process,
}

impl Devnet {
    fn start(kind: &str) -> Self {
        let dir = tempdir().unwrap();
        let ports = free_ports(2 * NODES);
        let (rpc, p2p) = (ports.to_string(), (ports + NODES).to_string());
        let path = dir.path().to_str().unwrap();
        let args = ["devnet", "--kind", kind, "--block-time", "50", "--dir", path];
        let process =
            Process::start(&[&args[..], &["--rpc-port", &rpc, "--p2p-port", &p2p]].concat());
        for port in ports..ports + NODES {
            reach(port, 1, || process.said());
        }
        Self { dir, _process: process }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.text(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().into()
    }

    fn args<'a>(&'a self, node: &'a str, args: &[&'a str]) -> Vec<&'a str> {
        let at = ["--dir", self.dir.path().to_str().unwrap(), "--node", node];
        [args, &at].concat()
    }

    fn on(&self, node: &str, args: &[&str]) -> String {
        succeed(&self.args(node, args))
    }

    fn refuse(&self, node: &str, args: &[&str], words: &[&str]) {
        refuse(&self.args(node, args), words);
    }

    /// Fetches on a node, and returns what was written.
    fn get(&self, node: &str, what: &str, to: &str) -> Vec<u8> {
        let to = self.text(to);
        self.on(node, &["get", what, "-o", &to]);
        fs::read(to).unwrap()
    }
}

fn sample(seed: usize) -> Vec<u8> {
    (0..300_000).map(|at| (at / 251 + at * 7 + seed) as u8).collect()
}

#[test]
fn what_is_for_some_organisations_is_served_to_them_only() {
    let net = Devnet::start("consortium");
    // Node 0 is of org-1.
    let one = net.file("one", &sample(1));
    let link = net.on("0", &["put", &one, "--allow", "org-2,4", "--name", "secret"]);
    let link = link.lines().next().unwrap();
    assert!(link.ends_with("&allow=1,2,4"), "{link}");
    assert!(net.on("3", &["names"]).contains("for organisations [1, 2, 4]"));
    assert_eq!(net.get("1", link, "got-1"), sample(1));
    assert_eq!(net.get("3", "secret", "got-2"), sample(1));
    let words = ["for organisations 1,2,4", "belongs to 3"];
    net.refuse("2", &["get", "secret", "-o", &net.text("none")], &words);
    net.refuse("2", &["get", link, "-o", &net.text("none")], &words);

    net.refuse("0", &["put", &one, "--allow", "org-9"], &["org-9", "trefoil org list"]);
    assert!(net.on("1", &["ls"]).contains("for organisations [1, 2, 4]"));
}

#[test]
fn what_is_sealed_is_stored_by_all_and_read_by_some() {
    let net = Devnet::start("consortium");
    let plan = net.file("plan", &sample(1));
    net.refuse("0", &["put", &plan, "--seal", "org-3"], &["org-3 (3) has no sealing key"]);

    // Organisation 3 makes a key, and registers it on the chain.
    let home = net.text("node-2");
    let said = succeed(&["keys", "new", "sealing", "--dir", &home]);
    let key = said.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
    let password = format!("{home}/password");
    succeed(&["org", "sealing-key", key, "--dir", &home, "--password-file", &password]);
    assert!(succeed(&["org", "list", "--dir", &home]).contains(&format!("sealing key {key}")));

    let said = net.on("0", &["put", &plan, "--seal", "org-3", "--name", "plan"]);
    let link = said.lines().next().unwrap();
    assert!(link.contains("?name=plan&"), "{link}");
    net.refuse("0", &["put", &plan, "--seal", "org-3"], &["plan.sealed", "is there already"]);

    // Another stores and serves it, and cannot read it.
    let none = net.text("none");
    net.refuse("1", &["get", "plan", "-o", &none], &["no sealing key", "--sealed"]);
    let stored = net.text("stored");
    net.on("1", &["get", "plan", "--sealed", "-o", &stored]);
    assert_eq!(fs::read(&stored).unwrap(), fs::read(net.path("plan.sealed")).unwrap());

    let opened = net.text("opened");
    let get = ["get", link, "-o", &opened];
    net.refuse("2", &[&get[..], &["--range", "0-1"]].concat(), &["opened whole"]);
    // The key's password is the tester's, not the node's.
    let own = net.file("own", common::PASSWORD.as_bytes());
    let mode = |mode| fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let with_own = [&get[..], &["--password-file", &own]].concat();
    net.refuse("2", &with_own, &["chmod 600"]);
    mode(0o600);
    net.on("2", &[&get[..], &["--password-file", &own]].concat());
    assert_eq!(fs::read(&opened).unwrap(), sample(1));
    assert!(!net.path("none").exists());
}

#[test]
fn a_public_network_has_names_and_no_lists() {
    let net = Devnet::start("public");
    let one = net.file("one", &sample(1));
    net.refuse("0", &["put", &one, "--allow", "org-1"], &["public network has none"]);
    net.refuse("0", &["put", &one, "--seal", "org-1"], &["public network has none", "age1"]);
    net.on("0", &["put", &one, "--name", "maps"]);
    assert_eq!(net.get("1", "maps", "got-1"), sample(1));
}

#[test]
fn what_is_put_by_a_name_is_got_by_it() {
    let net = Devnet::start("consortium");
    let (one, two) = (net.file("one", &sample(1)), net.file("two", &sample(2)));
    let said = net.on("0", &["put", &one, "--name", "maps"]);
    assert!(said.contains(&format!("published as {FIRST}/maps@1")), "{said}");
    assert_eq!(net.get("1", "maps", "got-1"), sample(1));

    // A later version is what the name stands for; the earlier stays.
    let said = net.on("0", &["put", &two, "--name", "maps@7", "--json"]);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(told["published"], format!("{FIRST}/maps@7"));
    assert_eq!(net.get("3", "maps", "got-2"), sample(2));
    assert_eq!(net.get("3", "maps@1", "got-3"), sample(1));
    net.refuse("0", &["put", &one, "--name", "maps@7"], &["NotNewer", "version 7"]);

    // Another publishes under the same name: then a title must name the publisher.
    let directory = net.path("directory");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a"), b"in it").unwrap();
    net.on("2", &["put", directory.to_str().unwrap(), "--name", "maps"]);
    let both = [&format!("{FIRST}/maps")[..], &format!("{THIRD}/maps"), "say whose"];
    net.refuse("1", &["get", "maps", "-o", &net.text("none")], &both);
    let tree = net.text("got-tree");
    net.on("1", &["get", &format!("{THIRD}/maps"), "-o", &tree]);
    assert_eq!(fs::read(format!("{tree}/a")).unwrap(), b"in it");

    let listed = net.on("3", &["names", "maps"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert_eq!(net.on("3", &["names"]).lines().count(), 2);

    // Withdrawn content is not found by its name any more.
    net.refuse("2", &["withdraw", "maps@9"], &["NotPublished"]);
    net.on("0", &["withdraw", "maps@7"]);
    assert_eq!(net.get("2", &format!("{FIRST}/maps"), "got-4"), sample(1));
    let words = ["withdrawn", "choose another"];
    net.refuse("2", &["get", &format!("{FIRST}/maps@7"), "-o", &net.text("none")], &words);

    let words = ["nobody has published", "trefoil names"];
    net.refuse("1", &["get", "nothing", "-o", &net.text("none")], &words);
}
