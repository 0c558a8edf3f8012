//! Proofs by which keys agree to their use.

use trefoil_crypto::{B256, SecretKey};

use crate::{KeyProof, KeyRole};

#[test]
fn a_proof_reads_back_and_serves_one_use_only() {
    let (here, elsewhere) = (B256::repeat_byte(1), B256::repeat_byte(2));
    let secret = SecretKey::from_seed(&[7; 32]);
    for role in [KeyRole::Peer, KeyRole::Validator, KeyRole::Ca] {
        let proof = KeyProof::sign(&secret, &here, role, "acme");
        let text = proof.to_string();
        assert!(text.starts_with(role.name()), "{text}");
        assert_eq!(text.parse(), Ok(proof));
        assert!(proof.verify(&here, "acme"));
        assert!(!proof.verify(&elsewhere, "acme"));
        assert!(!proof.verify(&here, "acm"));
        assert!(
            !KeyProof { role: KeyRole::Ca, ..proof }.verify(&here, "acme") || role == KeyRole::Ca
        );
    }
}

/// The genesis hash is not known yet when the keys of founders agree.
#[test]
fn a_proof_for_a_founding_serves_no_other() {
    let founding = KeyProof::founding("example", 4242);
    let secret = SecretKey::from_seed(&[7; 32]);
    let proof = KeyProof::sign(&secret, &founding, KeyRole::Ca, "acme");
    assert!(proof.verify(&KeyProof::founding("example", 4242), "acme"));
    for (name, chain_id) in [("example", 4243), ("exampl", 4242), ("example2", 4242)] {
        assert!(!proof.verify(&KeyProof::founding(name, chain_id), "acme"), "{name} {chain_id}");
    }
}

#[test]
fn a_text_that_is_no_proof_is_refused_with_the_cure() {
    let secret = SecretKey::from_seed(&[7; 32]);
    let proof = KeyProof::sign(&secret, &B256::ZERO, KeyRole::Ca, "acme").to_string();
    let short = &proof[..proof.len() - 2];
    for text in ["", "ca", "ca:0x00:0x00", short, &proof.replace("ca:", "account:")] {
        let refused = text.parse::<KeyProof>().unwrap_err().to_string();
        assert!(refused.contains("trefoil keys prove"), "{refused}");
    }
}

/// What the contract hashes (`testWhatAKeySigns` in `contracts/test/Claims.t.sol`): tag, network,
/// contract, role, name.
#[test]
fn the_signed_bytes_are_those_of_the_contract() {
    let bytes = KeyProof::preimage(&B256::repeat_byte(9), KeyRole::Ca, "org-001");
    let contract = crate::spec::GOVERNING_CONTRACT;
    let mut name = [0; 32];
    name[..7].copy_from_slice(b"org-001");
    let parts: [&[u8]; 5] = [b"trefoil/key-proof/1\0", &[9; 32], contract.as_slice(), &[3], &name];
    assert_eq!(bytes, parts.concat());
}
