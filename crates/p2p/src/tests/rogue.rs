//! A peer that speaks the transport honestly and the rest as a test likes.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Swarm,
    kad::{self, store::MemoryStore},
    swarm::{self, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use trefoil_types::message::Lane;

use super::{LIMIT, config, network, peer};
use crate::{
    connection::{
        behaviour::Behaviour,
        frame::{self, CONTROL_BYTES_MAX, Control, LaneFrame},
        hello::Hello,
        streams::Streams,
    },
    connection_table::{self, ConnectionTable},
    discovery::providers,
    transport::libp2p_types,
    wire,
};

/// libp2p's Kademlia as it is.
#[derive(NetworkBehaviour)]
struct Protocols {
    streams: Behaviour,
    kad: kad::Behaviour<MemoryStore>,
}

pub struct Rogue {
    streams: Streams,
    /// Roots to announce.
    pub announce: mpsc::UnboundedSender<[u8; 32]>,
    /// Questions of Kademlia that were answered.
    pub answers: Arc<AtomicUsize>,
    /// Drives the swarm.
    task: JoinHandle<()>,
}

pub fn hello() -> Hello {
    Hello { network: network(), instance: 7, software: "rogue/1".into(), listen_port: 0 }
}

impl Rogue {
    /// Connects as peer `n` to peer `to` and opens the streams; says nothing.
    pub async fn connect(n: u8, to: u8, address: SocketAddr) -> Self {
        let table = Arc::new(Mutex::new(ConnectionTable::new(None, [], None)));
        let (me, kad) = (libp2p_types::to_libp2p(peer(n)), providers::protocol(&network().genesis));
        let mut kad = kad::Behaviour::with_config(me, MemoryStore::new(me), kad::Config::new(kad));
        kad.add_address(&libp2p_types::to_libp2p(peer(to)), libp2p_types::to_multiaddr(address));
        let mut swarm = Swarm::new(
            wire::transport(&config(n, &[]), table.clone()).0,
            Protocols { streams: Behaviour::new(table.clone()), kad },
            me,
            swarm::Config::with_tokio_executor(),
        );
        let dial = DialOpts::peer_id(libp2p_types::to_libp2p(peer(to)))
            .addresses(vec![libp2p_types::to_multiaddr(address)])
            .build();
        swarm.dial(dial).unwrap();
        let (sender, receiver) = oneshot::channel();
        let (announce, mut roots) = mpsc::unbounded_channel();
        let answers = Arc::new(AtomicUsize::new(0));
        let answered = answers.clone();
        let task = tokio::spawn(async move {
            let mut sender = Some(sender);
            loop {
                let event = tokio::select! {
                    event = swarm.select_next_some() => event,
                    Some(root) = roots.recv() => {
                        let key = kad::RecordKey::new::<[u8; 32]>(&root);
                        // More than its own store takes are announced too.
                        let kad = &mut swarm.behaviour_mut().kad;
                        kad.start_providing(key.clone()).expect("room");
                        kad.stop_providing(&key);
                        continue;
                    }
                };
                match event {
                    SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                        let mut table = connection_table::lock(&table);
                        let id = table.of_swarm(connection_id).expect("it was entered");
                        let opened = table.get_mut(id).unwrap().opened.take().unwrap();
                        drop(table);
                        // Of connections that Kademlia makes later none is of use.
                        let _ = sender.take().map(|sender| sender.send(opened));
                    }
                    SwarmEvent::Behaviour(ProtocolsEvent::Kad(
                        kad::Event::OutboundQueryProgressed { stats, .. },
                    )) => {
                        answered.fetch_add(stats.num_successes() as usize, Ordering::Relaxed);
                    }
                    _ => {}
                }
            }
        });
        let streams = async {
            let mut opened = receiver.await.expect("a connection");
            Streams::gather(&mut opened).await
        };
        let streams = timeout(LIMIT, streams).await.expect("streams in time");
        let streams = streams.unwrap_or_else(|end| panic!("{end:?}"));
        Self { streams, announce, answers, task }
    }

    /// Connects and is admitted.
    pub async fn admitted(n: u8, to: u8, address: SocketAddr) -> Self {
        let mut rogue = Self::connect(n, to, address).await;
        rogue.greet().await;
        rogue
    }

    /// Says hello until it is admitted.
    pub async fn greet(&mut self) {
        self.say(&Control::Hello(hello())).await;
        self.say(&Control::Welcome).await;
        assert!(matches!(self.hear().await, Control::Hello(_)));
        assert_eq!(self.hear().await, Control::Welcome);
    }

    pub async fn say(&mut self, control: &Control) {
        self.write(Lane::Consensus, &control.encode()).await;
    }

    pub async fn write(&mut self, lane: Lane, bytes: &[u8]) {
        let stream = &mut self.streams.write[lane as usize];
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
    }

    /// Writes where only the other side may.
    pub async fn write_back(&mut self, lane: Lane, bytes: &[u8]) {
        let stream = &mut self.streams.read[lane as usize];
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
    }

    pub async fn hear(&mut self) -> Control {
        let stream = &mut self.streams.read[Lane::Consensus as usize];
        let bytes = frame::read(stream, CONTROL_BYTES_MAX, LIMIT).await.expect("a frame");
        match LaneFrame::decode(&bytes).expect("a frame") {
            LaneFrame::Control(control) => control,
            LaneFrame::Message(message) => panic!("{message:?} where a control frame should be"),
        }
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.task.abort();
    }
}
