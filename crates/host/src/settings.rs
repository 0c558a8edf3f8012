//! A node's settings: `node.toml`, the environment and flags over defaults.
//!
//! What always holds: a key is spelled once, here; an unknown one is refused
//! wherever it stands; and every effective value knows where it came from.
//! What all nodes must agree on is not here but in `chain.toml`.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use trefoil_content::scheduler::Rates;
use trefoil_ledger::History;
use trefoil_mempool::MempoolLimits;
use trefoil_os::{certificate::Ca, keystore::Password};
use trefoil_rpc::content::gateway::Open;
use trefoil_swarm::http::Reach;
use trefoil_types::{PeerId, spec::Kind};

use crate::HostError;

/// The file in a node's directory.
pub const FILE: &str = "node.toml";

/// Environment variables that begin like settings and are none.
const NOT_SETTINGS: [&str; 2] = ["TREFOIL_DIR", "TREFOIL_PASSWORD"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What is logged: `error`, `warn`, `info`, `debug`, or per module
    /// (`info,trefoil_net=debug`).
    pub log: String,
    /// `archive` (the state of every block) or a number of blocks.
    pub history: HistorySetting,
    /// How a new node comes to the chain.
    pub sync: SyncMode,
    pub p2p: P2pSettings,
    pub rpc: RpcSettings,
    pub pool: PoolSettings,
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
    /// Of those, from one IPv4 address or IPv6 /64, at most.
    pub inbound_per_source_max: usize,
    /// Where to begin looking for other nodes, `PEERID@ip:port` or `ip:port`.
    pub bootstrap: Vec<Bootstrap>,
    /// Connections to nodes that were found, besides `peers`; in public
    /// networks only.
    pub outbound: usize,
    /// Where other nodes can reach this one, `ip:port`; told to all. Empty:
    /// `listen`, unless that is all addresses.
    pub advertise: Vec<SocketAddr>,
    /// Whether a public network's node hides what it says.
    pub encrypt: Encrypt,
}

/// Public networks are readable on the wire unless a node says otherwise; the
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
    /// Web pages (`Origin`) that may use the RPC from a browser; `*`: any.
    pub origins: Vec<String>,
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

/// Bounds on the transaction pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSettings {
    pub txs_max: usize,
    pub bytes_max: usize,
    pub txs_per_sender_max: usize,
    pub txs_per_peer_max: usize,
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
    /// Who may read content over HTTP, on the RPC's port.
    pub gateway: Open,
    /// Which HTTP servers are asked that peers name as origins.
    pub origins: Origins,
    /// A file of headers for them, by URL prefix. Empty: none.
    pub origin_credentials: PathBuf,
}

/// Which HTTP servers are asked that peers name as origins. What this node's own
/// operator put is always asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Origins {
    /// `global` in public networks, `all` among members.
    #[default]
    Auto,
    /// Also those that only this machine or its network reaches.
    All,
    /// Those with an address of the Internet.
    Global,
    Off,
}

impl Origins {
    pub fn reach(self, kind: Kind) -> Option<Reach> {
        match (self, kind) {
            (Self::Off, _) => None,
            (Self::Global, _) | (Self::Auto, Kind::Public) => Some(Reach::Global),
            (Self::All, _) | (Self::Auto, Kind::Private | Kind::Consortium) => Some(Reach::All),
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
    /// A file whose first line is the password of this node's keys. Empty: the
    /// password is in `TREFOIL_PASSWORD`, or asked for.
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
    pub fn ca(&self, dir: &Path, password: &Password) -> Result<Option<Ca>, HostError> {
        if self.ca_command.is_empty() {
            return Ok(Ca::open(dir, password)?);
        }
        let key = self.ca.parse();
        let key = key.map_err(|e| HostError::CaKey { why: format!("{e}") })?;
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
            pool: PoolSettings::default(),
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
            inbound_max: 128,
            inbound_per_source_max: 16,
            bootstrap: Vec::new(),
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
        Self { listen, hosts: Vec::new(), origins: Vec::new() }
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        let limits = MempoolLimits::default();
        Self {
            txs_max: limits.txs_max,
            bytes_max: limits.bytes_max,
            txs_per_sender_max: limits.txs_per_sender_max,
            txs_per_peer_max: limits.txs_per_peer_max,
        }
    }
}

impl PoolSettings {
    pub fn limits(&self) -> MempoolLimits {
        MempoolLimits {
            txs_max: self.txs_max,
            bytes_max: self.bytes_max,
            txs_per_sender_max: self.txs_per_sender_max,
            txs_per_peer_max: self.txs_per_peer_max,
        }
    }
}

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

/// Where to begin: `PEERID@ip:port`, or `ip:port`, whoever is there.
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

/// Where a value came from; a later one overrides an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File(PathBuf),
    /// The variable's name.
    Environment(String),
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag => f.write_str("flag"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read {file}: {source}; check the path and its permissions")]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{file} is not TOML: {message}")]
    Toml { file: PathBuf, message: String },
    #[error("unknown setting `{key}` in {source_}; {hint}")]
    Unknown { key: String, source_: Source, hint: String },
    #[error("setting `{key}` in {source_} is wrong: {message}")]
    Value { key: String, source_: Source, message: String },
    #[error(
        "setting `p2p.encrypt` is for public networks and this one is {kind:?}: its wire is always encrypted; remove the setting"
    )]
    Encrypted { kind: Kind },
}

