// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// How many must approve, and who is not asked.
contract QuorumTest is GovernanceBase {
    function suspension(uint32 id) private pure returns (bytes memory) {
        return abi.encodeCall(OrganisationActions.suspendOrganisation, (id));
    }

    function recovery(uint32 id) private pure returns (bytes memory) {
        return abi.encodeCall(OrganisationActions.setKeys, (id, 2, keysOf(44)));
    }

    /// All but the last of `n` approve.
    function withoutTheLast(uint32 n, bytes memory action) private returns (bool passed) {
        uint256 id = propose(1, 0, action);
        for (uint32 o = 1; o < n && isOpen(id); o++) {
            approve(o, 1, id);
            if (isOpen(id) && o > 1) approve(o, 0, id);
        }
        if (waitsOnly(id)) {
            wait(id);
            execute(id);
        }
        return !isOpen(id);
    }

    function testOfFourOrMoreTheQuorumIsNeverAll() public {
        for (uint32 n = 4; n < 9; n++) {
            uint256 before = vm.snapshotState();
            start(n);
            decide(abi.encodeCall(OrganisationActions.setQuorum, (65_534, 65_535)));
            check("all but one", withoutTheLast(n, abi.encodeCall(OrganisationActions.setQuorum, (2, 3))));
            vm.revertToState(before);
        }
    }

    function testOfThreeAllMayBeNeeded() public {
        start(3);
        check("two of three", !withoutTheLast(3, abi.encodeCall(RuleActions.setGasLimit, (40_000_000))));
    }

    function testOneThatLostItsKeysIsGivenNewOnes() public {
        for (uint32 n = 3; n < 6; n++) {
            uint256 before = vm.snapshotState();
            start(n);
            check("passed without it", withoutTheLast(n, recovery(n)));
            acceptSeats(n);
            same("it speaks again", gov.seatOf(govKey(44, 0)), n);
            vm.revertToState(before);
        }
    }

    function testTheOneConcernedDoesNotCountInItsSuspension() public {
        for (uint32 n = 3; n < 6; n++) {
            uint256 before = vm.snapshotState();
            start(n);
            uint256 id = propose(n, 0, suspension(n));
            approve(n, 1, id);
            (,,,, uint32[] memory approving, uint256 deciding,) = gov.proposal(id);
            same("its own vote is none", approving.length, 0);
            same("the others decide", deciding, n - 1);
            check("passed without it", withoutTheLast(n, suspension(n)));
            same("status", uint256(organisations()[n - 1].status), uint256(IGovernance.Status.Suspended));
            vm.revertToState(before);
        }
    }

    /// One alone must not be able to silence another.
    function testOneOrTwoSuspendNobody() public {
        start(2);
        refused(suspension(2), abi.encodeWithSelector(TooFewToSuspend.selector, 2));
        check("nor does one give another keys", !withoutTheLast(2, recovery(2)));
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (2)));
        refused(suspension(1), abi.encodeWithSelector(TooFewToSuspend.selector, 1));
    }

    /// Nor do two of three, after the first is silenced, silence the second.
    function testSuspensionsStopAtTwo() public {
        start(3);
        check("the third", withoutTheLast(3, suspension(3)));
        refused(suspension(2), abi.encodeWithSelector(TooFewToSuspend.selector, 2));
    }

    /// Each suspension would ask one fewer, until three of five decide all that four must.
    function testNoSmallerCoalitionSuspendsItsWayToAQuorum() public {
        uint32[3] memory sizes = [uint32(5), 8, 11];
        for (uint256 i = 0; i < sizes.length; i++) {
            uint256 before = vm.snapshotState();
            uint32 n = sizes[i];
            start(n);
            uint256 id = propose(1, 0, suspension(n));
            (,,,,,, uint256 needed) = gov.proposal(id);
            same("as many as otherwise", needed, n * 2 / 3 + 1);
            approve(1, 1, id);
            for (uint32 o = 2; o < needed; o++) {
                vote(o, id);
            }
            check("one fewer suspends nobody", isOpen(id));
            vote(uint32(needed), id);
            check("a quorum does", !isOpen(id));
            vm.revertToState(before);
        }
    }

    /// Whose affair an action is is read from its calldata: a short one concerns nobody.
    function testAnActionCutShortConcernsNobody() public {
        start(3);
        bytes memory cut = abi.encodePacked(OrganisationActions.suspendOrganisation.selector, hex"03");
        uint256 id = propose(1, 0, cut);
        (,,,,, uint256 deciding,) = gov.proposal(id);
        same("all decide", deciding, 3);
        approve(1, 1, id);
        vote(2, id);
        approve(3, 0, id);
        vm.expectRevert(abi.encodePacked(ActionFailed.selector));
        approve(3, 1, id);
    }
}
