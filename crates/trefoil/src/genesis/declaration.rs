//! A declaration: what an organisation hands over of its keys, so that a network can be founded
//! with them.
//!
//! What always holds: nothing in it is secret; in one that was read, each Ed25519 key has agreed,
//! by its own signature, to its role in that organisation of that network.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
};

use serde::{Deserialize, Serialize};
use trefoil_host::settings::PeerAddress;
use trefoil_p2p::is_reachable;
use trefoil_types::{
    Address, ChainSpec, KeyProof, KeyRole, PeerId, SpecError,
    spec::{FoundingOrganisation, FoundingValidator, MEMBER_POWER},
};

// It comes from outside. The largest (128 nodes, 16 accounts, 4 CA keys) has 70 KB.
/// The longest declaration that is read, bytes.
pub const BYTES_MAX: u64 = 1 << 18;

/// An organisation's part of a chain specification, with the consent of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The name and the chain id of the network that is to be founded.
    pub network: String,
    pub chain_id: u64,
    /// The organisation's name.
    pub name: String,
    /// How many of `keys` must agree to act for it.
    pub threshold: u8,
    /// The accounts that vote for it.
    pub keys: Vec<Address>,
    /// The account that can give it new keys, should it lose its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_key: Option<Address>,
    /// Of the keys that sign its nodes' certificates.
    pub ca_keys: Vec<KeyProof>,
    pub nodes: Vec<DeclaredNode>,
}

/// A node that validates from the first block on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredNode {
    /// Where the others reach it.
    pub at: SocketAddr,
    /// Where its fees go.
    pub fee_recipient: Address,
    /// Of its identity key.
    pub node: KeyProof,
    /// Of its consensus key.
    pub validator: KeyProof,
}

/// What is wrong with a declaration, and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    #[error("this is no declaration: {0}; ask for what `trefoil network declare` wrote")]
    Toml(String),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(
        "it is for network {network} with chain id {chain_id}, not {wanted}; ask {name} for one that is"
    )]
    OtherNetwork { network: String, chain_id: u64, name: String, wanted: String },
    #[error("{name} names no node; let it declare one, which validates from the first block on")]
    NoNode { name: String },
    #[error(
        "{name} declares a node at {at}, which no other node can dial; let it declare an address and a port that others reach"
    )]
    NoAddress { name: String, at: SocketAddr },
    #[error("{proof} stands where the proof of a {wanted} key belongs; put it there")]
    OtherRole { proof: Box<KeyProof>, wanted: &'static str },
    #[error(
        "{role} key {key} has not agreed to its use by {name} in the founding of {network} ({chain_id}); make its proof anew with `trefoil keys prove {role} --org {name} --founding {network}:{chain_id}` where it lies",
        role = .proof.role.name(),
        key = .proof.key
    )]
    BadProof { proof: Box<KeyProof>, name: String, network: String, chain_id: u64 },
}

