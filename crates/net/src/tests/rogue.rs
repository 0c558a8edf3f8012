//! A peer that speaks the transport honestly and the rest as a test likes.

use std::net::SocketAddr;

use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Swarm,
    swarm::{self, SwarmEvent, dial_opts::DialOpts},
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use trefoil_types::message::Lane;

use super::{LIMIT, config, network, peer};
use crate::{
    behaviour::Behaviour,
    frame::{self, CONTROL_BYTES_MAX, Control, Frame},
    gate::Gate,
    guard::Door,
    hello::Hello,
    link::Streams,
    transport,
};

pub struct Rogue {
    streams: Streams,
    /// Drives the swarm.
    task: JoinHandle<()>,
}

pub fn hello() -> Hello {
    Hello { network: network(), instance: 7, software: "rogue/1".into(), listen_port: 0 }
}

impl Rogue {
    /// Connects as peer `n` to peer `to` and opens the streams; says nothing.
    pub async fn connect(n: u8, to: u8, address: SocketAddr) -> Self {
        let door = Door::new(Gate::new(0, 0, []));
        let mut swarm = Swarm::new(
            transport::ungated(&config(n, &[])),
            Behaviour::new(door),
            transport::to_libp2p(peer(n)),
            swarm::Config::with_tokio_executor(),
        );
        let dial = DialOpts::peer_id(transport::to_libp2p(peer(to)))
            .addresses(vec![transport::to_multiaddr(address)])
            .build();
        swarm.dial(dial).unwrap();
        let (sender, receiver) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut sender = Some(sender);
            loop {
                let event = swarm.select_next_some().await;
                if let SwarmEvent::ConnectionEstablished { connection_id, .. } = event {
                    let opened = swarm.behaviour_mut().take(connection_id).unwrap();
                    let _ = sender.take().expect("one connection").send(opened);
                }
            }
        });
        let streams = async {
            let mut opened = receiver.await.expect("a connection");
            Streams::gather(&mut opened).await
        };
        let streams = timeout(LIMIT, streams).await.expect("streams in time");
        Self { streams: streams.unwrap_or_else(|end| panic!("{end:?}")), task }
    }

    /// Connects and is admitted.
    pub async fn admitted(n: u8, to: u8, address: SocketAddr) -> Self {
        let mut rogue = Self::connect(n, to, address).await;
        rogue.say(&Control::Hello(hello())).await;
        rogue.say(&Control::Welcome).await;
        assert!(matches!(rogue.hear().await, Control::Hello(_)));
        assert_eq!(rogue.hear().await, Control::Welcome);
        rogue
    }

    pub async fn say(&mut self, control: &Control) {
        self.write(Lane::Consensus, &control.encode()).await;
    }

    pub async fn write(&mut self, lane: Lane, bytes: &[u8]) {
        let stream = &mut self.streams.write[lane as usize];
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
    }

    pub async fn hear(&mut self) -> Control {
        let stream = &mut self.streams.read[Lane::Consensus as usize];
        let bytes = frame::read(stream, CONTROL_BYTES_MAX, LIMIT).await.expect("a frame");
        match Frame::decode(&bytes).expect("a frame") {
            Frame::Control(control) => control,
            Frame::Message(message) => panic!("{message:?} where a control frame should be"),
        }
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.task.abort();
    }
}
