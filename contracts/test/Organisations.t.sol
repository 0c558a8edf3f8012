// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// Organisations come and go; what each decides about itself.
contract OrganisationsTest is GovernanceBase {
    function add(string memory named, uint8 threshold, address[] memory keys, bytes32[] memory cas)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodeCall(OrganisationActions.addOrganisation, (named, threshold, keys, cas));
    }

    function oneCa(uint32 id) private view returns (bytes32[] memory cas) {
        cas = new bytes32[](1);
        cas[0] = ca(id);
    }

    function status(uint32 id) private view returns (uint256) {
        return uint256(organisations()[id - 1].status);
    }

    function testAdded() public {
        start(2);
        decide(add("Neue_Firma-3", 2, keysOf(3), oneCa(3)));
        IGovernance.Organisation memory o = organisations()[2];
        same("id", o.id, 3);
        same("name", o.name, "Neue_Firma-3");
        same("status", uint256(o.status), uint256(IGovernance.Status.Active));
        same("its CA key counts from the next block", o.caKeys[0].from, block.number + 1);
        same("added, joined, and the third account", gov.version(), 4);
        uint256 id = propose(3, 0, abi.encodeCall(RuleActions.setGasLimit, (40_000_000)));
        (,,,,, uint256 deciding,) = gov.proposal(id);
        same("deciding", deciding, 3);
    }

    function testRefusedAdditions() public {
        start(2);
        bytes memory bad = add("org-001", 2, keysOf(3), oneCa(3));
        refused(bad, abi.encodeWithSelector(NameInUse.selector, "org-001"));
        bad = add("", 2, keysOf(3), oneCa(3));
        refused(bad, abi.encodeWithSelector(BadName.selector, ""));
        string memory long = "abcdefghijklmnopqrstuvwxyz-012345";
        bad = add(long, 2, keysOf(3), oneCa(3));
        refused(bad, abi.encodeWithSelector(BadName.selector, long));
        bad = add(unicode"Käse", 2, keysOf(3), oneCa(3));
        refused(bad, abi.encodeWithSelector(BadName.selector, unicode"Käse"));
        bad = add("a b", 2, keysOf(3), oneCa(3));
        refused(bad, abi.encodeWithSelector(BadName.selector, "a b"));
        bad = add("new", 0, keysOf(3), oneCa(3));
        refused(bad, abi.encodeWithSelector(BadThreshold.selector, 0, 3));
        bad = add("new", 4, keysOf(3), oneCa(3));
        refused(bad, abi.encodeWithSelector(BadThreshold.selector, 4, 3));
        bad = add("new", 1, new address[](0), oneCa(3));
        refused(bad, abi.encodeWithSelector(OutOfRange.selector, "keys", 0, 1, 16));
        bad = add("new", 1, new address[](17), oneCa(3));
        refused(bad, abi.encodeWithSelector(OutOfRange.selector, "keys", 17, 1, 16));
        bad = add("new", 2, keysOf(3), new bytes32[](0));
        refused(bad, abi.encodeWithSelector(NoCaKeyAt.selector, block.number + 1));
        bad = add("new", 2, keysOf(3), new bytes32[](5));
        bytes32[] memory five = new bytes32[](5);
        for (uint256 i = 0; i < 5; i++) {
            five[i] = ed(i);
        }
        bad = add("new", 2, keysOf(3), five);
        refused(bad, abi.encodeWithSelector(TooManyCaKeys.selector, 4));
        bad = add("new", 2, keysOf(3), new bytes32[](1));
        refused(bad, abi.encodeWithSelector(NotProven.selector, bytes32(0), 3, "new"));
    }

    function testAKeyHasOneUse() public {
        start(2);
        bytes memory bad = add("new", 2, keysOf(3), oneCa(1));
        refused(bad, abi.encodeWithSelector(KeyInUse.selector, ca(1)));
        bytes32[] memory cas = oneCa(3);
        cas[0] = peer(1);
        bad = add("new", 2, keysOf(3), cas);
        refused(bad, abi.encodeWithSelector(KeyInUse.selector, peer(1)));
        cas[0] = validatorKey(1);
        bad = add("new", 2, keysOf(3), cas);
        refused(bad, abi.encodeWithSelector(KeyInUse.selector, validatorKey(1)));
        bad = add("new", 2, keysOf(2), oneCa(3));
        refused(bad, abi.encodeWithSelector(AccountInUse.selector, govKey(2, 0), 2));
        address[] memory keys = keysOf(3);
        keys[2] = keys[0];
        bad = add("new", 2, keys, oneCa(3));
        refused(bad, abi.encodeWithSelector(AccountInUse.selector, keys[0], 3));
        address[3] memory never = [address(0), CONTRACT, NODE];
        for (uint256 i = 0; i < 3; i++) {
            keys[2] = never[i];
            bad = add("new", 2, keys, oneCa(3));
            refused(bad, abi.encodeWithSelector(AccountInUse.selector, never[i], 0));
        }
    }

    function testRemoved() public {
        start(4);
        decideOwn(4, abi.encodeCall(OrganisationActions.revokeSerial, (4, 9)));
        uint64 version = gov.version();
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (4)));
        same("status", status(4), uint256(IGovernance.Status.Removed));
        check("version", gov.version() > version);
        same("validators of the next block", gov.validators().length, 3);
        same("its CA keys", organisations()[3].caKeys.length, 0);
        same("its keys", organisations()[3].keys.length, 0);
        same("its serials", serials().length, 0);
        same("its keys may not transact", gov.permissions(govKey(4, 0)), 0);
        address speaker = govKey(4, 0);
        vm.prank(speaker);
        vm.expectRevert(abi.encodeWithSelector(NotAGovernanceKey.selector, speaker));
        gov.propose(hex"00000000");
        refused(
            abi.encodeCall(OrganisationActions.resumeOrganisation, (4)),
            abi.encodeWithSelector(NoOrganisation.selector, 4)
        );
        // Its accounts are free; its name and its CA keys are when no evidence can come any more, its id never.
        refused(add("org-4", 2, keysOf(4), oneCa(4)), abi.encodeWithSelector(KeyInUse.selector, ca(4)));
        bytes memory again = add("ORG-004", 2, keysOf(4), oneCa(4));
        refused(again, abi.encodeWithSelector(NameInUse.selector, "ORG-004"));
        vm.roll(block.number + gov.EVIDENCE_BLOCKS() - 1);
        refused(again, abi.encodeWithSelector(NameInUse.selector, "ORG-004"));
        vm.roll(block.number + 2);
        decide(again);
        same("a new id", organisations()[4].id, 5);
    }

    function testTheNameOfOneThatNeverJoinedIsFreeAtOnce() public {
        start(4);
        bytes memory invited = add("newcomer", 1, one(account(70)), oneCa(5));
        agree(invited);
        uint256 id = propose(1, 0, invited);
        approve(1, 1, id);
        vote(2, id);
        vote(3, id);
        same("invited", status(5), uint256(IGovernance.Status.Invited));
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (5)));
        decide(add("newcomer", 1, one(account(71)), oneCa(6)));
        same("joined", status(6), uint256(IGovernance.Status.Active));
    }

    function one(address key) private pure returns (address[] memory keys) {
        keys = new address[](1);
        keys[0] = key;
    }

    function testSuspendedAndResumed() public {
        start(4);
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)));
        same("status", status(4), uint256(IGovernance.Status.Suspended));
        same("validators of the next block", gov.validators().length, 3);
        same("its node is listed", nodes().length, 4);
        same("its keys may still transact", gov.permissions(govKey(4, 0)), 1);
        refused(
            abi.encodeCall(OrganisationActions.suspendOrganisation, (4)), abi.encodePacked(NothingToChange.selector)
        );
        decide(abi.encodeCall(OrganisationActions.resumeOrganisation, (4)));
        same("validators of the next block", gov.validators().length, 4);
    }

    function testASuspendedOrganisationCanBeRemoved() public {
        start(4);
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)));
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (4)));
        same("status", status(4), uint256(IGovernance.Status.Removed));
        (,,,,, uint256 deciding,) = gov.proposal(propose(1, 0, hex"00000000"));
        same("deciding", deciding, 3);
    }

    function testTheLastOrganisationStays() public {
        start(1);
        bytes memory last = abi.encodeWithSelector(LastOrganisation.selector, 1);
        refused(abi.encodeCall(OrganisationActions.removeOrganisation, (1)), last);
        refused(
            abi.encodeCall(OrganisationActions.suspendOrganisation, (1)),
            abi.encodeWithSelector(TooFewToSuspend.selector, 1)
        );
        refused(
            abi.encodeCall(OrganisationActions.removeOrganisation, (2)),
            abi.encodeWithSelector(NoOrganisation.selector, 2)
        );
    }

    function testThoseWithTheLastValidatorsStay() public {
        start(3);
        decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(1))));
        decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(3))));
        // The others still validate for a few blocks, then only organisation 2 does.
        bytes memory empty = abi.encodeWithSelector(NoValidatorAt.selector, block.number + DELAY);
        refused(abi.encodeCall(OrganisationActions.suspendOrganisation, (2)), empty);
        refused(abi.encodeCall(OrganisationActions.removeOrganisation, (2)), empty);
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (1)));
    }

    function testCaKeysRotate() public {
        start(2);
        bytes32 fresh = ed(77);
        decideOwn(1, abi.encodeCall(OrganisationActions.addCaKey, (1, fresh, uint64(block.number + 5))));
        decideOwn(1, abi.encodeCall(OrganisationActions.endCaKey, (1, ca(1), uint64(block.number + 8))));
        IGovernance.CaKey[] memory cas = organisations()[0].caKeys;
        same("ends", cas[0].until, block.number + 8);
        same("begins", cas[1].from, block.number + 5);
        same("two changes", gov.version(), 3);
        blocks(3);
        same("not yet", gov.version(), 3);
        nextBlock();
        same("begins with the next block", gov.version(), 4);
        blocks(2);
        same("not yet", gov.version(), 4);
        nextBlock();
        same("ends with the next block", gov.version(), 5);
        blocks(20);
        same("nothing more", gov.version(), 5);
        bytes32 third = ed(78);
        decideOwn(1, abi.encodeCall(OrganisationActions.addCaKey, (1, third, 0)));
        same("the ended one made place", organisations()[0].caKeys.length, 2);
    }

    function testAStolenCaKeyEndsAtOnce() public {
        start(2);
        bytes32 stolen = ca(1);
        bytes32 fresh = ed(77);
        uint64 next = uint64(block.number) + 1;
        refusedOwn(
            1,
            abi.encodeCall(OrganisationActions.endCaKey, (1, stolen, 0)),
            abi.encodeWithSelector(NoCaKeyAt.selector, next)
        );
        decideOwn(1, abi.encodeCall(OrganisationActions.addCaKey, (1, fresh, 0)));
        decideOwn(1, abi.encodeCall(OrganisationActions.endCaKey, (1, stolen, 0)));
        same("until the next block", organisations()[0].caKeys[0].until, next);
        refusedOwn(
            1,
            abi.encodeCall(OrganisationActions.endCaKey, (1, stolen, 0)),
            abi.encodeWithSelector(NoCaKey.selector, stolen)
        );
        refusedOwn(
            1,
            abi.encodeCall(OrganisationActions.addCaKey, (1, stolen, 0)),
            abi.encodeWithSelector(KeyInUse.selector, stolen)
        );
    }

    function testCaKeysLeaveNoGap() public {
        start(1);
        uint64 h = uint64(block.number);
        decideOwn(1, abi.encodeCall(OrganisationActions.addCaKey, (1, ed(77), h + 50)));
        bytes memory end = abi.encodeCall(OrganisationActions.endCaKey, (1, ca(1), h + 49));
        refusedOwn(1, end, abi.encodeWithSelector(NoCaKeyAt.selector, h + 49));
        end = abi.encodeCall(OrganisationActions.endCaKey, (1, ca(1), h));
        refusedOwn(1, end, abi.encodeWithSelector(TooEarly.selector, h, h + 1));
        bytes memory begin = abi.encodeCall(OrganisationActions.addCaKey, (1, ed(78), h));
        refusedOwn(1, begin, abi.encodeWithSelector(TooEarly.selector, h, h + 1));
        decideOwn(1, abi.encodeCall(OrganisationActions.endCaKey, (1, ca(1), h + 50)));
        end = abi.encodeCall(OrganisationActions.endCaKey, (1, ed(77), h + 60));
        refusedOwn(1, end, abi.encodeWithSelector(NoCaKeyAt.selector, h + 60));
    }

    function testFourCaKeysAtATime() public {
        start(1);
        for (uint256 i = 1; i < 4; i++) {
            decideOwn(1, abi.encodeCall(OrganisationActions.addCaKey, (1, ed(70 + i), 0)));
        }
        bytes memory fifth = abi.encodeCall(OrganisationActions.addCaKey, (1, ed(79), 0));
        refusedOwn(1, fifth, abi.encodeWithSelector(TooManyCaKeys.selector, 4));
        decideOwn(1, abi.encodeCall(OrganisationActions.endCaKey, (1, ca(1), 0)));
        decideOwn(1, fifth);
    }

    function testContentIsSealedToWhatAnOrganisationSays() public {
        start(2);
        bytes memory set = abi.encodeCall(OrganisationActions.setSealingKey, (2, ed(77)));
        decideOwn(2, set);
        bytes32[] memory keys = gov.sealingKeys(0, 500);
        same("organisations", keys.length, 2);
        require(keys[0] == 0 && keys[1] == ed(77), "its own only");
        same("nothing for nodes", gov.version(), 1);
        refusedOwn(2, set, abi.encodeWithSelector(NothingToChange.selector));
        decideOwn(2, abi.encodeCall(OrganisationActions.setSealingKey, (2, 0)));
        require(gov.sealingKeys(0, 500)[1] == 0, "taken back");
    }

    function testKeysRotate() public {
        start(2);
        address[] memory keys = new address[](1);
        keys[0] = govKey(2, 0);
        bytes memory action = abi.encodeCall(OrganisationActions.setKeys, (1, 1, keys));
        refusedOwn(1, action, abi.encodeWithSelector(AccountInUse.selector, keys[0], 2));
        keys[0] = govKey(1, 2);
        action = abi.encodeCall(OrganisationActions.setKeys, (1, 2, keys));
        refusedOwn(1, action, abi.encodeWithSelector(BadThreshold.selector, 2, 1));
        decideOwn(1, abi.encodeCall(OrganisationActions.setKeys, (1, 1, keys)));
        same("threshold", organisations()[0].threshold, 1);
        same("gone", gov.permissions(govKey(1, 0)), 0);
        same("kept", gov.permissions(govKey(1, 2)), 1);
        vm.prank(keys[0]);
        uint256 id = gov.proposeOwn(abi.encodeCall(OrganisationActions.revokeSerial, (1, 5)));
        check("one key is enough now", !isOpen(id));
    }

    function testSerials() public {
        start(2);
        for (uint160 i = 0; i < 64; i++) {
            decideOwn(1, abi.encodeCall(OrganisationActions.revokeSerial, (1, i)));
        }
        bytes memory more = abi.encodeCall(OrganisationActions.revokeSerial, (1, 64));
        refusedOwn(1, more, abi.encodeWithSelector(TooManySerials.selector, 64));
        // The others have room of their own.
        decideOwn(2, abi.encodeCall(OrganisationActions.revokeSerial, (2, 64)));
        same("listed", serials().length, 65);
        same("of", serials()[64].organisation, 2);
        decideOwn(1, abi.encodeCall(OrganisationActions.forgetSerials, (1)));
        same("forgotten", serials().length, 1);
        decideOwn(1, more);
        refusedOwn(1, more, abi.encodePacked(NothingToChange.selector));
    }

    function testAtMost128Organisations() public {
        start(128);
        bytes memory action = add("more", 1, keysOf(200), oneCa(200));
        refused(action, abi.encodeWithSelector(TooManyOrganisations.selector, 128));
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (128)));
        decide(action);
    }

    function testACaKeyEndsNotSoLateThatItIsNeverFree() public {
        start(1);
        (uint64 most, uint64 none) = (type(uint64).max - gov.EVIDENCE_BLOCKS(), type(uint64).max);
        bytes memory late = abi.encodeCall(OrganisationActions.endCaKey, (1, ca(1), none));
        bytes memory reason = abi.encodeWithSelector(OutOfRange.selector, "until", none, uint64(block.number) + 1, most);
        refusedOwn(1, late, reason);
        late = abi.encodeCall(OrganisationActions.endCaKey, (1, ca(1), most));
        refusedOwn(1, late, abi.encodeWithSelector(NoCaKeyAt.selector, most));
        decideOwn(1, abi.encodeCall(OrganisationActions.addCaKey, (1, ed(77), 0)));
        decideOwn(1, late);
    }
}
