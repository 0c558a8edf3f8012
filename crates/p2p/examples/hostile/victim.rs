//! The node under attack, in a process of its own.

use std::{net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use alloy_primitives::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::interval,
};
use trefoil_p2p::{Config, NetEvent};
use trefoil_types::{B256, Message, Vote, VoteKind, limits::CATCH_UP_BYTES_MAX};

use crate::support::{MEMBER, NODE, Node, config, key, network};

/// The child's `main`: answers each question with as much as it may, says a
/// vote each 100 ms, and tells on stdout who left. As the node's shell does, it
/// turns to what is urgent first.
pub async fn run(honest: SocketAddr) {
    let named = config(NODE, &[(MEMBER, honest)]);
    let mut node = Node::start(Config { inbound_max: 128, ..named }).await;
    println!("{}", node.address());
    let answer = Arc::new(Message::Txs(vec![Bytes::from(vec![7; CATCH_UP_BYTES_MAX - 100])]));
    let mut ticks = interval(Duration::from_millis(100));
    for height in 0.. {
        tokio::select! {
            biased;
            _ = ticks.tick() => node.handle.broadcast(&vote(height), None),
            event = node.lanes.consensus.recv() => match event {
                Some(NetEvent::Disconnected { reason, .. }) => println!("left {reason}"),
                Some(_) => {}
                None => return,
            },
            Some(NetEvent::Message { peer, .. }) = node.lanes.catch_up.recv() => {
                node.handle.send(peer, &answer);
            }
            Some(_) = node.lanes.gossip.recv() => {}
        }
    }
}

fn vote(height: u64) -> Arc<Message> {
    let (genesis, block) = (network().genesis, Some(B256::ZERO));
    Arc::new(Message::Vote(Vote::sign(&key(9), &genesis, VoteKind::Prevote, height, 0, block)))
}

pub struct Victim {
    pub address: SocketAddr,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    pub async fn start(honest: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["victim", &honest.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts again");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let first = lines.next_line().await.expect("a pipe").expect("the victim listens");
        Self { address: first.parse().expect("an address"), child, lines }
    }

    /// What it says next.
    pub async fn line(&mut self) -> String {
        self.lines.next_line().await.expect("a pipe").expect("the victim lives")
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> usize {
        let id = self.child.id().expect("it lives");
        let statm = std::fs::read_to_string(format!("/proc/{id}/statm")).expect("Linux tells it");
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
        pages.expect("a number") * 4096
    }
}
