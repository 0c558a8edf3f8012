//! A node's settings: `node.toml`, the environment and flags over defaults.
//!
//! What always holds: a key is spelled once, here; an unknown one is refused
//! wherever it stands; and every effective value knows where it came from.
//! Values that all nodes must agree on are in `chain.toml` instead.

mod addresses;
mod error;
mod sources;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use trefoil_content::scheduler::Rates;
use trefoil_ledger::History;
use trefoil_mempool::MempoolLimits;
use trefoil_os::{certificate::Ca, keystore::Password};
use trefoil_rpc::{MEMORY_DEFAULT, MemoryAccount, content::gateway::GatewayAccess};
use trefoil_swarm::http::Reach;
use trefoil_types::spec::Kind;

pub use self::{
    addresses::{Bootstrap, PeerAddress},
    error::{SettingSource, SettingsError},
    sources::{Effective, variable},
};

/// The file in a node's directory.
pub const FILE: &str = "node.toml";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The log filter: `error`, `warn`, `info`, `debug`, or per module
    /// (`info,trefoil_p2p=debug`).
    pub log: String,
    /// `archive` (the state of every block) or a number of blocks.
    pub history: HistorySetting,
    /// How a new node comes to the chain.
    pub sync: SyncMode,
    pub p2p: P2pSettings,
    pub rpc: RpcSettings,
    pub pool: MempoolLimits,
    pub content: ContentSettings,
    pub keys: KeySettings,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct P2pSettings {
    /// Where other nodes connect.
    pub listen: SocketAddr,
    /// Nodes to keep connected to, `PEERID@ip:port` each.
    pub peers: Vec<PeerAddress>,
    /// Connections that strangers opened, at most; configured peers and
    /// validators always have room.
    pub inbound_max: usize,
    // A /64 is what one IPv6 customer gets, as an IPv4 customer gets one address.
    /// Of those, from one IPv4 address or IPv6 /64, at most.
    pub inbound_per_source_max: usize,
    /// Where to begin looking for other nodes, `PEERID@ip:port` or `ip:port`.
    pub bootstrap: Vec<Bootstrap>,
    /// Connections to nodes that were found, besides `peers`; in public
    /// networks only.
    pub outbound: usize,
    /// Where other nodes can reach this one, `ip:port`; sent to all. Empty:
    /// `listen`, unless that is all addresses.
    pub advertise: Vec<SocketAddr>,
    /// Whether a public network's node encrypts its connections.
    pub encrypt: Encrypt,
}

/// Public networks are readable on the wire unless a node sets `always`; the
/// other kinds always encrypt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encrypt {
    #[default]
    Never,
    Always,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpcSettings {
    /// HTTP and WebSocket, on one port.
    pub listen: SocketAddr,
    /// Names that a request's `Host` may have besides IP addresses and
    /// `localhost`; `*`: any.
    pub hosts: Vec<String>,
    // A network of members lets no page in by itself, a public one every page.
    /// Web pages (`Origin`) that may use the RPC from a browser besides the node's own; `*`: any,
    /// `http://NAME:*`: any port. Empty: none, or any on a public network.
    pub origins: Vec<String>,
    // A trace takes a core for seconds and 64 MiB, and any caller may ask for it.
    /// Whether `debug_*` is served.
    pub debug: bool,
    /// Mebibytes that callers can make the node hold: requests, answers that wait to be read,
    /// traces, notifications. At least 16.
    pub memory_mib: usize,
}

impl RpcSettings {
    /// What callers can make the node hold.
    pub fn memory(&self) -> MemoryAccount {
        // Less would not hold one large answer.
        MemoryAccount::new(self.memory_mib.max(16).saturating_mul(1 << 20))
    }
}

/// How a node that has no chain yet comes to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// By a snapshot and archives if the peers have some; a founding validator
    /// begins at genesis.
    #[default]
    Auto,
    /// By a snapshot and archives; waits until a peer has some.
    Snapshot,
    /// Executes every block since genesis.
    Full,
}

/// Bounds on shared content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContentSettings {
    /// Mebibytes that may be kept besides what is pinned; 0: no limit.
    pub quota_mib: u64,
    /// Kibibytes a second that are sent and taken, of all content together; 0:
    /// no limit.
    pub up_kib_s: u64,
    pub down_kib_s: u64,
    /// The callers that may read content over HTTP, on the RPC's port.
    pub gateway: GatewayAccess,
    // Pages of one host name share what they keep in a browser, and reach each other.
    /// A name below which each resource is served at a host of its own, `ID.content.NAME`,
    /// where its pages may run. Empty: resources that could run are only downloaded.
    pub gateway_name: String,
    /// Which HTTP servers are asked that peers name as origins.
    pub origins: OriginPolicy,
    /// A file of headers for them, by URL prefix. Empty: none.
    pub origin_credentials: PathBuf,
}

