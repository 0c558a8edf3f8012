// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// A consortium in which some nodes do not run: the node names whoever validates and does not sign.
abstract contract PresenceBase is GovernanceBase {
    uint64 internal constant PRESENCE = 64;

    /// Those that do not sign.
    mapping(bytes32 => bool) internal _off;
    /// The validators of this block.
    bytes32[] internal _before;

    function nextBlock(bytes32[] memory equivocators) internal virtual override {
        bytes32[] memory absent = new bytes32[](_before.length);
        uint256 count = 0;
        for (uint256 i = 0; i < absent.length; i++) {
            if (_off[_before[i]]) absent[count++] = _before[i];
        }
        // `validators()` is the set of the block that now begins; its signatures come with the one after.
        IMembership.Validator[] memory set = gov.validators();
        assembly ("memory-safe") {
            mstore(absent, count)
        }
        delete _before;
        for (uint256 i = 0; i < set.length; i++) {
            _before.push(set[i].key);
        }
        vm.roll(block.number + 1);
        vm.prank(NODE);
        gov.open(absent, equivocators);
    }

    function off(bytes32 key) internal {
        _off[key] = true;
        blocks(PRESENCE + 2);
    }
}

/// Who is known to sign, and that no decision makes them fewer than a quorum.
contract PresenceTest is PresenceBase {
    function few(uint256 online, uint256 all) private pure returns (bytes memory) {
        return abi.encodeWithSelector(TooFewOnline.selector, online, all);
    }

    function removal(uint32 id) private view returns (bytes memory) {
        return abi.encodeCall(ValidatorActions.removeValidator, (peer(id)));
    }

    function rotation(uint32 id, bytes32 key) private view returns (bytes memory) {
        return abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(id), key));
    }

    function addition(uint32 id, uint64 units) private view returns (bytes memory) {
        return abi.encodeCall(ValidatorActions.addValidator, (peer(id), 1, validatorKey(id), units, account(1)));
    }

    /// One of four is away: nobody that signs may go, nor change its key, nor may one come whose vote was needed.
    function testWhileOneIsAwayNoneMoreIsPutAtStake() public {
        start(4);
        off(validatorKey(4));
        refused(removal(1), few(20, 30));
        refusedOwn(1, rotation(1, ed(77)), few(20, 40));
        refusedOwn(1, abi.encodeCall(ValidatorActions.revokeNode, (peer(1), 1)), few(20, 30));
        refused(abi.encodeCall(OrganisationActions.suspendOrganisation, (1)), few(20, 30));
        refused(abi.encodeCall(OrganisationActions.removeOrganisation, (2)), few(20, 30));
        refused(addition(9, 5), abi.encodeWithSelector(TooMuchNewPower.selector, 5, 4));
        refused(
            abi.encodeCall(ValidatorActions.setPower, (peer(4), 15)),
            abi.encodeWithSelector(TooMuchNewPower.selector, 5, 4)
        );
        decide(addition(9, 4));
        decide(removal(4));
        blocks(DELAY);
        same("the one that was away is gone", power(validatorKey(4)), 0);
        // The newcomer was seen to sign: now one may go.
        blocks(2);
        decide(removal(1));
    }

    function testOneThatComesBackIsCountedOnAtOnce() public {
        start(4);
        off(validatorKey(4));
        refused(removal(1), few(20, 30));
        _off[validatorKey(4)] = false;
        blocks(2);
        decide(removal(1));
    }

    /// A row of misses, not their sum: one signature in so many blocks shows that it runs.
    function testAMissNowAndThenIsNoAbsence() public {
        start(4);
        for (uint256 i = 0; i < 4; i++) {
            _off[validatorKey(4)] = true;
            blocks(PRESENCE - 2);
            _off[validatorKey(4)] = false;
            blocks(1);
        }
        decide(removal(1));
    }

    function testTheBoundIsExact() public {
        start(4);
        blocks(2);
        _off[validatorKey(4)] = true;
        blocks(PRESENCE - 1);
        bytes memory gone = abi.encodeCall(OrganisationActions.suspendOrganisation, (1));
        uint256 snapshot = vm.snapshotState();
        decide(gone);
        vm.revertToState(snapshot);
        blocks(1);
        refused(gone, few(20, 30));
    }

    /// Its key is another: nobody saw it sign.
    function testOneKeyIsChangedAtATime() public {
        start(4);
        decideOwn(1, rotation(1, ed(77)));
        refusedOwn(2, rotation(2, ed(78)), few(20, 40));
        blocks(DELAY);
        refusedOwn(2, rotation(2, ed(78)), few(20, 40));
        blocks(2);
        decideOwn(2, rotation(2, ed(78)));
        blocks(DELAY + 2);
        // One whose new key never signs is away.
        _off[ed(79)] = true;
        vm.warp(block.timestamp + 1 days);
        decideOwn(1, rotation(1, ed(79)));
        blocks(DELAY + 5);
        refused(removal(2), few(20, 30));
    }

    /// The holder lost the key before it held: without a way back the validator would be away from then on.
    function testAKeyThatWasLostBeforeItHeldIsCalledOff() public {
        start(4);
        decide(abi.encodeCall(ValidatorActions.setValidatorDelay, (200)));
        decideOwn(2, rotation(2, ed(77)));
        _off[ed(77)] = true;
        off(validatorKey(4));
        refused(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)), few(20, 30));
        decideOwn(2, rotation(2, validatorKey(2)));
        (uint64 height,,) = gov.pendingChange(peer(2));
        same("nothing pending", height, 0);
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)));
        refusedOwn(2, rotation(2, validatorKey(2)), abi.encodePacked(NothingToChange.selector));
        // No change more a day than before.
        bytes memory again = rotation(2, ed(78));
        agree(again);
        vm.prank(govKey(2, 0));
        uint256 id = gov.proposeOwn(again);
        vm.prank(govKey(2, 1));
        (bool done,) = CONTRACT.call(abi.encodeCall(Decisions.approve, (id)));
        check("within a day", !done);
        blocks(201);
        same("as before", power(validatorKey(2)), POWER);
    }

    function testOnlyItsOwnChangeOfAKeyIsCalledOff() public {
        start(4);
        // The power that all decided stays.
        decideOwn(2, rotation(2, ed(77)));
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(2), 9)));
        decideOwn(2, rotation(2, validatorKey(2)));
        (uint64 height, bytes32 key, uint64 coming) = gov.pendingChange(peer(2));
        check("the power alone", height != 0 && key == validatorKey(2) && coming == 9);
        refusedOwn(2, rotation(2, validatorKey(2)), abi.encodeWithSelector(ChangePending.selector, peer(2), height));
        blocks(DELAY + 2);
        // A key that all gave it.
        bytes memory given = rotation(3, ed(78));
        agree(given);
        uint256 id = propose(1, 0, given);
        approve(1, 1, id);
        for (uint32 o = 2; isOpen(id) && o <= 4; o++) {
            vote(o, id);
        }
        if (isOpen(id)) {
            wait(id);
            execute(id);
        }
        (height,,) = gov.pendingChange(peer(3));
        refusedOwn(3, rotation(3, validatorKey(3)), abi.encodeWithSelector(ChangePending.selector, peer(3), height));
    }

    /// Where no quorum is without a validator its key can be changed all the same.
    function testWhoIsNeededAnywayMayChangeItsKey() public {
        start(1);
        decideOwn(1, rotation(1, ed(77)));
        blocks(DELAY + 2);
        same("changed", power(ed(77)), POWER);
    }

    /// Its validators come back unseen; they come with what is not needed.
    function testOneThatIsResumedMustNotBeNeeded() public {
        start(3);
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (3)));
        bytes memory back = abi.encodeCall(OrganisationActions.resumeOrganisation, (3));
        refused(back, few(20, 30));
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(3), 9)));
        blocks(DELAY);
        decide(back);
        refused(removal(1), few(10, 19));
        blocks(2);
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(3), 10)));
        blocks(DELAY);
        same("as before", power(validatorKey(3)), 10);
    }

    /// A removal is pending when another goes away: what helps at once is allowed, what does not suffice is not.
    function testARemovalThatWouldStopTheChainIsMendedAtOnce() public {
        start(4);
        decide(abi.encodeCall(ValidatorActions.setValidatorDelay, (200)));
        decide(removal(3));
        off(validatorKey(4));
        refused(removal(4), few(20, 30));
        decideOwn(4, abi.encodeCall(ValidatorActions.revokeNode, (peer(4), 4)));
        blocks(200);
        same("the other two", gov.validators().length, 2);
    }

    /// Whoever is no validator is revoked whatever validators do.
    function testAFullNodeIsRevokedAlsoWhileAKeyIsUnseen() public {
        start(1);
        decideOwn(1, rotation(1, ed(77)));
        refused(addition(9, 1), abi.encodeWithSelector(TooMuchNewPower.selector, 1, 0));
        decide(abi.encodeCall(ValidatorActions.revokeNode, (ed(500), 1)));
        blocks(DELAY + 2);
        decide(addition(9, 1));
    }

    /// One that is away is not counted on because it was suspended and resumed in one block.
    function testASuspensionOfNoBlocksHidesNoAbsence() public {
        start(5);
        off(validatorKey(5));
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (5)));
        decide(abi.encodeCall(OrganisationActions.resumeOrganisation, (5)));
        blocks(3);
        decide(removal(1));
        refused(removal(2), few(20, 30));
    }

    function testTheGuardianHoldsNobodyThatIsNeededByThoseWhoSign() public {
        start(7);
        decide(abi.encodeCall(Guardian.setGuardian, (account(77))));
        off(validatorKey(7));
        (bytes32 signs, bytes32 isAway) = (peer(1), peer(7));
        vm.prank(account(77));
        vm.expectRevert(abi.encodePacked(NeededForQuorum.selector));
        direct.holdNode(signs);
        vm.prank(account(77));
        direct.holdNode(isAway);
    }

    function testAbsenceIsNoChangeForNodes() public {
        start(4);
        uint64 version = gov.version();
        off(validatorKey(4));
        same("version", gov.version(), version);
    }
}