/// The settings in force, and each key's value with its source.
#[derive(Clone, Debug)]
pub struct Effective {
    pub settings: Settings,
    pub keys: BTreeMap<String, (Value, Source)>,
}

impl Effective {
    /// Defaults, then `file` (if it is there), then the variables of `env`
    /// that begin with `TREFOIL_`, then `flags` (key, text).
    ///
    /// # Errors
    /// An unreadable file, an unknown key, or a value of the wrong form.
    pub fn load(
        file: &Path,
        env: impl Iterator<Item = (String, String)>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, SettingsError> {
        let mut effective = Self::defaults();
        effective.read_file(file)?;
        let by_variable: BTreeMap<String, String> =
            effective.keys.keys().map(|key| (variable(key), key.clone())).collect();
        for (name, text) in env.filter(|(name, _)| name.starts_with("TREFOIL_")) {
            if NOT_SETTINGS.contains(&name.as_str()) {
                continue;
            }
            let source = Source::Environment(name.clone());
            let key = by_variable.get(&name).ok_or_else(|| SettingsError::Unknown {
                key: name.clone(),
                source_: Source::Environment("the environment".into()),
                hint: "unset it, or see `trefoil config` for the known ones".into(),
            })?;
            effective.set_text(key, &text, source)?;
        }
        for (key, text) in flags {
            effective.set_text(key, text, Source::Flag)?;
        }
        Ok(effective)
    }

    fn defaults() -> Self {
        let settings = Settings::default();
        let mut flat = BTreeMap::new();
        flatten("", &table(&settings), &mut flat);
        let keys = flat.into_iter().map(|(key, value)| (key, (value, Source::Default))).collect();
        Self { settings, keys }
    }

    fn read_file(&mut self, file: &Path) -> Result<(), SettingsError> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(SettingsError::Read { file: file.into(), source }),
        };
        let table: Table = toml::from_str(&text)
            .map_err(|e| SettingsError::Toml { file: file.into(), message: e.to_string() })?;
        let mut flat = BTreeMap::new();
        flatten("", &table, &mut flat);
        flat.into_iter()
            .try_for_each(|(key, value)| self.set(&key, value, Source::File(file.into())))
    }

    /// A value as people type it: lists are separated by commas.
    fn set_text(&mut self, key: &str, text: &str, source: Source) -> Result<(), SettingsError> {
        let wrong = |message: &str| SettingsError::Value {
            key: key.into(),
            source_: source.clone(),
            message: message.into(),
        };
        // The default has the key's form; what a file says may have another.
        let value = match &Self::defaults().keys[key].0 {
            Value::Integer(_) => {
                Value::Integer(text.parse().map_err(|_| wrong("write a whole number"))?)
            }
            Value::Array(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Value::Array(items.map(|item| Value::String(item.into())).collect())
            }
            _ => Value::String(text.into()),
        };
        self.set(key, value, source)
    }

    fn set(&mut self, key: &str, value: Value, source: Source) -> Result<(), SettingsError> {
        let Some(slot) = self.keys.get_mut(key) else {
            let known: Vec<_> = self.keys.keys().map(String::as_str).collect();
            let hint = format!("known settings: {}", known.join(", "));
            return Err(SettingsError::Unknown { key: key.into(), source_: source, hint });
        };
        *slot = (value, source.clone());
        // Read again as a whole after each key, so that an error is this key's.
        let table = unflatten(self.keys.iter().map(|(key, (value, _))| (key.as_str(), value)));
        self.settings = table.try_into().map_err(|e: toml::de::Error| SettingsError::Value {
            key: key.into(),
            source_: source,
            message: e.message().into(),
        })?;
        Ok(())
    }
}

impl Settings {
    /// A `node.toml` of what differs from the defaults.
    pub fn to_toml(&self) -> String {
        let (mut mine, mut defaults) = (BTreeMap::new(), BTreeMap::new());
        flatten("", &table(self), &mut mine);
        flatten("", &table(&Self::default()), &mut defaults);
        mine.retain(|key, value| defaults.get(key) != Some(value));
        let table = unflatten(mine.iter().map(|(key, value)| (key.as_str(), value)));
        let text = toml::to_string(&table).expect("settings are plain data");
        format!("# This node's own settings; `trefoil config` lists all of them.\n{text}")
    }
}

/// `p2p.inbound_max` is `TREFOIL_P2P_INBOUND_MAX` in the environment.
pub fn variable(key: &str) -> String {
    format!("TREFOIL_{}", key.replace('.', "_").to_uppercase())
}

fn table(settings: &Settings) -> Table {
    Table::try_from(settings).expect("settings are plain data")
}

fn flatten(prefix: &str, table: &Table, out: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, out),
            value => {
                out.insert(key, value.clone());
            }
        }
    }
}

/// Keys have at most two parts: a section and a name.
fn unflatten<'a>(keys: impl Iterator<Item = (&'a str, &'a Value)>) -> Table {
    let mut table = Table::new();
    for (key, value) in keys {
        match key.split_once('.') {
            None => {
                table.insert(key.into(), value.clone());
            }
            Some((section, name)) => {
                let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(section) = section {
                    section.insert(name.into(), value.clone());
                }
            }
        }
    }
    table
}

#[cfg(test)]
mod tests;
