use super::*;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// RFC 8032 section 7.1, test 1: the public key of a known seed.
#[test]
fn public_key_is_that_of_rfc_8032() {
    let seed =
        alloy_primitives::hex!("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    assert_eq!(
        SecretKey::from_seed(&seed).public().to_string(),
        "0xd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    );
}

#[test]
fn a_signature_holds_for_one_key_domain_network_and_message() {
    let (net, other) = (B256::repeat_byte(1), B256::repeat_byte(2));
    let signature = key(1).sign(Domain::Vote, &net, b"m");
    let public = key(1).public();
    assert!(public.verify(Domain::Vote, &net, b"m", &signature));
    assert!(!public.verify(Domain::Proposal, &net, b"m", &signature));
    assert!(!public.verify(Domain::Vote, &other, b"m", &signature));
    assert!(!public.verify(Domain::Vote, &net, b"n", &signature));
    assert!(!key(2).public().verify(Domain::Vote, &net, b"m", &signature));
}

#[test]
fn small_order_and_malformed_keys_are_refused() {
    let small_order = PublicKey(B256::with_last_byte(0));
    assert!(small_order.check().is_err());
    assert!("0x12".parse::<PublicKey>().is_err());
    assert!(!small_order.verify(Domain::Vote, &B256::ZERO, b"", &Signature([0; 64])));
    // The neutral point as the key, and as the signature's: by the equation alone (RFC 8032,
    // 5.1.7) it is a right signature of every message.
    let neutral = {
        let mut point = B256::ZERO;
        point[0] = 1;
        point
    };
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(neutral.as_slice());
    for message in [b"m", b"n"] {
        assert!(!PublicKey(neutral).verify(
            Domain::Vote,
            &B256::ZERO,
            message,
            &Signature(signature)
        ));
    }
}

#[test]
fn a_peer_id_reads_back_what_it_prints() {
    let peer = PeerId(key(3).public());
    let text = peer.to_string();
    assert!(text.starts_with("12D3KooW"), "{text}");
    assert_eq!(text.parse(), Ok(peer));
    assert!("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse::<PeerId>().is_err());
    assert!("1".repeat(10_000).parse::<PeerId>().is_err());
}
