//! What a stranger says in the member handshake, after its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trefoil_p2p::{NetworkId, proof::Proof};
use trefoil_types::{B256, spec::Kind};

fuzz_target!(|bytes: &[u8]| {
    let genesis = B256::repeat_byte(7);
    let ours = NetworkId { kind: Kind::Consortium, genesis, fork_id: [1, 2, 3, 4] };
    if let Ok(proof) = Proof::decode(bytes, &ours) {
        assert_eq!(proof.encode()[2..], *bytes);
    }
});
