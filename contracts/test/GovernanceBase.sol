// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "../src/Governance.sol";
import "../src/GovernanceActions.sol";
import "./Base.sol";

/// A consortium of `founders` organisations, each with three governance keys of
/// which two speak, one CA key and one validator.
abstract contract GovernanceBase is Base {
    Governance internal constant gov = Governance(payable(CONTRACT));
    uint64 internal constant DELAY = 8;
    uint256 internal constant KEYS = 3;
    uint64 internal constant POWER = 10;

    function place() internal {
        vm.etch(CONTRACT, type(Governance).runtimeCode);
        vm.etch(gov.ACTIONS(), type(GovernanceActions).runtimeCode);
    }

    /// Places the contracts and founds the network, in genesis; then begins block 1.
    function start(uint32 founders) internal {
        place();
        vm.roll(0);
        foundWith(founding(founders));
        nextBlock();
    }

    function foundWith(IGovernance.Founding memory f) internal {
        vm.prank(NODE);
        gov.found(abi.encode(f));
    }

    function founding(uint32 founders) internal view returns (IGovernance.Founding memory f) {
        f.organisations = new IGovernance.Organisation[](founders);
        f.nodes = new IGovernance.Node[](founders);
        for (uint32 id = 1; id <= founders; id++) {
            IGovernance.CaKey[] memory cas = new IGovernance.CaKey[](1);
            cas[0] = IGovernance.CaKey(ca(id), 1, 0);
            f.organisations[id - 1] =
                IGovernance.Organisation(id, IGovernance.Status.Active, 2, name(id), keysOf(id), cas);
            f.nodes[id - 1] = IGovernance.Node(
                peer(id), id, IGovernance.Role.Validator, false, validatorKey(id), POWER, account(9000 + id), 1, 0
            );
        }
        f.settings = IGovernance.Settings(30_000_000, 0, false, false);
        f.forks = new IGovernance.Fork[](2);
        f.forks[0] = IGovernance.Fork("cancun", 0);
        f.forks[1] = IGovernance.Fork("prague", 0);
        (f.quorumNumerator, f.quorumDenominator, f.validatorDelay) = (2, 3, DELAY);
    }

    function name(uint32 id) internal pure returns (string memory) {
        bytes memory digits = "org-000";
        (digits[4], digits[5], digits[6]) =
        (bytes1(uint8(48 + id / 100)), bytes1(uint8(48 + (id / 10) % 10)), bytes1(uint8(48 + id % 10)));
        return string(digits);
    }

    function govKey(uint32 id, uint256 i) internal pure returns (address) {
        return account(id * 16 + i);
    }

    function keysOf(uint32 id) internal pure returns (address[] memory keys) {
        keys = new address[](KEYS);
        for (uint256 i = 0; i < KEYS; i++) {
            keys[i] = govKey(id, i);
        }
    }

    function peer(uint32 id) internal view returns (bytes32) {
        return ed(1000 + id);
    }

    function validatorKey(uint32 id) internal view returns (bytes32) {
        return ed(2000 + id);
    }

    function ca(uint32 id) internal view returns (bytes32) {
        return ed(3000 + id);
    }

    /// Begins the next block, as the node does.
    function nextBlock() internal {
        nextBlock(new bytes32[](0));
    }

    function nextBlock(bytes32[] memory equivocators) internal virtual {
        vm.roll(block.number + 1);
        vm.prank(NODE);
        gov.open(new bytes32[](0), equivocators);
    }

    function blocks(uint256 count) internal {
        for (uint256 i = 0; i < count; i++) {
            nextBlock();
        }
    }

    /// All that nodes act on, as one hash.
    function seen() internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                gov.validators(), gov.organisations(), gov.nodes(), gov.revokedSerials(), gov.settings(), gov.forks()
            )
        );
    }

    // Votes.

    function propose(uint32 id, uint256 key, bytes memory action) internal returns (uint256) {
        vm.prank(govKey(id, key));
        return gov.propose(action);
    }

    function approve(uint32 id, uint256 key, uint256 proposal) internal {
        vm.prank(govKey(id, key));
        gov.approve(proposal);
    }

    function vote(uint32 id, uint256 proposal) internal {
        approve(id, 0, proposal);
        approve(id, 1, proposal);
    }

    function isOpen(uint256 id) internal view returns (bool) {
        (,, uint64 closes,,,) = gov.proposal(id);
        return closes != 0;
    }

    /// Organisations 1, 2, … approve, as long as the proposal is open.
    function decide(bytes memory action) internal {
        uint256 id = propose(1, 0, action);
        if (isOpen(id)) approve(1, 1, id);
        for (uint32 o = 2; isOpen(id); o++) {
            vote(o, id);
        }
    }

    /// All but the last approval, which is refused with `reason`.
    function refused(bytes memory action, bytes memory reason) internal {
        uint256 id = propose(1, 0, action);
        (uint16 numerator, uint16 denominator) = gov.quorum();
        (,,,,, uint256 deciding) = gov.proposal(id);
        IGovernance.Organisation[] memory all = gov.organisations();
        uint256 votes = 0;
        for (uint32 o = 1;; o++) {
            if (all[o - 1].status != IGovernance.Status.Active) continue;
            if (o != 1) approve(o, 0, id);
            bool last = ++votes * denominator > deciding * numerator;
            if (last) vm.expectRevert(reason);
            approve(o, 1, id);
            if (last) break;
        }
        vm.prank(govKey(1, 0));
        gov.withdraw(id);
    }

    function decideOwn(uint32 id, bytes memory action) internal {
        vm.prank(govKey(id, 0));
        uint256 proposal = gov.proposeOwn(action);
        approve(id, 1, proposal);
        check("an organisation's own decision passed", !isOpen(proposal));
    }

    function refusedOwn(uint32 id, bytes memory action, bytes memory reason) internal {
        vm.prank(govKey(id, 0));
        uint256 proposal = gov.proposeOwn(action);
        vm.expectRevert(reason);
        approve(id, 1, proposal);
        vm.prank(govKey(id, 0));
        gov.withdraw(proposal);
    }
}
