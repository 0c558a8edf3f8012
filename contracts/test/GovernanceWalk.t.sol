// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// Random walks: decisions of all kinds, good and bad, while blocks go on; what must
/// always hold is looked at after every call and every block.
contract GovernanceWalkTest is GovernanceBase {
    uint256 private constant STEPS = 60;
    uint32 private constant PEERS = 7;

    bytes32[PEERS] private _peers;
    bytes32[3 * PEERS] private _some;
    bool[PEERS] private _revoked;
    uint32 private _added;

    /// forge-config: default.fuzz.runs = 30
    function testFuzzWalk(uint256 seed) public {
        // So short that also few blocks go by.
        start(3, 3);
        _added = 3;
        for (uint32 i = 0; i < PEERS; i++) {
            _peers[i] = peer(i + 1);
        }
        for (uint32 i = 0; i < 3 * PEERS; i++) {
            _some[i] = i < PEERS ? validatorKey(i + 1) : ed(5000 + i);
        }
        for (uint256 i = 0; i < STEPS; i++) {
            seed = uint256(keccak256(abi.encode(seed)));
            step(seed);
            checkAlways();
        }
        // What is pending comes to its end by itself.
        for (uint256 i = 0; i < 2 * DELAY; i++) {
            nextBlock();
            checkAlways();
        }
    }

    function step(uint256 dice) private {
        uint256 kind = dice % 4;
        if (kind == 0) return nextBlock();
        if (kind == 1 && (dice >> 8) % 8 == 0) {
            bytes32[] memory equivocators = new bytes32[](1 + (dice >> 16) % 3);
            for (uint256 i = 0; i < equivocators.length; i++) {
                equivocators[i] = _some[(dice >> (32 + 8 * i)) % _some.length];
            }
            return nextBlock(equivocators);
        }
        if (kind == 2 && (dice >> 8) % 8 == 0) return hold(dice >> 16);
        attempt(dice, anAction(dice >> 8));
    }

    function anAction(uint256 dice) private view returns (bytes memory) {
        uint32 id = uint32(1 + (dice >> 8) % (_added + 1));
        bytes32 p = _peers[(dice >> 16) % PEERS];
        bytes32 key = _some[(dice >> 24) % _some.length];
        uint64 height = uint64(block.number + (dice >> 32) % 20);
        uint64 power = uint64((dice >> 40) % 3 == 0 ? POWER_MAX / 2 : (dice >> 48) % 5);
        uint256 what = dice % 22;
        if (what <= 2) {
            return abi.encodeCall(ValidatorActions.addValidator, (p, id, key, power, account(dice >> 64)));
        }
        if (what == 3) return abi.encodeCall(ValidatorActions.removeValidator, (p));
        if (what == 4) return abi.encodeCall(ValidatorActions.setPower, (p, power));
        if (what == 5) return abi.encodeCall(ValidatorActions.rotateValidatorKey, (p, key));
        if (what == 6) return abi.encodeCall(ValidatorActions.revokeNode, (p, id));
        if (what == 7) return abi.encodeCall(OrganisationActions.suspendOrganisation, (id));
        if (what == 8) return abi.encodeCall(OrganisationActions.resumeOrganisation, (id));
        if (what == 9) return abi.encodeCall(OrganisationActions.removeOrganisation, (id));
        if (what == 10) {
            bytes32[] memory cas = new bytes32[](1);
            cas[0] = ca(_added + 1);
            return abi.encodeCall(OrganisationActions.addOrganisation, (name(_added + 1), 2, keysOf(_added + 1), cas));
        }
        if (what == 11) return abi.encodeCall(OrganisationActions.addCaKey, (id, key, height));
        if (what == 12) return abi.encodeCall(OrganisationActions.endCaKey, (id, ca(id), height));
        if (what == 13) return abi.encodeCall(ValidatorActions.setValidatorDelay, (uint64(1 + (dice >> 56) % DELAY)));
        if (what == 14) return abi.encodeCall(RuleActions.scheduleFork, ("osaka", height + 90));
        if (what == 15) {
            address[] memory keys = keysOf(uint32(900 + (dice >> 72) % 3));
            return abi.encodeCall(OrganisationActions.setKeys, (id, 2, keys));
        }
        if (what == 16) return abi.encodeCall(OrganisationActions.setQuorum, (uint16(2 + (dice >> 72) % 2), 4));
        if (what == 17) return abi.encodeCall(Guardian.setGuardian, (account(dice >> 64)));
        if (what == 20) {
            return abi.encodeCall(RuleActions.setParameter, ("tx-gas", uint64(dice >> 72) % 4 * 2e7, height + 90));
        }
        if (what == 21) return abi.encodeCall(Standbys.setStandby, (p, key));
        if (what == 18) return abi.encodeCall(Recovery.setRecoveryKey, (id, account((dice >> 64) % 3)));
        return abi.encodeCall(Accounts.setFeeRecipient, (p, account(dice >> 64)));
    }

    /// The guardian, if there is one.
    function hold(uint256 dice) private versioned {
        (address guardian,,,) = direct.guard();
        bytes memory call = dice % 2 == 0
            ? abi.encodeCall(Guardian.holdNode, (_peers[(dice >> 8) % PEERS]))
            : abi.encodeCall(Guardian.holdOrganisation, (uint32(1 + (dice >> 8) % (_added + 1))));
        vm.prank(guardian);
        (bool done,) = CONTRACT.call(call);
        done;
    }

    /// All decide, or one organisation alone; whether the action is allowed or not.
    function attempt(uint256 dice, bytes memory action) private versioned {
        agree(action);
        IGovernance.Organisation[] memory all = organisations();
        bool own = (dice >> 4) % 4 == 0;
        uint256 id = 0;
        for (uint256 i = 0; i < all.length; i++) {
            (,, uint32 held,) = direct.guard();
            if (all[i].status != IGovernance.Status.Active || held == all[i].id) continue;
            for (uint256 key = 0; key < 2; key++) {
                vm.prank(all[i].keys[key]);
                if (id == 0) {
                    id = own ? gov.proposeOwn(action) : gov.propose(action);
                    continue;
                }
                (bool done,) = CONTRACT.call(abi.encodeCall(Decisions.approve, (id)));
                done;
                if (!isOpen(id)) break;
            }
            if (own || !isOpen(id)) break;
        }
        if (waitsOnly(id)) {
            wait(id);
            (address waits,,,,,,) = gov.proposal(id);
            vm.prank(waits);
            (bool carried,) = CONTRACT.call(abi.encodeCall(Decisions.execute, (id)));
            carried;
        }
        if (!isOpen(id)) accept(action);
        if (isOpen(id)) {
            (address proposer,,,,,,) = gov.proposal(id);
            vm.prank(proposer);
            gov.withdraw(id);
        }
        _added = uint32(organisations().length);
    }

    function nextBlock(bytes32[] memory equivocators) internal override versioned {
        super.nextBlock(equivocators);
    }

    modifier versioned() {
        (uint64 version, bytes32 before) = (gov.version(), acted());
        _;
        check("version grows iff what nodes act on differs", (gov.version() > version) == (acted() != before));
    }

    /// What nodes act on in the next block: the views, and what of them holds then.
    function acted() private view returns (bytes32 hash) {
        uint256 next = block.number + 1;
        hash = seen();
        IGovernance.Organisation[] memory os = organisations();
        for (uint256 i = 0; i < os.length; i++) {
            for (uint256 j = 0; j < os[i].caKeys.length; j++) {
                IGovernance.CaKey memory c = os[i].caKeys[j];
                hash = keccak256(abi.encode(hash, c.from <= next, c.until != 0 && c.until <= next));
            }
        }
        IGovernance.Node[] memory ns = nodes();
        for (uint256 i = 0; i < ns.length; i++) {
            if (!ns[i].revoked) hash = keccak256(abi.encode(hash, ns[i].from <= next));
        }
        IGovernance.Parameter[] memory ps = gov.parameters();
        for (uint256 i = 0; i < ps.length; i++) {
            hash = keccak256(abi.encode(hash, ps[i].from <= next));
        }
        IGovernance.Fork[] memory fs = gov.forks();
        for (uint256 i = 0; i < fs.length; i++) {
            hash = keccak256(abi.encode(hash, fs[i].height <= next));
        }
    }

    function checkAlways() private {
        checkOrganisations();
        IGovernance.Node[] memory ns = nodes();
        (, bytes32 held,,) = direct.guard();
        // The set at each height that anything begins or ends at, and the next one.
        checkSet(ns, uint64(block.number) + 1, true);
        for (uint256 i = 0; i < ns.length; i++) {
            checkSet(ns, ns[i].from, false);
            checkSet(ns, ns[i].until, false);
            for (uint256 p = 0; p < PEERS; p++) {
                if (ns[i].peer != _peers[p] || ns[i].peer == held) continue;
                check("revoked for ever", ns[i].revoked || !_revoked[p]);
                _revoked[p] = ns[i].revoked;
            }
        }
    }

    function checkSet(IGovernance.Node[] memory ns, uint64 height, bool next) private view {
        if (height <= block.number) return;
        IMembership.Validator[] memory set = gov.validators();
        uint256 count = 0;
        uint256 power = 0;
        (, bytes32 held,,) = direct.guard();
        for (uint256 i = 0; i < ns.length; i++) {
            IGovernance.Node memory n = ns[i];
            // A full node that the guardian holds.
            if (n.organisation == 0) continue;
            bool active = organisations()[n.organisation - 1].status == IGovernance.Status.Active;
            // A validator that the guardian holds stays in the set.
            if (n.peer == held && n.power != 0) n.revoked = false;
            bool holds = active && !n.revoked && n.from <= height && (n.until == 0 || height < n.until);
            if (next) {
                uint256 listed = 0;
                for (uint256 j = 0; j < set.length; j++) {
                    if (set[j].key == n.validatorKey) listed++;
                }
                if (!n.revoked) same("validators() is what nodes() says", listed, holds ? 1 : 0);
            }
            if (!holds) continue;
            count += 1;
            (uint64 changes,, uint64 coming) = gov.pendingChange(n.peer);
            power += changes != 0 && changes <= height ? coming : n.power;
        }
        check("never empty", count > 0);
        if (next) same("no others", count, set.length);
        check("total power", power <= POWER_MAX);
    }

    function checkOrganisations() private view {
        IGovernance.Organisation[] memory os = organisations();
        uint256 active = 0;
        for (uint256 i = 0; i < os.length; i++) {
            if (os[i].status == IGovernance.Status.Active) active += 1;
            if (os[i].status == IGovernance.Status.Removed) continue;
            check("threshold", os[i].threshold >= 1 && os[i].threshold <= os[i].keys.length);
            checkCaKeys(os[i].caKeys, block.number + 1);
            for (uint256 j = 0; j < os[i].caKeys.length; j++) {
                checkCaKeys(os[i].caKeys, os[i].caKeys[j].until);
            }
            check("may transact", gov.permissions(os[i].keys[0]) & 1 == 1);
        }
        check("one is active", active >= 1);
    }

    function checkCaKeys(IGovernance.CaKey[] memory cas, uint256 height) private view {
        if (height <= block.number) return;
        bool covered = false;
        for (uint256 i = 0; i < cas.length; i++) {
            covered = covered || (cas[i].from <= height && (cas[i].until == 0 || height < cas[i].until));
        }
        check("a CA key counts", covered);
    }
}
