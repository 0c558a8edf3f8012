// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Claims.sol";

/// Seats that move by themselves to another machine, with a key of its own.
///
/// Always: a seat moves only to a key that its organisation, or all, named and that agreed; only when its own key
/// signed none of `PRESENCE_BLOCKS` blocks in a row, of which each is final by a quorum; from the next block on,
/// so that at each height one of the two keys counts; never to a key that is in use, that was lately, or that was
/// convicted. It has its organisation, its power and the peer id of before.
abstract contract Standbys is Claims {
    /// `key` 0: none any more.
    event StandbyNamed(bytes32 indexed peer, bytes32 key);
    /// `before` counts no more from block `from` on.
    event SeatMoved(bytes32 indexed peer, bytes32 before, bytes32 key, uint64 from);

    /// When the validator's key is away its seat moves to `validatorKey`, and has no standby then. 0: to none.
    /// It claims nothing: the key is free for another use until it takes over.
    function setStandby(bytes32 peer, bytes32 validatorKey) external by(_entries[peer].organisation) {
        Entry storage e = _validator(peer);
        if (e.standby == validatorKey) revert NothingToChange();
        if (validatorKey != 0) _checkStandby(peer, e.organisation, validatorKey);
        e.standby = validatorKey;
        emit StandbyNamed(peer, validatorKey);
    }

    /// The standby's key (0: none), and when the seat moved last (in seconds; 0: never).
    function standby(bytes32 peer) external view returns (bytes32 key, uint64 moved) {
        return (_entries[peer].standby, _entries[peer].moved);
    }

    /// The parent's validators whose signature its certificate lacks. It never refuses.
    function noteAbsent(bytes32[] calldata keys) external onlyNode {
        uint64 height = uint64(block.number) - 1;
        for (uint256 i = 0; i < keys.length; i++) {
            bytes32 peer = _peerOf[keys[i]];
            Entry storage e = _entries[peer];
            // One that came back in the parent counts as unseen up to it already.
            if (e.power == 0 || e.key != keys[i] || height <= e.missedLast) continue;
            (e.missedRow, e.missedLast) = (e.missedLast + 1 == height ? e.missedRow + 1 : 1, height);
            // A key that was never seen begins with a row of `PRESENCE_BLOCKS`, and has as many more.
            if (e.standby != 0 && e.missedRow % PRESENCE_BLOCKS == 0) _move(peer, e);
        }
    }

    function _checkStandby(bytes32 peer, uint32 organisation, bytes32 key) private view {
        if (_claims[key].convicted) revert KeyConvicted(key);
        if (!_isFreeFor(peer, key)) revert KeyInUse(key);
        _requireProven(key, KeyRole.Validator, organisation);
    }

    function _isFreeFor(bytes32 peer, bytes32 key) private view returns (bool) {
        Claim storage c = _claims[key];
        if (c.convicted) return false;
        if (c.role == KeyRole.None) return true;
        return c.free != 0 && (block.number >= c.free || (c.role == KeyRole.Validator && _peerOf[key] == peer));
    }

    /// Whoever was missed so often was online to no decision, and its standby is not before it signs: what is
    /// decided and pending still has its quorum.
    function _move(bytes32 peer, Entry storage e) private {
        bytes32 key = e.standby;
        bool changes = e.changes != 0 && e.nextKey != e.key;
        bool early = e.moved != 0 && block.timestamp < e.moved + MOVE_SECONDS;
        if (changes || early || !_isActive(e.organisation) || !_isFreeFor(peer, key)) return;
        emit SeatMoved(peer, e.key, key, _next());
        _release(e.key, _next());
        // It does not refuse: the key is free for this seat, and agreed when it was named.
        _claim(key, KeyRole.Validator, e.organisation, peer, _next());
        (e.key, e.standby, e.moved, e.elsewhere) = (key, 0, uint64(block.timestamp), true);
        if (e.changes != 0) e.nextKey = key;
        _unseen(e, _next());
        _changed();
    }
}
