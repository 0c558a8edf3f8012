// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Ed25519.sol";

/// Ed25519 signatures for any contract, at 0x747265666f696c00000000000000000000000102 from genesis
/// on in every kind of network: under 450,000 gas for a short message (ADR 27). It has no state.
contract Ed25519Verifier {
    /// Whether (`r`, `s`) is `key`'s signature of `message` (RFC 8032); false also for a key that is
    /// no point, not canonical, or of small order.
    function verify(bytes32 key, bytes32 r, bytes32 s, bytes calldata message) external view returns (bool) {
        return Ed25519.verify(key, r, s, message);
    }
}
