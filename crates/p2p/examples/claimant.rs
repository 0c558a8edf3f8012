//! A peer that claims what it cannot show: a height of 2^40, and by a certificate of
//! its own making an organisation. Against a running node that names it in `p2p.peers`:
//!
//!     cargo run --release -p trefoil-p2p --example claimant          prints its peer id
//!     … --example claimant -- ADDRESS ORGANISATION [LINK…]
//!
//! It asks for blocks, other nodes and the resources of the links. Prints what it was
//! told; exits with an error if that is anything but requests for blocks, or if it is
//! still there after 15 s.

mod support;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use alloy_primitives::Bytes;
use alloy_rlp::{Decodable as _, RlpDecodable};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use support::{
    key,
    peer::{self, Session, Wire},
    peer_id,
};
use tokio::{task::JoinSet, time::timeout};
use trefoil_content::{
    Link,
    message::{self, FRAME_BYTES_MAX},
    scheduler::Resource,
};
use trefoil_crypto::{B256, Claims, NodeCertificate, Role};
use trefoil_p2p::{
    NetworkId,
    frame::{self, Control, LaneFrame},
    hello::Hello,
};
use trefoil_types::{
    Message,
    message::{GetBlocks, Tip},
    spec::Kind,
};

const ME: u8 = 77;
const HEIGHT: u64 = 1 << 40;

/// A node has 10 s to see that nothing comes of us.
const STAY_MAX: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, organisation, links @ ..] = &arguments[..] else {
        println!("{}", peer_id(ME));
        return ExitCode::SUCCESS;
    };
    let organisation = organisation.parse().expect("an organisation's number");
    let links: Vec<Link> = links.iter().map(|link| link.parse().expect("a link")).collect();
    match pose(address.parse().expect("an address"), organisation, &links).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("not let in: {error}");
            ExitCode::SUCCESS
        }
    }
}

/// Whether the node gave nothing, and ended it.
async fn pose(address: SocketAddr, organisation: u32, links: &[Link]) -> io::Result<bool> {
    let mut wire = peer::dial(address, &key(ME)).await?;
    let network = claim(&mut wire, organisation).await?;
    println!("admitted, as if of organisation {organisation} at height {HEIGHT}");
    let hello = Hello { network, instance: 7, software: "claimant/1".into(), listen_port: 0 };
    let mut session = Session::greet_as(wire, hello).await?;
    let began = Instant::now();
    for link in links {
        let resource = Resource::file(link.id.root).among(&link.allow);
        let body = message::SwarmMessage::Find { resource }.encode();
        // The node may have no ear for it.
        let _ = session.write[3].write_all(&(body.len() as u32).to_be_bytes()).await;
        let _ = session.write[3].write_all(&body).await;
        let _ = session.write[3].flush().await;
    }
    session.tell(&Message::Tip(Tip { height: HEIGHT, hash: B256::ZERO, round: 0 })).await?;
    session.tell(&Message::GetBlocks(GetBlocks { from: 1, count: 256 })).await?;
    session.write[2].write_all(&Control::GetPeers.encode()).await?;
    session.write[2].flush().await?;

    let heard = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let mut lanes = JoinSet::new();
    for (lane, mut stream) in session.read.drain(..).enumerate() {
        let heard = heard.clone();
        lanes.spawn(async move {
            while let Ok(bytes) =
                frame::read(&mut stream, FRAME_BYTES_MAX.max(32 << 20), STAY_MAX).await
            {
                let what = if lane == 3 { content(&bytes) } else { said(&bytes) };
                *heard.lock().expect("nobody panics").entry(what).or_default() += 1;
            }
        });
    }
    let ended = timeout(STAY_MAX, async { while lanes.join_next().await.is_some() {} }).await;
    let heard = heard.lock().expect("nobody panics");
    for (what, times) in &*heard {
        println!("heard {times:5} × {what}");
    }
    let nothing = heard.keys().all(|what| what == "GetBlocks" || what == "Ping");
    match ended {
        Ok(()) => println!("cut after {:.1} s", began.elapsed().as_secs_f64()),
        Err(_) => println!("still connected after {STAY_MAX:?}"),
    }
    println!("{}", if nothing { "nothing was given" } else { "GIVEN WHAT IS FOR MEMBERS ONLY" });
    Ok(nothing && ended.is_ok())
}

#[derive(RlpDecodable)]
struct Proof {
    kind: u8,
    genesis: B256,
    fork_id: [u8; 4],
    _height: u64,
    certificate: Bytes,
}

/// Learns of the network by the node's own proof, and shows a forged one.
async fn claim(wire: &mut Wire, organisation: u32) -> io::Result<NetworkId> {
    let mut length = [0; 2];
    wire.read_exact(&mut length).await?;
    let mut body = vec![0; usize::from(u16::from_be_bytes(length))];
    if body.is_empty() {
        wire.read_exact(&mut length[..1]).await?;
        return Err(io::Error::other(format!("code {}, by its key", length[0])));
    }
    wire.read_exact(&mut body).await?;
    let theirs = Proof::decode(&mut &body[2..]).map_err(io::Error::other)?;
    let model = NodeCertificate::decode(&theirs.certificate).map_err(io::Error::other)?;
    let claims = Claims {
        genesis: theirs.genesis,
        organisation,
        peer: peer_id(ME),
        role: Role::Full,
        serial: support::serial(77),
        not_before: model.not_before,
        not_after: model.not_after,
    };
    let der = NodeCertificate::issue(&claims, &key(ME)).expect("sound claims").to_der();
    let (genesis, fork_id) = (theirs.genesis, theirs.fork_id);
    let proof = peer::frame_of(1, theirs.kind, genesis, fork_id, HEIGHT, &der);
    wire.write_all(&proof).await?;
    wire.write_all(&[0]).await?;
    wire.flush().await?;
    let mut verdict = [0];
    wire.read_exact(&mut verdict).await?;
    let kind = if theirs.kind == 2 { Kind::Private } else { Kind::Consortium };
    match verdict {
        [0] => Ok(NetworkId { kind, genesis, fork_id }),
        [code] => Err(io::Error::other(format!("code {code}"))),
    }
}

fn said(bytes: &[u8]) -> String {
    match LaneFrame::decode(bytes) {
        Ok(LaneFrame::Control(control)) => name(&control),
        Ok(LaneFrame::Message(message)) => name(&message),
        Err(error) => error.to_string(),
    }
}

fn content(bytes: &[u8]) -> String {
    match message::ContentFrame::decode(bytes) {
        Ok(message::ContentFrame::Message(message::SwarmMessage::Offer { size, .. })) => {
            format!("Offer of {size} bytes")
        }
        Ok(message::ContentFrame::Message(message)) => name(&message),
        Ok(message::ContentFrame::Data { .. }) => "Data".into(),
        Err(error) => error.to_string(),
    }
}

/// The first word of how it is printed.
fn name(of: &impl std::fmt::Debug) -> String {
    let printed = format!("{of:?}");
    printed.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().into()
}
