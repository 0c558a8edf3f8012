// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "../src/IMembership.sol";
import "./Base.sol";

/// Each sequence of choices is tried, from the same state.
abstract contract SmallScope is Base {
    uint256 private _sequences;
    /// What the sequences came to, a bit each. A search in which each call was refused would find nothing wrong.
    uint256 private _reached;

    /// Makes `depth` choices, each of so many.
    function search(uint256 choices, uint256 depth) internal {
        this.step(choices, depth);
        same("each sequence was tried", _sequences, choices ** depth);
    }

    /// A call of its own, as what it does below: memory that a call took is free after it.
    function step(uint256 choices, uint256 depth) external {
        if (depth == 0) {
            _sequences++;
            return;
        }
        for (uint256 what = 0; what < choices; what++) {
            uint256 before = vm.snapshotState();
            this.choose(what);
            this.step(choices, depth - 1);
            (uint256 sequences, uint256 reached) = (_sequences, _reached);
            vm.revertToStateAndDelete(before);
            (_sequences, _reached) = (sequences, reached);
        }
    }

    /// Does one of the things that may be done, and verifies what holds after it.
    function choose(uint256 what) external virtual;

    function note(uint8 what, bool holds) internal {
        if (holds) _reached |= uint256(1) << what;
    }

    function isReached(uint8 what) internal view returns (bool) {
        return _reached >> what & 1 != 0;
    }
}

/// One seat and three keys.
abstract contract SeatSmallScope is SmallScope {
    bytes32[3] internal _keys;
    /// Had the seat.
    mapping(bytes32 => bool) internal _held;
    mapping(bytes32 => bool) internal _convicted;

    /// The key of this set that has the seat, with all its power; 0: it is gone.
    function holderIn(IMembership.Validator[] memory set, uint64 power) internal view returns (bytes32 key) {
        for (uint256 i = 0; i < set.length; i++) {
            for (uint256 k = 0; k < 3; k++) {
                if (set[i].key != _keys[k]) continue;
                check("one key has it", key == 0);
                same("all its power", set[i].power, power);
                key = set[i].key;
            }
        }
    }

    function others(bytes32 key) internal view returns (bytes32 first, bytes32 second) {
        if (key == _keys[0]) return (_keys[1], _keys[2]);
        return (_keys[0], key == _keys[1] ? _keys[2] : _keys[1]);
    }
}
