//! The manners in which a revoked peer may cling to its connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alloy_primitives::{B256, Bytes};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};
use tokio::task::JoinHandle;
use trefoil_p2p::NetEvent;
use trefoil_types::{
    Message, PeerId,
    message::{GetBlocks, Tip},
};

use super::{
    Node, after_revoking, certificate, key, open_files,
    peer::{self, Session, Told, Wire},
    peer_id,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Connected, with messages under way both ways, and then it reads nothing.
    NeverReads,
    /// Connected, then closed its sending side.
    HalfClosed,
    /// Known by TLS, and silent where its proof should come.
    MidHandshake,
    /// Connected, and admitted a second time.
    TwoConnections,
    /// A new connection every 10 ms.
    Reconnecting,
}

pub const MANNERS: [Manner; 5] = [
    Manner::NeverReads,
    Manner::HalfClosed,
    Manner::MidHandshake,
    Manner::TwoConnections,
    Manner::Reconnecting,
];

/// What the peer holds on to.
enum Hold {
    Session(Session),
    Wire(Box<Wire>),
    Loop(Reconnects),
}

/// What a revocation did.
#[derive(Debug)]
pub struct Outcome {
    /// From `set_admission` to the node's last socket of the peer closed, or to
    /// the first refusal of one that comes back and back.
    pub took: Duration,
    /// Messages of the peer that reached the node afterwards.
    pub delivered: usize,
    /// Whether it was let in once more.
    pub admitted_again: bool,
}

/// Lets peer `n` cling to the node in its manner, revokes it beside those
/// revoked before, and watches.
pub async fn revoke(node: &mut Node, n: u8, manner: Manner, revoked: &mut Vec<PeerId>) -> Outcome {
    let baseline = open_files();
    let mut holds = cling(node, n, manner).await;
    if let [Hold::Loop(reconnects)] = &mut holds[..] {
        reconnects.admitted().await;
    }
    revoked.push(peer_id(n));
    let start = Instant::now();
    node.handle.set_admission(after_revoking(revoked.iter().copied()));
    let (took, admitted_again) = match &mut holds[..] {
        [Hold::Loop(reconnects)] => reconnects.end(start).await,
        holds => {
            // The peer's own ends stay open; the node's must not.
            while open_files() > baseline + holds.len() {
                tokio::time::sleep(Duration::from_micros(200)).await;
                assert!(start.elapsed() < Duration::from_secs(20), "{manner:?}: not cut");
            }
            (start.elapsed(), comes_back(node, n).await)
        }
    };
    let connected = holds.iter().any(|hold| matches!(hold, Hold::Session(_)));
    drop(holds);
    let delivered = drain(node, peer_id(n), connected).await;
    let admitted_again =
        admitted_again || node.handle.peers().iter().any(|seen| seen.peer == peer_id(n));
    Outcome { took, delivered, admitted_again }
}

async fn cling(node: &Node, n: u8, manner: Manner) -> Vec<Hold> {
    match manner {
        Manner::NeverReads => {
            let mut session = session(node, n).await;
            chat(node, n, &mut session).await;
            session.frozen.store(true, Ordering::Release);
            let large = Arc::new(Message::Txs(vec![Bytes::from(vec![7; 1 << 20])]));
            for _ in 0..12 {
                node.handle.broadcast(&large, None);
            }
            vec![Hold::Session(session)]
        }
        Manner::HalfClosed => {
            let mut wire = admitted(node, n).await;
            wire.close().await.expect("an open wire");
            vec![Hold::Wire(Box::new(wire))]
        }
        Manner::MidHandshake => {
            let mut wire = peer::dial(node.address(), &key(n)).await.expect("TLS");
            // The node knows the peer when its own proof is under way.
            wire.read_exact(&mut [0; 2]).await.expect("the length of its proof");
            vec![Hold::Wire(Box::new(wire))]
        }
        Manner::TwoConnections => {
            let mut session = session(node, n).await;
            chat(node, n, &mut session).await;
            vec![Hold::Session(session), Hold::Wire(Box::new(admitted(node, n).await))]
        }
        Manner::Reconnecting => vec![Hold::Loop(Reconnects::start(node, n))],
    }
}

async fn admitted(node: &Node, n: u8) -> Wire {
    let mut wire = peer::dial(node.address(), &key(n)).await.expect("TLS");
    let told = peer::show(&mut wire, &peer::proof(&certificate(n).to_der())).await;
    assert_eq!(told, Told::Admitted);
    wire
}

