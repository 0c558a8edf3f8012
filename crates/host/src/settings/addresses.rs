//! How an operator writes where other nodes are.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use trefoil_types::PeerId;

/// A node and where it listens, written `PEERID@ip:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerAddress {
    pub peer: PeerId,
    pub address: SocketAddr,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.peer, self.address)
    }
}

impl FromStr for PeerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (peer, address) = text
            .split_once('@')
            .ok_or_else(|| format!("{text:?} is no peer: write PEERID@ip:port"))?;
        let peer = peer.parse().map_err(|e| format!("{e}"))?;
        let address = address
            .parse()
            .map_err(|_| format!("{address:?} is no ip:port (names are not looked up)"))?;
        Ok(Self { peer, address })
    }
}

impl TryFrom<String> for PeerAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PeerAddress> for String {
    fn from(peer: PeerAddress) -> String {
        peer.to_string()
    }
}

/// Where to begin: `PEERID@ip:port`, or `ip:port` of any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bootstrap {
    pub peer: Option<PeerId>,
    pub address: SocketAddr,
}

impl TryFrom<String> for Bootstrap {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self { peer: None, address });
        }
        let known = text.parse::<PeerAddress>();
        let known = known.map_err(|e| format!("{e}; or write ip:port alone"))?;
        Ok(Self { peer: Some(known.peer), address: known.address })
    }
}

impl From<Bootstrap> for String {
    fn from(bootstrap: Bootstrap) -> String {
        match bootstrap.peer {
            Some(peer) => PeerAddress { peer, address: bootstrap.address }.to_string(),
            None => bootstrap.address.to_string(),
        }
    }
}
