// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Presence.t.sol";

/// Random walks in terms of power online: decisions, also about keys that nobody runs, while nodes of up to a third
/// of the power go away and come back. The nodes that run are a quorum of every block.
contract PresenceWalkTest is PresenceBase {
    uint256 private constant STEPS = 50;
    uint32 private constant PEERS = 9;
    uint32 private constant ORGANISATIONS = 5;

    uint256 private _fresh;

    /// forge-config: default.fuzz.runs = 40
    function testFuzzNoDecisionStopsTheChain(uint256 seed) public {
        // So short that also few blocks go by.
        start(ORGANISATIONS, 3);
        nextBlock();
        for (uint256 i = 0; i < STEPS; i++) {
            seed = uint256(keccak256(abi.encode(seed)));
            if (seed % 6 == 0) comeOrGo(seed >> 8);
            else if (seed % 6 == 1) blocks(1 + (seed >> 8) % (2 * DELAY));
            else attempt(anAction(seed >> 8));
        }
        blocks(2 * DELAY);
    }

    function nextBlock(bytes32[] memory equivocators) internal override {
        super.nextBlock(equivocators);
        (uint256 runs, uint256 all) = running(0);
        check("the nodes that run are a quorum", 3 * runs > 2 * all);
    }

    /// Power of the nodes that run, as if that of `without` did not, and of all, in this block.
    function running(bytes32 without) private view returns (uint256 runs, uint256 all) {
        IMembership.Validator[] memory set = gov.validators();
        for (uint256 i = 0; i < set.length; i++) {
            all += set[i].power;
            if (!_off[set[i].key] && set[i].key != without) runs += set[i].power;
        }
    }

    /// What is pending has come; then one goes, if the others are a quorum, and is missed; or one comes back.
    function comeOrGo(uint256 dice) private {
        blocks(2 * DELAY);
        IMembership.Validator[] memory set = gov.validators();
        bytes32 key = set[dice % set.length].key;
        (uint256 runs, uint256 all) = running(key);
        if (!_off[key] && 3 * runs <= 2 * all) return;
        _off[key] = !_off[key];
        blocks(PRESENCE + 2);
    }

    function anAction(uint256 dice) private returns (bytes memory) {
        uint32 id = uint32(1 + (dice >> 8) % ORGANISATIONS);
        bytes32 node = peer(uint32(1 + (dice >> 16) % PEERS));
        uint64 power = uint64(1 + (dice >> 24) % 25);
        bytes32 key = ed(5_000 + _fresh++);
        // A third of the keys that come are nobody's.
        _off[key] = (dice >> 32) % 3 == 0;
        uint256 what = dice % 9;
        if (what == 8) {
            // A machine that does not run would lose the seat its vote, by its owner's mistake.
            _off[key] = false;
            return abi.encodeCall(Standbys.setStandby, (node, key));
        }
        if (what <= 1) return abi.encodeCall(ValidatorActions.addValidator, (node, id, key, power, account(1)));
        if (what == 2) return abi.encodeCall(ValidatorActions.removeValidator, (node));
        if (what == 3) return abi.encodeCall(ValidatorActions.setPower, (node, power));
        if (what == 4) return abi.encodeCall(OrganisationActions.suspendOrganisation, (id));
        if (what == 5) return abi.encodeCall(OrganisationActions.resumeOrganisation, (id));
        if (what == 6 && (dice >> 40) % 4 == 0) return abi.encodeCall(ValidatorActions.revokeNode, (node, id));
        // Of one that no quorum is without the key changes all the same, on its owner's word that it runs.
        IMembership.Validator[] memory set = gov.validators();
        for (uint256 i = 0; i < set.length; i++) {
            (uint256 others, uint256 all) = (0, 0);
            for (uint256 j = 0; j < set.length; j++) {
                all += set[j].power;
                if (j != i) others += set[j].power;
            }
            if (3 * others <= 2 * all) _off[key] = false;
        }
        return abi.encodeCall(ValidatorActions.rotateValidatorKey, (node, key));
    }

    /// All that are active decide; whether it is allowed or not.
    function attempt(bytes memory action) private {
        agree(action);
        IGovernance.Organisation[] memory all = organisations();
        uint256 id = 0;
        for (uint256 i = 0; i < all.length; i++) {
            if (all[i].status != IGovernance.Status.Active) continue;
            for (uint256 key = 0; key < 2 && (id == 0 || isOpen(id)); key++) {
                vm.prank(all[i].keys[key]);
                if (id == 0) id = gov.propose(action);
                else speak(abi.encodeCall(Decisions.approve, (id)));
            }
        }
        if (isOpen(id) && waitsOnly(id)) {
            wait(id);
            (address proposer,,,,,,) = gov.proposal(id);
            vm.prank(proposer);
            speak(abi.encodeCall(Decisions.execute, (id)));
        }
        if (!isOpen(id)) return;
        (address who,,,,,,) = gov.proposal(id);
        vm.prank(who);
        gov.withdraw(id);
    }

    function speak(bytes memory call) private {
        (bool done,) = CONTRACT.call(call);
        done;
    }
}
