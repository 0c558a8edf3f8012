//! Arguments that several commands take: a node's directory, a password, settings; and
//! values that are read strictly and refused with the cure.

use std::{net::SocketAddr, path::PathBuf};

use alloy_primitives::{U160, U256, utils::parse_ether};
use clap::{Args, ValueEnum};
use trefoil_host::{home::Home, settings::PeerAddress};
use trefoil_os::keystore::{PasswordSource, ScryptCost};
use trefoil_p2p::is_reachable;
use trefoil_types::{Address, Kind, PeerId, spec::FOUNDING_STAKE};

use crate::error::CommandError;

/// Which node's directory.
#[derive(Debug, Args)]
pub struct DirArgs {
    /// The node's directory
    #[arg(long, value_name = "DIR", env = "TREFOIL_DIR")]
    pub dir: PathBuf,
}

impl DirArgs {
    pub fn home(&self) -> Home {
        Home::new(&self.dir)
    }
}

/// Where the password of a key comes from.
#[derive(Debug, Args)]
pub struct PasswordArgs {
    /// File whose first line is the keys' password (or set TREFOIL_PASSWORD)
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

impl PasswordArgs {
    pub fn source(&self) -> PasswordSource {
        PasswordSource { file: self.password_file.clone(), configured: None }
    }
}

/// What a guess of a new key's password costs.
#[derive(Debug, Args)]
pub struct KdfArgs {
    /// Encrypt new keys at little cost (scrypt N = 8192, not 262144): for tests, and for long
    /// random passwords
    #[arg(long, env = "TREFOIL_LIGHTKDF")]
    lightkdf: bool,
}

impl KdfArgs {
    pub fn cost(&self) -> ScryptCost {
        if self.lightkdf { ScryptCost::Light } else { ScryptCost::Standard }
    }
}

/// The founders' stake.
#[derive(Debug, Args)]
pub struct FoundingStakeArgs {
    /// Public networks: the stake of each founder, in whole ethers; a newcomer's power is as its
    /// stake beside theirs [default: 1000000]
    #[arg(long = "stake", value_name = "ETHER", value_parser = clap::value_parser!(u64).range(1..=1 << 53))]
    ethers: Option<u64>,
}

impl FoundingStakeArgs {
    /// In units of stake, which are one ether where the terms of staking are the defaults.
    pub fn of(&self, kind: Kind) -> Result<u64, CommandError> {
        match self.ethers {
            Some(_) if kind.has_members() => Err(CommandError::with_cure(
                format!("--stake is given, and nobody stakes on a {} network", kind.name()),
                "leave --stake out, or found a public network",
            )),
            named => Ok(named.unwrap_or(FOUNDING_STAKE)),
        }
    }
}

/// Settings given as flags: they override `node.toml` and the environment.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// The log filter: error, warn, info, debug, or MODULE=LEVEL,…
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Keep the state of every block (archive) or of so many
    #[arg(long, value_name = "archive|BLOCKS")]
    history: Option<String>,
    /// How a new node comes to the chain: by a snapshot from its peers if they have
    /// one (auto), by a snapshot only, or by executing all (full)
    #[arg(long, value_name = "auto|snapshot|full")]
    sync: Option<String>,
    /// Where other nodes connect
    #[arg(long, value_name = "IP:PORT")]
    p2p: Option<SocketAddr>,
    /// A node to keep connected to; may be given many times
    #[arg(long = "peer", value_name = "PEERID@IP:PORT")]
    peers: Vec<PeerAddress>,
    /// Where JSON-RPC (HTTP and WebSocket) is served
    #[arg(long, value_name = "IP:PORT")]
    rpc: Option<SocketAddr>,
    /// Names that the RPC may be addressed by, besides localhost and IPs
    #[arg(long, value_name = "NAME,…")]
    rpc_hosts: Option<String>,
    /// Origins of the web pages that may use the RPC besides its own; none given: none, or
    /// any on a public network
    #[arg(long, value_name = "ORIGIN,…")]
    rpc_origins: Option<String>,
    #[command(flatten)]
    pub password: PasswordArgs,
}

impl SettingsArgs {
    /// Those that were given, by their key in `node.toml`.
    pub fn given(&self) -> Vec<(&'static str, String)> {
        let peers: Vec<String> = self.peers.iter().map(ToString::to_string).collect();
        // Absolute: it is written into `node.toml`, and read from anywhere.
        let absolute = |file: &PathBuf| std::path::absolute(file).unwrap_or_else(|_| file.clone());
        let password = self.password.password_file.as_ref().map(absolute);
        let flags = [
            ("log", self.log.clone()),
            ("history", self.history.clone()),
            ("sync", self.sync.clone()),
            ("p2p.listen", self.p2p.map(|address| address.to_string())),
            ("p2p.peers", (!peers.is_empty()).then(|| peers.join(","))),
            ("rpc.listen", self.rpc.map(|address| address.to_string())),
            ("rpc.hosts", self.rpc_hosts.clone()),
            ("rpc.origins", self.rpc_origins.clone()),
            ("keys.password_file", password.map(|file| file.display().to_string())),
        ];
        flags.into_iter().filter_map(|(key, text)| Some((key, text?))).collect()
    }
}

