//! The victims, Alice and Bob, and the sockets between them.

use std::{io, net::SocketAddr, time::Duration};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use trefoil_p2p::{Config, NetworkAccess, libp2p_types, wire};

use crate::{
    shared::{self, Connection, Wire},
    support::{config, peer_id},
};

/// A victim that waits longer than this waits for the attacker in vain.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub enum Wires {
    Clear,
    Member,
}

/// One try.
#[derive(Clone, Copy)]
pub struct Scene {
    pub wires: Wires,
    /// Whether the victims encrypt on a public network.
    pub encrypt: bool,
}

/// Numbers of the victims' keys, and of the attacker's where he has one.
pub const ALICE: u8 = 1;
pub const BOB: u8 = 2;
pub const MALLORY: u8 = 5;

impl Scene {
    pub fn new(wires: Wires) -> Self {
        Self { wires, encrypt: false }
    }

    pub fn wire(&self, n: u8) -> Wire {
        let member = config(n, &[]);
        wire::ungated(&match self.wires {
            Wires::Clear => {
                Config { access: NetworkAccess::Public { encrypt: self.encrypt }, ..member }
            }
            Wires::Member => member,
        })
    }

    /// Alice dials where she believes Bob to be: the attacker's end of her
    /// call, and whom she finds there.
    pub async fn lure(&self) -> io::Result<(TcpStream, JoinHandle<bool>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = libp2p_types::to_multiaddr(listener.local_addr()?);
        let mut wire = self.wire(ALICE);
        let dialled = tokio::spawn(async move {
            let reached = timeout(PATIENCE, shared::dial(&mut wire, address)).await;
            is(&reached.unwrap_or_else(|late| Err(late.into())), BOB)
        });
        Ok((listener.accept().await?.0, dialled))
    }

    /// Bob listens; whether he takes his caller for Alice.
    pub async fn listen(&self) -> io::Result<(SocketAddr, JoinHandle<bool>)> {
        let mut wire = self.wire(BOB);
        let address = shared::listen(&mut wire).await;
        let address = libp2p_types::to_socket(&address).expect("TCP");
        let called = tokio::spawn(async move {
            let caller = timeout(PATIENCE, async { shared::accept(&mut wire).await.await }).await;
            is(&caller.unwrap_or_else(|late| Err(late.into())), ALICE)
        });
        Ok((address, called))
    }

    /// Alice says `words` to whoever is at `address`, if that is Bob.
    pub fn say(&self, address: SocketAddr, words: Vec<u8>) -> JoinHandle<io::Result<()>> {
        let mut wire = self.wire(ALICE);
        tokio::spawn(async move {
            let (peer, mut mux) =
                shared::dial(&mut wire, libp2p_types::to_multiaddr(address)).await?;
            if peer != libp2p_types::to_libp2p(peer_id(BOB)) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            let mut stream = shared::open(&mut mux).await?;
            let driver = tokio::spawn(shared::drive(mux));
            stream.write_all(&words).await?;
            stream.close().await?;
            Err(driver.await.expect("it does not panic"))
        })
    }

    /// Bob listens; what a caller whom he takes for Alice says to him.
    pub async fn hear(&self) -> io::Result<(SocketAddr, JoinHandle<Vec<u8>>)> {
        let mut wire = self.wire(BOB);
        let address = shared::listen(&mut wire).await;
        let address = libp2p_types::to_socket(&address).expect("TCP");
        let heard = tokio::spawn(async move {
            let mut words = Vec::new();
            let hear = async {
                let (peer, mut mux) = shared::accept(&mut wire).await.await?;
                if peer != libp2p_types::to_libp2p(peer_id(ALICE)) {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                let mut stream = shared::opened(&mut mux).await?;
                let driver = tokio::spawn(shared::drive(mux));
                stream.read_to_end(&mut words).await?;
                driver.abort();
                io::Result::Ok(())
            };
            // However it ends, what counts is what was handed out.
            let _ = timeout(PATIENCE, hear).await;
            words
        });
        Ok((address, heard))
    }
}

fn is(reached: &io::Result<Connection>, n: u8) -> bool {
    let name = libp2p_types::to_libp2p(peer_id(n));
    reached.as_ref().is_ok_and(|(peer, _)| *peer == name)
}
