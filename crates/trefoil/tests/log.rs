//! What a node says costs it nothing when nobody reads it, or when it has no room.

mod common;

use std::{
    fs::File,
    io::{Write as _, pipe},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use common::{
    PASSWORD, check_refusal, free_ports, reach, signal, succeed, text, trefoil, wait_for,
};
use tempfile::tempdir;

/// A pipe's usual capacity.
const PIPE_BYTES: usize = 64 * 1024;

struct Node(Child);

impl Node {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn end(mut self) {
        signal(self.0.id(), "-TERM");
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_validator_whose_log_nobody_reads_goes_on() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("net");
    let ports = free_ports(2);
    let (rpc, at) = (format!("127.0.0.1:{ports}"), format!("127.0.0.1:{}", ports + 1));
    let founded = ["network", "new", "--kind", "private", "--chain-id", "5", "--validators", "1"];
    let net = path.to_str().unwrap();
    succeed(&[&founded[..], &["--at", &at, "--idle-block-s", "1", net]].concat());
    let home = path.join("node-0");
    let run = ["run", "--dir", home.to_str().unwrap(), "--rpc", &rpc, "--log", "debug"];
    let mut height = 0;
    let mut goes_on = |node: Node, case: &str| {
        height = reach(ports, height + 2, || case.into()) + 1;
        reach(ports, height, || case.into());
        node.end();
    };

    // As `trefoil run | head -1`, after its end.
    let mut closed = Node::start(trefoil(&run).stdout(Stdio::piped()).stderr(Stdio::piped()));
    drop((closed.0.stdout.take(), closed.0.stderr.take()));
    goes_on(closed, "a closed pipe");

    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&[b'\n'; PIPE_BYTES]).unwrap();
    let (out, err) = (writer.try_clone().unwrap(), writer);
    goes_on(Node::start(trefoil(&run).stdout(out).stderr(err)), "a full pipe");
    drop(reader);

    let full = || File::options().write(true).open("/dev/full").unwrap();
    goes_on(Node::start(trefoil(&run).stdout(full()).stderr(full())), "a full disk");

    // `ulimit -f`, or systemd's `LimitFSIZE=`: 64 MiB, or half of that, as the shell counts. What
    // the node writes itself is far less.
    let log = dir.path().join("log");
    File::create(&log).unwrap().set_len(64 << 20).unwrap();
    let at_end = || File::options().append(true).open(&log).unwrap();
    let limit = "ulimit -f 65536 && exec \"$0\" \"$@\"";
    let mut limited = Command::new("sh");
    limited.args(["-c", limit, env!("CARGO_BIN_EXE_trefoil")]).args(run).stdin(Stdio::null());
    limited.env("TREFOIL_PASSWORD", PASSWORD).stdout(at_end()).stderr(at_end());
    goes_on(Node::start(&mut limited), "a file at the limit of its size");
}

#[test]
fn an_answer_that_nobody_could_write_down_is_an_error() {
    let dir = tempdir().unwrap();
    let config = ["config", "--dir", dir.path().to_str().unwrap()];
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = trefoil(&config).stdout(full).stderr(Stdio::piped()).output().unwrap();
    check_refusal(&config, &output, &["stdout", "os error 28"]);
    // As `trefoil config | head -1`.
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let output = trefoil(&config).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
}

/// As `trefoil share FILE | head -1`.
#[test]
fn sharing_goes_on_when_nobody_reads_what_it_says() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "shared").unwrap();
    let ports = free_ports(2);
    let (listen, rpc) = (format!("127.0.0.1:{ports}"), format!("127.0.0.1:{}", ports + 1));
    let (file, place) = (file.to_str().unwrap(), dir.path().join("share"));
    let share =
        ["share", file, "--dir", place.to_str().unwrap(), "--listen", &listen, "--rpc", &rpc];
    let mut node = Node::start(trefoil(&share).stdout(Stdio::piped()).stderr(Stdio::null()));
    drop(node.0.stdout.take());
    // After its first line; the file is hashed and named after that.
    let connect = || TcpStream::connect(&rpc).ok();
    wait_for("the gateway", connect, || "it ended".into());
    let about = place.join("content");
    let shared = || std::fs::read_dir(&about).ok()?.next();
    wait_for("the file", shared, || "it ended".into()).unwrap();
    node.end();
}
