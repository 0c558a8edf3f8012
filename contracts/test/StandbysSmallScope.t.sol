// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";
import "./SmallScope.sol";

/// A small scope, searched through: what becomes of one seat and three keys of a consortium in three days, of which on
/// each one thing is done, and the seat's key signs or is away. Each of the 2,744 sequences is tried.
contract StandbysSmallScopeTest is GovernanceBase, SeatSmallScope {
    uint256 private constant ACTIONS = 7;
    uint256 private constant DEPTH = 3;

    uint8 private constant MOVED = 0;
    uint8 private constant MOVED_BACK = 1;
    uint8 private constant ROTATED = 2;
    uint8 private constant GONE_FOR_FORMER_KEY = 3;
    uint8 private constant STAYED = 4;

    bytes32[] private _absent;

    function testAllSequencesOfOneSeatAndThreeKeys() public {
        start(4);
        blocks(2);
        vm.warp(100 days);
        _keys = [validatorKey(2), ed(77), ed(78)];
        _held[_keys[0]] = true;
        for (uint256 i = 1; i < 3; i++) {
            prove(_keys[i], KeyRole.Validator, name(2));
        }
        search(2 * ACTIONS, DEPTH);
        check("moved, and back", isReached(MOVED) && isReached(MOVED_BACK));
        check("rotated", isReached(ROTATED));
        check("evidence against a former key takes the seat", isReached(GONE_FOR_FORMER_KEY));
        check("and against a standby's does not", isReached(STAYED));
    }

    function choose(uint256 choice) external override {
        (uint256 what, bool away) = (choice / 2, choice % 2 == 1);
        vm.warp(block.timestamp + 1 days);
        bytes32 before = holder();
        if (before == 0) return;
        (bytes32 first, bytes32 second) = others(before);
        bytes32 wrong = what == 5 ? before : what == 6 ? first : bytes32(0);
        bool rotates = what == 4 && attempt(abi.encodeCall(ValidatorActions.rotateValidatorKey, (peer(2), first)));
        if (what == 1) attempt(naming(first));
        if (what == 2) attempt(naming(second));
        if (what == 3) attempt(naming(0));
        if (wrong != 0) convict(wrong);
        (bytes32 standby,) = Standbys(CONTRACT).standby(peer(2));
        pass(away);
        verify(before, rotates ? first : bytes32(0), away ? standby : bytes32(0), wrong);
    }

    /// A key that is away is so for as long as a seat needs to move, and one that signs as long as a rotation needs.
    function pass(bool away) private {
        // One that the seat moved to signs.
        if (away) _absent.push(holder());
        blocks(away ? PRESENCE_BLOCKS + 2 : DELAY + 4);
        delete _absent;
    }

    function nextBlock(bytes32[] memory equivocators) internal override {
        vm.roll(block.number + 1);
        vm.prank(NODE);
        gov.open(_absent, equivocators);
    }

    /// What holds after each day. `rotated`, `standby`: the key that the seat was to go to; 0: none.
    function verify(bytes32 before, bytes32 rotated, bytes32 standby, bytes32 wrong) private {
        bytes32 key = holder();
        same("no seat comes", gov.validators().length, key == 0 ? 3 : 4);
        check("no convicted key has it", !_convicted[key]);
        if (wrong != 0 && _held[wrong]) {
            same("it is gone with each key that had it", key, bytes32(0));
            note(GONE_FOR_FORMER_KEY, wrong != before);
        } else {
            check("it is gone only so", key != 0);
            note(STAYED, wrong != 0);
        }
        if (key == 0) return;
        if (rotated == 0) {
            bool moves = standby != 0 && standby != before && !_convicted[standby];
            same("it moves to its standby, and only so", key, moves ? standby : before);
            note(MOVED, moves);
            note(MOVED_BACK, moves && _held[key]);
        } else {
            check("rotated, or moved meanwhile", key == rotated || key == before || key == standby);
            note(ROTATED, key == rotated);
        }
        _held[key] = true;
        for (uint256 i = 0; i < 3; i++) {
            if (!_held[_keys[i]] || _convicted[_keys[i]]) continue;
            (,,,, uint64 free) = gov.keyUse(_keys[i]);
            check("a former key is bound for as long as evidence", _keys[i] == key ? free == 0 : free > block.number);
        }
    }

    function naming(bytes32 key) private view returns (bytes memory) {
        return abi.encodeCall(Standbys.setStandby, (peer(2), key));
    }

    function attempt(bytes memory action) private returns (bool done) {
        vm.prank(govKey(2, 0));
        uint256 id = gov.proposeOwn(action);
        vm.prank(govKey(2, 1));
        (done,) = CONTRACT.call(abi.encodeCall(Decisions.approve, (id)));
    }

    function convict(bytes32 key) private {
        bytes32[] memory equivocators = new bytes32[](1);
        equivocators[0] = key;
        _convicted[key] = true;
        nextBlock(equivocators);
    }

    function holder() private view returns (bytes32) {
        return holderIn(gov.validators(), POWER);
    }
}
