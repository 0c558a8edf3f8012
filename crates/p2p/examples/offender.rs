//! A peer of a public network that misbehaves, to be looked at with `trefoil
//! peers --offences`:
//!
//!     cargo run --release -p trefoil-p2p --example offender ADDRESS PEER GENESIS FORK_ID
//!
//! It tells a transaction that no correct node relays each second, until it is
//! banned and refused, and prints what it hears of that. A wrong GENESIS or FORK_ID
//! (hex) is answered with the right one: `trefoil devnet --kind public`, ask with
//! zeros, ask again.

use std::{env, net::SocketAddr, sync::Arc, time::Duration};

use alloy_primitives::{Bytes, hex};
use tokio::time::interval;
use trefoil_crypto::SecretKey;
use trefoil_p2p::{Config, NetEvent, NetworkAccess};
use trefoil_types::{B256, Message, PeerId};

#[tokio::main]
async fn main() {
    let words: Vec<_> = env::args().skip(1).collect();
    let [address, peer, genesis, fork_id] = words.as_slice() else {
        panic!("ADDRESS PEER GENESIS FORK_ID");
    };
    let address: SocketAddr = address.parse().expect("an address with a port");
    let peer: PeerId = peer.parse().expect("a peer id");
    let genesis: B256 = genesis.parse().expect("32 bytes in hex");
    let fork_id: [u8; 4] = hex::decode_to_array(fork_id).expect("4 bytes in hex");
    let config = Config {
        identity: SecretKey::from_seed(&rand::random()),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        peers: vec![(peer, address)],
        genesis,
        fork_id,
        access: NetworkAccess::Public { encrypt: false },
        inbound_max: 1,
        inbound_per_source_max: 1,
        discovery: None,
    };
    let (handle, mut lanes) = trefoil_p2p::start(config).await.expect("a free port");
    let mut ticks = interval(Duration::from_secs(1));
    for n in 0u64.. {
        tokio::select! {
            _ = ticks.tick() => {
                let bad = Bytes::from(n.to_be_bytes().to_vec());
                handle.broadcast(&Arc::new(Message::Txs(vec![bad])), None);
            }
            event = lanes.consensus.recv() => match event.expect("the network lives") {
                NetEvent::Connected { .. } => println!("connected"),
                NetEvent::Disconnected { reason, .. } => println!("disconnected: {reason}"),
                NetEvent::Refused { reason, .. } => {
                    println!("refused: {reason}");
                    return;
                }
                NetEvent::Message { .. } => {}
            },
        }
    }
}