impl Declaration {
    /// Reads a declaration and checks it.
    ///
    /// # Errors
    /// No declaration, a value outside its range, or a key that did not agree.
    pub fn from_toml(text: &str) -> Result<Self, DeclarationError> {
        let read: Self =
            toml::from_str(text).map_err(|e| DeclarationError::Toml(e.message().into()))?;
        read.check()?;
        Ok(read)
    }

    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a declaration is plain data")
    }

    /// # Errors
    /// A value outside its range, or a key that did not agree.
    pub fn check(&self) -> Result<(), DeclarationError> {
        self.organisation().check()?;
        if self.nodes.is_empty() {
            return Err(DeclarationError::NoNode { name: self.name.clone() });
        }
        if let Some(node) = self.nodes.iter().find(|node| !is_reachable(node.at)) {
            return Err(DeclarationError::NoAddress { name: self.name.clone(), at: node.at });
        }
        let cas = self.ca_keys.iter().map(|proof| (proof, KeyRole::Ca));
        let nodes = self
            .nodes
            .iter()
            .flat_map(|one| [(&one.node, KeyRole::Peer), (&one.validator, KeyRole::Validator)]);
        let network = KeyProof::founding(&self.network, self.chain_id);
        for (proof, role) in cas.chain(nodes) {
            if proof.role != role {
                let proof = Box::new(*proof);
                return Err(DeclarationError::OtherRole { proof, wanted: role.name() });
            }
            if !proof.verify(&network, self.name.as_str()) {
                return Err(DeclarationError::BadProof {
                    proof: Box::new(*proof),
                    name: self.name.clone(),
                    network: self.network.clone(),
                    chain_id: self.chain_id,
                });
            }
        }
        Ok(())
    }

    /// Refuses one that was made for another network.
    ///
    /// # Errors
    /// [`DeclarationError::OtherNetwork`]
    pub fn check_network(&self, name: &str, chain_id: u64) -> Result<(), DeclarationError> {
        if self.network == name && self.chain_id == chain_id {
            return Ok(());
        }
        Err(DeclarationError::OtherNetwork {
            network: self.network.clone(),
            chain_id: self.chain_id,
            name: self.name.clone(),
            wanted: format!("{name} with {chain_id}"),
        })
    }

    /// The organisation, as a chain specification has it.
    pub fn organisation(&self) -> FoundingOrganisation {
        let Self {
            network: _,
            chain_id: _,
            name,
            threshold,
            keys,
            recovery_key,
            ca_keys,
            nodes: _,
        } = self;
        FoundingOrganisation {
            name: name.clone(),
            threshold: *threshold,
            keys: keys.clone(),
            recovery_key: *recovery_key,
            ca_keys: ca_keys.iter().map(|proof| proof.key).collect(),
            senders: vec![],
        }
    }

    /// Its validators, as a chain specification has them.
    pub fn validators(&self) -> impl Iterator<Item = FoundingValidator> {
        self.nodes.iter().map(|DeclaredNode { at: _, fee_recipient, node, validator }| {
            FoundingValidator {
                key: validator.key,
                power: MEMBER_POWER,
                fee_recipient: *fee_recipient,
                owner: None,
                node: Some(PeerId(node.key)),
                organisation: Some(self.name.clone()),
            }
        })
    }

    pub fn peers(&self) -> impl Iterator<Item = PeerAddress> {
        self.nodes.iter().map(|one| PeerAddress { peer: PeerId(one.node.key), address: one.at })
    }

    /// In what a specification differs from this, in words; nothing, if it has all of it and no
    /// more of this organisation.
    pub fn differences(&self, spec: &ChainSpec) -> Vec<String> {
        let named = spec.organisations.iter().find(|written| written.name == self.name);
        let Some(written) = named else { return vec![format!("it has no {}", self.name)] };
        let mut pairs = vec![
            ("network".into(), self.network.clone(), spec.name.clone()),
            ("chain id".into(), self.chain_id.to_string(), spec.chain_id.to_string()),
        ];
        let both = terms(&self.organisation()).into_iter().zip(terms(written));
        pairs.extend(both.map(|((what, declared), (_, written))| (what.into(), declared, written)));
        let ours = |v: &&FoundingValidator| v.organisation.as_ref() == Some(&self.name);
        let declared: BTreeMap<_, _> = self.validators().map(|v| validator(&v)).collect();
        let written: BTreeMap<_, _> = spec.validators.iter().filter(ours).map(validator).collect();
        let nodes: BTreeSet<_> = declared.keys().chain(written.keys()).collect();
        for node in nodes {
            let said = |all: &BTreeMap<_, String>| all.get(node).cloned().unwrap_or("none".into());
            pairs.push((format!("validator on {node}"), said(&declared), said(&written)));
        }
        let differ = pairs.into_iter().filter(|(_, declared, written)| declared != written);
        differ
            .map(|(what, declared, written)| format!("{what} is {written}, declared {declared}"))
            .collect()
    }
}

