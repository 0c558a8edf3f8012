// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./StakingBase.sol";

/// Seats of a public network that move to a standby.
contract StakedStandbysTest is StakingBase {
    uint64 private constant LONG = 200;

    /// Founders 0 to 3, in epochs that are longer than a row; the second has a standby.
    function begin() private {
        IStaking.Founding memory f = founding(4, 8);
        (f.parameters.epochBlocks, f.parameters.windowBlocks, f.parameters.unbondingBlocks) = (LONG, 600, 600);
        start(f);
        vm.warp(100 days);
        named(1, 11);
    }

    function named(uint256 n, uint256 key) private {
        bytes32 standby = ed(key);
        bytes memory proof = proofOf(standby, account(n));
        vm.prank(account(n));
        staking.setStandby(standby, proof);
    }

    function refused(uint256 n, bytes32 key, bytes memory proof, bytes memory reason) private {
        vm.prank(account(n));
        vm.expectRevert(reason);
        staking.setStandby(key, proof);
    }

    function testASeatMovesWhenItsKeyIsAway() public {
        begin();
        uint64 version = staking.version();
        blocksWithout(ed(1), PRESENCE_BLOCKS - 1);
        same("not yet", power(1), 100);
        same("no set that differs", staking.version(), version);
        blocksWithout(ed(1), 1);
        same("the old key is none", power(1), 0);
        same("the standby has its power", power(11), 100);
        check("nodes learn of it", staking.version() > version);
        (bytes32 key, uint64 moved) = staking.standby(account(1));
        check("it has no standby", key == 0 && moved == block.timestamp);
        same("its key", staking.candidate(account(1)).key, ed(11));
        (address owner, uint64 free,) = staking.keyUse(ed(1));
        same("whose", owner, account(1));
        same("as long as evidence can come", free, block.number + 600 + 1);
        // The old key's absence from this very block is nobody's.
        blocksWithout(ed(1), 1);
        same("as it is", power(11), 100);
    }

    function testASeatIsNotTakenFromOneThatSigns() public {
        begin();
        for (uint256 i = 0; i < 2; i++) {
            blocksWithout(ed(1), PRESENCE_BLOCKS - 1);
            nextBlock();
        }
        for (uint256 i = 0; i < PRESENCE_BLOCKS; i++) {
            blocksWithout(ed(1), 2);
            nextBlock();
        }
        same("as before", power(1), 100);
    }

    function testWhoMayNameAndWhichKeys() public {
        begin();
        bytes32 key = ed(12);
        refused(9, key, proofOf(key, account(9)), abi.encodeWithSelector(NoCandidate.selector, account(9)));
        refused(1, key, proofOf(key, account(2)), abi.encodeWithSelector(BadProof.selector, key, account(1)));
        refused(1, ed(2), proofOf(ed(2), account(1)), abi.encodeWithSelector(KeyInUse.selector, ed(2)));
        refused(1, ed(1), proofOf(ed(1), account(1)), abi.encodeWithSelector(KeyInUse.selector, ed(1)));
        refused(1, ed(11), proofOf(ed(11), account(1)), abi.encodePacked(NothingToChange.selector));
        convict(ed(3));
        refused(1, ed(3), proofOf(ed(3), account(1)), abi.encodeWithSelector(KeyConvicted.selector, ed(3)));
        vm.prank(account(1));
        staking.setStandby(0, "");
        blocksWithout(ed(1), 2 * PRESENCE_BLOCKS);
        same("without one it stays", power(1), 100);
        named(1, 12);
        blocksWithout(ed(1), PRESENCE_BLOCKS);
        same("named late: a row from then on", power(12), 100);
    }

    function testNeverToAKeyThatAnotherHasOrThatWasConvicted() public {
        begin();
        deposit(11, 20 ether);
        blocksWithout(ed(1), PRESENCE_BLOCKS);
        same("another's", power(1), 100);
        convict(ed(11));
        blocksWithout(ed(1), PRESENCE_BLOCKS);
        same("convicted", power(1), 100);
    }

    /// One that was never seen to sign, or is in jail, gives its place back and has none to move.
    function testASeatOnProbationStays() public {
        begin();
        deposit(5, 20 ether);
        named(5, 15);
        while (power(5) == 0) nextBlock();
        uint64 version = staking.version();
        blocksWithout(ed(5), PRESENCE_BLOCKS + 1);
        same("on probation", power(5), 1);
        same("no set that differs", staking.version(), version);
    }

    function testTheReturnedMachineStandsByAndTakesOverADayLater() public {
        begin();
        blocksWithout(ed(1), PRESENCE_BLOCKS);
        named(1, 1);
        blocksWithout(ed(11), PRESENCE_BLOCKS);
        same("within a day", power(11), 100);
        vm.warp(block.timestamp + 1 days);
        blocksWithout(ed(11), PRESENCE_BLOCKS);
        same("a day later", power(1), 100);
        (, uint64 free,) = staking.keyUse(ed(1));
        same("in use", free, 0);
    }

    function testEvidenceAgainstTheOldKeyFindsTheOwner() public {
        begin();
        blocksWithout(ed(1), PRESENCE_BLOCKS);
        convict(ed(1));
        same("gone", power(11), 0);
        same("for ever", staking.candidate(account(1)).jailedUntil, type(uint64).max);
        same("slashed", staking.burned(), 5 ether);
    }

    /// Who left keeps its seat until the epoch ends, and with it its standby; its last key is released then.
    function testOneThatLeaves() public {
        begin();
        vm.prank(account(1));
        staking.unbond(100 ether);
        blocksWithout(ed(1), PRESENCE_BLOCKS);
        same("moved", power(11), 100);
        while (power(11) != 0) nextBlock();
        (, uint64 free,) = staking.keyUse(ed(11));
        same("released", free, block.number + 600 + 1);
    }
}
