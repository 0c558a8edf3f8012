// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./SmallScope.sol";
import "./StakingBase.sol";

/// A small scope, searched through: what two strangers can do in three epochs, one of whom runs its key and may
/// be away, beside founders that sign. Each sequence is tried, 729 of each network or 1,000, and those of four epochs by
/// `TREFOIL_EPOCHS=4 contracts/test.sh --match-contract ElectionSmallScope`.
contract ElectionSmallScopeTest is StakingBase, SmallScope {
    uint256 private constant ACTIONS = 9;
    /// The strangers: one signs, unless it is away; nobody runs the other's key.
    uint256 private constant RUN = 7;
    uint256 private constant UNRUN = 8;

    uint8 private constant GREW = 0;
    uint8 private constant ON_PROBATION = 1;
    uint8 private constant JAILED = 2;
    /// An active seat, which kept its stake.
    uint8 private constant ONLY_JAILED = 3;
    uint8 private constant SLASHED = 4;
    uint8 private constant GONE = 5;

    bytes32[2] private _keys;

    function testAllSequencesBesideTwoFoundersWithSeatsForThree() public {
        searchFrom(2, 40, 3, 10_000, false);
    }

    function testAllSequencesBesideFourFoundersWithTheLeastPower() public {
        searchFrom(4, 17, 64, 10_000, false);
    }

    function testAllSequencesBesideFourFoundersWhereNoSeatHasMoreThanAThird() public {
        searchFrom(4, 20, 4, 3_333, false);
    }

    function testAllSequencesOfASeatWhoseWindowBegins() public {
        searchFrom(4, 20, 64, 10_000, true);
    }

    /// `served`: the stranger that runs its key has a seat, and served a window.
    function searchFrom(uint256 founders, uint64 units, uint16 seats, uint16 maxShare, bool served) private {
        IStaking.Founding memory f = founding(founders, seats);
        for (uint256 i = 0; i < founders; i++) {
            f.founders[i].power = units;
        }
        (f.parameters.minStake, f.parameters.maxShare) = (1 ether, maxShare);
        if (maxShare < 10_000) f.parameters.minValidators = 4;
        start(f);
        _keys = [ed(RUN), ed(UNRUN)];
        if (served) {
            attempt(RUN, 20 ether);
            epochs(1 + WINDOW / EPOCH);
        }
        // Where a window ends, one more: to be away for a part of an epoch.
        search(served ? ACTIONS + 1 : ACTIONS, vm.envOr("TREFOIL_EPOCHS", uint256(3)));
        check("who signs gets power", isReached(GREW));
        check("a key that nobody runs has a seat for an epoch", isReached(ON_PROBATION));
        check("it is jailed, and gone", isReached(JAILED) && isReached(GONE));
        check("who is away for most of a window is jailed", isReached(ONLY_JAILED) == served);
        check("who is away for all of it is slashed", isReached(SLASHED) == served);
    }

    function choose(uint256 what) external override {
        act(what);
        run(what == 8 ? EPOCH : what == 9 ? 6 : 0);
    }

    /// 0: nothing; 8: the one that runs its key is away for an epoch; 9: for 6 blocks of 10.
    function act(uint256 what) private {
        if (what == 1) attempt(RUN, 1 ether);
        if (what == 2) attempt(RUN, 100 ether);
        if (what == 3) quit(RUN);
        if (what == 4) attempt(UNRUN, 1 ether);
        if (what == 5) attempt(UNRUN, 1000 ether);
        if (what == 6) quit(UNRUN);
        if (what == 7) {
            vm.prank(account(UNRUN));
            call(0, abi.encodeCall(IStaking.unjail, ()));
            vm.prank(account(RUN));
            call(0, abi.encodeCall(IStaking.unjail, ()));
        }
    }

    function attempt(uint256 n, uint256 amount) private {
        bytes32 key = _keys[n - RUN];
        bool isNew = staking.candidate(account(n)).stake == 0;
        bytes memory deposit = abi.encodeCall(IStaking.deposit, (key, account(500 + n), proofOf(key, account(n))));
        vm.deal(account(n), amount);
        vm.prank(account(n));
        call(amount, isNew ? deposit : abi.encodeCall(IStaking.addStake, ()));
    }

    function quit(uint256 n) private {
        uint96 stake = staking.candidate(account(n)).stake;
        vm.prank(account(n));
        call(0, abi.encodeCall(IStaking.unbond, (stake)));
    }

    function call(uint256 value, bytes memory data) private {
        (bool done,) = CONTRACT.call{value: value}(data);
        done;
    }

    /// One epoch. Whoever is away has too little for its absence to stop the chain by itself.
    function run(uint256 away) private {
        IMembership.Validator[] memory set = staking.validators();
        (uint256 all, uint256 own) = powers(set, _keys[0]);
        if (3 * (all - own - powerOf(set, _keys[1])) <= 2 * all) away = 0;
        (uint256 held, bool free) = (holds(account(RUN)), !isJailed(RUN));
        do {
            nextBlock(absent(block.number % EPOCH < away), new bytes32[](0));
        } while (block.number % EPOCH != 0);
        verify(set, all, away != 0);
        bool lost = holds(account(RUN)) < held;
        note(SLASHED, lost);
        note(ONLY_JAILED, own > 1 && free && isJailed(RUN) && !lost);
        noteChanges(set);
    }

    function noteChanges(IMembership.Validator[] memory before) private {
        IMembership.Validator[] memory set = staking.validators();
        note(GREW, powerOf(set, _keys[0]) > 1);
        note(ON_PROBATION, powerOf(set, _keys[1]) == 1);
        for (uint256 n = 0; n < 2; n++) {
            note(JAILED, isJailed(RUN + n));
            note(GONE, powerOf(before, _keys[n]) != 0 && powerOf(set, _keys[n]) == 0);
        }
    }

    function isJailed(uint256 n) private view returns (bool) {
        return staking.candidate(account(n)).jailedUntil != 0;
    }

    /// The stake, and what unbonds.
    function holds(address owner) private view returns (uint256 held) {
        held = staking.candidate(owner).stake;
        IStaking.Unbonding[] memory unbonding = staking.unbonding(owner);
        for (uint256 i = 0; i < unbonding.length; i++) {
            held += unbonding[i].amount;
        }
    }

    /// What holds after each epoch.
    function verify(IMembership.Validator[] memory before, uint256 all, bool away) private view {
        IMembership.Validator[] memory set = staking.validators();
        (uint256 total, uint256 ofRun) = powers(set, _keys[0]);
        uint256 ofUnrun = powerOf(set, _keys[1]);
        check("somebody validates", set.length > 0);
        check("who is online is a quorum", 3 * (total - ofUnrun - (away ? ofRun : 0)) > 2 * total);
        (uint256 came, uint256 went) = (0, 0);
        for (uint256 i = 0; i < set.length; i++) {
            uint256 had = powerOf(before, set[i].key);
            if (set[i].power > had) came += set[i].power - had;
            check("power has stake behind it, or what unbonds", isBacked(set[i]));
        }
        for (uint256 i = 0; i < before.length; i++) {
            uint256 has = powerOf(set, before[i].key);
            if (has < before[i].power) went += before[i].power - has;
        }
        uint256 most = all / 5 == 0 ? 1 : all / 5;
        check("at most a fifth comes", came <= most);
        check("at most a fifth goes", went <= most);
        check("a key that nobody runs has one unit", ofUnrun <= 1);
    }

    function isBacked(IMembership.Validator memory validator) private view returns (bool) {
        for (uint256 n = 0; n < 2; n++) {
            if (validator.key != _keys[n]) continue;
            return holds(account(RUN + n)) >= uint256(validator.power) * 1 ether;
        }
        return true;
    }

    function absent(bool away) private view returns (bytes32[] memory keys) {
        IMembership.Validator[] memory set = staking.validators();
        keys = new bytes32[](set.length);
        uint256 count = 0;
        for (uint256 i = 0; i < set.length; i++) {
            if (set[i].key == _keys[1] || (away && set[i].key == _keys[0])) keys[count++] = set[i].key;
        }
        assembly ("memory-safe") {
            mstore(keys, count)
        }
    }

    function powers(IMembership.Validator[] memory set, bytes32 key) private pure returns (uint256 all, uint256 own) {
        for (uint256 i = 0; i < set.length; i++) {
            all += set[i].power;
        }
        own = powerOf(set, key);
    }

    function powerOf(IMembership.Validator[] memory set, bytes32 key) private pure returns (uint256) {
        for (uint256 i = 0; i < set.length; i++) {
            if (set[i].key == key) return set[i].power;
        }
        return 0;
    }
}
