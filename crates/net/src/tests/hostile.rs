//! A hundred admitted peers that do their worst, against a node in a process
//! of its own, whose memory is measured:
//!
//!     cargo test --release -p trefoil-net hostile -- --ignored --nocapture

use std::{process::Stdio, time::Instant};

use alloy_primitives::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::interval,
};
use trefoil_types::{limits::CATCH_UP_BYTES_MAX, message::Lane};

use super::{rogue::Rogue, *};
use crate::{frame, lane::limits};

const HOSTILE: u8 = 100;

/// Keys of the hostile, and of an honest peer of the victim's (key 1).
const FIRST: u8 = 100;
const HONEST: u8 = 2;

/// Set in the victim's process.
const ADDRESS: &str = "TREFOIL_TEST_HONEST";

/// The victim's body: it answers each question with as much as it may, and
/// tells on stdout who left.
#[tokio::test]
#[ignore = "the child process of the test below"]
async fn victim() {
    let Ok(honest) = std::env::var(ADDRESS) else { return };
    let config = Config {
        inbound_max: 128,
        inbound_per_source_max: 128,
        ..config(1, &[(HONEST, honest.parse().unwrap())])
    };
    let Node { handle, mut lanes } = Node::start(config, TIMING).await;
    println!("listening {}", handle.listen_address());
    let mut ticks = interval(Duration::from_millis(100));
    for n in 0.. {
        tokio::select! {
            _ = ticks.tick() => handle.broadcast(&vote(n), None),
            event = lanes.consensus.recv() => match event {
                Some(NetEvent::Disconnected { reason, .. }) => println!("left {reason}"),
                Some(_) => {}
                None => return,
            },
            Some(_) = lanes.gossip.recv() => {}
            Some(NetEvent::Message { peer, .. }) = lanes.catch_up.recv() => {
                let answer = Bytes::from(vec![n as u8; CATCH_UP_BYTES_MAX - 100]);
                handle.send(peer, &Arc::new(Message::Txs(vec![answer])));
            }
        }
    }
}

struct Victim {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Victim {
    async fn start(honest: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::hostile::victim", "--ignored", "--nocapture"])
            .env(ADDRESS, honest.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("the victim listens");
            if let Some((_, address)) = line.split_once("listening ") {
                break address.parse().unwrap();
            }
        };
        Self { child, lines, address }
    }

    /// Resident memory, bytes.
    fn resident(&self) -> usize {
        let id = self.child.id().expect("it lives");
        let statm = std::fs::read_to_string(format!("/proc/{id}/statm")).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }
}

/// Never reads. A third each: hold frames back that lack a byte; ask and ask;
/// say and say. The last two 2,000 times a second, which is above what their
/// lanes allow; faster only starves the attackers of their own processor.
async fn misbehave(n: u8, mut rogue: Rogue) {
    let kind = n % 3;
    let almost = |bytes: usize| {
        let mut frame = (bytes as u32).to_be_bytes().to_vec();
        frame.push(32);
        frame.resize(bytes + 3, 0);
        frame
    };
    if kind == 0 {
        for lane in [Lane::CatchUp, Lane::Gossip, Lane::Consensus] {
            let bytes = almost(limits(lane).frame_bytes_max);
            // More than its window ends the wait for the other lanes.
            let _ = timeout(Duration::from_secs(2), rogue.try_write(lane, &bytes)).await;
        }
        std::future::pending::<()>().await;
    }
    let message = if kind == 1 { get_blocks(1) } else { hashes(1) };
    let lane = message.lane();
    let frames = frame::of_message(&message).repeat(100);
    let mut ticks = interval(Duration::from_millis(50));
    while rogue.try_write(lane, &frames).await.is_ok() {
        ticks.tick().await;
    }
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "half a minute; see the head of this file"]
async fn a_hundred_hostile_peers_cost_little_and_are_gone_soon() {
    let mut honest = Node::start(config(HONEST, &[]), TIMING).await;
    let mut victim = Victim::start(honest.address()).await;
    honest.connected().await;
    let mut rogues = Vec::new();
    for n in 0..HOSTILE {
        rogues.push((n, Rogue::admitted(FIRST + n, 1, victim.address).await));
    }
    let (before, start) = (victim.resident(), Instant::now());
    let tasks: Vec<_> =
        rogues.into_iter().map(|(n, rogue)| tokio::spawn(misbehave(n, rogue))).collect();
    let (mut peak, mut gone, mut last, mut votes) = (0, 0u8, Duration::ZERO, Vec::new());
    let mut ticks = interval(Duration::from_millis(20));
    while start.elapsed() < Duration::from_secs(35) {
        tokio::select! {
            _ = ticks.tick() => peak = peak.max(victim.resident()),
            line = victim.lines.next_line() => {
                let line = line.unwrap().expect("the victim lives");
                gone += 1;
                last = start.elapsed();
                println!("{:>6.1} s {line}", last.as_secs_f64());
            }
            event = honest.lanes.consensus.recv() => match event.expect("it lives") {
                NetEvent::Message { .. } => votes.push(Instant::now()),
                other => panic!("{other:?} on the honest link"),
            },
        }
    }
    let each = peak.saturating_sub(before) / usize::from(HOSTILE);
    let gap = votes.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    println!(
        "memory {} MiB before, {} MiB at most: {} KiB a peer; {gone} gone, the last after {:.1} s; \
         a vote each 100 ms, the longest gap {} ms",
        before >> 20,
        peak >> 20,
        each >> 10,
        last.as_secs_f64(),
        gap.as_millis(),
    );
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(each <= 8 << 20, "{each} bytes a hostile peer");
    assert!(gone >= HOSTILE && last <= Duration::from_secs(30), "{gone} after {last:?}");
    assert!(gap <= Duration::from_secs(1), "{gap:?} without a vote");
}
