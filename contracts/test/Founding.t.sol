// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

contract FoundingTest is GovernanceBase {
    function testViewsShowTheFounders() public {
        start(4);
        same("version", gov.version(), 1);
        IGovernance.Organisation[] memory os = organisations();
        same("organisations", os.length, 4);
        same("id", os[2].id, 3);
        same("name", os[2].name, "org-003");
        same("threshold", os[2].threshold, 2);
        same("keys", keccak256(abi.encode(os[2].keys)), keccak256(abi.encode(keysOf(3))));
        same("ca key", os[2].caKeys[0].key, ca(3));
        IMembership.Validator[] memory vs = gov.validators();
        same("validators", vs.length, 4);
        same("key", vs[3].key, validatorKey(4));
        same("power", vs[3].power, POWER);
        same("fee recipient", vs[3].feeRecipient, account(9004));
        IGovernance.Node[] memory ns = nodes();
        same("nodes", ns.length, 4);
        same("peer", ns[0].peer, peer(1));
        same("from", ns[0].from, 1);
        same("until", ns[0].until, 0);
        same("gas limit", gov.settings().gasLimit, 30_000_000);
        same("forks", gov.forks().length, 2);
        same("fork", gov.forks()[1].name, "prague");
    }

    function testFoundersMayHaveRecoveryKeys() public {
        place();
        IGovernance.Founding memory f = founding(2);
        f.recoveryKeys = new address[](2);
        f.recoveryKeys[1] = account(7);
        vm.roll(0);
        foundWith(f);
        nextBlock();
        (address none,) = direct.recoveryKey(1);
        (address key,) = direct.recoveryKey(2);
        same("none", none, address(0));
        same("recovery key", key, account(7));
        same("may send", gov.permissions(account(7)), 1);
        vm.prank(account(7));
        direct.recover(2, 2, keysOf(44));
        (, uint64 ready) = direct.recoveryKey(2);
        same("two days", ready, block.timestamp + 2 days);
    }

    function testSlotsWhereNodesReadThem() public {
        start(1);
        same("slot 0", uint256(vm.load(CONTRACT, 0)), gov.version());
        bytes32 slot = keccak256(abi.encode(govKey(1, 0), uint256(1)));
        same("slot 1", uint256(vm.load(CONTRACT, slot)) & 3, 1);
        same("view", gov.permissions(govKey(1, 0)), 1);
    }

    function testOnlyTheNodeFoundsAndOpens() public {
        place();
        bytes memory f = abi.encode(founding(1));
        vm.expectRevert(abi.encodePacked(OnlyTheNode.selector));
        gov.found(f);
        vm.expectRevert(abi.encodePacked(OnlyTheNode.selector));
        gov.open(new bytes32[](0), new bytes32[](0));
    }

    function testFoundedOnce() public {
        start(1);
        bytes memory again = abi.encode(founding(1));
        vm.prank(NODE);
        vm.expectRevert(abi.encodePacked(AlreadyFounded.selector));
        gov.found(again);
        // Nor does a vote found again.
        refused(abi.encodeCall(GovernanceActions.found, (again)), abi.encodePacked(AlreadyFounded.selector));
    }

    function testNobodyIsNoFounder() public {
        place();
        IGovernance.Founding memory f = founding(1);
        f.nodes = new IGovernance.Node[](0);
        refusedFounding(f, abi.encodeWithSelector(NoValidatorAt.selector, block.number + 1));
        f = founding(1);
        f.organisations = new IGovernance.Organisation[](0);
        refusedFounding(f, abi.encodeWithSelector(LastOrganisation.selector, 0));
        f = founding(2);
        f.organisations[1].id = 1;
        refusedFounding(f, abi.encodeWithSelector(NoOrganisation.selector, 1));
        f = founding(1);
        f.nodes[0].role = IGovernance.Role.Full;
        refusedFounding(f, abi.encodeWithSelector(NoValidator.selector, f.nodes[0].peer));
        f = founding(1);
        f.nodes[0].validatorKey = bytes32(uint256(3));
        refusedFounding(f, abi.encodeWithSelector(NotAKey.selector, bytes32(uint256(3))));
        f = founding(1);
        f.settings.gasLimit = 1;
        refusedFounding(f, abi.encodeWithSelector(OutOfRange.selector, "gasLimit", 1, 1_000_000, 600_000_000));
        f = founding(1);
        f.validatorDelay = 0;
        refusedFounding(f, abi.encodeWithSelector(OutOfRange.selector, "validatorDelay", 0, 1, 10_000));
        f = founding(1);
        f.recoveryKeys = new address[](2);
        f.recoveryKeys[1] = account(7);
        refusedFounding(f, abi.encodeWithSelector(NoOrganisation.selector, 2));
    }

    function refusedFounding(IGovernance.Founding memory f, bytes memory reason) private {
        bytes memory encoded = abi.encode(f);
        vm.prank(NODE);
        vm.expectRevert(reason);
        gov.found(encoded);
    }

    function testGenesisMustPlaceTheActions() public {
        vm.etch(CONTRACT, type(Governance).runtimeCode);
        refusedFounding(founding(1), abi.encodePacked(NoActions.selector));
    }
}
