// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// Accounts that belong to organisations: who adds, who freezes, and what nobody can take.
contract AccountsTest is GovernanceBase {
    address private constant ANNA = address(0xa11a);
    address private constant BORIS = address(0xb0b);

    function administrator(uint32 id) private pure returns (address) {
        return account(700 + id);
    }

    /// Organisations with an administrator each.
    function begin(uint32 count) private {
        start(count);
        for (uint32 id = 1; id <= count; id++) {
            decideOwn(id, abi.encodeCall(Accounts.setAdministrators, (id, one(administrator(id)))));
        }
    }

    function one(address key) private pure returns (address[] memory keys) {
        keys = new address[](1);
        keys[0] = key;
    }

    function add(uint32 id, address who) private {
        vm.prank(administrator(id));
        direct.addAccounts(id, one(who));
    }

    function refusedToAdd(uint32 id, address who, uint32 belongs) private {
        bytes32 before = vm.load(CONTRACT, keccak256(abi.encode(who, uint256(1))));
        vm.recordLogs();
        add(id, who);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        same("one event", logs.length, 1);
        same("kept", logs[0].topics[0], keccak256("AccountBelongs(uint32,address,uint32)"));
        same("whose", abi.decode(logs[0].data, (uint256)), belongs);
        same("as before", vm.load(CONTRACT, keccak256(abi.encode(who, uint256(1)))), before);
    }

    function freeze(uint32 id, address who) private {
        vm.prank(administrator(id));
        direct.freezeAccounts(id, one(who));
    }

    function choose(address who, uint32 id) private {
        vm.prank(who);
        direct.chooseOrganisation(id);
    }

    function owner(address who) private view returns (uint32 id) {
        (id,,) = direct.belongsTo(who);
    }

    function testAnAdministratorAddsAndFreezes() public {
        begin(3);
        uint64 version = gov.version();
        same("nothing before", gov.permissions(ANNA), 0);
        add(1, ANNA);
        same("may transact", gov.permissions(ANNA), 1);
        same("belongs", owner(ANNA), 1);
        freeze(1, ANNA);
        same("frozen", gov.permissions(ANNA), 0);
        add(1, ANNA);
        same("again", gov.permissions(ANNA), 1);
        same("nodes read it by slot", gov.version(), version);
        same("the administrator itself may", gov.permissions(administrator(1)), 1);
        same("and speaks for nobody", gov.seatOf(administrator(1)), 0);
        decideOwn(1, abi.encodeCall(Accounts.setAdministrators, (1, new address[](0))));
        same("no more", gov.permissions(administrator(1)), 0);
        vm.prank(administrator(1));
        vm.expectRevert(abi.encodeWithSelector(NotAnAdministrator.selector, administrator(1), 1));
        direct.freezeAccounts(1, one(ANNA));
        same("its accounts stay", gov.permissions(ANNA), 1);
    }

    function testNobodyElseAddsOrFreezes() public {
        begin(3);
        add(1, ANNA);
        vm.prank(administrator(2));
        vm.expectRevert(abi.encodeWithSelector(NotAnAdministrator.selector, administrator(2), 1));
        direct.addAccounts(1, one(BORIS));
        vm.prank(administrator(2));
        vm.expectRevert(abi.encodeWithSelector(NotItsAccount.selector, ANNA, 2));
        direct.freezeAccounts(2, one(ANNA));
        refusedToAdd(2, ANNA, 1);
        address key = govKey(1, 0);
        vm.prank(key);
        vm.expectRevert(abi.encodeWithSelector(NotAnAdministrator.selector, key, 1));
        direct.addAccounts(1, one(BORIS));
        // No decision calls it in an organisation's name.
        bytes memory action = abi.encodeCall(Accounts.addAccounts, (1, one(BORIS)));
        refused(action, abi.encodePacked(NotAnAction.selector));
        bytes memory many = abi.encodeCall(Accounts.setAdministrators, (1, new address[](17)));
        refusedOwn(1, many, abi.encodeWithSelector(OutOfRange.selector, "accounts", 17, 0, 16));
    }

    function testAnOrganisationTakesItsAccountsAlong() public {
        begin(4);
        add(4, ANNA);
        add(4, BORIS);
        decide(permit(BORIS, 1));
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)));
        same("suspended with it", gov.permissions(ANNA), 0);
        same("what a vote gave stays", gov.permissions(BORIS), 1);
        vm.prank(administrator(4));
        vm.expectRevert(abi.encodeWithSelector(OrganisationSuspended.selector, 4));
        direct.addAccounts(4, one(account(5)));
        decide(abi.encodeCall(OrganisationActions.resumeOrganisation, (4)));
        same("back with it", gov.permissions(ANNA), 1);
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (4)));
        same("gone with it", gov.permissions(ANNA), 0);
        add(1, ANNA);
        same("another may add it", gov.permissions(ANNA), 1);
    }

    function testOneThatIsInvitedHasNoAccountsYet() public {
        begin(3);
        bytes32[] memory cas = new bytes32[](1);
        cas[0] = ca(4);
        bytes memory invited = abi.encodeCall(OrganisationActions.addOrganisation, (name(4), 1, one(BORIS), cas));
        agree(invited);
        uint256 id = propose(1, 0, invited);
        approve(1, 1, id);
        vote(2, id);
        vote(3, id);
        same("no word of its own yet", uint256(vm.load(CONTRACT, keccak256(abi.encode(4, 1)))), 0);
        acceptSeats(4);
        vm.prank(BORIS);
        gov.proposeOwn(abi.encodeCall(Accounts.setAdministrators, (4, one(administrator(4)))));
        add(4, ANNA);
        same("now", gov.permissions(ANNA), 1);
    }

    /// Naming another's account and freezing it takes nothing.
    function testAForeignAccountIsNotTaken() public {
        begin(3);
        add(2, ANNA);
        freeze(2, ANNA);
        add(1, ANNA);
        same("its own adds it", gov.permissions(ANNA), 1);
        refusedToAdd(2, ANNA, 1);
        vm.prank(administrator(2));
        vm.expectRevert(abi.encodeWithSelector(NotItsAccount.selector, ANNA, 2));
        direct.freezeAccounts(2, one(ANNA));
        // One that was named and can send goes by itself, and says where.
        add(2, BORIS);
        choose(BORIS, 1);
        same("left", gov.permissions(BORIS), 0);
        refusedToAdd(2, BORIS, 1);
        add(1, BORIS);
        same("where it chose", owner(BORIS), 1);
        choose(BORIS, 1);
        same("to choose its own changes nothing", gov.permissions(BORIS), 1);
        choose(BORIS, 0);
        same("left", owner(BORIS), 0);
        add(2, BORIS);
        same("any may add it", owner(BORIS), 2);
        vm.prank(BORIS);
        vm.expectRevert(abi.encodeWithSelector(NoOrganisation.selector, 9));
        direct.chooseOrganisation(9);
        // What a vote or a seat gave is none of theirs.
        decide(permit(account(5), 3));
        add(2, account(5));
        freeze(2, account(5));
        same("as all decided", gov.permissions(account(5)), 3);
        address key = govKey(1, 0);
        add(2, key);
        freeze(2, key);
        same("as its seat", gov.permissions(key), 1);
    }

    /// Without a list's permission it could not choose another by itself.
    function testAnAccountOutlivesTheOrganisationThatItChose() public {
        begin(4);
        (address carla, address dora) = (account(801), account(802));
        address[4] memory all = [ANNA, BORIS, carla, dora];
        for (uint256 i = 0; i < 4; i++) {
            if (i < 3) add(4, all[i]);
            choose(all[i], 4);
            refusedToAdd(1, all[i], 4);
        }
        freeze(4, ANNA);
        add(1, ANNA);
        same("another adds whom it froze", gov.permissions(ANNA), 1);
        (uint32 id,, uint32 chosen) = direct.belongsTo(ANNA);
        check("for good", id == 1 && chosen == 0);
        decide(abi.encodeCall(OrganisationActions.suspendOrganisation, (4)));
        add(1, BORIS);
        decide(abi.encodeCall(OrganisationActions.resumeOrganisation, (4)));
        refusedToAdd(4, BORIS, 1);
        refusedToAdd(1, carla, 4);
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (4)));
        add(1, carla);
        add(1, dora);
        same("one that is gone keeps nobody", gov.permissions(carla) + gov.permissions(dora), 2);
    }

    /// Another administrator names one of many first.
    function testOneThatBelongsElsewhereStopsNoOther() public {
        begin(3);
        add(2, BORIS);
        address[] memory three = new address[](3);
        (three[0], three[1], three[2]) = (ANNA, BORIS, account(803));
        vm.prank(administrator(1));
        direct.addAccounts(1, three);
        check("the others", owner(ANNA) == 1 && owner(account(803)) == 1);
        same("not that one", owner(BORIS), 2);
    }

    /// The choice holds against others also where the chosen one did not add it yet, whoever froze it before.
    function testAFrozenAccountGoesOnlyWhereItChose() public {
        begin(3);
        add(2, ANNA);
        freeze(2, ANNA);
        choose(ANNA, 1);
        refusedToAdd(3, ANNA, 1);
        add(1, ANNA);
        same("there", owner(ANNA), 1);
    }

    /// A vote about an account does not lose whose it is.
    function testAVoteKeepsWhoseItIs() public {
        begin(3);
        add(1, ANNA);
        choose(ANNA, 1);
        decide(permit(ANNA, 2));
        same("both", gov.permissions(ANNA), 3);
        decide(permit(ANNA, 0));
        same("its organisation's stays", gov.permissions(ANNA), 1);
        (uint32 id, bool frozen, uint32 chosen) = direct.belongsTo(ANNA);
        check("as before", id == 1 && !frozen && chosen == 1);
    }

    function testAnOrganisationThatIsHeldAddsNobody() public {
        begin(4);
        decide(abi.encodeCall(Guardian.setGuardian, (account(77))));
        vm.prank(account(77));
        direct.holdOrganisation(4);
        (,,, uint64 until) = direct.guard();
        vm.prank(administrator(4));
        vm.expectRevert(abi.encodeWithSelector(OrganisationIsHeld.selector, 4, until));
        direct.addAccounts(4, one(ANNA));
    }

    /// All may name administrators for one; it waits, and the one concerned may object.
    function testAllNameAdministratorsOfAnotherAfterTheDelay() public {
        begin(4);
        uint256 id = propose(1, 0, abi.encodeCall(Accounts.setAdministrators, (4, one(BORIS))));
        approve(1, 1, id);
        vote(2, id);
        vote(3, id);
        (bool delayed,, uint32 concerned,) = gov.waiting(id);
        check("it waits", delayed && concerned == 4 && isOpen(id));
        wait(id);
        execute(id);
        same("named", direct.administrators(4)[0], BORIS);
    }

    function permit(address who, uint256 bits) private pure returns (bytes memory) {
        (address[] memory accounts, uint256[] memory granted) = (new address[](1), new uint256[](1));
        (accounts[0], granted[0]) = (who, bits);
        return abi.encodeCall(RuleActions.setPermissions, (accounts, granted));
    }
}
