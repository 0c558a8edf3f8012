// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Presence.t.sol";

/// Seats of a consortium that move to a standby.
contract StandbysTest is PresenceBase {
    function naming(uint32 id, bytes32 key) private view returns (bytes memory) {
        return abi.encodeCall(Standbys.setStandby, (peer(id), key));
    }

    function standbyOf(uint32 id) private view returns (bytes32 key, uint64 moved) {
        return Standbys(CONTRACT).standby(peer(id));
    }

    /// Four founders; the second has a standby, and is in step with the count of its absence.
    function begin() private {
        start(4);
        blocks(2);
        vm.warp(100 days);
        decideOwn(2, naming(2, ed(77)));
    }

    function testASeatMovesWhenItsKeyIsAway() public {
        begin();
        uint64 version = gov.version();
        _off[validatorKey(2)] = true;
        blocks(PRESENCE - 1);
        same("not yet", power(validatorKey(2)), POWER);
        same("no set that differs", gov.version(), version);
        blocks(1);
        same("the old key is none", power(validatorKey(2)), 0);
        same("the standby has its power", power(ed(77)), POWER);
        same("one seat", gov.validators().length, 4);
        check("nodes learn of it", gov.version() > version);
        (bytes32 key, uint64 moved) = standbyOf(2);
        check("it has no standby", key == 0 && moved == block.timestamp);
        (, uint32 organisation,, uint64 from, uint64 free) = gov.keyUse(ed(77));
        check("claimed", organisation == 2 && from == block.number + 1 && free == 0);
        (,,,, free) = gov.keyUse(validatorKey(2));
        same("the old one is released", free, block.number + 1 + gov.EVIDENCE_BLOCKS());
    }

    /// One signature in so many blocks shows that it runs. A coalition that proposes two of three blocks and leaves
    /// its signature out in them, which is more than BFT bears, takes no seat away.
    function testASeatIsNotTakenFromOneThatSigns() public {
        begin();
        for (uint256 i = 0; i < 3; i++) {
            _off[validatorKey(2)] = true;
            blocks(PRESENCE - 1);
            _off[validatorKey(2)] = false;
            blocks(1);
        }
        for (uint256 i = 0; i < 3 * PRESENCE; i++) {
            _off[validatorKey(2)] = i % 3 != 0;
            blocks(1);
        }
        _off[validatorKey(2)] = false;
        blocks(2);
        same("as before", power(validatorKey(2)), POWER);
    }

    function testWithoutAStandbyItStays() public {
        begin();
        decideOwn(2, naming(2, 0));
        off(validatorKey(2));
        same("as before", power(validatorKey(2)), POWER);
    }

    /// One that is named when the seat is away already takes over after one more row at most.
    function testOneThatIsNamedLate() public {
        begin();
        decideOwn(2, naming(2, 0));
        off(validatorKey(2));
        decideOwn(2, naming(2, ed(78)));
        blocks(PRESENCE);
        same("moved", power(ed(78)), POWER);
    }

    function testWhoMayNameAndWhichKeys() public {
        begin();
        refusedOwn(1, naming(2, ed(78)), abi.encodeWithSelector(NotYourAffair.selector, 2, 1));
        refusedOwn(2, naming(2, ed(77)), abi.encodePacked(NothingToChange.selector));
        refusedOwn(2, naming(2, validatorKey(2)), abi.encodeWithSelector(KeyInUse.selector, validatorKey(2)));
        refusedOwn(2, naming(2, validatorKey(3)), abi.encodeWithSelector(KeyInUse.selector, validatorKey(3)));
        refusedOwn(2, naming(2, ca(3)), abi.encodeWithSelector(KeyInUse.selector, ca(3)));
        (bytes memory action, bytes32 stranger) = (naming(2, ed(79)), ed(79));
        vm.prank(govKey(2, 0));
        uint256 id = gov.proposeOwn(action);
        vm.expectRevert(abi.encodeWithSelector(NotProven.selector, stranger, 2, name(2)));
        approve(2, 1, id);
        refused(naming(9, ed(78)), abi.encodeWithSelector(NoValidator.selector, peer(9)));
        convict(ed(80));
        refusedOwn(2, naming(2, ed(80)), abi.encodeWithSelector(KeyConvicted.selector, ed(80)));
        (bytes32 key,) = standbyOf(2);
        same("as it was", key, ed(77));
    }

    function convict(bytes32 key) private {
        bytes32[] memory equivocators = new bytes32[](1);
        equivocators[0] = key;
        nextBlock(equivocators);
    }

    function testNeverToAKeyThatWasConvictedOrIsInUse() public {
        begin();
        convict(ed(77));
        off(validatorKey(2));
        same("not to a convicted one", power(validatorKey(2)), POWER);
        decideOwn(2, naming(2, ed(78)));
        decideOwn(4, naming(4, ed(79)));
        // Meanwhile it is made the key of another.
        decide(abi.encodeCall(ValidatorActions.addValidator, (peer(9), 2, ed(78), 1, account(1))));
        blocks(2 * PRESENCE);
        same("not to one in use", power(validatorKey(2)), POWER);
        same("which goes on", power(ed(78)), 1);
    }

    /// A machine may stand by for more than one seat: who is away first has it.
    function testOneMachineForTwoSeats() public {
        start(7);
        blocks(2);
        decide(abi.encodeCall(ValidatorActions.addValidator, (peer(9), 2, validatorKey(9), POWER, account(1))));
        blocks(DELAY + 2);
        decideOwn(2, naming(2, ed(77)));
        decideOwn(2, naming(9, ed(77)));
        (_off[validatorKey(2)], _off[validatorKey(9)]) = (true, true);
        blocks(PRESENCE + 2);
        same("one seat", power(ed(77)), POWER);
        same("the other stays", power(validatorKey(2)) + power(validatorKey(9)), POWER);
    }

    /// The machine that came back stands by in its turn; it takes over a day later at the earliest.
    function testTheReturnedMachineStandsBy() public {
        begin();
        off(validatorKey(2));
        same("moved", power(ed(77)), POWER);
        decideOwn(2, naming(2, validatorKey(2)));
        off(ed(77));
        same("within a day", power(ed(77)), POWER);
        vm.warp(block.timestamp + 1 days);
        blocks(PRESENCE);
        same("a day later", power(validatorKey(2)), POWER);
    }

    function rotate(uint32 id, bytes32 key) private {
        decide(abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(id), key)));
        blocks(DELAY + 2);
    }

    /// Its use is known from the first height that it signed for the seat, as evidence can be of any since.
    function testTheKeyThatWasRotatedOutStandsBy() public {
        begin();
        rotate(2, ed(78));
        decideOwn(2, naming(2, validatorKey(2)));
        off(ed(78));
        same("moved", power(validatorKey(2)), POWER);
        (,,, uint64 from, uint64 free) = gov.keyUse(validatorKey(2));
        check("in use as ever", from == 1 && free == 0);
        (,,, from, free) = gov.keyUse(ed(78));
        same("the other is released", free, block.number - 1 + gov.EVIDENCE_BLOCKS());
        convict(ed(78));
        same("evidence against it takes the seat", power(validatorKey(2)), 0);
    }

    function testARotatedKeyThatIsConvictedTakesTheSeatItStandsByFor() public {
        begin();
        rotate(2, ed(78));
        decideOwn(2, naming(2, validatorKey(2)));
        convict(validatorKey(2));
        same("gone", power(ed(78)), 0);
    }

    function testNeverToAKeyThatAnotherSeatHadLately() public {
        begin();
        decide(abi.encodeCall(ValidatorActions.addValidator, (peer(9), 2, ed(77), 1, account(1))));
        blocks(DELAY + 2);
        rotate(9, ed(78));
        off(validatorKey(2));
        same("evidence against it finds the other", power(validatorKey(2)), POWER);
        vm.roll(block.number + gov.EVIDENCE_BLOCKS());
        blocks(2 * PRESENCE);
        same("when none can come any more", power(ed(77)), POWER);
    }

    function testEvidenceAgainstTheOldKeyTakesTheSeat() public {
        begin();
        off(validatorKey(2));
        convict(validatorKey(2));
        same("gone", power(ed(77)), 0);
        same("three", gov.validators().length, 3);
        refused(
            abi.encodeCall(ValidatorActions.addValidator, (peer(2), 2, validatorKey(2), 1, account(1))),
            abi.encodeWithSelector(KeyConvicted.selector, validatorKey(2))
        );
    }

    /// What all decided about it holds for the new key; a change of its key comes first.
    function testWhatIsPending() public {
        begin();
        decide(abi.encodeCall(ValidatorActions.setValidatorDelay, (100)));
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(2), 7)));
        off(validatorKey(2));
        same("moved", power(ed(77)), POWER);
        blocks(100 - PRESENCE);
        same("with its new power", power(ed(77)), 7);
        decideOwn(2, naming(2, ed(78)));
        decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(2))));
        vm.warp(block.timestamp + 1 days);
        off(ed(77));
        same("moved again", power(ed(78)), 7);
        blocks(100 - PRESENCE);
        same("removed", gov.validators().length, 3);
    }

    function testAChangeOfItsKeyComesFirst() public {
        begin();
        decide(abi.encodeCall(ValidatorActions.setValidatorDelay, (100)));
        decideOwn(2, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), ed(78))));
        off(validatorKey(2));
        same("not yet", power(validatorKey(2)), POWER);
        // A key that was never seen has as long as any other.
        _off[ed(78)] = true;
        blocks(100 - PRESENCE - 2);
        same("its new key", power(ed(78)), POWER);
        blocks(PRESENCE - 1);
        same("has its time", power(ed(78)), POWER);
        blocks(1);
        same("then the standby", power(ed(77)), POWER);
    }

    /// Its key was not seen: until it signs no decision counts on it.
    function testTheStandbyIsCountedOnWhenItSigned() public {
        begin();
        _off[ed(77)] = true;
        off(validatorKey(2));
        bytes memory gone = abi.encodeCall(OrganisationActions.suspendOrganisation, (1));
        refused(gone, abi.encodeWithSelector(TooFewOnline.selector, 20, 30));
        _off[ed(77)] = false;
        blocks(2);
        decide(gone);
    }

    function testASuspendedSeatStays() public {
        begin();
        decideOwn(4, naming(4, ed(78)));
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)));
        off(validatorKey(4));
        decide(abi.encodeCall(OrganisationActions.resumeOrganisation, (4)));
        blocks(PRESENCE);
        same("its key has a row of its own", power(validatorKey(4)), POWER);
        blocks(1);
        same("moved", power(ed(78)), POWER);
    }

    function testOneThatLeftLosesItsStandby() public {
        begin();
        decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(2))));
        blocks(DELAY);
        decide(abi.encodeCall(ValidatorActions.addValidator, (peer(2), 2, validatorKey(2), POWER, account(1))));
        (bytes32 key,) = standbyOf(2);
        same("none", key, 0);
    }

    /// No vote, and nobody else, says who is absent.
    function testOnlyTheNodeSaysWhoIsAbsent() public {
        begin();
        bytes32[] memory keys = new bytes32[](1);
        keys[0] = validatorKey(2);
        refused(abi.encodeCall(Standbys.noteAbsent, (keys)), abi.encodePacked(OnlyTheNode.selector));
        vm.expectRevert(abi.encodePacked(OnlyTheNode.selector));
        Standbys(CONTRACT).noteAbsent(keys);
    }

    address private constant GUARD = address(0x6a);

    /// `founders` of equal power, a guardian, and the seat of the second on another machine that signs.
    function moved(uint32 founders) private {
        start(founders);
        decide(abi.encodeCall(Guardian.setGuardian, (GUARD)));
        blocks(2);
        vm.warp(100 days);
        decideOwn(2, naming(2, ed(77)));
        off(validatorKey(2));
        same("moved", power(ed(77)), POWER);
        blocks(2);
    }

    function heldNode() private view returns (bytes32 node) {
        (, node,,) = direct.guard();
    }

    /// Attack: the chain knows the seat by the peer id of before, and the machine that signs for it is another.
    function testTheGuardianHoldsNoMachineToWhichASeatThatIsNeededMoved() public {
        moved(6);
        bytes32 node = ed(1077);
        vm.prank(GUARD);
        vm.expectRevert(abi.encodePacked(NeededForQuorum.selector));
        direct.holdNode(node);
        same("nothing", heldNode(), 0);
        // The largest of the seats that moved counts.
        decideOwn(3, naming(3, ed(78)));
        off(validatorKey(3));
        blocks(2);
        vm.prank(GUARD);
        vm.expectRevert(abi.encodePacked(NeededForQuorum.selector));
        direct.holdNode(node);
    }

    function testWhereOneMoreMayGoAwayAMachineIsHeld() public {
        moved(7);
        bytes32 node = ed(1077);
        vm.prank(GUARD);
        direct.holdNode(node);
        same("held", heldNode(), ed(1077));
        // Another goes away.
        off(validatorKey(7));
        same("let go", heldNode(), 0);
    }

    function testWithoutASeatThatMovedAnyFullNodeIsHeld() public {
        start(4);
        decide(abi.encodeCall(Guardian.setGuardian, (GUARD)));
        bytes32 node = ed(1077);
        vm.prank(GUARD);
        direct.holdNode(node);
        same("held", heldNode(), ed(1077));
    }

    /// Attack: one organisation lets its seat move once, and the guardian holds no full node any more, for ever.
    function testWhenASeatCameHomeAFullNodeIsHeld() public {
        moved(4);
        decideOwn(2, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), validatorKey(2))));
        blocks(DELAY - 2);
        bytes32 node = ed(1077);
        vm.prank(GUARD);
        vm.expectRevert(abi.encodePacked(NeededForQuorum.selector));
        direct.holdNode(node);
        blocks(4);
        same("home", power(validatorKey(2)), POWER);
        vm.prank(GUARD);
        direct.holdNode(node);
        same("held", heldNode(), node);
        // It moves again, and the guardian's hold ends.
        vm.warp(block.timestamp + 1 days);
        decideOwn(2, naming(2, ed(78)));
        off(validatorKey(2));
        same("moved again", power(ed(78)), POWER);
        same("let go", heldNode(), 0);
    }

    /// A decision about its power is none about its machine.
    function testASeatWhosePowerChangesIsNotHome() public {
        moved(4);
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(2), POWER - 1)));
        blocks(DELAY + 2);
        same("changed", power(ed(77)), POWER - 1);
        bytes32 node = ed(1077);
        vm.prank(GUARD);
        vm.expectRevert(abi.encodePacked(NeededForQuorum.selector));
        direct.holdNode(node);
    }

    /// It was voted in anew, with its own node.
    function testASeatThatLeftAndCameBackIsHome() public {
        moved(5);
        decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(2))));
        blocks(DELAY);
        decide(abi.encodeCall(ValidatorActions.addValidator, (peer(2), 2, ed(79), POWER, account(1))));
        blocks(DELAY + 2);
        same("back", power(ed(79)), POWER);
        bytes32 node = ed(1077);
        vm.prank(GUARD);
        direct.holdNode(node);
        same("held", heldNode(), node);
    }

    /// The machine is held before the seat moves to it.
    function testASeatThatMovesToAMachineThatIsHeldFreesIt() public {
        start(6);
        decide(abi.encodeCall(Guardian.setGuardian, (GUARD)));
        blocks(2);
        vm.warp(100 days);
        decideOwn(2, naming(2, ed(77)));
        bytes32 node = ed(1077);
        vm.prank(GUARD);
        direct.holdNode(node);
        _off[validatorKey(2)] = true;
        blocks(PRESENCE - 1);
        same("still held", heldNode(), ed(1077));
        blocks(1);
        same("let go", heldNode(), 0);
    }

    /// Of four, one is away: all decide to revoke a peer that may be the third.
    function testAllRevokeNoMachineToWhichASeatThatIsNeededMoved() public {
        moved(4);
        bytes memory revocation = abi.encodeCall(ValidatorActions.revokeNode, (ed(1077), 2));
        off(validatorKey(4));
        refused(revocation, abi.encodeWithSelector(TooFewOnline.selector, 2 * POWER, 4 * POWER));
        _off[validatorKey(4)] = false;
        blocks(2);
        decide(revocation);
        same("revoked", nodes().length, 5);
    }
}
