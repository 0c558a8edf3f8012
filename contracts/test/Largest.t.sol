// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// What the largest consortium costs, with nothing read before: docs/governance.md quotes these.
contract LargestTest is GovernanceBase {
    /// 128 organisations of 16 keys, 4 CA keys; 128 validators.
    function startLargest() private {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(128);
        for (uint32 o = 0; o < 128; o++) {
            address[] memory keys = new address[](16);
            for (uint256 i = 0; i < 16; i++) {
                keys[i] = govKey(o + 1, i);
            }
            f.organisations[o].keys = keys;
            IGovernance.CaKey[] memory cas = new IGovernance.CaKey[](4);
            for (uint256 i = 0; i < 4; i++) {
                cas[i] = IGovernance.CaKey(i == 0 ? ca(o + 1) : ed(10_000 + 4 * o + i), i == 0 ? 1 : uint64(50 + o), 0);
            }
            f.organisations[o].caKeys = cas;
        }
        foundWith(f);
        nextBlock();
    }

    /// Gas of `call` by `sender`, all storage cold, with the transaction's own 21,000.
    function cost(address sender, bytes memory call) private returns (uint256 used) {
        vm.cool(CONTRACT);
        vm.cool(gov.ACTIONS());
        vm.prank(sender);
        uint256 before = gasleft();
        (bool done,) = CONTRACT.call(call);
        used = before - gasleft() + 21_000;
        check("done", done);
    }

    function within(string memory what, uint256 used, uint256 most) private pure {
        if (used > most || used < most / 2) revert Different(what, used, most);
    }

    function testFounding() public {
        place();
        vm.roll(0);
        bytes memory call = abi.encodeCall(gov.found, (abi.encode(founding(128))));
        within("gas to found", cost(NODE, call), 98_100_000);
    }

    /// So the smallest gas limit does not stop votes: also the one that raises it.
    function testTheLastApproval() public {
        startLargest();
        decide(abi.encodeCall(RuleActions.setGasLimit, (1_000_000)));
        uint256 id = propose(1, 0, abi.encodeCall(RuleActions.setGasLimit, (40_000_000)));
        approve(1, 1, id);
        // Those who approve in part must be looked at too.
        for (uint32 o = 87; o <= 128; o++) {
            approve(o, 0, id);
        }
        for (uint32 o = 2; o < 86; o++) {
            vote(o, id);
        }
        approve(86, 0, id);
        uint256 used = cost(govKey(86, 1), abi.encodeCall(Decisions.approve, (id)));
        same("raised", gov.settings().gasLimit, 40_000_000);
        within("gas of the last approval", used, 960_000);
    }

    /// Attack: under a third of the organisations name accounts that cannot send, so that nobody can decide about fees.
    function testWhoCouldPayIsFoundWithinATransaction() public {
        startLargest();
        bytes memory fat = new bytes(24_576);
        for (uint32 o = 1; o <= 128; o++) {
            address[] memory senders = new address[](16);
            for (uint256 i = 0; i < 16; i++) {
                senders[i] = account(100_000 + uint256(o) * 16 + i);
                if (o <= 42) vm.etch(senders[i], fat);
            }
            decideOwn(o, abi.encodeCall(Accounts.setSenders, (o, senders)));
            for (uint256 i = 0; i < 16; i++) {
                if (o <= 42 || i == 0) vm.etch(govKey(o, i), fat);
            }
            // As dear as it can be and pass: the last that is looked at.
            if (o > 42) vm.deal(senders[7], 1 ether);
            if (o > 42) vm.deal(govKey(o, 15), 1 ether);
        }
        uint256 id = propose(43, 0, abi.encodeCall(RuleActions.setMinBaseFee, (1)));
        approve(43, 1, id);
        for (uint32 o = 44; o < 128; o++) {
            vote(o, id);
        }
        vote(128, id);
        wait(id);
        for (uint32 o = 1; o <= 128; o++) {
            for (uint256 i = 0; i < 16; i++) {
                vm.cool(govKey(o, i));
                vm.cool(account(100_000 + uint256(o) * 16 + i));
            }
        }
        uint256 used = cost(govKey(128, 1), abi.encodeCall(Decisions.execute, (id)));
        same("decided", gov.settings().minBaseFee, 1);
        within("gas of its execution", used, 15_200_000);
    }

    function testAddingAValidatorIsTheDearestDecision() public {
        startLargest();
        decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(5))));
        bytes memory action =
            abi.encodeCall(ValidatorActions.addValidator, (peer(200), 1, validatorKey(200), 1, account(1)));
        agree(action);
        uint256 id = propose(1, 0, action);
        approve(1, 1, id);
        for (uint32 o = 2; o < 86; o++) {
            vote(o, id);
        }
        approve(86, 0, id);
        within("gas of the last approval", cost(govKey(86, 1), abi.encodeCall(Decisions.approve, (id))), 2_080_000);
    }

    function testOpenBeforeAHeight() public {
        startLargest();
        vm.roll(48);
        bytes memory call = abi.encodeCall(gov.open, (new bytes32[](0), new bytes32[](0)));
        cost(NODE, call);
        vm.roll(49);
        within("gas to open", cost(NODE, call), 3_100_000);
    }

    /// As many as may be absent while blocks go on.
    function testOpenWithoutAThird() public {
        startLargest();
        bytes32[] memory third = new bytes32[](42);
        for (uint32 i = 0; i < 42; i++) {
            third[i] = validatorKey(1 + i);
        }
        vm.roll(block.number + 1);
        within("gas to open", cost(NODE, abi.encodeCall(gov.open, (third, new bytes32[](0)))), 1_400_000);
    }

    /// Were one to have more than two thirds of the power, all others could be away and move at once.
    function testOpenThatMovesAllSeatsButOne() public {
        startLargest();
        bytes32[] memory most = new bytes32[](127);
        for (uint32 i = 0; i < 127; i++) {
            most[i] = validatorKey(1 + i);
            bytes memory naming = abi.encodeCall(Standbys.setStandby, (peer(1 + i), ed(20_000 + i)));
            prove(ed(20_000 + i), KeyRole.Validator, name(1 + i));
            vm.prank(govKey(1 + i, 0));
            approve(1 + i, 1, gov.proposeOwn(naming));
        }
        for (uint256 i = 0; i < 64; i++) {
            vm.roll(block.number + 1);
            if (i == 63) break;
            vm.prank(NODE);
            gov.open(most, new bytes32[](0));
        }
        within("gas to open", cost(NODE, abi.encodeCall(gov.open, (most, new bytes32[](0)))), 14_000_000);
        (, uint64 moved) = Standbys(CONTRACT).standby(peer(127));
        check("moved", moved == block.timestamp);
    }

    function testConvictingAllButOne() public {
        startLargest();
        bytes32[] memory most = new bytes32[](127);
        for (uint32 i = 0; i < 127; i++) {
            most[i] = validatorKey(1 + i);
        }
        vm.roll(block.number + 1);
        within("gas to open", cost(NODE, abi.encodeCall(gov.open, (new bytes32[](0), most))), 4_700_000);
        same("one left", gov.validators().length, 1);
    }

    /// One that stays and many that leave, as many that are to come, the last decided first to happen: for each that
    /// is convicted all that is to come must be looked at.
    function testConvictingWhereNoneStays() public {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(1);
        f.nodes = new IGovernance.Node[](128);
        for (uint32 i = 0; i < 128; i++) {
            f.nodes[i] = IGovernance.Node(
                peer(i), 1, IGovernance.Role.Validator, false, validatorKey(i), i == 0 ? 10_000 : 1, account(9), 1, 0
            );
        }
        foundWith(f);
        nextBlock();
        for (uint32 i = 1; i < 127; i++) {
            decide(abi.encodeCall(ValidatorActions.setValidatorDelay, (4000 - 3 * i)));
            decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(i))));
            decide(abi.encodeCall(ValidatorActions.setValidatorDelay, (9000 - 3 * i)));
            uint32 n = 127 + i;
            decide(abi.encodeCall(ValidatorActions.addValidator, (peer(n), 1, validatorKey(n), 1, account(9))));
            nextBlock();
        }
        // One leaves when the first of those has come.
        decide(abi.encodeCall(ValidatorActions.setValidatorDelay, (9990)));
        decide(abi.encodeCall(ValidatorActions.removeValidator, (peer(127))));
        bytes32[] memory convicted = new bytes32[](16);
        for (uint32 i = 0; i < 16; i++) {
            convicted[i] = validatorKey(i);
        }
        vm.roll(block.number + 1);
        within("gas to open", cost(NODE, abi.encodeCall(gov.open, (new bytes32[](0), convicted))), 132_000_000);
        same("the others go on", gov.validators().length, 112);
    }

    function testReadingOrganisationsAndNodes() public {
        startLargest();
        within("organisations", cost(NODE, abi.encodeCall(gov.organisations, (0, 500))), 9_100_000);
        within("nodes", cost(NODE, abi.encodeCall(gov.nodes, (0, 500))), 1_500_000);
        within("validators", cost(NODE, abi.encodeCall(gov.validators, ())), 1_700_000);
    }

    /// A 32nd of the most, 128 times 64.
    function testReadingSerials() public {
        startLargest();
        for (uint32 o = 1; o <= 4; o++) {
            for (uint160 i = 0; i < 64; i++) {
                decideOwn(o, abi.encodeCall(OrganisationActions.revokeSerial, (o, i)));
            }
        }
        within("serials", cost(NODE, abi.encodeCall(gov.revokedSerials, (0, 500))), 1_300_000);
    }
}
