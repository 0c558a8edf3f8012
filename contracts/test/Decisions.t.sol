// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// Who decides, and what counts.
contract DecisionsTest is GovernanceBase {
    bytes private _raise = abi.encodeCall(RuleActions.setGasLimit, (40_000_000));

    function testMoreThanTwoThirdsDecide() public {
        start(6);
        uint256 id = propose(1, 0, _raise);
        approve(1, 1, id);
        for (uint32 o = 2; o <= 4; o++) {
            vote(o, id);
        }
        // 4 of 6 are two thirds, not more.
        check("open", isOpen(id));
        same("nothing yet", gov.settings().gasLimit, 30_000_000);
        approve(5, 2, id);
        check("one key of two is no vote", isOpen(id));
        approve(5, 0, id);
        same("done at once", gov.settings().gasLimit, 40_000_000);
        check("closed", !isOpen(id));
        same("version", gov.version(), 2);
    }

    function testOneOrganisationDecidesAloneAndBecomesAConsortium() public {
        start(1);
        address[] memory keys = keysOf(2);
        bytes32[] memory cas = new bytes32[](1);
        cas[0] = ca(2);
        decide(abi.encodeCall(OrganisationActions.addOrganisation, ("second", 2, keys, cas)));
        same("two", organisations().length, 2);
        uint256 id = propose(1, 0, _raise);
        approve(1, 1, id);
        check("one of two is not enough", isOpen(id));
        vote(2, id);
        check("both are", !isOpen(id));
    }

    function testAKeyCountsOnce() public {
        start(1);
        uint256 id = propose(1, 0, _raise);
        for (uint256 i = 0; i < 5; i++) {
            approve(1, 0, id);
        }
        check("open", isOpen(id));
        (,,,, uint32[] memory approving,,) = gov.proposal(id);
        same("no vote", approving.length, 0);
        approve(1, 2, id);
        check("closed", !isOpen(id));
    }

    function testWhatRanDoesNotRunAgain() public {
        start(1);
        uint256 id = propose(1, 0, _raise);
        approve(1, 1, id);
        vm.prank(govKey(1, 2));
        vm.expectRevert(abi.encodeWithSelector(ProposalClosed.selector, id));
        gov.approve(id);
    }

    function testWhoIsNoKeyHasNoSay() public {
        start(2);
        uint256 id = propose(1, 0, _raise);
        address stranger = account(77777);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(NotAGovernanceKey.selector, stranger));
        gov.propose(_raise);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(NotAGovernanceKey.selector, stranger));
        gov.proposeOwn(_raise);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(NotAGovernanceKey.selector, stranger));
        gov.approve(id);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(NotAGovernanceKey.selector, stranger));
        gov.withdraw(id);
    }

    function testACallThatIsNoneIsToldSo() public {
        start(1);
        (bool done, bytes memory reason) = CONTRACT.call(abi.encodeWithSignature("nothing()"));
        check("unknown", !done && bytes4(reason) == NoSuchCall.selector);
        // Arguments that are cut off.
        (done, reason) = CONTRACT.call(abi.encodePacked(Recovery.recover.selector, uint8(1)));
        check("too short", !done && bytes4(reason) == NoSuchCall.selector);
    }

    function testActionsAreNotFunctions() public {
        start(1);
        vm.prank(govKey(1, 0));
        vm.expectRevert(abi.encodePacked(OnlyByDecision.selector));
        RuleActions(CONTRACT).setGasLimit(40_000_000);
        // Nor in the contract that lends its code, whatever the sender.
        RuleActions actions = RuleActions(gov.ACTIONS());
        vm.prank(govKey(1, 0));
        vm.expectRevert(abi.encodePacked(OnlyByDecision.selector));
        actions.setGasLimit(40_000_000);
        vm.prank(CONTRACT);
        vm.expectRevert(abi.encodePacked(OnlyByDecision.selector));
        OrganisationActions(address(actions)).revokeSerial(1, 1);
        bytes memory f = abi.encode(founding(1));
        vm.prank(NODE);
        vm.expectRevert(abi.encodePacked(OnlyByDecision.selector));
        GovernanceActions(address(actions)).found(f);
    }

    function testAnOrganisationDecidesItsOwnAffairsOnly() public {
        start(3);
        refusedOwn(2, _raise, abi.encodePacked(OnlyByAll.selector));
        refusedOwn(
            2,
            abi.encodeCall(OrganisationActions.revokeSerial, (3, 7)),
            abi.encodeWithSelector(NotYourAffair.selector, 3, 2)
        );
        decideOwn(2, abi.encodeCall(OrganisationActions.revokeSerial, (2, 7)));
        same("revoked", serials()[0].serial, 7);
        // All may do it for it.
        decide(abi.encodeCall(OrganisationActions.revokeSerial, (2, 8)));
        same("revoked", serials().length, 2);
    }

    function testOthersHaveNoSayInOwnAffairs() public {
        start(2);
        vm.prank(govKey(1, 0));
        uint256 id = gov.proposeOwn(abi.encodeCall(OrganisationActions.revokeSerial, (1, 7)));
        vm.prank(govKey(2, 0));
        vm.expectRevert(abi.encodeWithSelector(NotYourDecision.selector, id, 1));
        gov.approve(id);
    }

    function testEarlierKeysDoNotCount() public {
        start(3);
        uint256 id = propose(1, 0, _raise);
        vote(2, id);
        approve(3, 0, id);
        approve(3, 1, id);
        check("two of three are not more than two thirds", isOpen(id));
        address[] memory keys = keysOf(2);
        keys[0] = account(555);
        decideOwn(2, abi.encodeCall(OrganisationActions.setKeys, (2, 2, keys)));
        approve(1, 1, id);
        check("organisation 2 must approve again", isOpen(id));
        check("not counted", !gov.hasApproved(id, govKey(2, 1)));
        vm.prank(account(555));
        gov.approve(id);
        approve(2, 1, id);
        check("closed", !isOpen(id));
    }

    function testOrganisationsThatWentDoNotCount() public {
        start(4);
        uint256 id = propose(1, 0, _raise);
        vote(2, id);
        vote(4, id);
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)));
        (,,,, uint32[] memory approving, uint256 deciding,) = gov.proposal(id);
        same("approving", approving.length, 1);
        same("deciding", deciding, 3);
        vm.prank(govKey(4, 2));
        vm.expectRevert(abi.encodeWithSelector(OrganisationSuspended.selector, 4));
        gov.approve(id);
        vm.prank(govKey(4, 2));
        vm.expectRevert(abi.encodeWithSelector(OrganisationSuspended.selector, 4));
        gov.proposeOwn(_raise);
        vote(3, id);
        check("two of three", isOpen(id));
        approve(1, 1, id);
        check("closed", !isOpen(id));
    }

    function testFewerOrganisationsMayNeedFewerVotes() public {
        start(4);
        // 2 of 4 approve. One of the others goes: 2 of 3 are not more than two thirds …
        uint256 id = propose(1, 0, _raise);
        approve(1, 1, id);
        vote(2, id);
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (4)));
        decide(abi.encodeCall(OrganisationActions.setQuorum, (1, 2)));
        check("nothing runs by itself", isOpen(id));
        // … and with a lower quorum an approval repeated is enough.
        approve(1, 0, id);
        check("closed", !isOpen(id));
    }

    function testRefusedActionCanBeApprovedAgain() public {
        start(1);
        bytes memory action = abi.encodeCall(OrganisationActions.resumeOrganisation, (1));
        uint256 id = propose(1, 0, action);
        vm.prank(govKey(1, 1));
        vm.expectRevert(abi.encodePacked(NothingToChange.selector));
        gov.approve(id);
        check("open", isOpen(id));
        check("the approval was undone", !gov.hasApproved(id, govKey(1, 1)));
    }

    function testWhatIsNoAction() public {
        start(1);
        vm.prank(govKey(1, 0));
        vm.expectRevert(abi.encodeWithSelector(BadAction.selector, 3, 16_384));
        gov.propose(hex"010203");
        vm.prank(govKey(1, 0));
        vm.expectRevert(abi.encodeWithSelector(BadAction.selector, 16_385, 16_384));
        gov.propose(new bytes(16_385));
        refused(hex"01020304", abi.encodePacked(ActionFailed.selector));
        // No action votes, or opens a block.
        refused(abi.encodeCall(Decisions.approve, (1)), abi.encodePacked(ActionFailed.selector));
        bytes32[] memory none = new bytes32[](0);
        refused(abi.encodeCall(IMembership.open, (none, none)), abi.encodePacked(ActionFailed.selector));
    }

    function testProposalsExpire() public {
        start(1);
        uint256 id = propose(1, 0, _raise);
        vm.warp(block.timestamp + gov.PROPOSAL_SECONDS());
        check("in its last second", isOpen(id));
        vm.warp(block.timestamp + 1);
        check("after it", !isOpen(id));
        vm.prank(govKey(1, 1));
        vm.expectRevert(abi.encodeWithSelector(ProposalClosed.selector, id));
        gov.approve(id);
    }

    function testAnAccountHasFewProposalsOpen() public {
        start(2);
        uint256[] memory ids = new uint256[](4);
        for (uint256 i = 0; i < 4; i++) {
            ids[i] = propose(1, 0, _raise);
        }
        vm.prank(govKey(1, 0));
        vm.expectRevert(abi.encodeWithSelector(TooManyProposals.selector, 4));
        gov.propose(_raise);
        // It shuts out neither its own organisation's other keys nor the others.
        propose(1, 1, _raise);
        propose(2, 0, _raise);
        vm.prank(govKey(1, 0));
        gov.withdraw(ids[2]);
        same("a free place", gov.openProposals(govKey(1, 0))[2], 0);
        uint256 id = propose(1, 0, _raise);
        same("used", gov.openProposals(govKey(1, 0))[2], id);
        vm.warp(block.timestamp + gov.PROPOSAL_SECONDS() + 1);
        id = propose(1, 0, _raise);
        same("expired ones make place", gov.openProposals(govKey(1, 0))[0], id);
    }

    function testWithdraw() public {
        start(3);
        uint256 id = propose(1, 0, _raise);
        approve(2, 0, id);
        vm.prank(govKey(2, 0));
        gov.withdraw(id);
        check("taken back", !gov.hasApproved(id, govKey(2, 0)));
        vm.prank(govKey(2, 0));
        vm.expectRevert(abi.encodePacked(NothingToChange.selector));
        gov.withdraw(id);
        check("still open", isOpen(id));
        vm.prank(govKey(1, 0));
        gov.withdraw(id);
        check("its proposer ended it", !isOpen(id));
        vm.prank(govKey(2, 0));
        vm.expectRevert(abi.encodeWithSelector(ProposalClosed.selector, id));
        gov.approve(id);
    }

    function testQuorumHasBounds() public {
        start(1);
        refused(abi.encodeCall(OrganisationActions.setQuorum, (1, 1)), abi.encodeWithSelector(BadQuorum.selector, 1, 1));
        refused(
            abi.encodeCall(OrganisationActions.setQuorum, (49, 100)),
            abi.encodeWithSelector(BadQuorum.selector, 49, 100)
        );
        refused(abi.encodeCall(OrganisationActions.setQuorum, (0, 0)), abi.encodeWithSelector(BadQuorum.selector, 0, 0));
        decide(abi.encodeCall(OrganisationActions.setQuorum, (3, 4)));
        (uint16 n, uint16 d) = gov.quorum();
        same("numerator", n, 3);
        same("denominator", d, 4);
    }

    /// However few or many organisations: the first count over the quorum decides, none before; of four
    /// or more never all.
    function testFuzzQuorum(uint32 count, uint16 numerator, uint16 denominator) public {
        count = 1 + count % 12;
        denominator = 2 + denominator % 1000;
        numerator = (denominator + 1) / 2 + numerator % (denominator - (denominator + 1) / 2);
        start(count);
        decide(abi.encodeCall(OrganisationActions.setQuorum, (numerator, denominator)));
        uint256 id = propose(1, 0, _raise);
        for (uint32 votes = 0; votes < count; votes++) {
            bool enough = votes * denominator > count * numerator || (count >= 4 && votes == count - 1);
            check("not before", isOpen(id) && !enough);
            if (votes > 0) approve(votes + 1, 0, id);
            approve(votes + 1, 1, id);
            if (!isOpen(id)) {
                votes += 1;
                enough = votes * denominator > count * numerator || (count >= 4 && votes == count - 1);
                return check("not after", enough);
            }
        }
        check("all are enough", false);
    }
}
