//! An invite: one line of text that is enough to join a network.
//!
//! It holds the chain specification, some nodes' addresses and, on a network of
//! members, the newcomer's certificate; and nothing secret. The giver decides which
//! network it is. A newcomer to whom that matters compares the genesis hash with the
//! giver's by another way.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use trefoil_crypto::{CERTIFICATE_BYTES_MAX, CertificateError, NodeCertificate};
use trefoil_host::settings::PeerAddress;
use trefoil_types::{ChainSpec, SpecError};

/// How each invite begins.
pub const PREFIX: &str = "trefoil-invite:";

// It comes from outside, and decoding copies it several times: a few MiB at most.
/// Longest invite that is read, characters.
pub const CHARS_MAX: usize = 1 << 20;

// Each becomes a configured peer of the newcomer, which keeps a connection to it.
/// Most nodes that an invite names.
pub const PEERS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    pub spec: ChainSpec,
    pub peers: Vec<PeerAddress>,
    /// Of the one node that it is for.
    pub certificate: Option<NodeCertificate>,
}

/// The text within, as TOML.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InviteText {
    peers: Vec<PeerAddress>,
    /// DER, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    chain: ChainSpec,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    #[error("this is no invite: it begins with `{PREFIX}`, on one line; copy it whole")]
    Prefix,
    #[error("the invite has {0} characters, more than {CHARS_MAX}; ask for another one")]
    TooLong(usize),
    #[error("the invite is damaged: {0}; copy it whole, or ask for another one")]
    Damaged(String),
    #[error("the invite names {0} nodes, 1 to {PEERS_MAX} are possible; ask for another one")]
    Peers(usize),
    #[error("the invite's certificate is none: {0}; ask for another one")]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificate = self.certificate.as_ref().map(|held| hex::encode(held.to_der()));
        let content =
            InviteText { peers: self.peers.clone(), certificate, chain: self.spec.clone() };
        let text = toml::to_string(&content).expect("an invite is plain data");
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let text = text.trim();
        // First of all: the text comes from outside, and decoding copies it several times.
        if text.len() > CHARS_MAX {
            return Err(InviteError::TooLong(text.len()));
        }
        let damaged = |e: &dyn fmt::Display| InviteError::Damaged(e.to_string());
        // The prefix distinguishes an invite from a file's name and from another program's text.
        let encoded = text.strip_prefix(PREFIX).ok_or(InviteError::Prefix)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|e| damaged(&e))?;
        let text = String::from_utf8(bytes).map_err(|e| damaged(&e))?;
        let content: InviteText = toml::from_str(&text).map_err(|e| damaged(&e.message()))?;
        if content.peers.is_empty() || content.peers.len() > PEERS_MAX {
            return Err(InviteError::Peers(content.peers.len()));
        }
        // The giver may be anyone: the specification keeps to the same bounds as a file's.
        content.chain.check()?;
        let certificate = content.certificate.map(|text| certificate(&text)).transpose()?;
        Ok(Self { spec: content.chain, peers: content.peers, certificate })
    }
}

fn certificate(text: &str) -> Result<NodeCertificate, InviteError> {
    // Two hexadecimal digits a byte; checked before any memory is taken for them.
    if text.len() > 2 * CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::TooLong(text.len() / 2).into());
    }
    let der = hex::decode(text).map_err(|e| InviteError::Damaged(e.to_string()))?;
    Ok(NodeCertificate::decode(&der)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use trefoil_crypto::{Role, SecretKey};
    use trefoil_types::{
        Address, B256, Kind, PeerId,
        spec::{Fork, FoundingOrganisation, FoundingValidator},
    };

    use super::*;

    fn invite() -> Invite {
        let key = |n| SecretKey::from_seed(&[n; 32]).public();
        let address = "10.1.2.3:30303".parse().unwrap();
        let spec = ChainSpec {
            name: "example".into(),
            kind: Kind::Consortium,
            chain_id: 7331,
            genesis_time: 1,
            gas_limit: 30_000_000,
            base_fee: 1,
            min_base_fee: None,
            block_interval_ms: 500,
            idle_block_s: 60,
            validator_delay: 2,
            decision_delay_s: 172_800,
            quorum: [2, 3],
            snapshot_every: 1_024,
            accounts: None,
            deployers: None,
            parameters: Default::default(),
            staking: None,
            forks: BTreeMap::from([(Fork::Cancun, 0)]),
            organisations: vec![FoundingOrganisation {
                name: "acme".into(),
                threshold: 1,
                keys: vec![Address::repeat_byte(1)],
                recovery_key: None,
                ca_keys: vec![key(5)],
                senders: vec![],
            }],
            validators: vec![FoundingValidator {
                key: key(3),
                power: 1,
                fee_recipient: Address::ZERO,
                owner: None,
                node: Some(PeerId(key(4))),
                organisation: Some("acme".into()),
            }],
            alloc: BTreeMap::new(),
        };
        let peers = vec![PeerAddress { peer: PeerId(key(4)), address }];
        Invite { spec, peers, certificate: None }
    }

    fn certified() -> Invite {
        let peer = PeerId(SecretKey::from_seed(&[6; 32]).public());
        let claims =
            trefoil_os::certificate::claims(B256::ZERO, 1, peer, Role::Full, 1_700_000_000, 9);
        let ca = SecretKey::from_seed(&[5; 32]);
        let certificate = Some(NodeCertificate::issue(&claims, &ca).unwrap());
        Invite { certificate, ..invite() }
    }

    #[test]
    fn an_invite_reads_back() {
        for invite in [invite(), certified()] {
            assert_eq!(format!(" {invite}\n").parse(), Ok(invite));
        }
    }

    #[test]
    fn what_is_no_invite_is_refused() {
        let good = invite().to_string();
        let parse = |text: &str| text.parse::<Invite>().unwrap_err();
        assert_eq!(parse("hello"), InviteError::Prefix);
        assert!(matches!(parse(&good[..good.len() / 2]), InviteError::Damaged(_)));
        assert!(matches!(parse(&format!("{good}!")), InviteError::Damaged(_)));
        assert!(matches!(parse(&"x".repeat(CHARS_MAX + 1)), InviteError::TooLong(_)));
        let lonely = Invite { peers: vec![], ..invite() };
        assert_eq!(parse(&lonely.to_string()), InviteError::Peers(0));
        let mut wrong = invite();
        wrong.spec.gas_limit = 0;
        assert!(matches!(parse(&wrong.to_string()), InviteError::Spec(_)));
    }

    proptest::proptest! {
        #[test]
        fn a_changed_invite_is_taken_or_refused(
            changes in proptest::collection::vec((0usize..1_000, proptest::char::any()), 1..4),
        ) {
            // Changed as sent, and changed in the TOML within.
            let sent = certified().to_string();
            let within = URL_SAFE_NO_PAD.decode(sent.strip_prefix(PREFIX).unwrap()).unwrap();
            let changed = |text: &str| {
                let mut text: Vec<char> = text.chars().collect();
                for (at, change) in &changes {
                    let at = at % text.len();
                    text[at] = *change;
                }
                text.into_iter().collect::<String>()
            };
            let within = changed(std::str::from_utf8(&within).unwrap());
            for text in [changed(&sent), format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(within))] {
                if let Ok(invite) = text.parse::<Invite>() {
                    proptest::prop_assert_eq!(invite.to_string().parse(), Ok(invite));
                }
            }
        }
    }
}
