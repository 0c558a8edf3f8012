// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./StakingBase.sol";

/// A small scope, searched through: what becomes of one seat and three keys of a public network in three days, of which
/// on each one thing is done, and the seat's key signs or is away. Each of the 1,728 sequences is tried.
contract StakedStandbysSmallScopeTest is StakingBase {
    uint256 private constant ACTIONS = 6;
    uint256 private constant DEPTH = 3;

    /// What the sequences came to. A search in which each call was refused would find nothing wrong.
    struct Reached {
        uint256 sequences;
        bool moved;
        bool movedBack;
        bool goneForFormerKey;
    }

    Reached private _reached;
    bytes32[3] private _keys;
    /// Had the seat.
    mapping(bytes32 => bool) private _held;
    mapping(bytes32 => bool) private _convicted;

    function testAllSequencesOfOneSeatAndThreeKeys() public {
        IStaking.Founding memory f = founding(4, 8);
        // No epoch ends meanwhile: what an election does is searched through elsewhere.
        (f.parameters.epochBlocks, f.parameters.windowBlocks, f.parameters.unbondingBlocks) = (400, 800, 800);
        start(f);
        vm.warp(100 days);
        _keys = [ed(1), ed(11), ed(12)];
        _held[_keys[0]] = true;
        this.step(DEPTH);
        Reached memory r = _reached;
        same("each sequence was tried", r.sequences, (2 * ACTIONS) ** DEPTH);
        check("moved, and back", r.moved && r.movedBack);
        check("evidence against a former key takes the seat", r.goneForFormerKey);
    }

    /// A call of its own, as what it does below: memory that a call took is free after it.
    function step(uint256 depth) external {
        if (depth == 0) {
            _reached.sequences++;
            return;
        }
        for (uint256 what = 0; what < 2 * ACTIONS; what++) {
            uint256 before = vm.snapshotState();
            this.day(what / 2, what % 2 == 1);
            this.step(depth - 1);
            Reached memory reached = _reached;
            vm.revertToStateAndDelete(before);
            _reached = reached;
        }
    }

    function day(uint256 what, bool away) external {
        vm.warp(block.timestamp + 1 days);
        bytes32 before = holder();
        if (before == 0) return;
        (bytes32 first, bytes32 second) = others(before);
        // Evidence is of validators only.
        bytes32 wrong = what == 4 ? before : what == 5 && _held[first] ? first : bytes32(0);
        if (what == 1) attempt(first);
        if (what == 2) attempt(second);
        if (what == 3) attempt(0);
        if (wrong != 0) {
            _convicted[wrong] = true;
            convict(wrong);
        }
        (bytes32 standby,) = staking.standby(account(1));
        // One that the seat moved to signs.
        if (away) blocksWithout(before, PRESENCE_BLOCKS + 1);
        else nextBlock();
        verify(before, away ? standby : bytes32(0), wrong);
    }

    /// What holds after each day. `standby`: the key that the seat was to go to; 0: none.
    function verify(bytes32 before, bytes32 standby, bytes32 wrong) private {
        bytes32 key = holder();
        same("no seat comes", staking.validators().length, key == 0 ? 3 : 4);
        check("no convicted key has it", !_convicted[key]);
        if (wrong != 0) {
            same("it is gone with each key that had it", key, bytes32(0));
            same("for ever", staking.candidate(account(1)).jailedUntil, type(uint64).max);
            if (wrong != before) _reached.goneForFormerKey = true;
            return;
        }
        bool moves = standby != 0 && !_convicted[standby];
        same("it moves to its standby, and only so", key, moves ? standby : before);
        if (moves) _reached.moved = true;
        if (moves && _held[key]) _reached.movedBack = true;
        _held[key] = true;
        for (uint256 i = 0; i < 3; i++) {
            if (!_held[_keys[i]]) continue;
            (, uint64 free,) = staking.keyUse(_keys[i]);
            check("a former key is bound for as long as evidence", _keys[i] == key ? free == 0 : free > block.number);
        }
    }

    function attempt(bytes32 key) private {
        bytes memory proof = key == 0 ? bytes("") : proofOf(key, account(1));
        vm.prank(account(1));
        (bool done,) = CONTRACT.call(abi.encodeCall(StakedStandbys.setStandby, (key, proof)));
        done;
    }

    /// The key that has the seat; 0: it is gone.
    function holder() private view returns (bytes32 key) {
        IMembership.Validator[] memory set = staking.validators();
        for (uint256 i = 0; i < set.length; i++) {
            for (uint256 k = 0; k < 3; k++) {
                if (set[i].key != _keys[k]) continue;
                check("one key has it", key == 0);
                same("all its power", set[i].power, 100);
                key = set[i].key;
            }
        }
    }

    function others(bytes32 key) private view returns (bytes32 first, bytes32 second) {
        if (key == _keys[0]) return (_keys[1], _keys[2]);
        return (_keys[0], key == _keys[1] ? _keys[2] : _keys[1]);
    }
}
