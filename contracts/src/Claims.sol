// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Acting.sol";
import "./Names.sol";
import "./State.sol";

/// @notice {key} is no Ed25519 key that can be used; check its digits
/// @dev Not a canonical Ed25519 point of large order.
error NotAKey(bytes32 key);
/// @notice {key} is or was used already, and a key has one use by one owner; make a new key
/// @dev It is free again `EVIDENCE_BLOCKS` after its last use.
error KeyInUse(bytes32 key);
/// @notice {key} signed two things once and never counts again; make a new key
error KeyConvicted(bytes32 key);
/// @notice {key} has not agreed to be a key of this role ({role}: 1 peer, 2 validator, 3 CA) of {organisation};
/// its holder signs that by `trefoil keys prove`, and --proof brings what it prints
/// @dev `prove` brings it.
error NotProven(bytes32 key, uint8 role, string organisation);

/// How actions claim Ed25519 keys.
abstract contract Claims is Acting, State {
    /// It was claimed and had not begun to count; all decided otherwise.
    event ClaimOverruled(bytes32 indexed key, uint32 indexed organisation);

    /// `key` counts for `organisation` from height `from` on. Only founders, who sign the
    /// specification together, need not prove that they hold it.
    function _claim(bytes32 key, KeyRole role, uint32 organisation, bytes32 peer, uint64 from) internal {
        Claim storage c = _claims[key];
        if (c.convicted) revert KeyConvicted(key);
        bool taken = c.role != KeyRole.None && (c.free == 0 || block.number < c.free);
        // Its own former use is no hindrance to a validator that comes back.
        bool again = c.role == role && c.free != 0 && role != KeyRole.Ca;
        again = again && (role == KeyRole.Peer || _peerOf[key] == peer);
        if (taken && !again) {
            if (!_allAct() || c.free != 0 || c.from <= _next()) revert KeyInUse(key);
            _overrule(key, c);
        }
        if (block.number == 0) {
            if (!Ed25519.isUsable(key)) revert NotAKey(key);
        } else if (!again || c.organisation != organisation) {
            _requireProven(key, role, organisation);
        }
        // What it signed before can still be evidence, so what is called off now must not free it.
        _claims[key] = Claim(role, false, organisation, taken && again ? c.from : from, 0);
        if (role == KeyRole.Validator) _peerOf[key] = peer;
    }

    /// That `key` agreed to be used so by the organisation.
    function _requireProven(bytes32 key, KeyRole role, uint32 organisation) internal view {
        bytes32 name = _members[organisation].name;
        if (!_hasProven(key, role, name)) revert NotProven(key, uint8(role), Names.unpack(name));
    }

    /// Takes a claim back that has not begun to count, so that nobody shuts a key out by
    /// claiming it for later.
    function _overrule(bytes32 key, Claim storage c) private {
        emit ClaimOverruled(key, c.organisation);
        if (c.role == KeyRole.Ca) {
            IGovernance.CaKey[] storage cas = _members[c.organisation].caKeys;
            for (uint256 i = cas.length; i > 0; i--) {
                if (cas[i - 1].key == key) _dropCaKey(cas, i - 1);
            }
            // Where a gap is left, those that were to end in its favour go on.
            (bool covered,) = _coverage(cas);
            for (uint256 i = 0; i < cas.length; i++) {
                if (covered || cas[i].until <= _next()) continue;
                cas[i].until = 0;
                _claims[cas[i].key].free = 0;
                emit CaKeyEnds(c.organisation, cas[i].key, 0);
            }
            return _changed();
        }
        Entry storage e = _entries[_peerOf[key]];
        // What all decided about a validator to come is for them to take back.
        if (c.role != KeyRole.Validator || e.nextKey != key || e.key == key) revert KeyInUse(key);
        e.nextKey = e.key;
        emit ValidatorChanges(_peerOf[key], e.key, e.nextPower, e.changes);
        if (e.nextPower == e.power) _clearPending(e);
    }

    /// Whether a CA key counts at every height to come, or the first of those looked at where none
    /// does. Coverage can only end where a key ends: it is enough to look there.
    function _coverage(IGovernance.CaKey[] storage cas) internal view returns (bool covered, uint64 gap) {
        if (!_isCovered(cas, _next())) return (false, _next());
        for (uint256 i = 0; i < cas.length; i++) {
            uint64 until = cas[i].until;
            if (until > _next() && !_isCovered(cas, until)) return (false, until);
        }
        return (true, 0);
    }

    function _isCovered(IGovernance.CaKey[] storage cas, uint64 height) private view returns (bool) {
        for (uint256 i = 0; i < cas.length; i++) {
            if (cas[i].from <= height && (cas[i].until == 0 || height < cas[i].until)) return true;
        }
        return false;
    }

    function _dropCaKey(IGovernance.CaKey[] storage cas, uint256 i) internal {
        cas[i] = cas[cas.length - 1];
        cas.pop();
    }
}
