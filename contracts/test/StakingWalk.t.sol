// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./StakingBase.sol";

/// Random walks: ten accounts, some of them founders, do whatever they can think of
/// while blocks go on; after every step what must always hold is looked at.
contract StakingWalkTest is StakingBase {
    uint256 private constant PEOPLE = 10;
    uint256 private constant STEPS = 80;

    /// Two for each; the second of one is for its return.
    bytes32[2 * PEOPLE] private _keys;
    bool[PEOPLE] private _convicted;

    /// forge-config: default.fuzz.runs = 100
    function testFuzzWalk(uint256 seed) public {
        IStaking.Founding memory f = founding(3, 4);
        if (seed % 2 == 0) (f.parameters.minValidators, f.parameters.maxShare) = (4, 3_333);
        start(f);
        for (uint256 i = 0; i < PEOPLE; i++) {
            (_keys[i], _keys[PEOPLE + i]) = (ed(i), ed(PEOPLE + i));
            vm.deal(account(i), 1000 ether);
        }
        uint256 started = CONTRACT.balance + PEOPLE * 1000 ether;
        for (uint256 i = 0; i < STEPS; i++) {
            seed = uint256(keccak256(abi.encode(seed)));
            step(seed);
            checkAlways(started);
        }
    }

    modifier versioned() {
        (uint64 version, uint256 before) = (staking.version(), seen());
        _;
        check("version grows iff the set differs", (staking.version() > version) == (seen() != before));
    }

    function nextBlock(bytes32[] memory absent, bytes32[] memory equivocators) internal override versioned {
        super.nextBlock(absent, equivocators);
    }

    function step(uint256 dice) private {
        uint256 n = (dice >> 8) % PEOPLE;
        uint256 amount = ((dice >> 16) % 120) * 1 ether;
        uint256 what = dice % 16;
        if (what == 0) attempt(n, amount, depositOf(_keys[n + (dice >> 72) % 2 * PEOPLE], n));
        else if (what == 1) attempt(n, amount, abi.encodeCall(IStaking.addStake, ()));
        else if (what == 2) attempt(n, 0, abi.encodeCall(IStaking.unbond, (uint96(amount))));
        else if (what == 3) attempt(n, 0, abi.encodeCall(IStaking.unbond, (staking.candidate(account(n)).stake)));
        else if (what == 4) attempt(n, 0, abi.encodeCall(IStaking.withdraw, ()));
        else if (what == 5) attempt(n, 0, abi.encodeCall(IStaking.unjail, ()));
        else if (what == 6) attempt(n, 0, abi.encodeCall(IStaking.setFeeRecipient, (account(dice >> 64))));
        // Another's key.
        else if (what == 7) attempt(n, amount, depositOf(_keys[(n + 1) % PEOPLE], n));
        else if (what == 8 && (dice >> 32) % 4 == 0) equivocate(_keys[(dice >> 40) % (2 * PEOPLE)]);
        else if (what == 9) blocksWithout(_keys[n], WINDOW);
        else if (what == 10) epoch();
        else if (what == 11) attempt(n, 0, standbyOf(_keys[(dice >> 72) % (2 * PEOPLE)], n));
        else if (what == 12) blocksWithout(staking.candidate(account(n)).key, PRESENCE_BLOCKS);
        else nextBlock(one(_keys[n]), new bytes32[](0));
    }

    function depositOf(bytes32 key, uint256 n) private view returns (bytes memory) {
        return abi.encodeCall(IStaking.deposit, (key, account(700 + n), proofOf(key, account(n))));
    }

    function standbyOf(bytes32 key, uint256 n) private view returns (bytes memory) {
        return abi.encodeCall(IStaking.setStandby, (key, proofOf(key, account(n))));
    }

    function attempt(uint256 n, uint256 value, bytes memory call) private versioned {
        vm.prank(account(n));
        (bool done,) = CONTRACT.call{value: value > account(n).balance ? 0 : value}(call);
        done;
    }

    /// Evidence is of a validator: of a key that somebody uses or used.
    function equivocate(bytes32 key) private {
        (address owner,, bool before) = staking.keyUse(key);
        uint256 burned = staking.burned();
        convict(key);
        check("a stranger is not convicted", staking.convicted(key) == (before || owner != address(0)));
        for (uint256 n = 0; n < PEOPLE; n++) {
            if (owner != account(n)) continue;
            check("once", !_convicted[n] || staking.burned() == burned);
            _convicted[n] = true;
            same("its owner", staking.candidate(owner).jailedUntil, type(uint64).max);
        }
    }

    function checkAlways(uint256 started) private view {
        IMembership.Validator[] memory set = staking.validators();
        check("a set is never empty nor too large", set.length >= 1 && set.length <= 12);
        for (uint256 i = 0; i < set.length; i++) {
            check("power", set[i].power >= 1 && set[i].power <= staking.VALIDATOR_POWER_MAX());
            for (uint256 j = 0; j < i; j++) {
                check("each key once", set[i].key != set[j].key);
            }
        }
        uint256 owed = staking.burned();
        uint256 all = CONTRACT.balance;
        for (uint256 n = 0; n < PEOPLE; n++) {
            IStaking.Candidate memory c = staking.candidate(account(n));
            owed += c.stake;
            all += account(n).balance;
            // Absence may have cost a little of it.
            check("a stake is none or enough", c.stake == 0 || c.stake >= 9 ether);
            check("the active have a seat", !c.active || c.power != 0);
            check("the convicted stay out", !_convicted[n] || (c.stake == 0 && (c.power == 0 || set.length == 1)));
            IStaking.Unbonding[] memory parts = staking.unbonding(account(n));
            check("few parts unbond", parts.length <= 9);
            check("of a convicted key nothing is left", !staking.convicted(c.key) || c.stake == 0);
            for (uint256 i = 0; i < parts.length; i++) {
                owed += parts[i].amount;
            }
        }
        same("the balance is what is owed", CONTRACT.balance, owed);
        same("no wei came or went", all, started);
    }
}