/// Which HTTP servers are asked that peers name as origins. Those that this node's
/// own operator put are always asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OriginPolicy {
    // Another organisation's `put --origin` would otherwise make this node ask its own loopback.
    /// `all` in private networks, which are one organisation's; elsewhere `global`.
    #[default]
    Auto,
    /// Also those that only this machine or its network reaches.
    All,
    /// Those with an address of the Internet.
    Global,
    Off,
}

impl OriginPolicy {
    pub fn reach(self, kind: Kind) -> Option<Reach> {
        match (self, kind) {
            (Self::Off, _) => None,
            (Self::Global, _) | (Self::Auto, Kind::Public | Kind::Consortium) => {
                Some(Reach::Global)
            }
            (Self::All, _) | (Self::Auto, Kind::Private) => Some(Reach::All),
        }
    }
}

impl ContentSettings {
    /// Bytes that may be kept.
    pub fn quota(&self) -> Option<u64> {
        (self.quota_mib > 0).then(|| self.quota_mib.saturating_mul(1 << 20))
    }

    pub fn rates(&self) -> Rates {
        let rate = |kib: u64| (kib > 0).then(|| kib.saturating_mul(1 << 10));
        Rates { up: rate(self.up_kib_s), down: rate(self.down_kib_s) }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeySettings {
    /// A file whose first line is the password of this node's keys. A flag and
    /// `TREFOIL_PASSWORD` count before it; without any, the password is asked for.
    pub password_file: PathBuf,
    /// A shell command that signs this node's next certificate, as
    /// `trefoil node certify --ca-command` has it, and the public key that it
    /// signs with. Empty: `keys/ca.json`, if it is there.
    pub ca_command: String,
    pub ca: String,
}

impl KeySettings {
    /// Where the CA key is that renews this node's certificate, if it is at hand.
    ///
    /// # Errors
    /// A command without its key, or a CA key file that cannot be opened.
    pub fn ca(&self, dir: &Path, password: &Password) -> Result<Option<Ca>, SettingsError> {
        if self.ca_command.is_empty() {
            return Ok(Ca::open(dir, password)?);
        }
        let key = self.ca.parse();
        let key = key.map_err(|e| SettingsError::CaKey { why: format!("{e}") })?;
        Ok(Some(Ca::Command { command: self.ca_command.clone(), key }))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log: "info".into(),
            history: HistorySetting(History::Archive),
            sync: SyncMode::default(),
            p2p: P2pSettings::default(),
            rpc: RpcSettings::default(),
            pool: MempoolLimits::default(),
            content: ContentSettings::default(),
            keys: KeySettings::default(),
        }
    }
}

impl Default for P2pSettings {
    fn default() -> Self {
        let listen = SocketAddr::from(([0, 0, 0, 0], 30303));
        Self {
            listen,
            peers: Vec::new(),
            // A hostile peer costs at most 8 MiB (docs/security.md): 1 GiB for all. With the gate's
            // other sockets it makes 640 descriptors of the usual 1,024 (ADR 13).
            inbound_max: 128,
            // One source takes an eighth at most, and one subnet twice that.
            inbound_per_source_max: 16,
            bootstrap: Vec::new(),
            // Bitcoin Core's number. Each is of another network group: an attacker who wants to
            // isolate this node needs addresses in all eight.
            outbound: 8,
            advertise: Vec::new(),
            encrypt: Encrypt::Never,
        }
    }
}

impl P2pSettings {
    /// Whether `always` is asked for, where it can be.
    ///
    /// # Errors
    /// On a network whose wire has no other way.
    pub fn encrypts(&self, kind: Kind) -> Result<bool, SettingsError> {
        match (self.encrypt, kind) {
            (Encrypt::Never, _) => Ok(false),
            (Encrypt::Always, Kind::Public) => Ok(true),
            (Encrypt::Always, kind) => Err(SettingsError::Encrypted { kind }),
        }
    }
}

impl Default for RpcSettings {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8545));
        let memory_mib = MEMORY_DEFAULT >> 20;
        Self { listen, hosts: Vec::new(), origins: Vec::new(), debug: false, memory_mib }
    }
}

/// [`History`] as a setting: `"archive"`, or a number of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HistoryText", into = "HistoryText")]
pub struct HistorySetting(pub History);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum HistoryText {
    Blocks(u64),
    Text(String),
}

impl TryFrom<HistoryText> for HistorySetting {
    type Error = String;

    fn try_from(text: HistoryText) -> Result<Self, String> {
        let blocks = match text {
            HistoryText::Text(text) if text == "archive" => return Ok(Self(History::Archive)),
            HistoryText::Text(text) => text.parse().ok(),
            HistoryText::Blocks(blocks) => Some(blocks),
        };
        match blocks {
            Some(blocks) if blocks > 0 => Ok(Self(History::Window(blocks))),
            _ => Err("write \"archive\" or a number of blocks from 1".into()),
        }
    }
}

impl From<HistorySetting> for HistoryText {
    fn from(history: HistorySetting) -> Self {
        match history.0 {
            History::Archive => Self::Text("archive".into()),
            History::Window(blocks) => Self::Blocks(blocks),
        }
    }
}

#[cfg(test)]
mod tests;