/// What is agreed on about an organisation, in words.
fn terms(organisation: &FoundingOrganisation) -> [(&'static str, String); 5] {
    let FoundingOrganisation { name: _, threshold, keys, recovery_key, ca_keys, senders } =
        organisation;
    [
        ("threshold", threshold.to_string()),
        ("keys", list(keys)),
        ("recovery key", recovery_key.map_or("none".into(), |key| key.to_string())),
        ("CA keys", list(ca_keys)),
        ("senders", list(senders)),
    ]
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let texts: Vec<_> = items.iter().map(T::to_string).collect();
    if texts.is_empty() { "none".into() } else { texts.join(" ") }
}

/// A founding validator by its node: what was declared of it.
fn validator(validator: &FoundingValidator) -> (PeerId, String) {
    // Power is not declared: people read it, with everybody's. A network of members has no owners.
    let FoundingValidator { key, power: _, fee_recipient, owner: _, node, organisation: _ } =
        validator;
    (node.unwrap_or(PeerId(*key)), format!("{key} with fees to {fee_recipient}"))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::address;
    use trefoil_crypto::SecretKey;
    use trefoil_types::Kind;

    use super::*;
    use crate::genesis::founding::{self, FoundingPlan};

    const NETWORK: (&str, u64) = ("example", 4242);

    fn prove(seed: u8, role: KeyRole, name: &str) -> KeyProof {
        let network = KeyProof::founding(NETWORK.0, NETWORK.1);
        KeyProof::sign(&SecretKey::from_seed(&[seed; 32]), &network, role, name)
    }

    fn declaration() -> Declaration {
        Declaration {
            network: NETWORK.0.into(),
            chain_id: NETWORK.1,
            name: "acme".into(),
            threshold: 2,
            keys: [1, 2, 3].map(Address::repeat_byte).into(),
            recovery_key: Some(Address::repeat_byte(9)),
            ca_keys: vec![prove(1, KeyRole::Ca, "acme")],
            nodes: vec![DeclaredNode {
                at: "10.0.0.1:30303".parse().unwrap(),
                fee_recipient: address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
                node: prove(2, KeyRole::Peer, "acme"),
                validator: prove(3, KeyRole::Validator, "acme"),
            }],
        }
    }

    type Change = fn(&mut Declaration);

    #[test]
    fn a_declaration_reads_back() {
        let made = declaration();
        assert_eq!(Declaration::from_toml(&made.to_toml()), Ok(made));
        let unknown = format!("secret = 1\n{}", declaration().to_toml());
        assert!(matches!(Declaration::from_toml(&unknown), Err(DeclarationError::Toml(_))));
    }

    #[test]
    fn what_its_keys_did_not_agree_to_is_refused_with_the_cure() {
        let wrong: [(&str, Change); 15] = [
            // A key of which another holds the secret.
            ("ca key", |d| d.ca_keys[0].key = prove(7, KeyRole::Ca, "acme").key),
            ("trefoil keys prove ca --org bolt --founding example:4242", |d| {
                d.name = "bolt".into()
            }),
            ("in the founding of example (4243)", |d| d.chain_id += 1),
            ("in the founding of exam (4242)", |d| d.network = "exam".into()),
            ("validator key", |d| d.nodes[0].validator.signature.0[5] ^= 1),
            ("node key", |d| d.nodes[0].node = prove(2, KeyRole::Peer, "bolt")),
            ("a node key belongs", |d| d.nodes[0].node = d.nodes[0].validator),
            ("a ca key belongs", |d| d.ca_keys.push(d.nodes[0].node)),
            ("names no node", |d| d.nodes.clear()),
            ("acme declares a node at 0.0.0.0:30303, which", |d| {
                d.nodes[0].at.set_ip([0; 4].into());
            }),
            ("a port that others reach", |d| d.nodes[0].at.set_port(0)),
            ("4 of 3 keys of acme; use 1 to", |d| d.threshold = 4),
            ("0 of 3 keys of acme; use 1 to", |d| d.threshold = 0),
            ("not digits only", |d| d.name = "12".into()),
            ("none of its keys", |d| d.recovery_key = Some(d.keys[0])),
        ];
        for (words, change) in wrong {
            let mut changed = declaration();
            change(&mut changed);
            let error = Declaration::from_toml(&changed.to_toml()).expect_err(words).to_string();
            assert!(error.contains(words), "{error:?} should say {words:?}");
        }
        let other = declaration().check_network("example", 1).unwrap_err().to_string();
        assert!(other.contains("ask acme for one that is"), "{other}");
    }

    fn founded() -> ChainSpec {
        let plan = FoundingPlan {
            name: NETWORK.0.into(),
            kind: Kind::Private,
            stake: 0,
            chain_id: NETWORK.1,
            base_fee: 0,
            block_interval_ms: 500,
            idle_block_s: 60,
            snapshot_every: 0,
            organisations: vec![],
            accounts: None,
            deployers: None,
            parameters: BTreeMap::new(),
            funds: BTreeMap::new(),
        };
        founding::found_declared(&plan, &[declaration()]).unwrap()
    }

    #[test]
    fn whatever_else_a_network_has_of_the_organisation_is_told() {
        let spec = founded();
        assert_eq!(declaration().differences(&spec), [""; 0]);
        type Wrong = (&'static str, fn(&mut ChainSpec));
        let wrong: [Wrong; 12] = [
            ("network is exam, declared example", |s| s.name = "exam".into()),
            ("chain id is 1, declared 4242", |s| s.chain_id = 1),
            ("it has no acme", |s| s.organisations[0].name = "acne".into()),
            ("threshold is 1, declared 2", |s| s.organisations[0].threshold = 1),
            ("keys is", |s| _ = s.organisations[0].keys.pop()),
            ("recovery key is none, declared 0x09", |s| s.organisations[0].recovery_key = None),
            ("CA keys is none", |s| s.organisations[0].ca_keys.clear()),
            ("senders is 0x0707070707070707070707070707070707070707, declared none", |s| {
                s.organisations[0].senders.push(Address::repeat_byte(7));
            }),
            ("with fees to 0x0707070707070707070707070707070707070707, declared", |s| {
                s.validators[0].fee_recipient = Address::repeat_byte(7);
            }),
            ("validator on", |s| s.validators[0].key = prove(7, KeyRole::Ca, "acme").key),
            ("is none, declared", |s| s.validators.clear()),
            ("declared none", |s| {
                let node = Some(PeerId(prove(7, KeyRole::Peer, "acme").key));
                s.validators.push(FoundingValidator { node, ..s.validators[0].clone() });
            }),
        ];
        for (words, change) in wrong {
            let mut changed = spec.clone();
            change(&mut changed);
            let found = declaration().differences(&changed);
            assert!(matches!(&found[..], [one] if one.contains(words)), "{found:?}: {words:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_changed_declaration_is_refused_or_reads_back(
            changes in proptest::collection::vec((0usize..1_500, proptest::char::any()), 1..3),
        ) {
            let mut text: Vec<char> = declaration().to_toml().chars().collect();
            for (at, change) in changes {
                let at = at % text.len();
                text[at] = change;
            }
            if let Ok(read) = Declaration::from_toml(&text.iter().collect::<String>()) {
                proptest::prop_assert_eq!(Declaration::from_toml(&read.to_toml()), Ok(read));
            }
        }
    }
}
