// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "../src/Governance.sol";
import "../src/GovernanceActions.sol";
import "./Base.sol";

/// In place of Ed25519Verifier, since nobody knows the secrets of `ed`'s keys: a signature is right
/// when its first half is the key, and the key is one.
contract AnySignature {
    function verify(bytes32 key, bytes32 r, bytes32, bytes calldata) external view returns (bool) {
        return r == key && Ed25519.isUsable(key);
    }
}

/// A consortium of `founders` organisations, each with three governance keys of
/// which two speak, one CA key and one validator.
abstract contract GovernanceBase is Base {
    Governance internal constant gov = Governance(payable(CONTRACT));
    /// For the calls of one account.
    AccountActions internal constant direct = AccountActions(CONTRACT);
    address internal constant CHAIN_ACTIONS = 0x747265666F696c00000000000000000000000103;
    address internal constant ACCOUNT_ACTIONS = 0x747265666f696c00000000000000000000000104;
    uint64 internal constant DELAY = 8;
    uint256 internal constant KEYS = 3;
    uint64 internal constant POWER = 10;
    /// Also so many blocks go by where something waits.
    uint64 internal constant ANSWER_BLOCKS = 100;

    function place() internal {
        vm.etch(CONTRACT, type(Governance).runtimeCode);
        vm.etch(gov.ACTIONS(), type(GovernanceActions).runtimeCode);
        vm.etch(CHAIN_ACTIONS, type(ChainActions).runtimeCode);
        vm.etch(ACCOUNT_ACTIONS, type(AccountActions).runtimeCode);
        vm.etch(address(KeyProofs.VERIFIER), type(AnySignature).runtimeCode);
    }

    /// Places the contracts and founds the network, in genesis; then begins block 1.
    function start(uint32 founders) internal {
        start(founders, 2 days);
    }

    function start(uint32 founders, uint64 decisionDelay) internal {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(founders);
        f.decisionDelay = decisionDelay;
        foundWith(f);
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
        (f.quorumNumerator, f.quorumDenominator, f.validatorDelay, f.decisionDelay) = (2, 3, DELAY, 2 days);
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

    function organisations() internal view returns (IGovernance.Organisation[] memory) {
        return gov.organisations(0, type(uint256).max);
    }

    function nodes() internal view returns (IGovernance.Node[] memory) {
        return gov.nodes(0, type(uint256).max);
    }

    function serials() internal view returns (IGovernance.Serial[] memory) {
        return gov.revokedSerials(0, type(uint256).max);
    }

    /// Of the validator with this key in the next block; 0: there is none.
    function power(bytes32 key) internal view returns (uint64) {
        IMembership.Validator[] memory set = gov.validators();
        for (uint256 i = 0; i < set.length; i++) {
            if (set[i].key == key) return set[i].power;
        }
        return 0;
    }

    /// All that nodes act on, as one hash.
    function seen() internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                gov.validators(), organisations(), nodes(), serials(), gov.settings(), gov.forks(), gov.parameters()
            )
        );
    }

    // Consent.

    function signature(bytes32 key) internal pure returns (bytes memory) {
        return bytes.concat(key, bytes32(0));
    }

    function prove(bytes32 key, KeyRole role, string memory organisation) internal {
        (bool done,) = CONTRACT.call(abi.encodeCall(Consent.prove, (key, role, organisation, signature(key))));
        done;
    }

    function nameOf(uint32 id) internal view returns (string memory) {
        IGovernance.Organisation[] memory all = organisations();
        return id == 0 || id > all.length ? "nobody" : all[id - 1].name;
    }

    /// The holders of the keys in an action agree to it, as far as they can.
    function agree(bytes memory action) internal {
        bytes4 kind = bytes4(action);
        bytes memory data = arguments(action);
        if (kind == ValidatorActions.addValidator.selector) {
            (bytes32 node, uint32 id, bytes32 key) = abi.decode(data, (bytes32, uint32, bytes32));
            prove(node, KeyRole.Peer, nameOf(id));
            prove(key, KeyRole.Validator, nameOf(id));
        } else if (kind == ValidatorActions.rotateValidatorKey.selector || kind == Standbys.setStandby.selector) {
            (bytes32 node, bytes32 key) = abi.decode(data, (bytes32, bytes32));
            IGovernance.Node[] memory all = nodes();
            for (uint256 i = 0; i < all.length; i++) {
                if (all[i].peer == node) prove(key, KeyRole.Validator, nameOf(all[i].organisation));
            }
        } else if (kind == OrganisationActions.addCaKey.selector) {
            (uint32 id, bytes32 key) = abi.decode(data, (uint32, bytes32));
            prove(key, KeyRole.Ca, nameOf(id));
        } else if (kind == OrganisationActions.addOrganisation.selector) {
            (string memory named,,, bytes32[] memory cas) = abi.decode(data, (string, uint8, address[], bytes32[]));
            for (uint256 i = 0; i < cas.length; i++) {
                prove(cas[i], KeyRole.Ca, named);
            }
        }
    }

    /// The accounts that an action offers seats take them.
    function accept(bytes memory action) internal {
        bytes4 kind = bytes4(action);
        if (kind == OrganisationActions.addOrganisation.selector) acceptSeats(uint32(organisations().length));
        if (kind == OrganisationActions.setKeys.selector) acceptSeats(abi.decode(arguments(action), (uint32)));
    }

    function acceptSeats(uint32 id) internal {
        (, address[] memory keys, bool[] memory accepted) = direct.offer(id);
        for (uint256 i = 0; i < keys.length; i++) {
            if (accepted[i]) continue;
            vm.prank(keys[i]);
            (bool done,) = CONTRACT.call(abi.encodeCall(Consent.acceptSeat, (id)));
            done;
        }
    }

    function arguments(bytes memory action) private pure returns (bytes memory data) {
        data = new bytes(action.length < 4 ? 0 : action.length - 4);
        for (uint256 i = 0; i < data.length; i++) {
            data[i] = action[i + 4];
        }
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
        (,, uint64 closes,,,,) = gov.proposal(id);
        return closes != 0;
    }

    /// Organisations 1, 2, … approve, as long as the proposal is open: where all do nothing waits.
    function decide(bytes memory action) internal {
        agree(action);
        uint256 id = propose(1, 0, action);
        uint256 count = organisations().length;
        for (uint32 o = 1; o <= count && isOpen(id); o++) {
            for (uint256 key = o == 1 ? 1 : 0; key < 2 && isOpen(id); key++) {
                vm.prank(govKey(o, key));
                // One that is suspended or held cannot.
                (bool done,) = CONTRACT.call(abi.encodeCall(Decisions.approve, (id)));
                done;
            }
        }
        wait(id);
        if (isOpen(id)) execute(id);
        accept(action);
    }

    /// How many of the organisations, in their order, are enough for it to be carried out; whether only after its
    /// delay; whether the one concerned is none of them.
    function enough(uint256 id, bytes4 kind) private view returns (uint256 needed, bool waits, bool sparing) {
        (,,,,,, needed) = gov.proposal(id);
        (bool delayed,, uint32 concerned,) = gov.waiting(id);
        IGovernance.Organisation[] memory all = organisations();
        (uint256 active, bool suspended, uint256 rank) = (0, false, 0);
        for (uint32 o = 1; o <= all.length; o++) {
            if (all[o - 1].status == IGovernance.Status.Active) active += 1;
            if (all[o - 1].status == IGovernance.Status.Suspended) suspended = true;
            if (o == concerned && all[o - 1].status == IGovernance.Status.Active) rank = active;
        }
        bool spared = !delayed || kind == OrganisationActions.setKeys.selector;
        // A validator waits for the one in whose name it is, and for nobody else.
        if (kind == ValidatorActions.addValidator.selector && rank != 0) {
            return (rank > needed ? rank : needed, false, false);
        }
        waits = delayed && suspended;
        // Where all approve nothing waits.
        if (delayed && !suspended) return (active, false, false);
        sparing = spared && active > 2;
    }

    /// All but the last approval, which is refused with `reason`.
    function refused(bytes memory action, bytes memory reason) internal {
        agree(action);
        uint256 id = propose(1, 0, action);
        (uint256 needed, bool waits, bool sparing) = enough(id, bytes4(action));
        (,, uint32 concerned,) = gov.waiting(id);
        IGovernance.Organisation[] memory all = organisations();
        uint256 votes = 0;
        for (uint32 o = 1;; o++) {
            if (all[o - 1].status != IGovernance.Status.Active) continue;
            if (o != 1) approve(o, 0, id);
            if (!sparing || concerned != o) votes++;
            bool last = votes == needed;
            if (last && waits) {
                approve(o, 1, id);
                wait(id);
                vm.expectRevert(reason);
                execute(id);
                break;
            }
            if (last) vm.expectRevert(reason);
            approve(o, 1, id);
            if (last) break;
        }
        vm.prank(govKey(1, 0));
        gov.withdraw(id);
    }

    /// Whether enough approve, and only the delay is missing.
    function waitsOnly(uint256 id) internal view returns (bool) {
        (, uint64 ready,,) = gov.waiting(id);
        return ready != 0;
    }

    /// Until a proposal that passed may be carried out.
    function wait(uint256 id) internal {
        (, uint64 ready,,) = gov.waiting(id);
        if (ready == 0) return;
        if (ready > block.timestamp) vm.warp(ready);
        uint64 delay = gov.decisionDelay();
        blocks(delay < ANSWER_BLOCKS ? delay : ANSWER_BLOCKS);
    }

    function execute(uint256 id) internal {
        vm.prank(govKey(1, 0));
        gov.execute(id);
    }

    function decideOwn(uint32 id, bytes memory action) internal {
        agree(action);
        vm.prank(govKey(id, 0));
        uint256 proposal = gov.proposeOwn(action);
        approve(id, 1, proposal);
        check("an organisation's own decision passed", !isOpen(proposal));
        accept(action);
    }

    function refusedOwn(uint32 id, bytes memory action, bytes memory reason) internal {
        agree(action);
        vm.prank(govKey(id, 0));
        uint256 proposal = gov.proposeOwn(action);
        vm.expectRevert(reason);
        approve(id, 1, proposal);
        vm.prank(govKey(id, 0));
        gov.withdraw(proposal);
    }
}
