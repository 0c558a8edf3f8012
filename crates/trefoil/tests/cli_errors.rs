//! Mistakes that people make, and that the answer names the cure.

mod common;

use std::{fs, net::TcpListener};

use common::{
    Process, check_refusal, finish, free_ports, reach, refuse, succeed, trefoil, with_input,
};
use tempfile::tempdir;

/// A network of one validator that makes a block each second.
fn one_node(dir: &str) -> (String, String, u16) {
    let ports = free_ports(2);
    let at = format!("127.0.0.1:{}", ports + 1);
    succeed(&[
        "network",
        "new",
        "--kind",
        "private",
        "--chain-id",
        "5",
        "--validators",
        "1",
        "--at",
        &at,
        "--idle-block-s",
        "1",
        dir,
    ]);
    (format!("{dir}/node-0"), format!("127.0.0.1:{ports}"), ports)
}

#[test]
fn a_consortium_that_bears_no_fault_is_founded_only_if_that_is_meant() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("net");
    let path = path.to_str().unwrap();
    let args = ["network", "new", "--kind", "consortium", "--chain-id", "5", "--validators", "3"];
    refuse(
        &[&args[..], &["--org", "acme", path]].concat(),
        &["3 validators bear no fault", "--yes"],
    );
    assert!(!dir.path().join("net").exists(), "nothing was made");
}

#[test]
fn a_port_in_use_is_named_before_anything_starts() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("net");
    let ports = free_ports(8);
    let _taken = TcpListener::bind(("127.0.0.1", ports + 2)).unwrap();
    let (rpc, p2p, path) = (ports.to_string(), (ports + 4).to_string(), path.to_str().unwrap());
    let args = ["devnet", "--dir", path, "--rpc-port", &rpc, "--p2p-port", &p2p];
    let taken = (ports + 2).to_string();
    refuse(&args, &[&taken, "node 2", "--rpc-port"]);
    assert!(!dir.path().join("net").exists(), "nothing was made");
}

#[test]
fn a_devnet_does_not_touch_another_network() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    one_node(path);
    refuse(&["devnet", "--dir", path], &["another network", "--dir"]);
    refuse(&["devnet", "--dir", path, "--reset"], &["no devnet made", "--dir"]);
    let ports = free_ports(8);
    let (rpc, p2p) = (ports.to_string(), (ports + 4).to_string());
    let args = ["devnet", "--rpc-port", &rpc, "--p2p-port", &p2p, "--dir", "/dev/null/x"];
    refuse(&args, &["/dev/null/x", "--dir"]);
}

#[test]
fn a_directory_in_place_of_a_snapshot_is_refused_and_left_as_it_is() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let chain = format!("{}/chain.toml", one_node(path).0);
    let precious = dir.path().join("precious");
    fs::write(&precious, "data").unwrap();
    let before = fs::read_dir(path).unwrap().count();
    for given in [path.to_owned(), format!("{path}/."), format!("{path}/node-0/..")] {
        refuse(&["snapshot", "verify", &given, "--chain", &chain], &[]);
        assert_eq!(fs::read_to_string(&precious).unwrap(), "data", "{given}");
        assert_eq!(fs::read_dir(path).unwrap().count(), before, "{given}");
    }
}

#[test]
fn settings_and_keys_say_what_is_wrong() {
    let dir = tempdir().unwrap();
    let (node, rpc, _) = one_node(dir.path().to_str().unwrap());
    let run = ["run", "--dir", &node, "--rpc", &rpc];

    let output = finish(trefoil(&run).env("TREFOIL_PASSWORD", "wrong"));
    check_refusal(&run, &output, &["password", "node.json", "--password-file"]);
    let output = finish(trefoil(&run).env_remove("TREFOIL_PASSWORD"));
    check_refusal(&run, &output, &["password is needed", "TREFOIL_PASSWORD"]);
    let output = finish(trefoil(&run).env("TREFOIL_RPC_LISTN", "x"));
    check_refusal(&run, &output, &["TREFOIL_RPC_LISTN", "trefoil config"]);
    refuse(&[&run[..], &["--log", "a=b=c"]].concat(), &["log", "info"]);

    let file = format!("{node}/node.toml");
    fs::write(&file, "colour = 1\n").unwrap();
    refuse(&run, &["`colour`", "node.toml", "rpc.listen"]);
    refuse(&["config", "--dir", &node], &["`colour`"]);
    fs::write(&file, "").unwrap();
    fs::write(format!("{node}/chain.toml"), "x = 1").unwrap();
    refuse(&run, &["chain specification"]);
    refuse(&["run", "--dir", "/nowhere"], &["/nowhere", "trefoil init"]);
    refuse(&["join", "hello", "--dir", "/tmp/x"], &["no invite"]);
    refuse(&["status", "--rpc", "127.0.0.1:1"], &["no node answers", "trefoil run"]);
}

