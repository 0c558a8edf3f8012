// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Ed25519.sol";

/// @notice {key} is no Ed25519 key that can be used; check its digits
/// @dev Not a canonical Ed25519 point of large order.
error NotAKey(bytes32 key);
/// @notice {key} is or was used already, and a key has one use by one owner; make a new key
error KeyInUse(bytes32 key);

/// What each Ed25519 key was ever used for.
///
/// Always: a key has one use by one owner, also after that use ended.
abstract contract Keys {
    enum Use {
        Peer,
        Validator,
        Ca
    }

    /// A use that nobody can claim again.
    bytes32 private constant BURNT = bytes32(uint256(1));

    /// keccak256 of use and owner.
    mapping(bytes32 => bytes32) private _uses;

    /// `owner` may claim it again for the same use.
    function _claim(bytes32 key, Use use, bytes32 owner) internal {
        bytes32 tag = keccak256(abi.encode(use, owner));
        bytes32 known = _uses[key];
        if (known == tag) return;
        if (known != 0) revert KeyInUse(key);
        if (!Ed25519.isUsable(key)) revert NotAKey(key);
        _uses[key] = tag;
    }

    /// Nobody has used it, and nobody will again.
    function _claimOnce(bytes32 key, Use use, bytes32 owner) internal {
        if (_uses[key] != 0) revert KeyInUse(key);
        _claim(key, use, owner);
    }

    function _burn(bytes32 key) internal {
        _uses[key] = BURNT;
    }

    function _isBurnt(bytes32 key) internal view returns (bool) {
        return _uses[key] == BURNT;
    }
}
