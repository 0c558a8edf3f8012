// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Ed25519.sol";
import "./KeyProofs.sol";

/// What each Ed25519 key is used for, and what it has agreed to.
///
/// Always: a key has one use by one owner while it is in use, and for `EVIDENCE_BLOCKS`
/// afterwards, so that evidence finds its owner; a convicted key is never used again.
abstract contract Keys {
    /// Evidence is taken of so many heights (EVIDENCE_BLOCKS_MAX in crates/types/src/limits.rs).
    uint64 public constant EVIDENCE_BLOCKS = 1_000_000;

    struct Claim {
        KeyRole role;
        /// For ever: it signed two things.
        bool convicted;
        uint32 organisation;
        /// The first height at which it counts.
        uint64 from;
        /// From this height on another may claim it; 0: it is in use.
        uint64 free;
    }

    mapping(bytes32 => Claim) internal _claims;
    /// keccak256 of key, role, and the organisation's name: the key agrees to that use.
    mapping(bytes32 => bool) private _proofs;
    /// The genesis hash, from block 1 on.
    bytes32 internal _network;

    event KeyProven(bytes32 indexed key, KeyRole indexed role, bytes32 indexed organisation);

    function _prove(bytes32 key, KeyRole role, bytes32 name) internal {
        _proofs[keccak256(abi.encode(key, role, name))] = true;
        emit KeyProven(key, role, name);
    }

    function _hasProven(bytes32 key, KeyRole role, bytes32 name) internal view returns (bool) {
        return _proofs[keccak256(abi.encode(key, role, name))];
    }

    /// `height` is the first at which the key does not count any more.
    function _release(bytes32 key, uint64 height) internal {
        Claim storage c = _claims[key];
        if (c.convicted) return;
        // No signature of a key that never counted can be evidence.
        if (height <= c.from) delete _claims[key];
        else c.free = height + EVIDENCE_BLOCKS;
    }
}
