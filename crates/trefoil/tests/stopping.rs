//! A node ends soon when it is told to, whatever it is doing.

mod common;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use common::{Process, ask, free_ports, height, reach, succeed, wait_for};
use serde_json::json;
use tempfile::tempdir;

/// After which `trefoil devnet` kills a node; service managers give it 30 s (docs/operations.md).
const STOP_MAX: Duration = Duration::from_secs(25);

/// Founds a network of one validator that listens on `port`; its directory.
fn found(dir: &Path, port: u16) -> PathBuf {
    let net = dir.join("net");
    let at = format!("127.0.0.1:{port}");
    let founded = ["network", "new", "--kind", "private", "--chain-id", "5", "--validators", "1"];
    let last = ["--at", &at, "--idle-block-s", "1", net.to_str().unwrap()];
    succeed(&[&founded[..], &last].concat());
    net.join("node-0")
}

fn ends_soon(mut node: Process) {
    let began = Instant::now();
    let status = node.end("-TERM");
    let took = began.elapsed();
    assert!(status.success() && took < STOP_MAX, "{status} after {took:?}: {}", node.said());
}

/// Nobody has a snapshot, and the operator insists on one: it waits for ever.
#[test]
fn a_node_that_waits_for_a_snapshot_ends() {
    let dir = tempdir().unwrap();
    let ports = free_ports(2);
    let home = found(dir.path(), ports + 1);
    let rpc = format!("127.0.0.1:{ports}");
    let home = home.to_str().unwrap();
    let node = Process::start(&["run", "--dir", home, "--rpc", &rpc, "--sync", "snapshot"]);
    let listens = || TcpStream::connect(("127.0.0.1", ports + 1)).ok();
    wait_for("its network", listens, || node.said());
    assert!(TcpStream::connect(&rpc).is_err(), "it serves nobody before it has joined");
    ends_soon(node);
}

/// A socket that has sent this.
fn sent(port: u16, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

/// A WebSocket that subscribes to new blocks.
fn subscriber(port: u16) -> TcpStream {
    let mut socket = sent(
        port,
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    let ask = br#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
    // One text frame, masked with zeros (RFC 6455, 5.2).
    let frame = [&[0x81, 0x80 | ask.len() as u8, 0, 0, 0, 0], &ask[..]].concat();
    socket.write_all(&frame).unwrap();
    socket
}

/// A call that runs until its gas is used up.
fn heavy_call(port: u16) -> TcpStream {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"data":"0x5b5f56"}]}"#;
    let length = body.len();
    sent(
        port,
        &format!("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n{body}"),
    )
}

#[test]
fn a_node_whose_callers_take_all_that_it_has_ends() {
    let dir = tempdir().unwrap();
    let ports = free_ports(2);
    let home = found(dir.path(), ports + 1);
    let rpc = format!("127.0.0.1:{ports}");
    let node = Process::start(&["run", "--dir", home.to_str().unwrap(), "--rpc", &rpc]);
    reach(ports, 1, || node.said());
    let _sockets: Vec<_> = (0..500).map(|_| subscriber(ports)).collect();
    let _calls: Vec<_> = (0..200).map(|_| heavy_call(ports)).collect();
    ends_soon(node);
}

// Attack, or accident: another process fills the disk. A limit on the size of files does the same to
// a validator, and needs no disk of its own.
#[test]
fn a_validator_without_room_says_why_and_goes_on_or_ends() {
    let dir = tempdir().unwrap();
    let ports = free_ports(2);
    let (home, rpc) = (found(dir.path(), ports + 1), format!("127.0.0.1:{ports}"));
    let run = ["run", "--dir", home.to_str().unwrap(), "--rpc", &rpc];
    let node = Process::start(&run);
    let id = node.id().to_string();
    let limit = |bytes: &str| {
        let size = format!("--fsize={bytes}:");
        assert!(Command::new("prlimit").args(["--pid", &id, &size]).status().unwrap().success());
    };
    let lacks = || {
        let why = ask(ports, "trefoil_status", json!([]))?["lacksRoom"].take();
        why.as_str().map(str::to_owned)
    };
    reach(ports, 3, || node.said());
    limit("4096");
    let why = wait_for("the reason", lacks, || node.said());
    assert!(why.contains("the journal") && why.contains("LimitFSIZE"), "{why}");
    let mut ready = String::new();
    let mut check = sent(ports, "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    check.read_to_string(&mut ready).unwrap();
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains(&why), "{ready}");
    assert!(succeed(&["status", "--rpc", &rpc]).contains(&why));

    let stood = height(ports).unwrap();
    limit("unlimited");
    reach(ports, stood + 2, || node.said());
    assert_eq!(lacks(), None);

    limit("4096");
    wait_for("the reason", lacks, || node.said());
    let stood = height(ports).unwrap();
    ends_soon(node);
    let node = Process::start(&run);
    reach(ports, stood + 1, || node.said());
}
