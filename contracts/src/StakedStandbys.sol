// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Election.sol";

/// Seats that move by themselves to another machine, with a key of its own.
///
/// Always: a seat moves only to a key that its owner named and that agreed; only when its own key signed none of
/// `PRESENCE_BLOCKS` blocks in a row since then, of which each is final by a quorum; from the next block on, so that
/// at each height one of the two keys counts; never to a key that another has, or that was convicted. Power, window
/// and stake stay, and evidence against the key of before finds the owner.
abstract contract StakedStandbys is Election {
    struct Standby {
        /// 0: none.
        bytes32 key;
        /// The newest height that the seat did not sign since it was named, and how many before it in a row.
        uint64 missedLast;
        uint64 missedRow;
        /// When the seat moved last, in seconds; 0: never.
        uint64 moved;
    }

    mapping(address => Standby) private _standbys;

    /// `key` 0: none any more.
    event StandbyNamed(address indexed owner, bytes32 key);
    /// `before` counts no more from block `from` on.
    event SeatMoved(address indexed owner, bytes32 before, bytes32 key, uint64 from);

    function setStandby(bytes32 validatorKey, bytes calldata proof) external {
        Owner storage o = _owners[msg.sender];
        if (o.place == 0) revert NoCandidate(msg.sender);
        Standby storage s = _standbys[msg.sender];
        if (s.key == validatorKey) revert NothingToChange();
        if (validatorKey != 0) {
            _requireFreeFor(msg.sender, validatorKey);
            if (validatorKey == o.key) revert KeyInUse(validatorKey);
            _checkProof(validatorKey, proof);
        }
        (s.key, s.missedLast, s.missedRow) = (validatorKey, 0, 0);
        emit StandbyNamed(msg.sender, validatorKey);
    }

    function standby(address owner) external view returns (bytes32 key, uint64 moved) {
        return (_standbys[owner].key, _standbys[owner].moved);
    }

    /// It did not sign the parent. Only who has a standby pays for the count of a row. Attack: seats on probation, whose
    /// least stakes would make another set at each move, not only at each epoch's end.
    function _miss(bytes32 key) internal {
        address owner = _claims[key].owner;
        Owner storage o = _owners[owner];
        if (o.seat == 0 || o.key != key) return;
        _set[o.seat - 1].missed += 1;
        Standby storage s = _standbys[owner];
        if (s.key == 0 || !o.active) return;
        uint64 height = uint64(block.number) - 1;
        (s.missedRow, s.missedLast) = (s.missedLast + 1 == height ? s.missedRow + 1 : 1, height);
        if (s.missedRow % PRESENCE_BLOCKS == 0) _move(owner, s);
    }

    function _move(address owner, Standby storage s) private {
        Owner storage o = _owners[owner];
        bytes32 key = s.key;
        bool early = s.moved != 0 && block.timestamp < s.moved + MOVE_SECONDS;
        // It may have come back with the standby's key as its own.
        if (early || key == o.key || !_isFreeFor(owner, key)) return;
        emit SeatMoved(owner, o.key, key, _next());
        _free(o.key);
        _claims[key] = KeyClaim(owner, 0, false);
        o.key = key;
        (s.key, s.moved) = (0, uint64(block.timestamp));
        _changed();
    }
}
