// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// Validators by vote and rotation, revocation, conviction.
contract ValidatorsTest is GovernanceBase {
    uint32 private constant NEW = 50;

    function addition(uint32 n, uint32 organisation, uint64 weight) private view returns (bytes memory) {
        return abi.encodeCall(
            ValidatorActions.addValidator, (peer(n), organisation, validatorKey(n), weight, account(9000 + n))
        );
    }

    function removal(uint32 n) private view returns (bytes memory) {
        return abi.encodeCall(ValidatorActions.removeValidator, (peer(n)));
    }

    function node(uint32 n) private view returns (IGovernance.Node memory found) {
        IGovernance.Node[] memory all = nodes();
        bytes32 wanted = peer(n);
        for (uint256 i = 0; i < all.length; i++) {
            if (all[i].peer == wanted) return all[i];
        }
    }

    function convict(bytes32 key) private {
        bytes32[] memory keys = new bytes32[](1);
        keys[0] = key;
        nextBlock(keys);
    }

    // Delayed changes. A decision in block H holds from H + DELAY: the set after block
    // H + DELAY - 1 is that of H + DELAY.

    function testAddedAfterTheDelay() public {
        start(4);
        uint64 h = uint64(block.number);
        decide(addition(NEW, 2, 7));
        same("listed", node(NEW).from, h + DELAY);
        same("version", gov.version(), 2);
        blocks(DELAY - 2);
        same("not yet", power(validatorKey(NEW)), 0);
        same("version", gov.version(), 2);
        nextBlock();
        same("the next block's", power(validatorKey(NEW)), 7);
        same("version", gov.version(), 3);
        blocks(3 * DELAY);
        same("version", gov.version(), 3);
    }

    function testRemovedAfterTheDelay() public {
        start(4);
        uint64 h = uint64(block.number);
        decide(removal(4));
        same("until", node(4).until, h + DELAY);
        blocks(DELAY - 2);
        same("still", power(validatorKey(4)), POWER);
        nextBlock();
        same("gone", power(validatorKey(4)), 0);
        same("not listed", nodes().length, 3);
        same("version", gov.version(), 3);
        // And back, with its key.
        decide(addition(4, 4, 3));
        blocks(DELAY - 1);
        same("back", power(validatorKey(4)), 3);
    }

    function testPowerAfterTheDelay() public {
        start(4);
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(2), 14)));
        (uint64 height,, uint64 coming) = gov.pendingChange(peer(2));
        same("height", height, block.number + DELAY);
        same("power", coming, 14);
        blocks(DELAY - 1);
        same("now", power(validatorKey(2)), 14);
        same("version", gov.version(), 2);
    }

    function testKeyRotatesAfterTheDelay() public {
        start(4);
        bytes32 fresh = ed(77);
        decideOwn(2, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), fresh)));
        blocks(DELAY - 2);
        same("the old", power(validatorKey(2)), POWER);
        same("not the new", power(fresh), 0);
        nextBlock();
        same("the new", power(fresh), POWER);
        same("not the old", power(validatorKey(2)), 0);
        same("one node", nodes().length, 4);
        same("its key", node(2).validatorKey, fresh);
        same("version", gov.version(), 2);
    }

    function testADelayOfOneBlock() public {
        start(4);
        decide(abi.encodeCall(ValidatorActions.setValidatorDelay, (1)));
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(2), 14)));
        same("the next block's", power(validatorKey(2)), 14);
        decide(removal(3));
        same("the next block's", power(validatorKey(3)), 0);
        decide(addition(NEW, 2, 7));
        same("the next block's", power(validatorKey(NEW)), 7);
        uint64 version = gov.version();
        blocks(5);
        same("version", gov.version(), version);
        bytes memory bad = abi.encodeCall(ValidatorActions.setValidatorDelay, (0));
        refused(bad, abi.encodeWithSelector(OutOfRange.selector, "validatorDelay", 0, 1, 10_000));
        bad = abi.encodeCall(ValidatorActions.setValidatorDelay, (10_001));
        refused(bad, abi.encodeWithSelector(OutOfRange.selector, "validatorDelay", 10_001, 1, 10_000));
    }

    function testAnOrganisationChangesNeitherNumberNorPower() public {
        start(4);
        refusedOwn(2, addition(NEW, 2, 7), abi.encodePacked(OnlyByAll.selector));
        refusedOwn(2, removal(2), abi.encodePacked(OnlyByAll.selector));
        refusedOwn(2, abi.encodeCall(ValidatorActions.setPower, (peer(2), 14)), abi.encodePacked(OnlyByAll.selector));
        refusedOwn(
            2,
            abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(3), ed(77))),
            abi.encodeWithSelector(NotYourAffair.selector, 3, 2)
        );
        refusedOwn(
            2,
            abi.encodeCall(Accounts.setFeeRecipient, (peer(3), account(1))),
            abi.encodeWithSelector(NotYourAffair.selector, 3, 2)
        );
    }

    function testFeeRecipient() public {
        start(4);
        decideOwn(2, abi.encodeCall(Accounts.setFeeRecipient, (peer(2), account(1))));
        same("in the next block", gov.validators()[1].feeRecipient, account(1));
        same("version", gov.version(), 2);
    }

    // What a change may meet that is pending.

    function testRotationCannotPutOffWhatAllDecided() public {
        start(4);
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(2), 1)));
        bytes memory rotation = abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), ed(77)));
        refusedOwn(2, rotation, abi.encodeWithSelector(ChangePending.selector, peer(2), block.number + DELAY));
        blocks(DELAY);
        decideOwn(2, rotation);
    }

    /// Each is another validator set, which all nodes read and every later snapshot proves.
    function testAnOrganisationChangesAKeyOnceADay() public {
        start(4);
        vm.warp(1_000_000);
        decideOwn(2, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), ed(77))));
        blocks(DELAY + 2);
        bytes memory again = abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), ed(78)));
        vm.warp(1_000_000 + 1 days - 1);
        refusedOwn(2, again, abi.encodeWithSelector(RotatedLately.selector, peer(2), 1_000_000 + 1 days));
        // Each other has a day of its own.
        decideOwn(3, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(3), ed(79))));
        vm.warp(1_000_000 + 1 days);
        blocks(DELAY + 2);
        decideOwn(2, again);
        blocks(DELAY);
        same("changed", power(ed(78)), POWER);
    }

    function testAllChangeAKeyOfOneAsOftenAsTheyMust() public {
        start(4);
        decideOwn(2, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), ed(77))));
        blocks(DELAY + 2);
        bytes memory again = abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), ed(78)));
        agree(again);
        uint256 id = propose(1, 0, again);
        approve(1, 1, id);
        for (uint32 o = 2; o <= 4; o++) {
            vote(o, id);
        }
        blocks(DELAY);
        same("changed", power(ed(78)), POWER);
    }

    function testAllOverruleARotation() public {
        start(4);
        decideOwn(2, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), ed(77))));
        blocks(2);
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(2), 1)));
        blocks(DELAY - 1);
        same("both hold", power(ed(77)), 1);
        vm.warp(block.timestamp + 1 days);
        decideOwn(2, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), ed(78))));
        decide(removal(2));
        bytes memory again = removal(2);
        bytes memory pending = abi.encodeWithSelector(ChangePending.selector, peer(2), block.number + DELAY);
        refused(again, pending);
        refused(abi.encodeCall(ValidatorActions.setPower, (peer(2), 5)), pending);
        blocks(DELAY - 1);
        same("gone", power(ed(78)) + power(ed(77)), 0);
    }

    function testOneThatHasNotBegunNeverDoes() public {
        start(4);
        decide(addition(NEW, 2, 7));
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(NEW), 8)));
        bytes memory rotation = abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(NEW), ed(77)));
        refusedOwn(2, rotation, abi.encodeWithSelector(ChangePending.selector, peer(NEW), block.number + DELAY));
        decide(removal(NEW));
        same("not listed", nodes().length, 4);
        uint64 version = gov.version();
        blocks(DELAY + 1);
        same("nothing came", gov.version(), version);
        same("set", gov.validators().length, 4);
    }

    // Refusals.

    function testRefusedAdditions() public {
        start(4);
        bytes memory bad = abi.encodeCall(ValidatorActions.addValidator, (peer(1), 1, ed(77), 1, account(1)));
        refused(bad, abi.encodeWithSelector(PeerInUse.selector, peer(1)));
        bad = abi.encodeCall(ValidatorActions.addValidator, (ed(76), 1, validatorKey(2), 1, account(1)));
        refused(bad, abi.encodeWithSelector(KeyInUse.selector, validatorKey(2)));
        bad = abi.encodeCall(ValidatorActions.addValidator, (ca(2), 1, ed(77), 1, account(1)));
        refused(bad, abi.encodeWithSelector(KeyInUse.selector, ca(2)));
        bad = abi.encodeCall(ValidatorActions.addValidator, (ed(76), 1, ed(76), 1, account(1)));
        refused(bad, abi.encodeWithSelector(KeyInUse.selector, ed(76)));
        bad = abi.encodeCall(ValidatorActions.addValidator, (ed(76), 1, bytes32(uint256(3)), 1, account(1)));
        refused(bad, abi.encodeWithSelector(NotProven.selector, bytes32(uint256(3)), 2, "org-001"));
        refused(addition(NEW, 5, 1), abi.encodeWithSelector(NoOrganisation.selector, 5));
        refused(addition(NEW, 1, 0), abi.encodeWithSelector(TooMuchPower.selector, 0, POWER_MAX));
        refused(
            addition(NEW, 1, uint64(POWER_MAX)),
            abi.encodeWithSelector(TooMuchPower.selector, POWER_MAX + 4 * POWER, POWER_MAX)
        );
        decide(addition(NEW, 1, 3));
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)));
        refused(addition(NEW + 1, 4, 1), abi.encodeWithSelector(OrganisationSuspended.selector, 4));
        refused(removal(NEW + 1), abi.encodeWithSelector(NoValidator.selector, peer(NEW + 1)));
    }

    function testPowerThatIsLeavingStillCounts() public {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(2);
        uint64 all = uint64(POWER_MAX);
        (f.nodes[0].power, f.nodes[1].power) = (all / 4, all - all / 4);
        foundWith(f);
        nextBlock();
        refused(addition(NEW, 1, 1), abi.encodeWithSelector(TooMuchPower.selector, POWER_MAX + 1, POWER_MAX));
        decide(removal(1));
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(2), all)));
        // At that height the one goes and the other grows: never both.
        blocks(DELAY);
        same("power", power(validatorKey(2)), POWER_MAX);
    }

    // Power of nodes that perhaps do not run.

    function tooMuch(uint256 got, uint256 most) private pure returns (bytes memory) {
        return abi.encodeWithSelector(TooMuchNewPower.selector, got, most);
    }

    function testOneThatIsAddedStopsNobody() public {
        start(1);
        refused(addition(NEW, 1, POWER), tooMuch(POWER, 4));
        refused(addition(NEW, 1, 5), tooMuch(5, 4));
        decide(addition(NEW, 1, 4));
        blocks(DELAY);
        same("ten of fourteen are a quorum", power(validatorKey(NEW)), 4);
    }

    function testAllThatIsToComeCountsTogether() public {
        start(4);
        decide(addition(NEW, 1, 12));
        refused(addition(NEW + 1, 2, 8), tooMuch(8, 7));
        refused(abi.encodeCall(ValidatorActions.setPower, (peer(NEW), 20)), tooMuch(8, 7));
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(NEW), 19)));
        blocks(DELAY);
        refused(addition(NEW + 1, 2, 1), tooMuch(1, 0));
        // When it was seen to sign it counts with the others.
        blocks(2);
        refused(addition(NEW + 1, 2, 30), tooMuch(30, 29));
        decide(addition(NEW + 1, 2, 29));
    }

    function raise(uint32 id, uint64 units) private view returns (bytes memory) {
        return abi.encodeCall(ValidatorActions.setPower, (peer(id), units));
    }

    /// Nor does it pass while another raise is pending, nor in steps, nor where changes hold at once.
    function testOneThatSignsMayGrowUntilItIsNeeded() public {
        start(4);
        bytes memory tooFar = abi.encodeWithSelector(TooMuchForOne.selector, 15, 14);
        refused(raise(2, 10_000), abi.encodeWithSelector(TooMuchForOne.selector, 10_000, 14));
        refused(raise(2, 15), tooFar);
        decide(raise(2, 14));
        refused(raise(2, 15), tooFar);
        blocks(DELAY);
        same("grown", power(validatorKey(2)), 14);
        refused(raise(2, 15), tooFar);
        decide(abi.encodeCall(ValidatorActions.setValidatorDelay, (1)));
        refused(raise(2, 15), tooFar);
        // Others first: then there is room.
        decide(raise(1, 14));
        decide(raise(2, 16));
    }

    /// Of three equals each is needed, and one alone is.
    function testEqualsAndOneThatIsNeededAnywayMayGrow() public {
        start(3);
        decide(raise(3, 9));
        blocks(DELAY);
        refused(raise(3, 11), abi.encodeWithSelector(TooMuchForOne.selector, 11, 10));
        decide(raise(3, 10));
        blocks(DELAY);
        decide(raise(3, 1_000));
    }

    function testWhatLeavesHelpsNobodyBesideWhatComes() public {
        start(4);
        decide(removal(1));
        decide(removal(2));
        refused(addition(NEW, 3, 10), tooMuch(10, 9));
        decide(addition(NEW, 3, 9));
    }

    function testADelayOfOneBlockHidesNothingNew() public {
        start(4);
        decide(abi.encodeCall(ValidatorActions.setValidatorDelay, (1)));
        decide(addition(NEW, 1, 12));
        refused(addition(NEW + 1, 2, 8), tooMuch(8, 7));
    }

    function testAtMost128Validators() public {
        start(128);
        refused(addition(200, 1, 1), abi.encodeWithSelector(TooManyValidators.selector, 128));
        decide(removal(5));
        decide(addition(200, 1, 1));
        refused(addition(201, 1, 1), abi.encodeWithSelector(TooManyValidators.selector, 128));
        blocks(DELAY);
        same("set", gov.validators().length, 128);
        // A suspended organisation's place can be taken; then it cannot come back.
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (120)));
        decide(addition(201, 1, 1));
        refused(
            abi.encodeCall(OrganisationActions.resumeOrganisation, (120)),
            abi.encodeWithSelector(TooManyValidators.selector, 128)
        );
    }

    function testTheLastValidatorStays() public {
        start(2);
        decide(removal(1));
        uint64 empty = uint64(block.number) + DELAY;
        nextBlock();
        refused(removal(2), abi.encodeWithSelector(NoValidatorAt.selector, block.number + DELAY));
        refused(
            abi.encodeCall(ValidatorActions.revokeNode, (peer(2), 2)),
            abi.encodeWithSelector(NoValidatorAt.selector, empty)
        );
        refusedOwn(
            2,
            abi.encodeCall(ValidatorActions.revokeNode, (peer(2), 2)),
            abi.encodeWithSelector(NoValidatorAt.selector, empty)
        );
        decide(addition(NEW, 1, 1));
        refused(removal(2), abi.encodeWithSelector(TooFewOnline.selector, 0, 1));
        blocks(DELAY + 1);
        decide(removal(2));
        refused(removal(NEW), abi.encodeWithSelector(NoValidatorAt.selector, block.number + DELAY));
        blocks(DELAY);
        same("set", gov.validators().length, 1);
        same("the new one", power(validatorKey(NEW)), 1);
    }

    /// The list has them in another order: 1 leaves last, 2 first, the new one begins between.
    function testChangesAreJudgedInTheOrderOfTheirHeights() public {
        start(2);
        decide(removal(2));
        nextBlock();
        bytes memory new_ = addition(NEW, 1, 1);
        decide(new_);
        nextBlock();
        // 1 alone, then beside the new one; that one alone when it was not seen yet: no.
        refused(removal(1), abi.encodeWithSelector(TooFewOnline.selector, 0, 1));
        blocks(DELAY + 1);
        decide(removal(1));
        blocks(DELAY);
        same("set", gov.validators().length, 1);
        same("the new one", power(validatorKey(NEW)), 1);
    }

    // Revocation.

    function testRevokedAtTheNextBlockForEver() public {
        start(4);
        decideOwn(2, abi.encodeCall(ValidatorActions.revokeNode, (peer(2), 2)));
        same("no validator of the next block", power(validatorKey(2)), 0);
        check("revoked", node(2).revoked);
        same("until", node(2).until, block.number + 1);
        same("version", gov.version(), 2);
        refused(addition(2, 2, 1), abi.encodeWithSelector(PeerRevoked.selector, peer(2)));
        refused(addition(2, 3, 1), abi.encodeWithSelector(PeerRevoked.selector, peer(2)));
        bytes memory again = abi.encodeCall(ValidatorActions.revokeNode, (peer(2), 2));
        refusedOwn(2, again, abi.encodePacked(NothingToChange.selector));
        refusedOwn(
            2,
            abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), ed(77))),
            abi.encodeWithSelector(NoValidator.selector, peer(2))
        );
        // Also when its organisation is gone.
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (2)));
        check("revoked", node(2).revoked);
        blocks(DELAY + 2);
        check("revoked", node(2).revoked);
    }

    function testNobodyRevokesAnothersNodes() public {
        start(4);
        bytes32 stranger = ed(77);
        refusedOwn(
            2,
            abi.encodeCall(ValidatorActions.revokeNode, (peer(3), 3)),
            abi.encodeWithSelector(NotYourAffair.selector, 3, 2)
        );
        refusedOwn(
            2,
            abi.encodeCall(ValidatorActions.revokeNode, (peer(3), 2)),
            abi.encodeWithSelector(NotItsNode.selector, peer(3), 2)
        );
        // A full node whose organisation the chain does not know.
        bytes memory revocation = abi.encodeCall(ValidatorActions.revokeNode, (stranger, 2));
        refusedOwn(2, revocation, abi.encodeWithSelector(NotItsNode.selector, stranger, 2));
        decide(revocation);
        IGovernance.Node memory n = nodes()[4];
        check("revoked", n.revoked && n.peer == stranger);
        same("role", uint256(n.role), uint256(IGovernance.Role.Full));
        bytes memory bad = abi.encodeCall(ValidatorActions.revokeNode, (ed(78), 9));
        refused(bad, abi.encodeWithSelector(NoOrganisation.selector, 9));
    }

    function testAFormerValidatorCanBeRevokedByItsOrganisation() public {
        start(4);
        decide(removal(2));
        blocks(DELAY);
        decideOwn(2, abi.encodeCall(ValidatorActions.revokeNode, (peer(2), 2)));
        check("revoked", node(2).revoked);
    }

    // Conviction.

    function testEquivocatorIsOutAtTheNextBlock() public {
        start(4);
        convict(validatorKey(3));
        same("out", power(validatorKey(3)), 0);
        same("set", gov.validators().length, 3);
        same("version", gov.version(), 2);
        refused(addition(3, 3, 1), abi.encodeWithSelector(KeyConvicted.selector, validatorKey(3)));
        // Its organisation may have it back by vote, with another key.
        decide(abi.encodeCall(ValidatorActions.addValidator, (peer(3), 3, ed(77), 1, account(1))));
        blocks(DELAY);
        same("set", gov.validators().length, 4);
        // What it did with the old key was punished.
        uint64 version = gov.version();
        convict(validatorKey(3));
        same("not twice", power(ed(77)), 1);
        same("version", gov.version(), version);
    }

    function testConvictedByTheKeyItRotatedAwayFrom() public {
        start(4);
        decideOwn(3, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(3), ed(77))));
        blocks(DELAY);
        check("not yet", !gov.convicted(validatorKey(3)));
        convict(validatorKey(3));
        check("convicted", gov.convicted(validatorKey(3)) && !gov.convicted(ed(77)));
        same("out", power(ed(77)), 0);
        uint64 version = gov.version();
        convict(validatorKey(3));
        convict(ed(4711));
        same("once", gov.version(), version);
    }

    function testTheLastEquivocatorStays() public {
        start(2);
        bytes32[] memory both = new bytes32[](2);
        (both[0], both[1]) = (validatorKey(1), validatorKey(2));
        vm.recordLogs();
        nextBlock(both);
        same("one stays", gov.validators().length, 1);
        same("the second", power(validatorKey(2)), POWER);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        same("logs", logs.length, 2);
        same("removed", logs[0].topics[0], Validators.EquivocatorRemoved.selector);
        same("kept", logs[1].topics[0], Validators.EquivocatorKept.selector);
        same("version", gov.version(), 2);
        // That is told once, and no block need carry the evidence again.
        check("convicted", gov.convicted(validatorKey(2)));
        vm.recordLogs();
        nextBlock(both);
        same("no more logs", vm.getRecordedLogs().length, 0);
    }

    function testAConvictionLeavesNoLaterHeightEmpty() public {
        start(2);
        decide(removal(1));
        convict(validatorKey(2));
        same("kept", power(validatorKey(2)), POWER);
    }

    function testAbsenceIsVotedOn() public {
        start(4);
        bytes32[] memory absent = new bytes32[](1);
        absent[0] = validatorKey(1);
        for (uint256 i = 0; i < 50; i++) {
            vm.roll(block.number + 1);
            vm.prank(NODE);
            gov.open(absent, new bytes32[](0));
        }
        same("set", gov.validators().length, 4);
        same("version", gov.version(), 1);
    }

    function testOpeningAQuietBlockIsCheap() public {
        start(4);
        decide(removal(4));
        vm.roll(block.number + 1);
        vm.prank(NODE);
        uint256 before = gasleft();
        gov.open(new bytes32[](0), new bytes32[](0));
        check("10,000 gas", before - gasleft() < 10_000);
    }
}
