// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./StakingBase.sol";
import "./SmallScope.sol";

/// A small scope, searched through: what becomes of one seat and three keys of a public network in three days, of which
/// on each one thing is done, and the seat's key signs or is away. Each of the 1,728 sequences is tried.
contract StakedStandbysSmallScopeTest is StakingBase, SeatSmallScope {
    uint256 private constant ACTIONS = 6;
    uint256 private constant DEPTH = 3;

    uint8 private constant MOVED = 0;
    uint8 private constant MOVED_BACK = 1;
    uint8 private constant GONE_FOR_FORMER_KEY = 2;

    function testAllSequencesOfOneSeatAndThreeKeys() public {
        IStaking.Founding memory f = founding(4, 8);
        // No epoch ends meanwhile: what an election does is searched through elsewhere.
        (f.parameters.epochBlocks, f.parameters.windowBlocks, f.parameters.unbondingBlocks) = (400, 800, 800);
        start(f);
        vm.warp(100 days);
        _keys = [ed(1), ed(11), ed(12)];
        _held[_keys[0]] = true;
        search(2 * ACTIONS, DEPTH);
        check("moved, and back", isReached(MOVED) && isReached(MOVED_BACK));
        check("evidence against a former key takes the seat", isReached(GONE_FOR_FORMER_KEY));
    }

    function choose(uint256 choice) external override {
        (uint256 what, bool away) = (choice / 2, choice % 2 == 1);
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
            note(GONE_FOR_FORMER_KEY, wrong != before);
            return;
        }
        bool moves = standby != 0 && !_convicted[standby];
        same("it moves to its standby, and only so", key, moves ? standby : before);
        note(MOVED, moves);
        note(MOVED_BACK, moves && _held[key]);
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

    function holder() private view returns (bytes32) {
        return holderIn(staking.validators(), 100);
    }
}
