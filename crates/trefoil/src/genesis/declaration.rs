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
        FoundingOrganisation {
            name: self.name.clone(),
            threshold: self.threshold,
            keys: self.keys.clone(),
            recovery_key: self.recovery_key,
            ca_keys: self.ca_keys.iter().map(|proof| proof.key).collect(),
            senders: vec![],
        }
    }

    /// Its validators, as a chain specification has them.
    pub fn validators(&self) -> impl Iterator<Item = FoundingValidator> {
        self.nodes.iter().map(|one| FoundingValidator {
            key: one.validator.key,
            power: MEMBER_POWER,
            fee_recipient: one.fee_recipient,
            owner: None,
            node: Some(PeerId(one.node.key)),
            organisation: Some(self.name.clone()),
        })
    }

    pub fn peers(&self) -> impl Iterator<Item = PeerAddress> {
        self.nodes.iter().map(|one| PeerAddress { peer: PeerId(one.node.key), address: one.at })
    }

    /// In what a specification differs from this, in words; nothing, if it has all of it and no
    /// more of this organisation.
    pub fn differences(&self, spec: &ChainSpec) -> Vec<String> {
        let own = self.organisation();
        let named = spec.organisations.iter().find(|written| written.name == self.name);
        let Some(written) = named else { return vec![format!("it has no {}", self.name)] };
        let account = |key: Option<Address>| key.map_or("none".into(), |key| key.to_string());
        let mut pairs = vec![
            ("network".into(), self.network.clone(), spec.name.clone()),
            ("chain id".into(), self.chain_id.to_string(), spec.chain_id.to_string()),
            ("threshold".into(), own.threshold.to_string(), written.threshold.to_string()),
            ("keys".into(), list(&own.keys), list(&written.keys)),
            ("recovery key".into(), account(own.recovery_key), account(written.recovery_key)),
            ("CA keys".into(), list(&own.ca_keys), list(&written.ca_keys)),
        ];
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

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

/// A founding validator by its node: what was declared of it.
fn validator(validator: &FoundingValidator) -> (PeerId, String) {
    let FoundingValidator { key, fee_recipient, node, .. } = validator;
    (node.unwrap_or(PeerId(*key)), format!("{key} with fees to {fee_recipient}"))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::address;
    use trefoil_crypto::SecretKey;

    use super::*;

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
        let wrong: [(&str, Change); 13] = [
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
