// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Ed25519Verifier.sol";

/// What an Ed25519 key is for.
enum KeyRole {
    None,
    Peer,
    Validator,
    Ca
}

/// Signatures by which a key agrees to its use, so that nobody registers a key of which
/// another holds the secret: a claim on a foreign key would shut its owner out.
///
/// What is signed names network (the genesis hash), contract, role and claimer, so that it
/// serves nowhere else; its tag is one of those that crates/crypto keeps apart.
library KeyProofs {
    Ed25519Verifier internal constant VERIFIER = Ed25519Verifier(0x747265666F696c00000000000000000000000102);

    function isProof(bytes32 key, bytes32 network, KeyRole role, bytes32 claimer, bytes calldata signature)
        internal
        view
        returns (bool)
    {
        if (signature.length != 64) return false;
        bytes memory message =
            abi.encodePacked("trefoil/key-proof/1", uint8(0), network, address(this), uint8(role), claimer);
        return VERIFIER.verify(key, bytes32(signature[:32]), bytes32(signature[32:]), message);
    }
}
