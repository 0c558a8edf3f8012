// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// What those who are gone leave behind, and what can be read of the past.
contract HistoryTest is GovernanceBase {
    bytes private _raise = abi.encodeCall(RuleActions.setGasLimit, (40_000_000));

    function testAProposalLivesForAWeekHoweverManyBlocksThatIs() public {
        start(2);
        uint256 id = propose(1, 0, _raise);
        (,, uint64 closes,,,,) = gov.proposal(id);
        same("closes", closes, block.timestamp + 7 days);
        vm.roll(block.number + 1_000_000_000);
        check("open", isOpen(id));
        vm.warp(block.timestamp + 7 days + 1);
        check("closed", !isOpen(id));
    }

    function testAKeyThatWasRotatedOutEndsNothing() public {
        start(5);
        uint256 id = propose(2, 0, _raise);
        vote(1, id);
        decideOwn(2, abi.encodeCall(OrganisationActions.setKeys, (2, 1, keysOf(22))));
        address old = govKey(2, 0);
        vm.prank(old);
        vm.expectRevert(abi.encodeWithSelector(NotAGovernanceKey.selector, old));
        gov.withdraw(id);
        check("open", isOpen(id));
    }

    /// Nor one that speaks for another organisation now.
    function testAKeyEndsOnlyWhatItProposedForItsOrganisation() public {
        start(3);
        uint256 id = propose(2, 0, _raise);
        decideOwn(2, abi.encodeCall(OrganisationActions.setKeys, (2, 1, keysOf(22))));
        address[] memory keys = keysOf(3);
        keys[2] = govKey(2, 0);
        decideOwn(3, abi.encodeCall(OrganisationActions.setKeys, (3, 2, keys)));
        vm.prank(govKey(2, 0));
        vm.expectRevert(abi.encodePacked(NothingToChange.selector));
        gov.withdraw(id);
    }

    function testARemovedOrganisationsProposalsDoNotPass() public {
        start(5);
        uint256 id = propose(5, 0, _raise);
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (5)));
        check("closed", !isOpen(id));
        vm.prank(govKey(1, 0));
        vm.expectRevert(abi.encodeWithSelector(ProposalClosed.selector, id));
        gov.approve(id);
    }

    function testWhatAllDecidedCanBeReadForEver() public {
        start(4);
        vm.warp(1_800_000_000);
        uint256 id = propose(3, 1, _raise);
        vote(1, id);
        approve(3, 0, id);
        approve(2, 0, id);
        vote(4, id);
        (
            uint64 decided,
            uint64 height,
            address proposer,
            uint32 from,
            uint32 decider,
            bytes memory action,
            uint32[] memory approved
        ) = gov.decision(id);
        same("when", decided, 1_800_000_000);
        same("height", height, block.number);
        same("who", proposer, govKey(3, 1));
        same("of", from, 3);
        same("all", decider, 0);
        same("what", keccak256(action), keccak256(_raise));
        same("three approved; 2 only in part", approved.length, 3);
        same("1", approved[0] + approved[1] + approved[2], 8);
        // The proposer's next ones do not take its place.
        for (uint256 i = 0; i < 6; i++) {
            uint256 next = propose(3, 1, _raise);
            vm.prank(govKey(3, 1));
            gov.withdraw(next);
        }
        (decided,,,,,,) = gov.decision(id);
        check("still there", decided != 0);
        (decided,,,,,,) = gov.decision(id + 1);
        same("what was taken back is no decision", decided, 0);
    }

    function testOneOrganisationAloneFillsNoMoreThanItsPlaces() public {
        start(2);
        uint64 first = gov.proposalCount() + 1;
        for (uint160 i = 0; i < 65; i++) {
            decideOwn(1, abi.encodeCall(OrganisationActions.setSealingKey, (1, bytes32(uint256(i + 1)))));
        }
        (uint64 decided,,,,,,) = gov.decision(first);
        same("made place", decided, 0);
        (decided,,,,,,) = gov.decision(first + 1);
        check("kept", decided != 0);
        (decided,,,,,,) = gov.decision(first + 64);
        check("the newest", decided != 0);
    }

    function testNamesDifferByMoreThanCase() public {
        start(2);
        bytes32[] memory cas = new bytes32[](1);
        cas[0] = ca(3);
        bytes memory bad = abi.encodeCall(OrganisationActions.addOrganisation, ("ORG-001", 2, keysOf(3), cas));
        refused(bad, abi.encodeWithSelector(NameInUse.selector, "ORG-001"));
        bad = abi.encodeCall(OrganisationActions.addOrganisation, ("2", 2, keysOf(3), cas));
        refused(bad, abi.encodeWithSelector(BadName.selector, "2"));
        decide(abi.encodeCall(OrganisationActions.addOrganisation, ("2b", 2, keysOf(3), cas)));
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (3)));
        vm.roll(block.number + gov.EVIDENCE_BLOCKS() + 1);
        cas[0] = ca(4);
        decide(abi.encodeCall(OrganisationActions.addOrganisation, ("2B", 2, keysOf(4), cas)));
        same("free again", organisations()[3].name, "2B");
    }

    function testListsComeInPages() public {
        start(5);
        decideOwn(2, abi.encodeCall(OrganisationActions.revokeSerial, (2, 7)));
        decideOwn(4, abi.encodeCall(OrganisationActions.revokeSerial, (4, 8)));
        same("all", gov.organisationCount(), 5);
        same("a page", gov.organisations(1, 2).length, 2);
        same("its first", gov.organisations(1, 2)[0].id, 2);
        same("the rest", gov.organisations(3, 100).length, 2);
        same("beyond", gov.organisations(5, 100).length + gov.organisations(type(uint256).max, 2).length, 0);
        same("nodes", gov.nodes(4, 100).length, 1);
        same("serials of 1 to 3", gov.revokedSerials(0, 3).length, 1);
        same("of 4 and 5", gov.revokedSerials(3, 3)[0].serial, 8);
        same("sealing keys", gov.sealingKeys(2, 2).length, 2);
    }

    function testOpeningDoesNotGrowByOrganisationsThatAreGone() public {
        start(1);
        uint256 first = opening();
        for (uint32 i = 2; i < 40; i++) {
            bytes32[] memory cas = new bytes32[](1);
            cas[0] = ca(i);
            decide(abi.encodeCall(OrganisationActions.addOrganisation, (name(i), 2, keysOf(i), cas)));
            uint256 id = propose(1, 0, abi.encodeCall(OrganisationActions.removeOrganisation, (i)));
            approve(1, 1, id);
            vote(i, id);
            nextBlock();
        }
        check("as before", opening() < first + first / 4);
    }

    /// The gas of `open` before a height at which something begins.
    function opening() private returns (uint256 used) {
        bytes memory begins =
            abi.encodeCall(OrganisationActions.addCaKey, (1, ed(300_000 + block.number), uint64(block.number) + 3));
        decideOwn(1, begins);
        nextBlock();
        vm.roll(block.number + 1);
        bytes memory call = abi.encodeCall(gov.open, (new bytes32[](0), new bytes32[](0)));
        vm.cool(CONTRACT);
        vm.prank(NODE);
        uint256 before = gasleft();
        (bool done,) = CONTRACT.call(call);
        used = before - gasleft();
        check("opened", done);
        // Its own CA keys shall not fill up.
        nextBlock();
        decideOwn(1, abi.encodeCall(OrganisationActions.endCaKey, (1, ed(300_000 + block.number - 3), 0)));
        nextBlock();
    }
}
