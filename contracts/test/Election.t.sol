// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./StakingBase.sol";

/// How power comes and goes: as `trefoil network new --kind public` founds a network, and with the
/// least stake that founding allows.
contract ElectionTest is StakingBase {
    uint256 private constant LEAST = 17;

    /// One ether a unit, which is also the least stake.
    function startOf(uint256 founders, uint64 units, uint16 maxValidators) private {
        start(terms(founders, units, maxValidators));
    }

    function terms(uint256 founders, uint64 units, uint16 maxValidators)
        private
        view
        returns (IStaking.Founding memory f)
    {
        f = founding(founders, maxValidators);
        for (uint256 i = 0; i < founders; i++) {
            f.founders[i].power = units;
        }
        f.parameters.minStake = 1 ether;
    }

    function foundersPower(uint256 founders) private view returns (uint256 sum) {
        for (uint256 i = 0; i < founders; i++) {
            sum += power(i);
        }
    }

    function checkFoundersDecide(uint256 founders) private view {
        check("the founders are a quorum by themselves", 3 * foundersPower(founders) > 2 * total());
    }

    /// The validators that no founder is: nobody runs their keys.
    function strangers(uint256 founders) private view returns (bytes32[] memory keys) {
        IMembership.Validator[] memory set = staking.validators();
        keys = new bytes32[](set.length);
        uint256 count = 0;
        for (uint256 i = 0; i < set.length; i++) {
            bool known = false;
            for (uint256 j = 0; j < founders; j++) {
                known = known || set[i].key == ed(j);
            }
            if (!known) keys[count++] = set[i].key;
        }
        assembly ("memory-safe") {
            mstore(keys, count)
        }
    }

    function testFoundingRefusesTermsUnderWhichALeastStakeStopsTheChain() public {
        vm.etch(CONTRACT, type(Staking).runtimeCode);
        vm.deal(CONTRACT, 1000 ether);
        bytes memory encoded = abi.encode(terms(4, 1, 64));
        uint256 most = staking.VALIDATOR_POWER_MAX();
        vm.prank(NODE);
        vm.expectRevert(abi.encodeWithSelector(OutOfRange.selector, "power", 1, LEAST, most));
        staking.found(encoded);
    }

    /// Two ether were enough, when founders had one each.
    ///
    /// forge-config: default.fuzz.runs = 50
    function testFuzzStakeOfAKeyThatNobodyRunsNeverStopsTheChain(uint24 more) public {
        startOf(4, uint64(LEAST), 64);
        deposit(7, (1 + uint256(more)) * 1 ether);
        for (uint256 i = 0; i < 30; i++) {
            epochWithout(strangers(4));
            checkFoundersDecide(4);
        }
    }

    function testStakeThatSignsIsNoQuorumByItselfInOneEpoch() public {
        startOf(4, uint64(LEAST), 64);
        deposit(7, 32 ether);
        epoch();
        checkFoundersDecide(4);
    }

    /// Also while one of the founders is away, of four that have the least founding stake.
    function testALeastStakeLeavesRoomForAFounderThatIsAway() public {
        startOf(4, uint64(LEAST), 64);
        deposit(7, 1 ether);
        epoch();
        same("in", power(7), 1);
        check("three founders decide", 3 * foundersPower(3) > 2 * total());
    }

    function testOneWhoIsAwayCountsInNoQuorumThatANewcomerNeeds() public {
        startOf(4, uint64(LEAST), 64);
        for (uint256 i = 0; i < 8; i++) {
            deposit(1000 + i, 1000 ether);
        }
        // Three of four decide, and no more can be away.
        epochWithout(one(ed(3)));
        check("three founders decide", 3 * foundersPower(3) > 2 * total());
        same("eight newcomers leave them a quorum", total(), 4 * LEAST + 8);
    }

    /// They signed once, so that nobody is seen to be away: then one founder is, and nobody else runs on.
    function testThreeOfFourFoundersDecideBesideAllSeatsOnProbation() public {
        startOf(4, uint64(LEAST), 64);
        for (uint256 i = 0; i < 8; i++) {
            deposit(1000 + i, 1 ether);
        }
        for (uint256 i = 0; i < 6; i++) {
            epoch();
            check("three founders decide", 3 * foundersPower(3) > 2 * total());
        }
        same("all came", total(), 4 * LEAST + 8);
    }

    /// Seats for more than the founders have: they stay until those who have more were seen.
    function testSeatsForKeysThatNobodyRunsTakeNoQuorum() public {
        startOf(4, uint64(LEAST), 64);
        for (uint256 i = 0; i < 64; i++) {
            deposit(1000 + i, (LEAST + 1) * 1 ether);
        }
        for (uint256 i = 0; i < 40; i++) {
            epochWithout(strangers(4));
            checkFoundersDecide(4);
        }
    }

    function testWhoHasMoreEntersWithWhatFitsAndGrowsByEpoch() public {
        startOf(4, 100, 64);
        deposit(7, 200 ether);
        epoch();
        same("on probation", power(7), 1);
        epoch();
        same("a fifth of 401", power(7), 81);
        epoch();
        same("and a fifth of more", power(7), 177);
        epoch();
        same("all of it", power(7), 200);
        epoch();
        same("no more", power(7), 200);
    }

    function testWhoDoesNotSignDoesNotGrow() public {
        startOf(4, 100, 64);
        deposit(7, 200 ether);
        epochs(2);
        epochWithout(one(ed(7)));
        same("as it was", power(7), 81);
    }

    /// Half of the epoch is the bound: fewer misses than that may be others' doing.
    function testWhoSignsHalfOfTheEpochIsPresent() public {
        startOf(4, 100, 64);
        deposit(7, 200 ether);
        epochs(2);
        blocksWithout(ed(7), EPOCH / 2 + 1);
        epoch();
        same("not grown", power(7), 81);
        blocksWithout(ed(7), EPOCH / 2);
        epoch();
        same("grown", power(7), 177);
    }

    // Probation.

    function testACandidateWhoseNodeIsNotInStepHasOneUnitAndThenJail() public {
        startOf(4, 100, 64);
        deposit(7, 200 ether);
        epoch();
        same("on probation", power(7), 1);
        epochWithout(one(ed(7)));
        same("out", power(7), 0);
        uint64 until = staking.candidate(account(7)).jailedUntil;
        same("jailed", until, block.number + JAIL);
        same("it lost nothing", staking.candidate(account(7)).stake, 200 ether);
        // Returning by call alone gives it another probation and no more.
        while (block.number < until) nextBlock();
        vm.prank(account(7));
        staking.unjail();
        epoch();
        same("on probation again", power(7), 1);
        epoch();
        same("its node is in step now", power(7), 81);
    }

    /// Whatever others stake: squatters have their turn and go to jail.
    function testSeatsOnProbationGoToWhoWaitedLongest() public {
        startOf(4, 1000, 64);
        for (uint256 i = 0; i < 20; i++) {
            deposit(1000 + i, 10_000 ether);
        }
        nextBlock();
        deposit(7, 1 ether);
        bytes32[] memory none;
        uint256 waited = 0;
        for (; power(7) == 0; waited++) {
            epochWithout(block.number < EPOCH ? none : strangers(4));
        }
        same("three epochs, eight seats each", waited, 3);
        checkFoundersDecide(4);
    }

    /// Also when they leave their jail at once, time and again.
    function testWhoLeftItsJailWaitsBehindTheOthers() public {
        startOf(4, 1000, 64);
        for (uint256 i = 0; i < 24; i++) {
            deposit(1000 + i, 10_000 ether);
        }
        nextBlock();
        deposit(7, 1 ether);
        bytes32[] memory none;
        uint256 waited = 0;
        for (; power(7) == 0 && waited < 20; waited++) {
            epochWithout(block.number < EPOCH ? none : strangers(4));
            for (uint256 i = 0; i < 24; i++) {
                vm.prank(account(1000 + i));
                (bool done,) = CONTRACT.call(abi.encodeCall(IStaking.unjail, ()));
                done;
            }
        }
        same("four epochs, eight seats each", waited, 4);
    }

    /// Only who was seen to sign displaces others.
    function testLargerStakesThatNobodyRunsDisplaceNobody() public {
        startOf(4, uint64(LEAST), 4);
        for (uint256 i = 0; i < 12; i++) {
            deposit(1000 + i, 1000 ether);
        }
        for (uint256 i = 0; i < 10; i++) {
            epochWithout(strangers(4));
            for (uint256 n = 0; n < 4; n++) {
                same("a founder", power(n), LEAST);
            }
        }
    }

    /// Attack: with all seats taken, stakes just above the least displace others, whose stake then counts for nothing.
    function testOnlyMoreThanTwiceTheLeastStakeDisplaces() public {
        startOf(9, 100, 9);
        for (uint256 i = 0; i < 6; i++) {
            deposit(50 + i, 200 ether);
        }
        epochs(20);
        same("no seat", total(), 900);
        deposit(60, 201 ether);
        epochs(6);
        same("a seat", power(60), 201);
        same("of nine", staking.validators().length, 9);
        same("who came last is displaced", power(8), 0);
    }

    /// Attack: least stakes for keys that nobody runs make another set after each epoch, for nothing.
    function testKeysThatNobodyRunsMakeFewOtherSets() public {
        startOf(4, 1000, 64);
        uint256 changed = 0;
        for (uint256 e = 0; e < 200; e++) {
            if (e < 12) deposit(1000 + e, 1 ether);
            for (uint256 i = 0; i < 12; i++) {
                vm.prank(account(1000 + i));
                (bool done,) = CONTRACT.call(abi.encodeCall(IStaking.unjail, ()));
                done;
            }
            uint256 before = seen();
            epochWithout(strangers(4));
            if (e >= 100 && seen() != before) changed++;
        }
        check("in less than a third of the epochs", changed < 33);
    }

    function jailedFor(bytes32 key, address owner) private returns (uint256) {
        while (staking.candidate(owner).jailedUntil == 0) {
            epochWithout(one(key));
        }
        uint256 length = staking.candidate(owner).jailedUntil - block.number;
        blocksWithout(key, length);
        vm.prank(owner);
        staking.unjail();
        return length;
    }

    function testEachJailIsTwiceAsLongUntilAWindowIsServed() public {
        start(4, 64);
        deposit(50, 12 ether);
        (bytes32 key, address owner) = (ed(50), account(50));
        same("once", jailedFor(key, owner), JAIL);
        same("twice", jailedFor(key, owner), 2 * JAIL);
        same("four times", jailedFor(key, owner), 4 * JAIL);
        epochs(8);
        same("served", jailedFor(key, owner), JAIL);
    }

    /// Three of ten proposers leave a validator's signature out of all their blocks, and it is late for a fifth
    /// of the others': 3/10 + 7/10 * 1/5 is less than a half.
    function testProposersOfLessThanAThirdFakeNoAbsence() public {
        IStaking.Founding memory f = terms(10, 100, 64);
        f.parameters.windowBlocks = 100;
        start(f);
        bytes32[] memory none;
        uint256 honest = 0;
        for (uint256 i = 0; i < 1_000; i++) {
            bool coalition = block.number % 10 < 3;
            if (!coalition) honest++;
            bool lacks = coalition || honest % 5 == 0;
            nextBlock(lacks ? one(ed(9)) : none, none);
            same("never jailed", staking.candidate(account(9)).jailedUntil, 0);
        }
        // With half of the turns they could.
        for (uint256 i = 0; i < 200; i++) {
            nextBlock(block.number % 10 < 6 ? one(ed(9)) : none, none);
        }
        check("jailed", staking.candidate(account(9)).jailedUntil != 0);
    }

    function testWhoLeavesGoesByFifths() public {
        startOf(2, 100, 64);
        vm.prank(account(0));
        staking.unbond(100 ether);
        epoch();
        same("a fifth", power(0), 60);
        epoch();
        same("and of less", power(0), 28);
        epochs(2);
        same("gone", power(0), 0);
    }

    // Floor and cap.

    function testBelowTheFloorWhoLeavesKeepsOneUnitUntilAnotherComes() public {
        IStaking.Founding memory f = terms(4, 100, 64);
        f.parameters.minValidators = 4;
        start(f);
        vm.prank(account(0));
        staking.unbond(100 ether);
        epochs(6);
        same("one unit", power(0), 1);
        same("four validate", staking.validators().length, 4);
        uint64 release = staking.unbonding(account(0))[0].release;
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(NothingDue.selector, release));
        staking.withdraw();
        deposit(7, 100 ether);
        epochs(3);
        same("gone", power(0), 0);
        same("four validate", staking.validators().length, 4);
        release = staking.unbonding(account(0))[0].release;
        while (block.number < release) nextBlock();
        vm.prank(account(0));
        staking.withdraw();
        same("paid", account(0).balance, 100 ether);
    }

    /// Also below the floor, and though it signs.
    function testTheJailedAndTheConvictedGoWhateverTheFloor() public {
        IStaking.Founding memory f = terms(4, 100, 64);
        f.parameters.minValidators = 4;
        start(f);
        while (block.number < WINDOW) blockAfter(one(ed(1)));
        check("jailed for its turns", staking.candidate(account(1)).jailedUntil != 0);
        epochs(2);
        same("out", power(1), 0);
        convict(ed(0));
        same("convicted", power(0), 0);
    }

    /// A block before which these failed their turns to propose.
    function blockAfter(bytes32[] memory failed) private {
        vm.roll(block.number + 1);
        vm.warp(block.timestamp + 1);
        vm.prank(NODE);
        staking.openAfter(failed, new bytes32[](0), new bytes32[](0));
    }

    /// Four founders, of which one fails `failures` turns in its first epochs, and has so much more or less
    /// stake in the last two of its window of eight.
    function windowOf(uint256 failures, int256 more) private {
        IStaking.Founding memory f = terms(4, 100, 64);
        f.parameters.windowBlocks = 8 * uint32(EPOCH);
        start(f);
        for (uint256 i = 0; i < failures; i++) {
            blockAfter(one(ed(0)));
        }
        while (block.number < 5 * EPOCH + 5) nextBlock();
        vm.deal(account(0), more > 0 ? uint256(more) : 0);
        vm.prank(account(0));
        if (more > 0) staking.addStake{value: uint256(more)}();
        else staking.unbond(uint96(uint256(-more)));
        while (block.number < 8 * EPOCH) nextBlock();
    }

    /// It had 17 turns and failed 8. By the power that it has now it would have had 9.
    function testWhoGivesPowerBackIsNotJudgedByWhatIsLeft() public {
        windowOf(8, -60 ether);
        same("it gave back", power(0), 40);
        check("not jailed", staking.candidate(account(0)).jailedUntil == 0);
    }

    /// A third of six epochs is 20 turns, of which it failed 10, though no epoch has a whole number of them.
    function testPartsOfTurnsAreNotLostEachEpoch() public {
        IStaking.Founding memory f = terms(3, 100, 64);
        f.parameters.windowBlocks = 6 * uint32(EPOCH);
        start(f);
        for (uint256 i = 0; i < 10; i++) {
            blockAfter(one(ed(0)));
        }
        while (block.number < 6 * EPOCH) nextBlock();
        check("not jailed", staking.candidate(account(0)).jailedUntil == 0);
    }

    /// It had 21 turns and failed 11. By the power that it has now it would have had 24.
    function testWhoGrowsIsJudgedByTheTurnsThatItHad() public {
        windowOf(11, 30 ether);
        check("jailed", staking.candidate(account(0)).jailedUntil != 0);
    }

    function testNobodyGrowsBeyondItsShare() public {
        IStaking.Founding memory f = terms(4, 100, 64);
        f.parameters.maxShare = 3_333;
        start(f);
        vm.deal(account(0), 10_000 ether);
        vm.prank(account(0));
        staking.addStake{value: 10_000 ether}();
        epochs(10);
        check("a third at most", 10_000 * uint256(power(0)) <= 3_333 * total());
        same("and nearly that", power(0), 149);
        same("the others have what they had", power(1), 100);
    }

    /// The founders cannot go while those who stay were not seen to sign.
    function testNobodyLeavesAChainThatCouldNotGoOn() public {
        IStaking.Founding memory f = terms(3, 100, 64);
        f.parameters.windowBlocks = 10_000;
        start(f);
        deposit(7, 60 ether);
        epochs(2);
        same("in", power(7), 60);
        for (uint256 i = 0; i < 2; i++) {
            vm.prank(account(i));
            staking.unbond(100 ether);
        }
        for (uint256 i = 0; i < 20; i++) {
            epochWithout(one(ed(7)));
            checkFoundersDecide(3);
        }
    }

    function testStakeUnbondsFromTheEpochThatItsPowerWent() public {
        startOf(2, 100, 64);
        vm.prank(account(0));
        staking.unbond(10 ether);
        epoch();
        uint64 first = uint64(block.number) + UNBONDING;
        same("it counted up to here", staking.unbonding(account(0))[0].release, first);
        vm.prank(account(0));
        staking.unbond(90 ether);
        epoch();
        // 190 in all: 38 went, and 52 ether of what unbonds still have power.
        same("less", power(0), 52);
        IStaking.Unbonding[] memory parts = staking.unbonding(account(0));
        same("what has no power any more is not put off", parts[0].release, first);
        same("the rest is", parts[1].release, block.number + UNBONDING);
        epochs(2);
        same("out", power(0), 0);
        parts = staking.unbonding(account(0));
        same("until its power went", parts[1].release, block.number + UNBONDING);
        while (block.number < parts[1].release) nextBlock();
        vm.prank(account(0));
        staking.withdraw();
        same("all of it", account(0).balance, 100 ether);
    }

    /// Attack: it signs two things in the last block in which it counts. Evidence of that comes for `unbondingBlocks`.
    function testWhoLeavesIsNotPaidBeforeEvidenceOfItsLastBlockIsTooOld() public {
        startOf(4, 100, 64);
        vm.prank(account(0));
        staking.unbond(100 ether);
        while (power(0) != 0) nextBlock();
        // The set of this block had it still.
        uint64 last = uint64(block.number);
        while (block.number < last + UNBONDING - 1) nextBlock();
        uint64 release = staking.unbonding(account(0))[0].release;
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(NothingDue.selector, release));
        staking.withdraw();
        convict(ed(0));
        check("it pays", staking.burned() != 0);
    }

    /// A conviction is outside of the limit.
    function testConvictedAtOnceWhateverTheirPower() public {
        startOf(4, 100, 64);
        convict(ed(0));
        convict(ed(1));
        same("power", total(), 200);
    }

    /// At most a fifth comes and a fifth goes, whatever is staked and unbonded.
    ///
    /// forge-config: default.fuzz.runs = 100
    function testFuzzAFifthComesAndAFifthGoes(uint256 seed) public {
        startOf(4, 1000, 8);
        for (uint256 round = 0; round < 12; round++) {
            for (uint256 i = 0; i < 5; i++) {
                seed = uint256(keccak256(abi.encode(seed)));
                uint256 n = (seed >> 8) % 12;
                uint96 stake = staking.candidate(account(n)).stake;
                if (stake == 0) deposit(n, (1 + (seed >> 32) % 3000) * 1 ether);
                else if (seed % 2 == 0) unbondOf(n, uint96((seed >> 32) % stake));
                else unbondOf(n, stake);
            }
            uint64[12] memory before = powers();
            uint256 sum = total();
            epochWithout(seed % 3 == 0 ? one(ed((seed >> 16) % 12)) : new bytes32[](0));
            uint64[12] memory later = powers();
            (uint256 come, uint256 gone) = (0, 0);
            for (uint256 n = 0; n < 12; n++) {
                if (later[n] > before[n]) come += later[n] - before[n];
                else gone += before[n] - later[n];
            }
            uint256 most = sum < 5 ? 1 : sum / 5;
            check("a fifth comes", come <= most);
            check("a fifth goes", gone <= most);
        }
    }

    function powers() private view returns (uint64[12] memory all) {
        for (uint256 n = 0; n < 12; n++) {
            all[n] = power(n);
        }
    }

    function unbondOf(uint256 n, uint96 amount) private {
        vm.prank(account(n));
        (bool done,) = CONTRACT.call(abi.encodeCall(IStaking.unbond, (amount)));
        done;
    }
}
