// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// Random approvals, withdrawals, changes of keys and suspensions against a model that
/// counts from scratch: a proposal passes exactly when the model says so.
contract VotesTest is GovernanceBase {
    uint32 private constant ORGANISATIONS = 5;
    uint256 private constant STEPS = 60;

    /// Which account approved; `setKeys` clears it for the organisation's.
    mapping(address => bool) private _approved;

    function testFuzzVotes(uint256 seed) public {
        start(ORGANISATIONS);
        uint256 id = propose(1, 0, abi.encodeCall(RuleActions.setGasLimit, (40_000_000)));
        _approved[govKey(1, 0)] = true;
        for (uint256 i = 0; i < STEPS; i++) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint32 o = uint32(1 + seed % ORGANISATIONS);
            IGovernance.Organisation memory org = organisations()[o - 1];
            uint256 what = (seed >> 8) % 16;
            if (what == 0) changeKeys(org, seed >> 16);
            else if (what == 1) suspendOrResume(org);
            else if (what <= 3) withdraw(org, id, (seed >> 16) % org.keys.length);
            else if (approveOne(org, id, (seed >> 16) % org.keys.length)) return;
        }
    }

    /// Whether it passed, which the model foretold.
    function approveOne(IGovernance.Organisation memory org, uint256 id, uint256 key) private returns (bool) {
        bool active = org.status == IGovernance.Status.Active;
        if (active) _approved[org.keys[key]] = true;
        bool passes = active && modelPasses();
        vm.prank(org.keys[key]);
        (bool done,) = CONTRACT.call(abi.encodeCall(Decisions.approve, (id)));
        check("only who is active approves", done == active);
        check("passes exactly when the model does", isOpen(id) != passes);
        same("the action ran exactly then", gov.settings().gasLimit, passes ? 40_000_000 : 30_000_000);
        return passes;
    }

    function modelPasses() private view returns (bool) {
        IGovernance.Organisation[] memory all = organisations();
        uint256 active = 0;
        uint256 voted = 0;
        for (uint256 i = 0; i < all.length; i++) {
            if (all[i].status != IGovernance.Status.Active) continue;
            active += 1;
            uint256 approvals = 0;
            for (uint256 j = 0; j < all[i].keys.length; j++) {
                if (_approved[all[i].keys[j]]) approvals += 1;
            }
            if (approvals >= all[i].threshold) voted += 1;
        }
        return 3 * voted > 2 * active;
    }

    function withdraw(IGovernance.Organisation memory org, uint256 id, uint256 key) private {
        address who = org.keys[key];
        // The proposer's withdrawal would end it.
        if (who == govKey(1, 0)) return;
        bool counted = gov.hasApproved(id, who) && org.status == IGovernance.Status.Active;
        vm.prank(who);
        (bool done,) = CONTRACT.call(abi.encodeCall(Decisions.withdraw, (id)));
        check("only what was given is taken back", done == counted);
        if (done) _approved[who] = false;
    }

    /// Two or three keys, old ones and new ones, of which one or two speak.
    function changeKeys(IGovernance.Organisation memory org, uint256 dice) private {
        if (org.status != IGovernance.Status.Active) return;
        address[] memory keys = new address[](2 + dice % 2);
        for (uint256 i = 0; i < keys.length; i++) {
            keys[i] = (dice >> (8 + i)) & 1 == 0 && i < org.keys.length ? org.keys[i] : account(dice ^ i);
        }
        uint8 threshold = uint8(1 + (dice >> 32) % 2);
        for (uint256 i = 0; i < org.keys.length; i++) {
            _approved[org.keys[i]] = false;
        }
        speak(org, true, abi.encodeCall(OrganisationActions.setKeys, (org.id, threshold, keys)));
        acceptSeats(org.id);
    }

    function suspendOrResume(IGovernance.Organisation memory org) private {
        bytes memory action = org.status == IGovernance.Status.Active
            ? abi.encodeCall(OrganisationActions.suspendOrganisation, (org.id))
            : abi.encodeCall(OrganisationActions.resumeOrganisation, (org.id));
        IGovernance.Organisation[] memory all = organisations();
        uint256 active = 0;
        for (uint256 i = 0; i < all.length; i++) {
            if (all[i].status == IGovernance.Status.Active) active += 1;
        }
        // So that those who sign are a quorum beside one that comes back.
        if (org.status == IGovernance.Status.Active && active <= 3) return;
        uint256 id = 0;
        for (uint256 i = 0; i < all.length; i++) {
            if (all[i].status != IGovernance.Status.Active || (id != 0 && !isOpen(id))) continue;
            id = id == 0 ? speak(all[i], false, action) : speakOn(all[i], id);
        }
        check("decided", !isOpen(id));
        // Its key is seen to sign again.
        blocks(2);
    }

    function speak(IGovernance.Organisation memory org, bool own, bytes memory action) private returns (uint256 id) {
        vm.prank(org.keys[0]);
        id = own ? gov.proposeOwn(action) : gov.propose(action);
        return speakOn(org, id);
    }

    function speakOn(IGovernance.Organisation memory org, uint256 id) private returns (uint256) {
        for (uint256 i = 0; i < org.keys.length && isOpen(id); i++) {
            vm.prank(org.keys[i]);
            gov.approve(id);
        }
        return id;
    }
}
