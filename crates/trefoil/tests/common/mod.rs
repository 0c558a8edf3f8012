//! Starts the real binary, on free ports of this machine.
#![allow(dead_code, reason = "each test file uses its part of this")]

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use alloy_consensus::TxEip1559;
use alloy_primitives::{TxKind, hex};
use serde_json::{Value, json};
use trefoil::chain_client::{account_key::AccountKey, client::Client};
use trefoil_types::Address;

pub const PASSWORD: &str = "correct horse";

/// Nothing here takes so long, even on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The binary with no settings of the caller's environment.
pub fn trefoil(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trefoil"));
    command.args(args).stdin(Stdio::null());
    // The password is known to all: a second for each key would protect nothing.
    command.env("TREFOIL_PASSWORD", PASSWORD).env("TREFOIL_LIGHTKDF", "true");
    command
}

/// Runs a command to its end, which must come within a minute.
pub fn finish(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let (told, output) = mpsc::channel();
    thread::spawn(move || told.send(child.wait_with_output().unwrap()));
    output.recv_timeout(WAIT_MAX).unwrap_or_else(|_| {
        signal(id, "-KILL");
        let output = output.recv().unwrap();
        panic!("{command:?} does not end: {}", text(&output))
    })
}

/// Runs a command that must succeed; its stdout.
pub fn succeed(args: &[&str]) -> String {
    let output = finish(&mut trefoil(args));
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with 1 and a message holding `words`.
pub fn refuse(args: &[&str], words: &[&str]) {
    let output = finish(&mut trefoil(args));
    check_refusal(args, &output, words);
}

pub fn check_refusal(args: &[&str], output: &Output, words: &[&str]) {
    let said = text(output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: {word:?} is not in: {said}");
    }
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// A process in the background, killed when dropped, and its output.
pub struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Process {
    pub fn start(args: &[&str]) -> Self {
        Self::spawn(&mut trefoil(args))
    }

    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::default();
        follow(child.stdout.take().unwrap(), &said);
        follow(child.stderr.take().unwrap(), &said);
        Self { child, said }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until the process has printed `words`.
    pub fn hear(&self, words: &str) {
        wait_for(
            &format!("{words:?}"),
            || self.said().contains(words).then_some(()),
            || self.said(),
        );
    }

    /// Sends a signal and waits for the process's end.
    pub fn end(&mut self, name: &str) -> ExitStatus {
        signal(self.id(), name);
        let (child, said) = (&mut self.child, &self.said);
        let said = || said.lock().unwrap().clone();
        wait_for("the end", || child.try_wait().unwrap(), said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Closing its stdin ends a devnet's children too; a kill the rest.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(pipe: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = said.clone();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    });
}

pub fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(done.success());
}

pub fn is_alive(pid: u32) -> bool {
    // A process that ended and was not waited for is a zombie: state Z.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// The first of `count` neighbouring free ports. Bases are far apart, so that
/// tests of one process do not meet.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + u16::try_from(std::process::id() % 300).unwrap() * 32;
    for _ in 0..200 {
        let base = start + NEXT.fetch_add(32, Ordering::Relaxed);
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (base..base + count).all(free) {
            return base;
        }
    }
    panic!("no free ports");
}

/// Polls until there is an answer; fails after a minute.
pub fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>, say: impl Fn() -> String) -> T {
    let end = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < end, "waited a minute for {what}:\n{}", say());
        thread::sleep(Duration::from_millis(50));
    }
}

/// A running node's answer, if it answers.
pub fn ask(port: u16, method: &str, params: Value) -> Option<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(&format!("127.0.0.1:{port}"));
    runtime.block_on(client.call(method, params)).ok()
}

pub fn height(port: u16) -> Option<u64> {
    ask(port, "trefoil_status", json!([]))?["height"].as_u64()
}

/// Waits until the node at `port` is at `wanted` or higher.
pub fn reach(port: u16, wanted: u64, say: impl Fn() -> String) -> u64 {
    let what = format!("height {wanted} at port {port}");
    wait_for(&what, || height(port).filter(|height| *height >= wanted), say)
}

/// Runs a command with `input` on its stdin.
pub fn with_input(args: &[&str], input: &str) -> Output {
    let mut child = trefoil(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The well-known first account of development networks.
const RICH: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Its address.
pub const RICH_ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// Sends a transfer every so often, so that there are blocks and fees.
pub struct Trickle {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Trickle {
    /// From the account of [`RICH`], which has ether at genesis.
    pub fn start(port: u16, chain_id: u64) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let end = ended.clone();
        let wallet = AccountKey::new(&hex::decode_to_array(RICH).unwrap()).unwrap();
        let send = move || {
            for nonce in 0.. {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let tx = TxEip1559 {
                    chain_id,
                    nonce,
                    gas_limit: 21_000,
                    max_fee_per_gas: 10_000_000_000,
                    max_priority_fee_per_gas: 1_000_000_000,
                    to: TxKind::Call(Address::ZERO),
                    ..TxEip1559::default()
                };
                ask(port, "eth_sendRawTransaction", json!([wallet.sign(tx).raw])).unwrap();
                thread::sleep(Duration::from_millis(40));
            }
        };
        Self { ended, thread: Some(thread::spawn(send)) }
    }

    pub fn end(mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}