/// An account. Capitals are a checksum (EIP-55) and must fit, if there are any.
pub fn account(text: &str) -> Result<Address, String> {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    if digits.len() != 40 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err("an account is 0x and 40 hexadecimal digits".into());
    }
    let one_case =
        |c: fn(&char) -> bool| digits.chars().filter(char::is_ascii_alphabetic).all(|d| c(&d));
    if one_case(char::is_ascii_lowercase) || one_case(char::is_ascii_uppercase) {
        return Ok(text.parse().expect("40 hexadecimal digits"));
    }
    Address::parse_checksummed(text, None)
        .map_err(|_| "its capitals do not fit its digits: copy it again, one may be wrong".into())
}

/// Where others reach a node.
pub fn reachable(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().map_err(|_| "write IP:PORT, such as 10.0.0.1:30303")?;
    match is_reachable(address) {
        true => Ok(address),
        false => {
            Err("no other node can dial it: give an address and a port that others reach".into())
        }
    }
}

/// The name of an organisation or rule set.
pub fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let number = text.chars().all(|c| c.is_ascii_digit());
    match (1..=32).contains(&text.len()) && text.chars().all(fits) && !number {
        true => Ok(text.into()),
        false => Err("use 1 to 32 letters, digits, - and _, not digits only".into()),
    }
}

/// An amount of ether, in wei.
pub fn ether(text: &str) -> Result<U256, String> {
    // Text that the library would cut off or read as zero is refused.
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let plain = digits(whole) && digits(places) && places.len() <= 18;
    match parse_ether(text) {
        // The contract counts stake in 96 bits, and the commands rely on it.
        Ok(wei) if plain && wei < U256::from(1u128 << 96) => Ok(wei),
        _ => Err("give ether as a decimal number such as 32 or 0.5, at most 18 places".into()),
    }
}

/// The part of the organisations that a passing vote must exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    pub numerator: u16,
    pub denominator: u16,
}

pub fn quorum(text: &str) -> Result<Quorum, String> {
    let parts = text.split_once('/').and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
    match parts {
        // Below a half two disjoint groups could decide opposite things; at 1 nothing could
        // pass, for more than all is needed.
        Some((numerator, denominator))
            if numerator < denominator && u32::from(numerator) * 2 >= u32::from(denominator) =>
        {
            Ok(Quorum { numerator, denominator })
        }
        _ => Err("write a part such as 2/3: at least 1/2 and less than 1".into()),
    }
}

/// A node by its key, or one certificate by its number, that is to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    Peer(PeerId),
    Serial(U160),
}

pub fn revoked(text: &str) -> Result<Revoked, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if (1..=40).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        let serial = U160::from_str_radix(digits, 16).expect("hexadecimal digits");
        return match serial.is_zero() {
            true => Err("a serial number is above zero".into()),
            false => Ok(Revoked::Serial(serial)),
        };
    }
    text.parse().map(Revoked::Peer).map_err(|_| {
        "name a peer id (12D3KooW…), or a serial number of 1 to 40 hexadecimal digits as `openssl x509 -serial` prints it".into()
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

impl OnOff {
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_with_its_checksum() {
        let good = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
        for text in [good, &good.to_lowercase(), &good.to_uppercase().replace("0X", "0x")] {
            assert_eq!(account(text).unwrap().to_string(), good);
        }
        let swapped = "0x70997970c51812dc3A010C7d01b50e0d17dc79C8";
        assert!(account(swapped).unwrap_err().contains("capitals"));
        for text in ["", "0x", "70997970c51812dc3a010c7d01b50e0d17dc79c8", &good[..41], "0xg"] {
            assert!(account(text).unwrap_err().contains("40 hexadecimal"), "{text}");
        }
    }

    #[test]
    fn amounts_and_parts() {
        assert_eq!(ether("0.5").unwrap(), U256::from(500_000_000_000_000_000u64));
        for bad in ["", "-1", "1e3", "0x10", "1 ether", "80000000000", "0.0000000000000000001"] {
            assert!(ether(bad).is_err(), "{bad:?}");
        }
        assert_eq!(quorum("2/3"), Ok(Quorum { numerator: 2, denominator: 3 }));
        assert!(quorum("1/2").is_ok());
        for bad in ["", "1", "1/3", "3/3", "4/3", "2/0", "2/3/4", "-2/3", "1/70000"] {
            assert!(quorum(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_peer_or_a_serial_is_revoked() {
        let peer = PeerId(trefoil_crypto::SecretKey::from_seed(&[1; 32]).public());
        assert_eq!(revoked(&peer.to_string()), Ok(Revoked::Peer(peer)));
        assert_eq!(revoked("0x0aF1"), Ok(Revoked::Serial(U160::from(0x0af1))));
        assert_eq!(revoked("0AF1"), revoked("0x0aF1"));
        for bad in ["", "0x", "0", "12D3", "12D3KooW", "xyz", &"f".repeat(41)] {
            let known = revoked(bad);
            // Four digits of a peer id are a serial number too.
            assert!(known.is_err() || bad == "12D3", "{bad:?}: {known:?}");
        }
    }

    #[test]
    fn a_name_is_what_the_contract_takes() {
        assert!(name("acme-1_B").is_ok() && name(&"a".repeat(32)).is_ok());
        for bad in ["", "a b", "ä", "a/b", &"a".repeat(33)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