async fn session(node: &Node, n: u8) -> Session {
    Session::greet(admitted(node, n).await).await.expect("a hello and a welcome")
}

/// Leaves messages on every lane for a node that does not read them.
async fn chat(node: &Node, n: u8, session: &mut Session) {
    let messages = [
        Message::Tip(Tip { height: 5, hash: B256::ZERO, round: 0 }),
        Message::GetBlocks(GetBlocks { from: 1, count: 1 }),
        Message::TxHashes(vec![B256::ZERO]),
    ];
    let mut sent = 0;
    for (stream, message) in session.write.iter_mut().zip(messages) {
        let body = message.encode();
        let frame = [(body.len() as u32).to_be_bytes().as_slice(), &body].concat();
        sent += 10 * frame.len() as u64;
        for _ in 0..10 {
            stream.write_all(&frame).await.expect("an open stream");
        }
        stream.flush().await.expect("an open stream");
    }
    let arrived = || node.handle.peers().iter().any(|p| p.peer == peer_id(n) && p.bytes_in >= sent);
    while !arrived() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Whether a revoked peer that dials again is let in.
async fn comes_back(node: &Node, n: u8) -> bool {
    let Ok(mut wire) = peer::dial(node.address(), &key(n)).await else { return false };
    let told = peer::show(&mut wire, &peer::proof(&certificate(n).to_der())).await;
    assert!(matches!(told, Told::Refused(3)), "{told:?}");
    told == Told::Admitted
}

/// Reads what waits for the node, and of a connected peer all until it is disconnected, which is
/// said last; how many messages there are of `peer`.
async fn drain(node: &mut Node, peer: PeerId, connected: bool) -> usize {
    let mut delivered = 0;
    if connected {
        loop {
            match node.event().await {
                NetEvent::Message { peer: of, .. } => delivered += usize::from(of == peer),
                NetEvent::Disconnected { peer: of, .. } if of == peer => break,
                _ => {}
            }
        }
    }
    for inbox in [&mut node.lanes.consensus, &mut node.lanes.catch_up, &mut node.lanes.gossip] {
        while let Some(Some(event)) = inbox.recv().now_or_never() {
            let of_it = matches!(event, NetEvent::Message { peer: of, .. } if of == peer);
            delivered += usize::from(of_it);
        }
    }
    delivered
}

/// A peer that connects every 10 ms and drops the connection before.
struct Reconnects {
    task: JoinHandle<Vec<(Instant, Told)>>,
    admitted: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Reconnects {
    fn start(node: &Node, n: u8) -> Self {
        let address = node.address();
        let [admitted, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let refused = Arc::new(AtomicUsize::new(0));
        let (let_in, sent_off, stopped) = (admitted.clone(), refused.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let proof = peer::proof(&certificate(n).to_der());
            let mut every = tokio::time::interval(Duration::from_millis(10));
            let mut told = vec![];
            let mut _last = None;
            while !stopped.load(Ordering::Acquire) {
                every.tick().await;
                let began = Instant::now();
                let Ok(mut wire) = peer::dial(address, &key(n)).await else { continue };
                let verdict = peer::show(&mut wire, &proof).await;
                let_in.fetch_or(verdict == Told::Admitted, Ordering::AcqRel);
                let refusals = usize::from(verdict == Told::Refused(3));
                sent_off.fetch_add(refusals, Ordering::AcqRel);
                told.push((began, verdict));
                _last = Some(wire);
            }
            told
        });
        Self { task, admitted, refused, stop }
    }

    async fn admitted(&self) {
        wait_until(|| self.admitted.load(Ordering::Acquire)).await;
    }

    /// Lets it try on, until it was refused ten times. The first refusal after `start`,
    /// and whether a connection that began after it was admitted.
    async fn end(&mut self, start: Instant) -> (Duration, bool) {
        wait_until(|| self.refused.load(Ordering::Acquire) >= 10).await;
        self.stop.store(true, Ordering::Release);
        let told = (&mut self.task).await.expect("it does not panic");
        let after: Vec<_> = told.into_iter().filter(|(began, _)| *began >= start).collect();
        let first = after.iter().find(|(_, told)| *told == Told::Refused(3));
        let first = first.expect("it tried again and was told").0;
        (first - start, after.iter().any(|(_, told)| *told == Told::Admitted))
    }
}

async fn wait_until(so: impl Fn() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
