// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// Nobody takes a key or an account by naming it.
contract ClaimsTest is GovernanceBase {
    uint64 private constant FAR = type(uint64).max - 1;

    function addition(uint32 n, uint32 organisation) private view returns (bytes memory) {
        return
            abi.encodeCall(ValidatorActions.addValidator, (peer(n), organisation, validatorKey(n), 10, account(9000)));
    }

    function joining(uint32 id) private view returns (bytes memory) {
        bytes32[] memory cas = new bytes32[](1);
        cas[0] = ca(id);
        return abi.encodeCall(OrganisationActions.addOrganisation, (name(id), 2, keysOf(id), cas));
    }

    /// As an attacker: without the key's consent, for a far height, so that it costs no CA key of its own.
    function squat(uint32 id, bytes32 key) private {
        vm.prank(govKey(id, 0));
        uint256 own = gov.proposeOwn(abi.encodeCall(OrganisationActions.addCaKey, (id, key, FAR)));
        vm.expectRevert(abi.encodeWithSelector(NotProven.selector, key, 3, name(id)));
        approve(id, 1, own);
        vm.prank(govKey(id, 0));
        gov.withdraw(own);
    }

    function uses(bytes32 key) private view returns (KeyRole role, uint64 free) {
        (role,,,, free) = gov.keyUse(key);
    }

    // Keys.

    /// Its accounts were wrong: it is invited anew, with the same name and CA key.
    function testAnInvitationThatIsTakenBackLeavesNoKeyTaken() public {
        start(3);
        bytes32[] memory cas = new bytes32[](1);
        address[] memory keys = new address[](1);
        (cas[0], keys[0]) = (ca(4), account(4242));
        bytes memory invited = abi.encodeCall(OrganisationActions.addOrganisation, (name(4), 1, keys, cas));
        agree(invited);
        uint256 id = propose(1, 0, invited);
        approve(1, 1, id);
        vote(2, id);
        vote(3, id);
        blocks(1);
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (4)));
        (KeyRole role,) = uses(ca(4));
        check("free", role == KeyRole.None);
        decide(joining(4));
        same("joined", uint256(organisations()[4].status), uint256(IGovernance.Status.Active));
    }

    function testOneOrganisationVetoesNoValidator() public {
        start(4);
        agree(addition(9, 2));
        uint256 id = propose(1, 0, addition(9, 2));
        approve(1, 1, id);
        vote(2, id);
        squat(4, validatorKey(9));
        squat(4, peer(9));
        vote(3, id);
        check("passed", !isOpen(id));
    }

    function testOneOrganisationKeepsNobodyOut() public {
        start(4);
        squat(4, ca(5));
        // Among its own keys an account of the newcomer's is named, and never asked.
        address[] memory keys = keysOf(4);
        keys[2] = govKey(5, 0);
        vm.prank(govKey(4, 0));
        uint256 own = gov.proposeOwn(abi.encodeCall(OrganisationActions.setKeys, (4, 2, keys)));
        approve(4, 1, own);
        decide(joining(5));
        same("speaks for its own", gov.seatOf(govKey(5, 0)), 5);
        same("joined", uint256(organisations()[4].status), uint256(IGovernance.Status.Active));
    }

    function testOneOrganisationStopsNoRotationOfAnother() public {
        start(4);
        bytes32 fresh = ed(5555);
        squat(4, fresh);
        decideOwn(2, abi.encodeCall(OrganisationActions.addCaKey, (2, fresh, 0)));
        address[] memory theirs = keysOf(4);
        theirs[2] = account(811);
        vm.prank(govKey(4, 0));
        uint256 own = gov.proposeOwn(abi.encodeCall(OrganisationActions.setKeys, (4, 2, theirs)));
        approve(4, 1, own);
        address[] memory keys = new address[](2);
        (keys[0], keys[1]) = (account(811), account(812));
        decideOwn(2, abi.encodeCall(OrganisationActions.setKeys, (2, 2, keys)));
        same("speaks for 2", gov.seatOf(account(811)), 2);
        vm.prank(account(811));
        vm.expectRevert(abi.encodeWithSelector(AccountInUse.selector, account(811), 2));
        direct.acceptSeat(4);
    }

    function testAProofServesOneRoleOfOneOrganisation() public {
        start(4);
        bytes32 key = ed(77);
        prove(key, KeyRole.Ca, name(2));
        squat(4, key);
        bytes memory rotation = abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), key));
        vm.prank(govKey(2, 0));
        uint256 own = gov.proposeOwn(rotation);
        vm.expectRevert(abi.encodeWithSelector(NotProven.selector, key, 2, name(2)));
        approve(2, 1, own);
        decideOwn(2, abi.encodeCall(OrganisationActions.addCaKey, (2, key, 0)));
    }

    function testAWrongSignatureProvesNothing() public {
        start(1);
        bytes32 key = ed(77);
        bytes memory other = signature(ed(78));
        vm.expectRevert(abi.encodeWithSelector(BadProof.selector, key));
        direct.prove(key, KeyRole.Ca, "org-001", other);
        vm.expectRevert(abi.encodeWithSelector(BadProof.selector, key));
        direct.prove(key, KeyRole.Ca, "org-001", bytes.concat(key));
        check("not proven", !gov.isProven(key, KeyRole.Ca, "org-001"));
    }

    /// An accomplice who holds a key agrees to two uses of it; all need not wait for the far one.
    function testAllOverruleAClaimThatWasNeverUsed() public {
        start(4);
        bytes32 key = validatorKey(9);
        decideOwn(4, abi.encodeCall(OrganisationActions.addCaKey, (4, key, 1000)));
        decideOwn(4, abi.encodeCall(OrganisationActions.endCaKey, (4, ca(4), 1000)));
        decide(addition(9, 2));
        IGovernance.CaKey[] memory cas = organisations()[3].caKeys;
        same("the far one is gone", cas.length, 1);
        same("and the one before it goes on", cas[0].until, 0);
        blocks(DELAY + 2);
        // Likewise the key of a rotation to come.
        key = validatorKey(10);
        decideOwn(4, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(4), key)));
        decide(addition(10, 3));
        blocks(DELAY);
        same("both of the new ones", gov.validators().length, 6);
        (KeyRole role,) = uses(validatorKey(4));
        same("4 signs with its old key", uint256(role), uint256(KeyRole.Validator));
    }

    /// A stolen CA key that is to end does not go on because another claim is overruled.
    function testWhatEndsForItselfStillEnds() public {
        start(4);
        bytes32 key = validatorKey(9);
        decideOwn(4, abi.encodeCall(OrganisationActions.addCaKey, (4, ed(78), 0)));
        decideOwn(4, abi.encodeCall(OrganisationActions.endCaKey, (4, ca(4), 50)));
        decideOwn(4, abi.encodeCall(OrganisationActions.addCaKey, (4, key, 1000)));
        decide(addition(9, 2));
        IGovernance.CaKey[] memory cas = organisations()[3].caKeys;
        same("two", cas.length, 2);
        same("ends", cas[0].until, 50);
    }

    function testNobodyOverrulesAClaimAlone() public {
        start(4);
        bytes32 key = ed(77);
        decideOwn(4, abi.encodeCall(OrganisationActions.addCaKey, (4, key, FAR)));
        refusedOwn(
            2, abi.encodeCall(OrganisationActions.addCaKey, (2, key, 0)), abi.encodeWithSelector(KeyInUse.selector, key)
        );
    }

    /// Each kind of node can be shut out, whatever else its key was registered as.
    function testANodeWhoseKeyIsACaKeyIsRevoked() public {
        start(4);
        bytes32 full = ed(31_337);
        decideOwn(4, abi.encodeCall(OrganisationActions.addCaKey, (4, full, 0)));
        decide(abi.encodeCall(ValidatorActions.revokeNode, (full, 4)));
        check("revoked", nodes()[4].revoked);
    }

    function testRevocationClaimsNothing() public {
        start(4);
        bytes32 key = ed(77);
        decide(abi.encodeCall(ValidatorActions.revokeNode, (key, 4)));
        (KeyRole role,) = uses(key);
        same("no use", uint256(role), 0);
        decideOwn(2, abi.encodeCall(OrganisationActions.addCaKey, (2, key, 0)));
    }

    function testAKeyIsFreeAgainWhenEvidenceIsTooOld() public {
        start(4);
        decideOwn(2, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), ed(77))));
        blocks(DELAY);
        bytes memory action =
            abi.encodeCall(ValidatorActions.addValidator, (peer(9), 3, validatorKey(2), 1, account(1)));
        bytes memory taken = abi.encodeWithSelector(KeyInUse.selector, validatorKey(2));
        refused(action, taken);
        (, uint64 free) = uses(validatorKey(2));
        same("after the last height it counted at", free, 1 + DELAY + gov.EVIDENCE_BLOCKS());
        vm.roll(free - 2);
        nextBlock();
        refused(action, taken);
        nextBlock();
        decide(action);
        // Evidence of now is the new owner's.
        bytes32[] memory equivocators = new bytes32[](1);
        equivocators[0] = validatorKey(2);
        blocks(DELAY);
        uint256 before = gov.validators().length;
        nextBlock(equivocators);
        same("one went", gov.validators().length, before - 1);
        same("and it is not 2", gov.validators()[1].key, ed(77));
    }

    function testAConvictedKeyNeverReturns() public {
        start(4);
        bytes32[] memory equivocators = new bytes32[](1);
        equivocators[0] = validatorKey(3);
        nextBlock(equivocators);
        vm.roll(block.number + 2 * gov.EVIDENCE_BLOCKS());
        refused(addition(3, 3), abi.encodeWithSelector(KeyConvicted.selector, validatorKey(3)));
    }

    /// Attack: a key comes back and is called off, so that what it signed before convicts a spare node.
    function testAKeyThatIsCalledOffStaysWithTheNodeThatSignedByIt() public {
        start(4);
        bytes32 key = validatorKey(1);
        decide(abi.encodeCall(ValidatorActions.addValidator, (peer(200), 1, validatorKey(201), 1, account(1))));
        blocks(DELAY + 4);
        decideOwn(1, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(1), validatorKey(202))));
        blocks(DELAY + 4);
        vm.warp(block.timestamp + 1 days);
        decideOwn(1, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(1), key)));
        decideOwn(1, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(1), validatorKey(202))));
        (KeyRole role, uint64 free) = uses(key);
        check("kept for evidence", role == KeyRole.Validator && free > gov.EVIDENCE_BLOCKS());
        bytes memory taken = abi.encodeWithSelector(KeyInUse.selector, key);
        refusedOwn(1, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(200), key)), taken);
        // Nor do all give it to another while it is to come back.
        vm.warp(block.timestamp + 1 days);
        decideOwn(1, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(1), key)));
        refused(abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(200), key)), taken);
        bytes32[] memory guilty = new bytes32[](1);
        guilty[0] = key;
        nextBlock(guilty);
        IMembership.Validator[] memory set = gov.validators();
        same("one went", set.length, 4);
        for (uint256 i = 0; i < set.length; i++) {
            check("it is the one that signed", set[i].key != validatorKey(202));
        }
    }

    /// Attack: a validator is called off before it begins again.
    function testAValidatorThatIsCalledOffStaysKnownByItsKey() public {
        start(4);
        decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(4))));
        blocks(DELAY);
        decide(addition(4, 4));
        decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(4))));
        (KeyRole role, uint64 free) = uses(validatorKey(4));
        check("kept for evidence", role == KeyRole.Validator && free > gov.EVIDENCE_BLOCKS());
        (role, free) = uses(peer(4));
        check("and the peer", role == KeyRole.Peer && free > gov.EVIDENCE_BLOCKS());
    }

    function testAKeyThatIsPutOffCountsFromItsNewHeight() public {
        start(4);
        decideOwn(4, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(4), ed(78))));
        blocks(3);
        decide(abi.encodeCall(ValidatorActions.setPower, (peer(4), POWER + 1)));
        (uint64 height,,) = gov.pendingChange(peer(4));
        (,,, uint64 from,) = gov.keyUse(ed(78));
        same("from", from, height);
    }

    function testAClaimThatIsCalledOffIsFreeAtOnce() public {
        start(4);
        bytes32 key = ed(77);
        decideOwn(4, abi.encodeCall(OrganisationActions.addCaKey, (4, key, 1000)));
        decideOwn(4, abi.encodeCall(OrganisationActions.endCaKey, (4, key, 1000)));
        same("listed no more", organisations()[3].caKeys.length, 1);
        decideOwn(2, abi.encodeCall(OrganisationActions.addCaKey, (2, key, 0)));
        decideOwn(4, abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(4), ed(78))));
        decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(4))));
        (KeyRole role,) = uses(ed(78));
        same("free", uint256(role), 0);
    }

    // Accounts.

    function invite() private {
        start(4);
        bytes memory action = joining(5);
        agree(action);
        uint256 id = propose(1, 0, action);
        approve(1, 1, id);
        vote(2, id);
        vote(3, id);
    }

    function testAnOrganisationDecidesWhenItsAccountsHaveAccepted() public {
        invite();
        same("invited", uint256(organisations()[4].status), uint256(IGovernance.Status.Invited));
        (,,,,, uint256 deciding,) = gov.proposal(propose(1, 0, hex"00000000"));
        same("it raises no quorum", deciding, 4);
        refused(addition(9, 5), abi.encodeWithSelector(OrganisationInvited.selector, 5));
        vm.prank(govKey(5, 1));
        direct.acceptSeat(5);
        same("one of two", uint256(organisations()[4].status), uint256(IGovernance.Status.Invited));
        vm.prank(govKey(5, 2));
        direct.acceptSeat(5);
        same("joined", uint256(organisations()[4].status), uint256(IGovernance.Status.Active));
        same("two speak", organisations()[4].keys.length, 2);
        vm.prank(govKey(5, 0));
        direct.acceptSeat(5);
        same("three speak", organisations()[4].keys.length, 3);
        vm.prank(govKey(5, 0));
        vm.expectRevert(abi.encodeWithSelector(NoSeat.selector, govKey(5, 0), 5));
        direct.acceptSeat(5);
        decide(addition(9, 5));
    }

    function testAnInvitationCanBeTakenBack() public {
        invite();
        refused(
            abi.encodeCall(OrganisationActions.suspendOrganisation, (5)),
            abi.encodeWithSelector(OrganisationInvited.selector, 5)
        );
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (5)));
        vm.prank(govKey(5, 1));
        vm.expectRevert(abi.encodeWithSelector(NoOrganisation.selector, 5));
        direct.acceptSeat(5);
        same("may not transact", gov.permissions(govKey(5, 1)), 0);
    }

    function testThoseBeforeSpeakUntilEnoughHaveAccepted() public {
        start(2);
        address[] memory keys = new address[](3);
        (keys[0], keys[1], keys[2]) = (govKey(2, 2), account(1), account(2));
        vm.prank(govKey(2, 0));
        uint256 own = gov.proposeOwn(abi.encodeCall(OrganisationActions.setKeys, (2, 2, keys)));
        approve(2, 1, own);
        check("those before", organisations()[1].keys[0] == govKey(2, 0));
        same("asked, so it may send", gov.permissions(account(1)), 1);
        decideOwn(2, abi.encodeCall(OrganisationActions.revokeSerial, (2, 7)));
        vm.prank(account(2));
        direct.acceptSeat(2);
        same("two speak", organisations()[1].keys.length, 2);
        same("not the first", gov.seatOf(govKey(2, 0)), 0);
        same("nor may it send", gov.permissions(govKey(2, 0)), 0);
        vm.prank(account(2));
        own = gov.proposeOwn(abi.encodeCall(OrganisationActions.revokeSerial, (2, 8)));
        approve(2, 2, own);
        check("they decide", !isOpen(own));
    }

    /// Also in block 1 nobody founds again or names the network's hash anew.
    function testTheNetworkIsTheGenesisHash() public {
        place();
        vm.roll(0);
        foundWith(founding(1));
        same("not known yet", gov.network(), 0);
        nextBlock();
        same("known", gov.network(), blockhash(0));
        blocks(3);
        same("stays", gov.network(), blockhash(block.number - 4));
    }

    /// The bytes that crates/crypto signs (`Domain::KeyProof`), by a key of RFC 8032.
    function testWhatAKeySigns() public {
        start(1);
        Recorder recorder = new Recorder();
        vm.etch(address(KeyProofs.VERIFIER), address(recorder).code);
        bytes memory message =
            abi.encodePacked("trefoil/key-proof/1", hex"00", gov.network(), CONTRACT, hex"03", bytes32("org-001"));
        direct.prove(ed(1), KeyRole.Ca, "org-001", bytes.concat(keccak256(message), bytes32(0)));
        check("proven", gov.isProven(ed(1), KeyRole.Ca, "org-001"));
    }
}

/// Right is what names the hash of the message as its first half.
contract Recorder {
    function verify(bytes32, bytes32 r, bytes32, bytes calldata message) external pure returns (bool) {
        return keccak256(message) == r;
    }
}
