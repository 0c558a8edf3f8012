// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./StakingBase.sol";

contract StakingTest is StakingBase {
    function testFoundersValidate() public {
        start(4, 120);
        same("version", staking.version(), 1);
        same("slot 0", uint256(vm.load(CONTRACT, 0)), 1);
        same("validators", staking.validators().length, 4);
        same("power", power(2), 100);
        same("fee recipient", staking.validators()[2].feeRecipient, account(502));
        same("stake", staking.candidate(account(2)).stake, 100 ether);
    }

    function testFoundingMustBeFunded() public {
        vm.etch(CONTRACT, type(Staking).runtimeCode);
        bytes memory f = abi.encode(founding(2, 120));
        vm.deal(CONTRACT, 199 ether);
        vm.prank(NODE);
        vm.expectRevert(abi.encodeWithSelector(Unfunded.selector, 199 ether, 200 ether));
        staking.found(f);
    }

    function testParametersHaveRanges() public {
        vm.etch(CONTRACT, type(Staking).runtimeCode);
        vm.deal(CONTRACT, 1000 ether);
        IStaking.Founding memory f = founding(2, 121);
        refusedFounding(f, "maxValidators", 121, 1, 120);
        f = founding(2, 1);
        refusedFounding(f, "founders", 2, 1, 1);
        f = founding(2, 4);
        f.parameters.minValidators = 5;
        refusedFounding(f, "minValidators", 5, 1, 4);
        f = founding(2, 4);
        f.parameters.maxShare = 10_001;
        refusedFounding(f, "maxShare", 10_001, 1, 10_000);
        f = founding(2, 4);
        f.parameters.unbondingBlocks = 2 * EPOCH - 1;
        refusedFounding(f, "unbondingBlocks", 2 * EPOCH - 1, 2 * EPOCH, 1_000_000_000);
        f = founding(2, 4);
        f.parameters.minStake = 1 ether - 1;
        refusedFounding(f, "minStake", 1 ether - 1, 1 ether, type(uint96).max);
        f = founding(2, 4);
        f.parameters.windowBlocks = 2 * uint32(EPOCH) - 1;
        refusedFounding(f, "windowBlocks", 2 * EPOCH - 1, 2 * EPOCH, 100_000_000);
        f = founding(2, 4);
        f.parameters.absenceParts = 501;
        refusedFounding(f, "absenceParts", 501, 0, 500);
        f = founding(2, 4);
        f.founders[0].power = 0;
        refusedFounding(f, "power", 0, 21, staking.VALIDATOR_POWER_MAX());
        // A newcomer's least stake is 10 units: with 20 each, one founder that is away and the
        // newcomer would stop a network of four.
        f.founders[0].power = 20;
        refusedFounding(f, "power", 20, 21, staking.VALIDATOR_POWER_MAX());
        // However little the least stake is, eight on probation have a unit each.
        f.parameters.minStake = 1 ether;
        f.founders[0].power = 16;
        refusedFounding(f, "power", 16, 17, staking.VALIDATOR_POWER_MAX());
    }

    function refusedFounding(IStaking.Founding memory f, string memory what, uint256 got, uint256 least, uint256 most)
        private
    {
        bytes memory encoded = abi.encode(f);
        vm.prank(NODE);
        vm.expectRevert(abi.encodeWithSelector(OutOfRange.selector, what, got, least, most));
        staking.found(encoded);
    }

    function testOnlyTheNodeFoundsOnceAndOpens() public {
        start(1, 4);
        bytes memory f = abi.encode(founding(1, 4));
        vm.expectRevert(abi.encodePacked(OnlyTheNode.selector));
        staking.found(f);
        vm.expectRevert(abi.encodePacked(OnlyTheNode.selector));
        staking.open(new bytes32[](0), new bytes32[](0));
        vm.prank(NODE);
        vm.expectRevert(abi.encodePacked(AlreadyFounded.selector));
        staking.found(f);
    }

    // The set.

    function testDepositValidatesAfterTheEpoch() public {
        start(2, 120);
        deposit(7, 40 ether);
        same("not yet", power(7), 0);
        same("version", staking.version(), 1);
        epoch();
        same("on probation", power(7), 1);
        same("version", staking.version(), 2);
        check("not active", !staking.candidate(account(7)).active);
        epoch();
        same("elected", power(7), 40);
        check("active", staking.candidate(account(7)).active);
        same("version", staking.version(), 3);
        epoch();
        same("same set, same version", staking.version(), 3);
    }

    function testAddedStakeCountsAfterTheEpoch() public {
        start(2, 120);
        vm.deal(account(1), 5.9 ether);
        vm.prank(account(1));
        staking.addStake{value: 5.9 ether}();
        same("not yet", power(1), 100);
        epoch();
        same("whole units", power(1), 105);
    }

    function testTheLargestStakesWinAndTiesGoToTheEarlier() public {
        start(3, 3);
        deposit(7, 100 ether);
        epoch();
        same("a tie stays out", power(7), 0);
        deposit(8, 201 ether);
        epochs(6);
        same("more than twice wins", power(8), 201);
        same("the newest of equals went", power(2), 0);
        same("count", staking.validators().length, 3);
    }

    function testPowerIsCapped() public {
        IStaking.Founding memory f = founding(1, 4);
        f.parameters.stakeUnit = 1;
        f.parameters.minStake = 1;
        f.founders[0].power = 17;
        start(f);
        deposit(7, type(uint96).max);
        epochs(200);
        same("capped", power(7), POWER_MAX / VALIDATORS_MAX);
    }

    function testEverybodyGoneKeepsTheOldSet() public {
        start(2, 4);
        for (uint256 i = 0; i < 2; i++) {
            vm.prank(account(i));
            staking.unbond(100 ether);
        }
        same("candidates", staking.candidates().length, 0);
        epoch();
        same("set", staking.validators().length, 2);
        same("power", total(), 200);
        deposit(7, 20 ether);
        epochs(25);
        same("the new one alone", staking.validators().length, 1);
        same("power", power(7), 20);
    }

    // Money.

    function testUnbondAndWithdraw() public {
        start(2, 4);
        vm.prank(account(0));
        staking.unbond(30 ether);
        uint64 release = uint64(block.number) + UNBONDING;
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(NothingDue.selector, release));
        staking.withdraw();
        epoch();
        same("less power", power(0), 70);
        // The power of before counted up to here.
        release = uint64(block.number) + UNBONDING;
        same("put off", staking.unbonding(account(0))[0].release, release);
        while (block.number < release) nextBlock();
        uint256 before = account(0).balance;
        vm.prank(account(0));
        staking.withdraw();
        same("paid", account(0).balance - before, 30 ether);
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(NothingDue.selector, 0));
        staking.withdraw();
    }

    function testUnbondLeavesAllOrTheLeastStake() public {
        start(2, 4);
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(TooLittleStake.selector, 9 ether, 10 ether));
        staking.unbond(91 ether);
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(TooMuchStake.selector, 101 ether, 100 ether));
        staking.unbond(101 ether);
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(TooLittleStake.selector, 0, 1));
        staking.unbond(0);
        vm.prank(account(0));
        staking.unbond(100 ether);
        same("candidates", staking.candidates().length, 1);
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(NoCandidate.selector, account(0)));
        staking.unbond(1);
    }

    function testUnbondingsAreBounded() public {
        start(2, 4);
        for (uint256 i = 0; i < 8; i++) {
            vm.prank(account(0));
            staking.unbond(1 ether);
        }
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(TooManyUnbondings.selector, 8));
        staking.unbond(1 ether);
        // A conviction does not fail for it.
        convict(ed(0));
        same("parts", staking.unbonding(account(0)).length, 9);
        same("out", power(0), 0);
    }

    function testComesBackWithItsKeyWhileItHasPower() public {
        start(2, 4);
        (bytes32 own, bytes32 other) = (ed(0), ed(77));
        bytes memory proof = proofOf(other, account(0));
        vm.prank(account(0));
        staking.unbond(100 ether);
        vm.deal(account(0), 20 ether);
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(OtherKey.selector, own));
        staking.deposit{value: 20 ether}(other, account(0), proof);
        deposit(0, 20 ether);
        epochs(3);
        same("back", power(0), 20);
    }

    function testRefusedDeposits() public {
        start(2, 4);
        bytes32 taken = ed(1);
        bytes32 fresh = ed(7);
        vm.deal(account(7), 1000 ether);
        bytes memory proof = proofOf(taken, account(7));
        vm.prank(account(7));
        vm.expectRevert(abi.encodeWithSelector(KeyInUse.selector, taken));
        staking.deposit{value: 10 ether}(taken, account(7), proof);
        proof = proofOf(fresh, account(7));
        vm.prank(account(7));
        vm.expectRevert(abi.encodeWithSelector(TooLittleStake.selector, 10 ether - 1, 10 ether));
        staking.deposit{value: 10 ether - 1}(fresh, account(7), proof);
        vm.prank(account(7));
        staking.deposit{value: 10 ether}(fresh, account(7), proof);
        vm.prank(account(7));
        vm.expectRevert(abi.encodeWithSelector(AlreadyCandidate.selector, account(7)));
        staking.deposit{value: 10 ether}(fresh, account(7), proof);
        vm.prank(account(8));
        vm.expectRevert(abi.encodeWithSelector(NoCandidate.selector, account(8)));
        staking.addStake();
        vm.prank(account(8));
        vm.expectRevert(abi.encodeWithSelector(NoCandidate.selector, account(8)));
        staking.setFeeRecipient(account(8));
    }

    function testALargerDepositEvictsTheSmallest() public {
        start(1, 120);
        for (uint256 i = 1; i < staking.CANDIDATES_MAX(); i++) {
            deposit(1000 + i, 10 ether + i);
        }
        same("full", staking.candidates().length, staking.CANDIDATES_MAX());
        bytes32 key = ed(7);
        bytes memory proof = proofOf(key, account(7));
        vm.deal(account(7), 10 ether + 1);
        vm.prank(account(7));
        vm.expectRevert(abi.encodeWithSelector(TooLittleStake.selector, 10 ether + 1, 10 ether + 2));
        staking.deposit{value: 10 ether + 1}(key, account(7), proof);
        deposit(8, 10 ether + 2);
        same("still full", staking.candidates().length, staking.CANDIDATES_MAX());
        same("evicted", staking.candidate(account(1001)).stake, 0);
        same("its money unbonds", staking.unbonding(account(1001))[0].amount, 10 ether + 1);
    }

    /// Attack: 188 keys that nobody runs, each with more stake than one who signs.
    function testNobodyEvictsWhoIsActive() public {
        start(founding(4, 64));
        deposit(50, 12 ether);
        epochs(6);
        bytes32[] memory dead = new bytes32[](188);
        for (uint256 i = 0; i < 188; i++) {
            dead[i] = ed(1000 + i);
            deposit(1000 + i, i < 187 ? 13 ether : 14 ether);
        }
        same("who is active does not make place", staking.candidate(account(50)).stake, 12 ether);
        same("but the last of them", staking.candidate(account(1186)).stake, 0);
        for (uint256 i = 0; i < 4; i++) {
            epochWithout(dead);
        }
        same("power", power(50), 12);
    }

    /// Attack: all who are active evicted, so that nothing goes and their stakes never unbond.
    function testStakesOfKeysThatNobodyRunsLockNoStake() public {
        start(founding(4, 64));
        bytes32[] memory dead = new bytes32[](192);
        for (uint256 i = 0; i < 192; i++) {
            dead[i] = ed(1000 + i);
            deposit(1000 + i, (101 + i) * 1 ether);
        }
        for (uint256 i = 0; i < 4; i++) {
            same("stays", staking.candidate(account(i)).stake, 100 ether);
        }
        vm.prank(account(0));
        staking.unbond(100 ether);
        for (uint256 i = 0; i < 8; i++) {
            epochWithout(dead);
        }
        vm.prank(account(0));
        staking.withdraw();
        same("paid", account(0).balance, 100 ether);
    }

    /// All seats missed a block and get more power, at the end of their windows, and 72 wait.
    function testTheDearestElectionFitsTheNodesCall() public {
        start(120, 120);
        bytes32[] memory keys = new bytes32[](120);
        for (uint256 i = 0; i < 120; i++) {
            keys[i] = ed(i);
            vm.deal(account(i), 20 ether);
            vm.prank(account(i));
            staking.addStake{value: 20 ether}();
        }
        for (uint256 i = 120; i < staking.CANDIDATES_MAX(); i++) {
            deposit(1000 + i, (200 + i) * 1 ether);
        }
        while (block.number < WINDOW - 2) nextBlock();
        nextBlock(keys, new bytes32[](0));
        openAtEpochsEnd(new bytes32[](0), 3_800_000);
        same("elected", staking.validators().length, 128);
        same("more power", power(119), 120);
    }

    /// An election among all, in a block that convicts as many as one can, whose stakes unbond in
    /// 8 parts already; the others lose power that their stakes do not back any more.
    function testTheDearestBlockFitsTheNodesCall() public {
        start(120, 120);
        for (uint256 i = 120; i < staking.CANDIDATES_MAX(); i++) {
            deposit(1000 + i, (100 + i) * 1 ether);
        }
        for (uint256 i = 0; i < 8 * 120; i++) {
            vm.prank(account(i % 120));
            staking.unbond(10 ether);
        }
        // BLOCK_EVIDENCE_MAX in crates/types/src/limits.rs.
        bytes32[] memory founders = new bytes32[](16);
        for (uint256 i = 0; i < 16; i++) {
            founders[i] = ed(i);
        }
        openAtEpochsEnd(founders, 10_500_000);
        check("elected", staking.validators().length > 64);
    }

    function openAtEpochsEnd(bytes32[] memory equivocators, uint256 most) private {
        while (block.number % EPOCH != EPOCH - 1) nextBlock();
        vm.roll(block.number + 1);
        vm.cool(CONTRACT);
        vm.prank(NODE);
        uint256 before = gasleft();
        staking.open(new bytes32[](0), equivocators);
        uint256 used = before - gasleft();
        if (used > most || used < most / 2) revert Different("gas", used, most);
    }

    // Punishment.

    function testEquivocatorIsSlashedAndOutForEver() public {
        start(3, 4);
        vm.prank(account(0));
        staking.unbond(40 ether);
        convict(ed(0));
        same("out at the next height", power(0), 0);
        same("version", staking.version(), 2);
        same("burned", staking.burned(), 5 ether);
        IStaking.Unbonding[] memory parts = staking.unbonding(account(0));
        same("slashed unbonding", parts[0].amount, 38 ether);
        same("the rest unbonds", parts[1].amount, 57 ether);
        same("for ever", staking.candidate(account(0)).jailedUntil, type(uint64).max);
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(JailedForEver.selector, account(0)));
        staking.unjail();
        (bytes32 key, bytes32 fresh) = (ed(0), ed(70));
        bytes memory proof = proofOf(fresh, account(0));
        vm.deal(account(0), 20 ether);
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(JailedForEver.selector, account(0)));
        staking.deposit{value: 20 ether}(fresh, account(0), proof);
        // Nor does the key come back with another, however late.
        vm.roll(1_000_000);
        proof = proofOf(key, account(9));
        vm.deal(account(9), 20 ether);
        vm.prank(account(9));
        vm.expectRevert(abi.encodeWithSelector(KeyConvicted.selector, key));
        staking.deposit{value: 20 ether}(key, account(9), proof);
    }

    function testConvictedOnce() public {
        start(3, 4);
        bytes32[] memory twice = new bytes32[](2);
        (twice[0], twice[1]) = (ed(0), ed(0));
        check("not yet", !staking.convicted(ed(0)));
        nextBlock(new bytes32[](0), twice);
        convict(ed(0));
        convict(ed(4711));
        check("convicted", staking.convicted(ed(0)));
        check("another is not", !staking.convicted(ed(1)) && !staking.convicted(ed(4711)));
        same("burned once", staking.burned(), 5 ether);
        same("version", staking.version(), 2);
    }

    function testTheLastValidatorStays() public {
        start(1, 4);
        convict(ed(0));
        same("slashed", staking.burned(), 5 ether);
        same("kept", power(0), 100);
        same("version", staking.version(), 1);
        deposit(7, 20 ether);
        epochs(20);
        same("replaced", power(0), 0);
        same("by", power(7), 20);
    }

    function testSlashedAfterItUnbondedAll() public {
        start(2, 4);
        vm.prank(account(0));
        staking.unbond(100 ether);
        epoch();
        convict(ed(0));
        same("burned", staking.burned(), 5 ether);
    }

    function testJailedForAWindowOfWhichItSignedLessThanHalf() public {
        start(3, 4);
        epoch();
        // Of the blocks 11 to 20, and 0 to 10, half.
        blocksWithout(ed(0), EPOCH);
        same("half is enough", staking.candidate(account(0)).jailedUntil, 0);
        // Alternating, in blocks that no row of misses spans.
        blocksWithout(ed(0), 1);
        for (uint256 i = 0; i < 9; i++) {
            nextBlock();
            blocksWithout(ed(0), 1);
        }
        nextBlock();
        same("half again", staking.candidate(account(0)).jailedUntil, 0);
        blocksWithout(ed(0), 11);
        nextBlock();
        while (block.number % WINDOW != 0) nextBlock();
        uint64 until = uint64(block.number) + JAIL;
        same("jailed", staking.candidate(account(0)).jailedUntil, until);
        same("nothing lost", staking.candidate(account(0)).stake, 100 ether);
        same("a fifth goes", power(0), 40);
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(JailedYet.selector, until));
        staking.unjail();
        epoch();
        same("out", power(0), 0);
        while (block.number < until) nextBlock();
        vm.prank(account(0));
        staking.unjail();
        epochs(4);
        same("back, by probation", power(0), 100);
        vm.prank(account(0));
        vm.expectRevert(abi.encodeWithSelector(NotJailed.selector, account(0)));
        staking.unjail();
    }

    /// One signature in so many blocks was enough, when misses had to be in a row.
    function testWhoSignsNowAndThenIsJailedAndSlashed() public {
        start(4, 4);
        while (block.number < WINDOW - 1) {
            if (block.number == WINDOW / 2) nextBlock();
            else blocksWithout(ed(0), 1);
        }
        same("not yet", staking.candidate(account(0)).jailedUntil, 0);
        nextBlock();
        check("jailed", staking.candidate(account(0)).jailedUntil != 0);
        same("a thousandth is lost", staking.candidate(account(0)).stake, 99.9 ether);
        same("burned", staking.burned(), 0.1 ether);
        same("the rest stays a stake", staking.unbonding(account(0)).length, 0);
    }

    /// It would wait for a seat for ever.
    function testWhoLostTooMuchMustAddStakeBeforeItReturns() public {
        start(3, 4);
        deposit(7, 10 ether);
        epochs(2);
        while (staking.candidate(account(7)).jailedUntil == 0) {
            nextBlock(one(ed(7)), new bytes32[](0));
        }
        same("slashed", staking.candidate(account(7)).stake, 9.99 ether);
        while (block.number < staking.candidate(account(7)).jailedUntil) nextBlock();
        vm.prank(account(7));
        vm.expectRevert(abi.encodeWithSelector(TooLittleStake.selector, 9.99 ether, 10 ether));
        staking.unjail();
        vm.deal(account(7), 1 ether);
        vm.prank(account(7));
        staking.addStake{value: 0.01 ether}();
        vm.prank(account(7));
        staking.unjail();
    }

    function testThreeQuartersMissedCostNoStake() public {
        start(4, 4);
        nextBlock();
        blocksWithout(ed(0), 3 * WINDOW / 4);
        while (block.number < WINDOW) nextBlock();
        check("jailed", staking.candidate(account(0)).jailedUntil != 0);
        same("nothing is lost", staking.burned(), 0);
    }

    function failed(bytes32 key) private {
        vm.roll(block.number + 1);
        vm.warp(block.timestamp + 1);
        vm.prank(NODE);
        staking.openAfter(one(key), new bytes32[](0), new bytes32[](0));
    }

    /// It has power yet when its jail ends: what it did not do in jail is paid for.
    function testWhoReturnsIsNotJudgedByItsJail() public {
        IStaking.Founding memory f = founding(4, 20);
        f.founders[0].power = 120;
        f.parameters.jailBlocks = 5;
        start(f);
        while (staking.candidate(account(0)).jailedUntil == 0) silent(ed(0));
        while (block.number < staking.candidate(account(0)).jailedUntil) silent(ed(0));
        check("it still has power", power(0) != 0);
        vm.prank(account(0));
        staking.unjail();
        for (uint256 i = 0; i < 2 * WINDOW; i++) {
            nextBlock();
            same("it signs and proposes", staking.candidate(account(0)).jailedUntil, 0);
        }
    }

    /// It neither signs nor proposes.
    function silent(bytes32 key) private {
        vm.roll(block.number + 1);
        vm.warp(block.timestamp + 1);
        vm.prank(NODE);
        staking.openAfter(one(key), one(key), new bytes32[](0));
    }

    /// It votes and never proposes, as one whose clock is a minute ahead; it was never jailed.
    function testWhoFailsItsTurnsIsJailedAndLosesNoStake() public {
        start(4, 4);
        while (block.number < WINDOW) {
            if (block.number % 4 == 0) failed(ed(0));
            else nextBlock();
        }
        check("jailed", staking.candidate(account(0)).jailedUntil != 0);
        same("nothing is lost", staking.burned(), 0);
        for (uint256 n = 1; n < 4; n++) {
            same("the others are not", staking.candidate(account(n)).jailedUntil, 0);
        }
    }

    function testHalfOfItsTurnsAreEnough() public {
        start(5, 5);
        // A fifth of the power has four of twenty turns.
        failed(ed(0));
        failed(ed(0));
        while (block.number < WINDOW) nextBlock();
        same("two of four", staking.candidate(account(0)).jailedUntil, 0);
        for (uint256 i = 0; i < 3; i++) {
            failed(ed(0));
        }
        while (block.number < 2 * WINDOW) nextBlock();
        check("three of four", staking.candidate(account(0)).jailedUntil != 0);
    }

    function testTooFewTurnsAreNotJudged() public {
        start(6, 6);
        for (uint256 i = 0; i < 3; i++) {
            failed(ed(0));
        }
        while (block.number < WINDOW) nextBlock();
        same("three of three", staking.candidate(account(0)).jailedUntil, 0);
    }

    /// A network in trouble jails nobody into being the only one left.
    function testNoMoreThanAThirdOfThePowerIsInJail() public {
        start(6, 6);
        bytes32[] memory most = new bytes32[](4);
        for (uint256 i = 0; i < 4; i++) {
            most[i] = ed(i);
        }
        while (block.number < WINDOW) nextBlock(most, new bytes32[](0));
        uint256 jailed = 0;
        for (uint256 n = 0; n < 6; n++) {
            if (staking.candidate(account(n)).jailedUntil != 0) jailed++;
        }
        same("a third", jailed, 2);
        // The others are judged again, when there is room.
        epochWithout(most);
        epochWithout(most);
        epochWithout(most);
        check("then they are", staking.candidate(account(2)).jailedUntil != 0);
    }

    /// A network that is idle makes few blocks, one that is busy many.
    function testTheWindowIsOfBlocksAndOfSeconds() public {
        IStaking.Founding memory f = founding(4, 4);
        f.parameters.windowSeconds = 2 * SECONDS;
        start(f);
        blocksWithout(ed(0), WINDOW - 1);
        same("too few seconds", staking.candidate(account(0)).jailedUntil, 0);
        blocksWithout(ed(0), WINDOW);
        check("now", staking.candidate(account(0)).jailedUntil != 0);
    }

    function testTheLastValidatorIsNotJailedOut() public {
        start(1, 4);
        blocksWithout(ed(0), 5 * WINDOW);
        check("kept", power(0) >= 1);
        same("alone", staking.validators().length, 1);
    }

    function testFeeRecipient() public {
        start(2, 4);
        vm.prank(account(0));
        staking.setFeeRecipient(account(999));
        same("version", staking.version(), 2);
        same("fee recipient", staking.validators()[0].feeRecipient, account(999));
        vm.prank(account(0));
        vm.expectRevert(abi.encodePacked(NothingToChange.selector));
        staking.setFeeRecipient(account(999));
        deposit(7, 20 ether);
        vm.prank(account(7));
        staking.setFeeRecipient(account(999));
        same("nodes do not care yet", staking.version(), 2);
    }

    function testReentrantWithdrawalGetsNothingMore() public {
        start(2, 4);
        Reenters thief = new Reenters();
        vm.deal(address(thief), 20 ether);
        bytes32 key = ed(7);
        thief.deposit(staking, key, proofOf(key, address(thief)));
        thief.unbond(staking);
        for (uint256 i = 0; i < UNBONDING; i++) {
            nextBlock();
        }
        thief.withdraw(staking);
        same("once", address(thief).balance, 20 ether);
        check("tried", thief.tried());
        same("the others' stakes", CONTRACT.balance, 200 ether);
    }
}

/// Calls `withdraw` again while it is paid.
contract Reenters {
    bool public tried;

    function deposit(Staking staking, bytes32 key, bytes calldata proof) external {
        staking.deposit{value: 20 ether}(key, address(this), proof);
    }

    function unbond(Staking staking) external {
        staking.unbond(20 ether);
    }

    function withdraw(Staking staking) external {
        staking.withdraw();
    }

    receive() external payable {
        tried = true;
        try Staking(msg.sender).withdraw() {} catch {}
    }
}