#[test]
fn who_cannot_pay_for_a_decision_is_told_how_much_it_costs() {
    let dir = tempdir().unwrap();
    let (node, rpc, port) = one_node(dir.path().to_str().unwrap());
    let process = Process::start(&["run", "--dir", &node, "--rpc", &rpc]);
    reach(port, 1, || process.said());
    let propose = ["org", "set", "gas-limit", "100000000", "--dir", &node, "--rpc", &rpc];
    refuse(&propose, &["owns 0 ether, and this may cost 0.0", "ether; send it coins first"]);
}

#[test]
fn keys_go_in_and_out() {
    let dir = tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let secret = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    let address = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let output = with_input(&["keys", "import", "account", "--dir", path], secret);
    assert!(common::text(&output).contains(address));
    let exported = succeed(&["keys", "export", "account", "--address", address, "--dir", path]);
    assert_eq!(exported.trim(), secret);
    succeed(&["keys", "new", "validator", "--dir", path]);
    refuse(&["keys", "new", "validator", "--dir", path], &["exists already"]);
    // The next key opens with the password of the node's keys, and a move makes it the key.
    succeed(&["keys", "new", "node", "--dir", path]);
    let new = ["keys", "new", "next-validator", "--dir", path];
    let output = finish(trefoil(&new).env("TREFOIL_PASSWORD", "another"));
    check_refusal(&new, &output, &["does not open", "node.json"]);
    let made = succeed(&new);
    let next = made.split_whitespace().nth(1).unwrap();
    let network = format!("0x{}", "00".repeat(32));
    let prove = ["keys", "prove", "next-validator", "--org", "acme", "--network", &network];
    let proof = succeed(&[&prove[..], &["--dir", path]].concat());
    assert!(proof.starts_with(&format!("validator:{next}:0x")));
    let keys = dir.path().join("keys");
    fs::rename(keys.join("next-validator.json"), keys.join("validator.json")).unwrap();
    let list = succeed(&["keys", "list", "--dir", path]);
    let line = list.lines().find(|line| line.contains(next)).unwrap();
    assert!(line.starts_with("validator ") && line.ends_with("keys/validator.json"), "{list}");
    let output = with_input(&["keys", "import", "account", "--dir", path], "12");
    check_refusal(&["keys import"], &output, &["64 hexadecimal digits"]);
    refuse(&["keys", "export", "account", "--dir", path], &["--address"]);
    // A keystore made elsewhere comes in as it is.
    let list = succeed(&["keys", "list", "--dir", path]);
    let file = list.lines().next().unwrap().split_whitespace().last().unwrap();
    let other = tempdir().unwrap();
    let args =
        ["keys", "import", "account", "--keystore", file, "--dir", other.path().to_str().unwrap()];
    assert!(succeed(&args).contains(address));
}

#[test]
fn a_directory_in_use_of_another_chain_or_damaged() {
    let dir = tempdir().unwrap();
    let (node, rpc, port) = one_node(dir.path().to_str().unwrap());
    let run = ["run", "--dir", &node, "--rpc", &rpc];
    let mut process = Process::start(&run);
    reach(port, 4, || process.said());
    refuse(&run, &["in use by another trefoil process", "--dir"]);
    assert!(process.end("-TERM").success());

    let chain = format!("{node}/chain.toml");
    let spec = fs::read_to_string(&chain).unwrap();
    fs::write(&chain, spec.replace("chain_id = 5", "chain_id = 6")).unwrap();
    refuse(&run, &["another chain", "--dir"]);
    fs::write(&chain, spec).unwrap();

    succeed(&["repair", "--dir", &node]);
    let journal = format!("{node}/data/journal-00000001");
    let mut bytes = fs::read(&journal).unwrap();
    // In what was synced long before the last write: no crash does that.
    let early = bytes.len() / 4;
    bytes[early] ^= 1;
    fs::write(&journal, bytes).unwrap();
    refuse(&run, &["damaged", "trefoil repair"]);
    assert!(succeed(&["repair", "--dir", &node]).contains("sign twice"));
    let mut process = Process::start(&run);
    reach(port, 3, || process.said());
    assert!(process.end("-TERM").success());
}
