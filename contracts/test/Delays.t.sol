// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// What may hurt somebody waits, and those whom it hurts can answer.
contract DelaysTest is GovernanceBase {
    function foreignCa() private view returns (bytes memory) {
        return abi.encodeCall(OrganisationActions.addCaKey, (4, ed(666), 0));
    }

    /// Organisations 1, 2, 3 of four approve.
    function three(bytes memory action) private returns (uint256 id) {
        agree(action);
        id = propose(1, 0, action);
        approve(1, 1, id);
        vote(2, id);
        vote(3, id);
    }

    function object(uint32 organisation, uint256 id) private {
        vm.prank(govKey(organisation, 0));
        gov.object(id);
        vm.prank(govKey(organisation, 1));
        gov.object(id);
    }

    function early(uint256 id, uint64 ready) private {
        address key = govKey(1, 0);
        vm.prank(key);
        vm.expectRevert(abi.encodeWithSelector(NotDue.selector, id, ready, 1 + ANSWER_BLOCKS));
        gov.execute(id);
    }

    function testTwoThirdsDoNotSpeakForTheThirdAtOnce() public {
        start(4);
        uint64 ready = uint64(block.timestamp) + 2 days;
        uint256 id = three(foreignCa());
        (bool delayed, uint64 due, uint32 concerned,) = gov.waiting(id);
        check("it waits", delayed && isOpen(id));
        same("two days", due, ready);
        same("whose keys", concerned, 4);
        same("nothing yet", organisations()[3].caKeys.length, 1);
        // Approving again does not help.
        approve(1, 0, id);
        early(id, ready);
        wait(id);
        execute(id);
        same("then", organisations()[3].caKeys.length, 2);
    }

    function testWhatWaits() public {
        start(4);
        address[] memory none = new address[](0);
        bytes[18] memory waits = [
            abi.encodeCall(ValidatorActions.addValidator, (peer(9), 4, validatorKey(9), 1, account(9))),
            abi.encodeCall(OrganisationActions.setKeys, (4, 2, keysOf(44))),
            foreignCa(),
            abi.encodeCall(OrganisationActions.endCaKey, (4, ca(4), 100)),
            abi.encodeCall(OrganisationActions.setSealingKey, (4, ed(667))),
            abi.encodeCall(OrganisationActions.forgetSerials, (4)),
            abi.encodeCall(Accounts.setSenders, (4, none)),
            abi.encodeCall(Recovery.setRecoveryKey, (4, account(1))),
            abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(4), ed(668))),
            abi.encodeCall(Accounts.setFeeRecipient, (peer(4), account(1))),
            abi.encodeCall(ValidatorActions.setPower, (peer(4), 11)),
            abi.encodeCall(Standbys.setStandby, (peer(4), ed(669))),
            abi.encodeCall(OrganisationActions.removeOrganisation, (4)),
            abi.encodeCall(RuleActions.setAccountsListed, (true)),
            abi.encodeCall(RuleActions.setDeployersListed, (true)),
            abi.encodeCall(RuleActions.setMinBaseFee, (1)),
            abi.encodeCall(OrganisationActions.setQuorum, (1, 2)),
            abi.encodeCall(Guardian.setGuardian, (account(1)))
        ];
        for (uint256 i = 0; i < waits.length; i++) {
            uint256 id = three(waits[i]);
            (, uint64 ready, uint32 concerned,) = gov.waiting(id);
            check("waits", ready != 0 && isOpen(id));
            same("whose", concerned, i < 13 ? 4 : 0);
            vm.prank(govKey(1, 0));
            gov.withdraw(id);
        }
        // Revocation and suspension do not, nor what hurts nobody.
        check("a node", !isOpen(three(abi.encodeCall(ValidatorActions.revokeNode, (ed(77), 4)))));
        check("a serial", !isOpen(three(abi.encodeCall(OrganisationActions.revokeSerial, (4, 9)))));
        check("gas", !isOpen(three(abi.encodeCall(RuleActions.setGasLimit, (40_000_000)))));
        check("an organisation", !isOpen(three(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)))));
    }

    /// Attack: two thirds run a validator of their own in another's name, which is its identity towards all nodes.
    function testAValidatorInAnothersNameWaitsUntilThatOneApproves() public {
        start(5);
        bytes memory theft = abi.encodeCall(ValidatorActions.addValidator, (peer(9), 5, validatorKey(9), 1, account(9)));
        uint256 id = three(theft);
        vote(4, id);
        (, uint64 ready, uint32 concerned,) = gov.waiting(id);
        check("it waits", isOpen(id) && concerned == 5 && ready == block.timestamp + 2 days);
        object(5, id);
        (, ready,,) = gov.waiting(id);
        same("it can object", ready, block.timestamp + 4 days);
        bytes memory own = abi.encodeCall(ValidatorActions.addValidator, (peer(8), 5, validatorKey(8), 1, account(9)));
        id = three(own);
        vote(5, id);
        check("its own is at once, though not all approve", !isOpen(id));
        bytes memory ours = abi.encodeCall(ValidatorActions.addValidator, (peer(7), 1, validatorKey(7), 1, account(9)));
        id = three(ours);
        vote(4, id);
        check("and so is one of those who approve", !isOpen(id));
    }

    /// A thief has its keys.
    function testWhoIsHeldSpeaksForNoValidator() public {
        start(5);
        decide(abi.encodeCall(Guardian.setGuardian, (account(78))));
        uint256 id =
            propose(5, 0, abi.encodeCall(ValidatorActions.addValidator, (peer(9), 5, validatorKey(9), 1, account(9))));
        agree(abi.encodeCall(ValidatorActions.addValidator, (peer(9), 5, validatorKey(9), 1, account(9))));
        approve(5, 1, id);
        vm.prank(account(78));
        Guardian(CONTRACT).holdOrganisation(5);
        for (uint32 o = 1; o <= 4; o++) {
            vote(o, id);
        }
        check("it waits", isOpen(id) && waitsOnly(id));
    }

    /// Attack: what waits for its delay cannot be answered at a floor that only its authors can pay.
    function testAHigherFloorWaitsAndALowerOneDoesNot() public {
        start(4);
        for (uint32 o = 1; o <= 4; o++) {
            for (uint256 i = 0; i < KEYS; i++) {
                vm.deal(govKey(o, i), 1 ether);
            }
        }
        uint256 keys = three(foreignCa());
        uint256 floor = three(abi.encodeCall(RuleActions.setMinBaseFee, (9)));
        check("it waits", isOpen(floor) && waitsOnly(floor));
        wait(floor);
        execute(keys);
        execute(floor);
        same("then", gov.settings().minBaseFee, 9);
        check("lower at once", !isOpen(three(abi.encodeCall(RuleActions.setMinBaseFee, (8)))));
        check("0 too", !isOpen(three(abi.encodeCall(RuleActions.setMinBaseFee, (0)))));
    }

    /// What an action is about is no decision, and nobody's secret.
    function testWhatAnActionIsAboutCanBeAsked() public {
        start(4);
        ActionKinds.Kind memory k = direct.kindOf(foreignCa());
        check("delayed", k.delayed && k.concerned == 4 && !k.spared && !k.endsHold && !k.inItsName);
        k = direct.kindOf(abi.encodeWithSelector(ValidatorActions.addValidator.selector));
        check("without arguments", k.delayed && k.concerned == 0);
        refused(abi.encodeCall(ActionKinds.kindOf, ("")), abi.encodePacked(NotAnAction.selector));
    }

    /// Five of six, which are five of seven too.
    function five(bytes memory action) private returns (uint256 id) {
        id = three(action);
        vote(4, id);
        vote(5, id);
    }

    /// Attack: two thirds decide about one that is to come, and the delay is over when it can first see that.
    function testNoDelayGoesByBeforeTheOneConcernedCame() public {
        start(6);
        bytes memory theft = abi.encodeCall(OrganisationActions.setKeys, (7, 2, keysOf(44)));
        uint256 keys = five(theft);
        uint256 fees = five(abi.encodeCall(Accounts.setFeeRecipient, (peer(9), account(7))));
        wait(fees);
        bytes32[] memory cas = new bytes32[](1);
        cas[0] = ca(7);
        decide(abi.encodeCall(OrganisationActions.addOrganisation, (name(7), 2, keysOf(7), cas)));
        decide(abi.encodeCall(ValidatorActions.addValidator, (peer(9), 7, validatorKey(9), 1, account(9))));
        refusedToRun(keys);
        refusedToRun(fees);
        (, uint64 ready, uint32 concerned,) = gov.waiting(five(theft));
        check("it can answer", concerned == 7 && ready == block.timestamp + 2 days);
    }

    function refusedToRun(uint256 id) private {
        vm.prank(govKey(1, 0));
        vm.expectRevert(abi.encodeWithSelector(ConcernsAnother.selector, id, 7));
        gov.execute(id);
    }

    function testNothingWaitsWhereAllApprove() public {
        start(4);
        uint256 id = three(foreignCa());
        vote(4, id);
        check("at once", !isOpen(id));
    }

    /// Otherwise three of four would suspend the fourth at once, be all that are left, and wait no more.
    function testWhatHurtsOneThatIsSuspendedWaits() public {
        start(4);
        check("suspended", !isOpen(three(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)))));
        check("its keys", isOpen(three(foreignCa())));
        check("the delay", isOpen(three(abi.encodeCall(OrganisationActions.setDecisionDelay, (0)))));
        check("its place", isOpen(three(abi.encodeCall(OrganisationActions.removeOrganisation, (4)))));
        check("to resume it does not", !isOpen(three(abi.encodeCall(OrganisationActions.resumeOrganisation, (4)))));
    }

    function testOneThatIsSuspendedObjects() public {
        start(4);
        three(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)));
        uint256 id = three(foreignCa());
        (, uint64 ready,,) = gov.waiting(id);
        object(4, id);
        (, uint64 later,, bool objected) = gov.waiting(id);
        check("objected", objected);
        same("two days more", later, ready + 2 days);
    }

    function testOneThatTheGuardianHoldsObjects() public {
        start(4);
        decide(abi.encodeCall(Guardian.setGuardian, (account(77))));
        vm.prank(account(77));
        Guardian(CONTRACT).holdOrganisation(4);
        uint256 id = three(foreignCa());
        object(4, id);
        (,,, bool objected) = gov.waiting(id);
        check("objected", objected);
    }

    function testOnlyAnOrganisationsKeyObjects() public {
        start(4);
        uint256 id = three(foreignCa());
        vm.prank(account(77));
        vm.expectRevert(abi.encodeWithSelector(NotAGovernanceKey.selector, account(77)));
        gov.object(id);
    }

    function testNothingWaitsWhereOneDecidesAlone() public {
        start(1);
        decide(abi.encodeCall(RuleActions.setAccountsListed, (true)));
        check("alone", gov.settings().accountsListed);
    }

    function testAnObjectionLengthensTheDelayOnceAndAsksForOneMore() public {
        start(6);
        uint64 begin = uint64(block.timestamp);
        bytes memory action = abi.encodeCall(OrganisationActions.addCaKey, (6, ed(666), 0));
        agree(action);
        uint256 id = propose(1, 0, action);
        approve(1, 1, id);
        for (uint32 o = 2; o <= 4; o++) {
            vote(o, id);
        }
        decideOwn(6, abi.encodeCall(OrganisationActions.setSealingKey, (6, ed(1))));
        object(6, id);
        (,,,,,, uint256 needed) = gov.proposal(id);
        same("five of six are needed anyway, and never the one concerned", needed, 5);
        vote(5, id);
        (, uint64 ready,, bool objected) = gov.waiting(id);
        check("objected", objected);
        same("twice the delay", ready, begin + 4 days);
        vm.prank(govKey(6, 2));
        vm.expectRevert(abi.encodePacked(NothingToChange.selector));
        gov.object(id);
        wait(id);
        execute(id);
    }

    function testAnObjectionAfterTheLastApprovalCounts() public {
        start(7);
        bytes memory action = abi.encodeCall(OrganisationActions.addCaKey, (7, ed(666), 0));
        agree(action);
        uint256 id = propose(1, 0, action);
        approve(1, 1, id);
        for (uint32 o = 2; o <= 5; o++) {
            vote(o, id);
        }
        (, uint64 ready,,) = gov.waiting(id);
        object(7, id);
        (, uint64 later,,) = gov.waiting(id);
        same("two days more", later, ready + 2 days);
        wait(id);
        early(id, later);
        vote(6, id);
        check("six of seven", !isOpen(id));
    }

    function testAnObjectionNeverBlocks() public {
        start(4);
        uint256 id = three(foreignCa());
        object(4, id);
        (,,,,,, uint256 needed) = gov.proposal(id);
        same("the three others", needed, 3);
        wait(id);
        execute(id);
        check("carried out", !isOpen(id));
    }

    /// Attack: the one concerned objects, and an ally does not approve.
    function vetoed(uint32 n) private {
        start(n);
        uint64 begin = uint64(block.timestamp);
        uint256 id = propose(1, 0, abi.encodeCall(ValidatorActions.setPower, (peer(n), POWER - 1)));
        approve(1, 1, id);
        for (uint32 o = 2; o <= n - 2; o++) {
            vote(o, id);
        }
        object(n, id);
        (,,,,,, uint256 needed) = gov.proposal(id);
        same("all others", needed, n - 1);
        wait(id);
        (, uint64 ready,,) = gov.waiting(id);
        same("twice the delay", ready, begin + 4 days);
        early(id, ready);
        vm.warp(begin + 6 days - 1);
        early(id, ready);
        vm.warp(begin + 6 days);
        (,,,,,, needed) = gov.proposal(id);
        same("as otherwise", needed, n - 2);
        execute(id);
        check("carried out", !isOpen(id));
    }

    function testAnObjectionWithOneAllyNeverBlocksSeven() public {
        vetoed(7);
    }

    function testAnObjectionWithOneAllyNeverBlocksEight() public {
        vetoed(8);
    }

    function testAnObjectionWithOneAllyNeverBlocksNine() public {
        vetoed(9);
    }

    /// The same where the objection comes before enough approve, and then there is a week.
    function testAnEarlyObjectionWithOneAllyNeverBlocks() public {
        start(7);
        uint256 id = propose(1, 0, abi.encodeCall(ValidatorActions.setPower, (peer(7), POWER - 1)));
        object(7, id);
        approve(1, 1, id);
        for (uint32 o = 2; o <= 5; o++) {
            vote(o, id);
        }
        wait(id);
        early(id, uint64(block.timestamp));
        vm.warp(block.timestamp + 9 days);
        execute(id);
        check("carried out", !isOpen(id));
    }

    /// Attack: two days go by in which there is no block, and it is carried out in the first one.
    function testTimeWithoutBlocksIsNoTimeToAnswer() public {
        start(4);
        uint256 id = three(foreignCa());
        vm.warp(block.timestamp + 2 days);
        nextBlock();
        early(id, uint64(block.timestamp));
        approve(1, 0, id);
        check("nor by another approval", isOpen(id));
        blocks(ANSWER_BLOCKS - 2);
        early(id, uint64(block.timestamp));
        object(4, id);
        (,,, bool objected) = gov.waiting(id);
        check("the one concerned could answer", objected);
    }

    /// As many blocks as the delay has seconds are enough.
    function testAShortDelayIsOfFewBlocks() public {
        start(4);
        decide(abi.encodeCall(OrganisationActions.setDecisionDelay, (5)));
        uint256 id = three(foreignCa());
        vm.warp(block.timestamp + 5);
        blocks(4);
        (bool done,) = tryExecute(id);
        check("not yet", !done);
        nextBlock();
        (done,) = tryExecute(id);
        check("then", done);
    }

    function tryExecute(uint256 id) private returns (bool, bytes memory) {
        vm.prank(govKey(1, 0));
        return CONTRACT.call(abi.encodeCall(Decisions.execute, (id)));
    }

    function invited() private returns (address key) {
        key = account(99);
        address[] memory keys = new address[](1);
        keys[0] = key;
        bytes32[] memory cas = new bytes32[](1);
        cas[0] = ed(7);
        bytes memory action = abi.encodeCall(OrganisationActions.addOrganisation, ("fifth", 1, keys, cas));
        agree(action);
        check("invited", !isOpen(three(action)));
    }

    /// Attack: one that was invited by mistake joins meanwhile, and objects.
    function testAnInvitationIsTakenBackAtOnce() public {
        start(4);
        address key = invited();
        check("at once", !isOpen(three(abi.encodeCall(OrganisationActions.removeOrganisation, (5)))));
        vm.prank(key);
        vm.expectRevert(abi.encodeWithSelector(NoOrganisation.selector, 5));
        direct.acceptSeat(5);
    }

    /// Attack: two thirds hold a foreign key one approval short until just before the last seat is accepted, and the one
    /// invited joins with it.
    function testNoKeyIsGivenAtOnceToOneThatIsInvited() public {
        start(4);
        address key = invited();
        address[] memory accounts = new address[](1);
        accounts[0] = account(77);
        bytes[5] memory actions = [
            abi.encodeCall(OrganisationActions.addCaKey, (5, ed(78), 0)),
            abi.encodeCall(OrganisationActions.setSealingKey, (5, ed(79))),
            abi.encodeCall(Recovery.setRecoveryKey, (5, account(77))),
            abi.encodeCall(Accounts.setAdministrators, (5, accounts)),
            abi.encodeCall(Accounts.setSenders, (5, accounts))
        ];
        for (uint256 i = 0; i < actions.length; i++) {
            uint256 snapshot = vm.snapshotState();
            agree(actions[i]);
            uint256 id = three(actions[i]);
            check("it waits", isOpen(id) && waitsOnly(id));
            vm.prank(key);
            direct.acceptSeat(5);
            wait(id);
            // Of five.
            approve(4, 0, id);
            vm.prank(govKey(4, 1));
            vm.expectRevert(abi.encodeWithSelector(ConcernsAnother.selector, id, 5));
            gov.approve(id);
            vm.revertToState(snapshot);
        }
    }

    function testOneThatJoinedIsNotRemovedAtOnce() public {
        start(4);
        address key = invited();
        uint256 id = propose(1, 0, abi.encodeCall(OrganisationActions.removeOrganisation, (5)));
        approve(1, 1, id);
        vote(2, id);
        vm.prank(key);
        direct.acceptSeat(5);
        vote(3, id);
        vote(4, id);
        check("it waits", isOpen(id) && waitsOnly(id));
    }

    function testAnInvitationLapses() public {
        start(4);
        address key = invited();
        vm.warp(block.timestamp + 30 days);
        uint256 snapshot = vm.snapshotState();
        vm.prank(key);
        direct.acceptSeat(5);
        vm.revertToState(snapshot);
        vm.warp(block.timestamp + 1);
        vm.prank(key);
        vm.expectRevert(abi.encodeWithSelector(InvitationLapsed.selector, 5));
        direct.acceptSeat(5);
    }

    /// Attack: with an organisation that joins more must approve, and then the delay of all that waits began anew.
    function testWhoJoinsBeginsNoDelayAnew() public {
        start(4);
        address key = invited();
        uint256 id = three(abi.encodeCall(ValidatorActions.setPower, (peer(4), POWER - 1)));
        (, uint64 ready,,) = gov.waiting(id);
        vm.prank(key);
        direct.acceptSeat(5);
        approve(4, 0, id);
        (, uint64 now_,,) = gov.waiting(id);
        same("from the same time on", now_, ready);
        wait(id);
        early(id, ready);
        vm.prank(key);
        gov.approve(id);
        check("four of five", !isOpen(id));
    }

    function testOnlyTheOneConcernedObjects() public {
        start(4);
        uint256 id = three(foreignCa());
        vm.prank(govKey(3, 0));
        vm.expectRevert(abi.encodeWithSelector(NotConcerned.selector, id));
        gov.object(id);
        vm.prank(govKey(4, 0));
        gov.object(id);
        (,,, bool objected) = gov.waiting(id);
        check("one key of two does not", !objected);
        id = three(abi.encodeCall(RuleActions.setAccountsListed, (true)));
        vm.prank(govKey(4, 0));
        vm.expectRevert(abi.encodeWithSelector(NotConcerned.selector, id));
        gov.object(id);
    }

    /// Withdrawn approvals stop what waits, and it waits anew from the approval that makes them enough.
    function testWhatWaitsCanStillFail() public {
        start(4);
        uint256 id = three(foreignCa());
        vm.prank(govKey(3, 0));
        gov.withdraw(id);
        vm.warp(block.timestamp + 5 days);
        early(id, 0);
        anew(id);
    }

    /// Nobody withdrew: the organisation's new keys have not approved.
    function testWhatWaitsFailsWithTheKeysThatApproved() public {
        start(4);
        uint256 id = three(foreignCa());
        address[] memory keys = new address[](3);
        (keys[0], keys[1], keys[2]) = (govKey(3, 1), govKey(3, 0), govKey(3, 2));
        decideOwn(3, abi.encodeCall(OrganisationActions.setKeys, (3, 2, keys)));
        vm.warp(block.timestamp + 5 days);
        approve(3, 1, id);
        anew(id);
    }

    /// The third approves again.
    function anew(uint256 id) private {
        uint64 ready = uint64(block.timestamp) + 2 days;
        approve(3, 0, id);
        early(id, ready);
        wait(id);
        execute(id);
        check("carried out", !isOpen(id));
    }

    /// Taking back an approval of more than enough changes nothing.
    function testWhatEnoughApproveGoesOnToWait() public {
        start(7);
        bytes memory action = abi.encodeCall(OrganisationActions.addCaKey, (7, ed(666), 0));
        agree(action);
        uint256 id = propose(1, 0, action);
        approve(1, 1, id);
        for (uint32 o = 2; o <= 6; o++) {
            vote(o, id);
        }
        (, uint64 ready,,) = gov.waiting(id);
        vm.prank(govKey(6, 0));
        gov.withdraw(id);
        (, uint64 now_,,) = gov.waiting(id);
        same("from the same time on", now_, ready);
    }

    function testTheDelayIsSetLikeTheRest() public {
        start(4);
        uint256 id = three(abi.encodeCall(OrganisationActions.setDecisionDelay, (5 days)));
        check("it waits", isOpen(id));
        wait(id);
        execute(id);
        same("set", gov.decisionDelay(), 5 days);
        refused(
            abi.encodeCall(OrganisationActions.setDecisionDelay, (31 days)),
            abi.encodeWithSelector(OutOfRange.selector, "decisionDelay", 31 days, 0, 30 days)
        );
        decide(abi.encodeCall(OrganisationActions.setDecisionDelay, (0)));
        id = three(foreignCa());
        check("no delay", !isOpen(id));
    }

    // Recovery keys.

    function testARecoveryKeyGivesNewKeysAfterTheDelay() public {
        start(2);
        decideOwn(2, abi.encodeCall(Recovery.setRecoveryKey, (2, account(7))));
        same("may send", gov.permissions(account(7)), 1);
        vm.prank(account(7));
        direct.recover(2, 2, keysOf(44));
        (, uint64 ready) = direct.recoveryKey(2);
        same("two days", ready, block.timestamp + 2 days);
        vm.prank(account(7));
        vm.expectRevert(abi.encodeWithSelector(RecoveryNotDue.selector, 2, ready, 1 + ANSWER_BLOCKS));
        direct.recover(2, 2, keysOf(44));
        vm.warp(ready);
        vm.prank(account(7));
        vm.expectRevert(abi.encodeWithSelector(RecoveryNotDue.selector, 2, ready, 1 + ANSWER_BLOCKS));
        direct.recover(2, 2, keysOf(44));
        blocks(ANSWER_BLOCKS);
        vm.prank(account(7));
        direct.recover(2, 2, keysOf(44));
        same("those before still speak", gov.seatOf(govKey(2, 0)), 2);
        acceptSeats(2);
        same("the new ones", gov.seatOf(govKey(44, 0)), 2);
        same("not the old", gov.seatOf(govKey(2, 0)), 0);
    }

    /// Whoever watches need not remember it for ever.
    function testAnAnnouncedRecoveryExpires() public {
        start(2);
        decideOwn(2, abi.encodeCall(Recovery.setRecoveryKey, (2, account(7))));
        vm.prank(account(7));
        direct.recover(2, 2, keysOf(44));
        vm.warp(block.timestamp + 9 days + 1);
        vm.prank(account(7));
        direct.recover(2, 2, keysOf(44));
        same("announced anew", offered(2), 0);
        vm.warp(block.timestamp + 9 days);
        blocks(ANSWER_BLOCKS);
        vm.prank(account(7));
        direct.recover(2, 2, keysOf(44));
        same("in its last second", offered(2), 3);
    }

    function testAStolenRecoveryKeyTakesNothing() public {
        start(2);
        decideOwn(2, abi.encodeCall(Recovery.setRecoveryKey, (2, account(7))));
        vm.prank(account(7));
        direct.recover(2, 2, keysOf(44));
        decideOwn(2, abi.encodeCall(Recovery.setRecoveryKey, (2, account(8))));
        vm.warp(block.timestamp + 9 days);
        vm.prank(account(7));
        vm.expectRevert(abi.encodeWithSelector(NotTheRecoveryKey.selector, account(7), 2));
        direct.recover(2, 2, keysOf(44));
        // Other keys than those that were announced begin the delay anew.
        vm.prank(account(8));
        direct.recover(2, 2, keysOf(44));
        vm.warp(block.timestamp + 2 days);
        vm.prank(account(8));
        direct.recover(2, 1, keysOf(45));
        same("nothing offered", offered(2), 0);
        same("may send no more", gov.permissions(account(7)), 0);
    }

    function offered(uint32 id) private view returns (uint256) {
        (, address[] memory keys,) = direct.offer(id);
        return keys.length;
    }

    function recover(uint32 id) private {
        vm.prank(account(7));
        direct.recover(id, 2, keysOf(44));
    }

    function refusedToRecover(uint32 id, bytes memory reason) private {
        vm.prank(account(7));
        vm.expectRevert(reason);
        direct.recover(id, 2, keysOf(44));
    }

    /// Attack: the keys of one that the guardian holds cannot call off what a stolen recovery key announced.
    function testAStolenRecoveryKeyTakesNothingFromOneThatIsHeld() public {
        start(4);
        decide(abi.encodeCall(Guardian.setGuardian, (account(77))));
        decideOwn(1, abi.encodeCall(Recovery.setRecoveryKey, (1, account(7))));
        recover(1);
        vm.warp(block.timestamp + 2 days - 1);
        vm.prank(account(77));
        Guardian(CONTRACT).holdOrganisation(1);
        (,,, uint64 until) = direct.guard();
        refusedToRecover(1, abi.encodeWithSelector(OrganisationIsHeld.selector, 1, until));
        (, uint64 ready) = direct.recoveryKey(1);
        same("the delay begins when the hold ends", ready, until + 2 days);
        vm.warp(until + 1);
        nextBlock();
        refusedToRecover(1, abi.encodeWithSelector(RecoveryNotDue.selector, 1, ready, block.number + ANSWER_BLOCKS));
        decideOwn(1, abi.encodeCall(Recovery.setRecoveryKey, (1, address(0))));
        refusedToRecover(1, abi.encodeWithSelector(NotTheRecoveryKey.selector, account(7), 1));
    }

    function testARecoveryAnnouncedDuringAHoldWaitsForItsEnd() public {
        start(4);
        decide(abi.encodeCall(Guardian.setGuardian, (account(77))));
        decideOwn(1, abi.encodeCall(Recovery.setRecoveryKey, (1, account(7))));
        vm.prank(account(77));
        Guardian(CONTRACT).holdOrganisation(1);
        (,,, uint64 until) = direct.guard();
        recover(1);
        (, uint64 ready) = direct.recoveryKey(1);
        same("from then on", ready, until + 2 days);
        // Attack: a hundred blocks in the hold, then an outage of two days.
        blocks(ANSWER_BLOCKS);
        vm.warp(ready);
        nextBlock();
        refusedToRecover(1, abi.encodeWithSelector(RecoveryNotDue.selector, 1, ready, block.number + ANSWER_BLOCKS));
        blocks(ANSWER_BLOCKS);
        recover(1);
        same("offered", offered(1), 3);
    }

    function testAStolenRecoveryKeyTakesNothingFromOneThatIsSuspended() public {
        start(4);
        decideOwn(4, abi.encodeCall(Recovery.setRecoveryKey, (4, account(7))));
        three(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)));
        recover(4);
        vm.warp(block.timestamp + 3 days);
        blocks(ANSWER_BLOCKS);
        refusedToRecover(4, abi.encodeWithSelector(OrganisationSuspended.selector, 4));
        check("resumed", !isOpen(three(abi.encodeCall(OrganisationActions.resumeOrganisation, (4)))));
        (, uint64 ready) = direct.recoveryKey(4);
        same("the delay begins when it can answer", ready, block.timestamp + 2 days);
        refusedToRecover(4, abi.encodeWithSelector(RecoveryNotDue.selector, 4, ready, block.number + ANSWER_BLOCKS));
    }

    /// What expired is not brought back by a hold.
    function testAHoldBringsNoOldRecoveryBack() public {
        start(4);
        decide(abi.encodeCall(Guardian.setGuardian, (account(77))));
        decideOwn(1, abi.encodeCall(Recovery.setRecoveryKey, (1, account(7))));
        recover(1);
        (, uint64 before) = direct.recoveryKey(1);
        vm.warp(block.timestamp + 9 days + 1);
        vm.prank(account(77));
        Guardian(CONTRACT).holdOrganisation(1);
        (, uint64 ready) = direct.recoveryKey(1);
        same("as it was", ready, before);
    }

    /// Naming an account as a recovery key takes nothing from anybody.
    function testTwoOrganisationsMayNameOneRecoveryKey() public {
        start(2);
        decideOwn(1, abi.encodeCall(Recovery.setRecoveryKey, (1, account(7))));
        decideOwn(2, abi.encodeCall(Recovery.setRecoveryKey, (2, account(7))));
        decideOwn(1, abi.encodeCall(Recovery.setRecoveryKey, (1, address(0))));
        same("still the other's", gov.permissions(account(7)), 1);
    }

    function testCallsOfOneAccountAreNoActions() public {
        start(1);
        bytes memory none = abi.encodePacked(NotAnAction.selector);
        refused(abi.encodeCall(Consent.acceptSeat, (1)), none);
        refused(abi.encodeCall(Recovery.recover, (1, 1, keysOf(1))), none);
        refused(abi.encodeCall(Guardian.holdNode, (peer(1))), none);
        refused(abi.encodeCall(Guardian.holdOrganisation, (1)), none);
        refused(abi.encodeCall(Consent.prove, (ed(1), KeyRole.Ca, "x", "")), none);
    }
}
