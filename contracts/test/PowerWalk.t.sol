// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./StakingBase.sol";

/// Random walks in terms of power online: strangers with any amount of ether stake for keys that
/// nobody runs, others for nodes that sign; all unbond, come back and leave their jail, in any order; and who signs,
/// founders among them, goes away and returns.
/// The chain stands as soon as what is online is no quorum of the set.
contract PowerWalkTest is StakingBase {
    uint256 private constant FOUNDERS = 10;
    /// From here on nobody runs the keys.
    uint256 private constant RUN = 13;
    uint256 private constant PEOPLE = 22;
    uint256 private constant STEPS = 150;

    bytes32[PEOPLE] private _keys;
    bool[PEOPLE] private _away;
    uint256 private _absences;
    IMembership.Validator[] private _parents;

    /// forge-config: default.fuzz.runs = 60
    function testFuzzNoSequenceOfStakesAndReturnsStopsTheChain(uint256 seed) public {
        IStaking.Founding memory f = founding(FOUNDERS, 14);
        for (uint256 i = 0; i < FOUNDERS; i++) {
            f.founders[i].power = uint64(seed % 4 == 0 ? 21 : 1000);
        }
        if (seed % 2 == 0) (f.parameters.minValidators, f.parameters.maxShare) = (4, 3_333);
        // Jail helps, and must not be needed.
        if (seed % 3 == 0) f.parameters.windowBlocks = 10_000;
        start(f);
        for (uint256 n = 0; n < PEOPLE; n++) {
            _keys[n] = ed(n);
            vm.deal(account(n), 100_000_000 ether);
        }
        for (uint256 i = 0; i < STEPS; i++) {
            seed = uint256(keccak256(abi.encode(seed)));
            step(seed);
        }
        check("somebody was away", _absences > 0);
    }

    function step(uint256 dice) private {
        // The founders stay; the others do what they can think of.
        uint256 n = FOUNDERS + (dice >> 8) % (PEOPLE - FOUNDERS);
        uint256 amount = (10 + (dice >> 16) % (10 ** (1 + (dice >> 32) % 7))) * 1 ether;
        uint256 what = dice % 10;
        if (what < 2) {
            attempt(n, amount, abi.encodeCall(IStaking.deposit, (_keys[n], account(n), proofOf(_keys[n], account(n)))));
        } else if (what == 2) {
            attempt(n, amount, abi.encodeCall(IStaking.addStake, ()));
        } else if (what == 3) {
            attempt(n, 0, abi.encodeCall(IStaking.unbond, (uint96(amount))));
        } else if (what == 4) {
            attempt(n, 0, abi.encodeCall(IStaking.unbond, (staking.candidate(account(n)).stake)));
        } else if (what == 5) {
            attempt(n, 0, abi.encodeCall(IStaking.unjail, ()));
        } else if (what == 8) {
            goAway((dice >> 24) % RUN);
        } else if (what == 9) {
            _away[(dice >> 24) % RUN] = false;
        } else if (what == 6) {
            blocks(1 + (dice >> 40) % EPOCH);
        } else {
            blocks(2 * EPOCH);
        }
    }

    /// Two fifteenths are away at most in the epoch of a change, as docs/economics.md has it: who goes away in the second
    /// half of an epoch counts as present at its end. A newcomer's unit counts before it is seen whether it signs.
    function goAway(uint256 n) private {
        (uint256 online, uint256 all) = powers();
        uint256 own = _away[n] ? 0 : power(_keys[n]);
        if (own == 0 || 15 * (all - online + own + 8) >= 2 * all) return;
        _away[n] = true;
        _absences++;
    }

    function powers() private view returns (uint256 online, uint256 all) {
        IMembership.Validator[] memory set = staking.validators();
        for (uint256 v = 0; v < set.length; v++) {
            all += set[v].power;
            if (isRun(set[v].key)) online += set[v].power;
        }
    }

    function power(bytes32 key) private view returns (uint256) {
        IMembership.Validator[] memory set = staking.validators();
        for (uint256 v = 0; v < set.length; v++) {
            if (set[v].key == key) return set[v].power;
        }
        return 0;
    }

    function attempt(uint256 n, uint256 value, bytes memory call) private {
        vm.prank(account(n));
        (bool done,) = CONTRACT.call{value: value > account(n).balance ? 0 : value}(call);
        done;
    }

    /// Blocks that all who run their keys sign.
    function blocks(uint256 count) private {
        for (uint256 i = 0; i < count; i++) {
            nextBlock(silent(), new bytes32[](0));
            IMembership.Validator[] memory set = staking.validators();
            delete _parents;
            (uint256 online, uint256 all) = (0, 0);
            for (uint256 v = 0; v < set.length; v++) {
                _parents.push(set[v]);
                all += set[v].power;
                if (isRun(set[v].key)) online += set[v].power;
            }
            check("what is online is a quorum", 3 * online > 2 * all);
        }
    }

    function silent() private view returns (bytes32[] memory keys) {
        keys = new bytes32[](_parents.length);
        uint256 count = 0;
        for (uint256 i = 0; i < keys.length; i++) {
            if (!isRun(_parents[i].key)) keys[count++] = _parents[i].key;
        }
        assembly ("memory-safe") {
            mstore(keys, count)
        }
    }

    function isRun(bytes32 key) private view returns (bool) {
        for (uint256 n = 0; n < RUN; n++) {
            if (_keys[n] == key) return !_away[n];
        }
        return false;
    }
}
