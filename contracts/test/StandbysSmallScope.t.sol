// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// A small scope, searched through: what becomes of one seat and three keys of a consortium in three days, of which on
/// each one thing is done, and the seat's key signs or is away. Each of the 2,744 sequences is tried.
contract StandbysSmallScopeTest is GovernanceBase {
    uint256 private constant ACTIONS = 7;
    uint256 private constant DEPTH = 3;
    uint64 private constant PRESENCE = 64;

    /// What the sequences came to. A search in which each call was refused would find nothing wrong.
    struct Reached {
        uint256 sequences;
        bool moved;
        bool movedBack;
        bool rotated;
        bool goneForFormerKey;
        bool stayed;
    }

    Reached private _reached;
    bytes32[3] private _keys;
    /// Had the seat.
    mapping(bytes32 => bool) private _held;
    mapping(bytes32 => bool) private _convicted;
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
        this.step(DEPTH);
        Reached memory r = _reached;
        same("each sequence was tried", r.sequences, (2 * ACTIONS) ** DEPTH);
        check("moved, and back", r.moved && r.movedBack);
        check("rotated", r.rotated);
        check("evidence against a former key takes the seat", r.goneForFormerKey);
        check("and against a standby's does not", r.stayed);
    }

    /// A call of its own, as what it does below: memory that a call took is free after it.
    function step(uint256 depth) external {
        if (depth == 0) {
            _reached.sequences++;
            return;
        }
        for (uint256 what = 0; what < 2 * ACTIONS; what++) {
            uint256 before = vm.snapshotState();
            this.day(what / 2, what % 2 == 1);
            this.step(depth - 1);
            Reached memory reached = _reached;
            vm.revertToStateAndDelete(before);
            _reached = reached;
        }
    }

    function day(uint256 what, bool away) external {
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
        blocks(away ? PRESENCE + 2 : DELAY + 4);
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
            if (wrong != before) _reached.goneForFormerKey = true;
        } else {
            check("it is gone only so", key != 0);
            if (wrong != 0) _reached.stayed = true;
        }
        if (key == 0) return;
        if (rotated == 0) {
            bool moves = standby != 0 && standby != before && !_convicted[standby];
            same("it moves to its standby, and only so", key, moves ? standby : before);
            if (moves) _reached.moved = true;
            if (moves && _held[key]) _reached.movedBack = true;
        } else {
            check("rotated, or moved meanwhile", key == rotated || key == before || key == standby);
            if (key == rotated) _reached.rotated = true;
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

    /// The key that has the seat; 0: it is gone.
    function holder() private view returns (bytes32 key) {
        IMembership.Validator[] memory set = gov.validators();
        for (uint256 i = 0; i < set.length; i++) {
            for (uint256 k = 0; k < 3; k++) {
                if (set[i].key != _keys[k]) continue;
                check("one key has it", key == 0);
                same("all its power", set[i].power, POWER);
                key = set[i].key;
            }
        }
    }

    function others(bytes32 key) private view returns (bytes32 first, bytes32 second) {
        if (key == _keys[0]) return (_keys[1], _keys[2]);
        return (_keys[0], key == _keys[1] ? _keys[2] : _keys[1]);
    }
}
