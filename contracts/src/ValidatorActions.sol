// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Claims.sol";

/// @notice {peer:peer} was revoked for ever; make a new node key
error PeerRevoked(bytes32 peer);
/// @notice {peer:peer} validates already; remove it first
error PeerInUse(bytes32 peer);
/// @notice the chain does not know {peer:peer} as a node of organisation {organisation}; revoke a full node's
/// certificate by its serial, or let all vote: `trefoil node revoke PEER --vote`
/// @dev `revokeSerial` takes a full node's certificate back.
error NotItsNode(bytes32 peer, uint32 organisation);
/// @notice validator {peer:peer} changes at height {height} already; wait until then
error ChangePending(bytes32 peer, uint64 height);
/// @notice the key of validator {peer:peer} was changed within a day; wait until {from:time}, or let all vote;
/// if the new key is stolen, `trefoil node revoke PEER` is at once
/// @dev `revokeNode` needs no wait.
error RotatedLately(bytes32 peer, uint64 from);

/// What all decide about validators, and what an organisation decides about its own nodes.
abstract contract ValidatorActions is Claims {
    /// Validators that are listed: also those of suspended organisations, and
    /// those that leave or begin later.
    uint256 public constant LISTED_MAX = 256;
    uint64 public constant DELAY_MAX = 10_000;
    uint64 internal constant ROTATION_SECONDS = 1 days;

    // What all decide.

    /// Validates from `validatorDelay` blocks on.
    function addValidator(bytes32 peer, uint32 organisation, bytes32 validatorKey, uint64 power, address feeRecipient)
        external
        byAll
    {
        _add(
            IGovernance.Node(
                peer,
                organisation,
                IGovernance.Role.Validator,
                false,
                validatorKey,
                power,
                feeRecipient,
                _effective(),
                0
            )
        );
        _checkNewPower(power);
        _changed();
    }

    /// It validates for `validatorDelay` blocks yet. A key change that was pending is called off.
    function removeValidator(bytes32 peer) external byAll {
        Entry storage e = _validator(peer);
        if (e.changes != 0 && e.nextPower == 0) revert ChangePending(peer, e.changes);
        uint64 until = _effective();
        emit ValidatorRemoved(peer, e.organisation, until);
        // One that has not begun never does.
        if (e.from > _next()) _unlist(peer);
        else _schedule(peer, e.key, 0, until);
        _checkValidators();
        _changed();
    }

    /// A key change that was pending comes together with the new power.
    function setPower(bytes32 peer, uint64 power) external byAll {
        Entry storage e = _validator(peer);
        _requirePower(power);
        if (e.changes != 0 && e.nextPower == 0) revert ChangePending(peer, e.changes);
        if (power == (e.changes == 0 ? e.power : e.nextPower)) revert NothingToChange();
        bytes32 key = e.changes == 0 ? e.key : e.nextKey;
        uint64 before = e.power;
        if (e.from > _next()) {
            e.power = power;
            emit ValidatorChanges(peer, key, power, e.from);
            _changed();
        } else {
            _schedule(peer, key, power, _effective());
            emit ValidatorChanges(peer, key, power, _effective());
        }
        if (power <= before) return _checkValidators();
        _checkNewPower(power - before);
        _checkShare(peer, before, power);
    }

    function setValidatorDelay(uint64 blocks) external byAll {
        if (blocks == _delay) revert NothingToChange();
        _setDelay(blocks);
    }

    // What an organisation decides for its own nodes.

    /// From the next block on no honest node talks to `peer`, ever again. All may revoke
    /// any peer, also one that the chain does not know: in the name of `organisation`.
    function revokeNode(bytes32 peer, uint32 organisation) external by(organisation) {
        Entry storage e = _entries[peer];
        if (e.revoked) revert NothingToChange();
        if (e.organisation == 0) {
            // An organisation could otherwise shut out another's node by its peer id.
            if (!_allAct()) revert NotItsNode(peer, organisation);
            if (_members[organisation].status == IGovernance.Status.None) revert NoOrganisation(organisation);
            e.organisation = organisation;
        } else if (e.organisation != organisation) {
            revert NotItsNode(peer, organisation);
        }
        bool validates = e.power != 0;
        if (validates) _unlist(peer);
        e.revoked = true;
        e.changes = _next();
        e.nextPower = 0;
        _revoked.push(peer);
        if (validates) _checkValidators();
        else if (_allAct()) _checkMoved(peer);
        emit NodeRevoked(peer, organisation);
        _changed();
    }

    /// The validator signs with `validatorKey` from `validatorDelay` blocks on. Its key of today: a change of the key
    /// that its organisation made and that is pending is called off, as when the new key was lost.
    function rotateValidatorKey(bytes32 peer, bytes32 validatorKey) external by(_entries[peer].organisation) {
        Entry storage e = _validator(peer);
        bool isOwn = _allAct() || e.rotated != 0;
        if (isOwn && e.changes != 0 && e.key == validatorKey && e.nextKey != e.key && e.nextPower != 0) {
            return _callOffKey(peer);
        }
        // Were it allowed, an organisation could put off for ever what all decided.
        if (e.changes != 0) revert ChangePending(peer, e.changes);
        if (e.from > _next()) revert ChangePending(peer, e.from);
        if (e.key == validatorKey) revert NothingToChange();
        // Attack: another set in each block, which every node reads and every later snapshot proves.
        uint64 free = e.rotated + ROTATION_SECONDS;
        if (!_allAct() && e.rotated != 0 && block.timestamp < free) revert RotatedLately(peer, free);
        // 0: it does not call off what all decided.
        e.rotated = _allAct() ? 0 : uint64(block.timestamp);
        _claim(validatorKey, KeyRole.Validator, e.organisation, peer, _effective());
        _schedule(peer, validatorKey, e.power, _effective());
        // Where no quorum is without it, the chain hangs on it anyway, and its key must be changed some day.
        if (!_isNeeded(peer)) _checkValidators();
        emit ValidatorChanges(peer, validatorKey, e.power, _effective());
    }

    // Parts.

    /// Attack, or mistake: the machine is one to which a seat moved, and the others are no quorum without it. What its
    /// organisation revokes of its own is its affair.
    function _checkMoved(bytes32 peer) private view {
        (uint256 others, uint256 all, uint256 own,) = _others(_seatOf(peer), false);
        if (own != 0 && 3 * others <= 2 * all) revert TooFewOnline(others, all);
    }

    /// What all decided about its power stays.
    function _callOffKey(bytes32 peer) private {
        Entry storage e = _entries[peer];
        _release(e.nextKey, _next());
        e.nextKey = e.key;
        emit ValidatorChanges(peer, e.key, e.nextPower, e.changes);
        if (e.nextPower == e.power) _clearPending(e);
    }

    function _foundValidators(IGovernance.Node[] memory founders, uint64 delay) internal {
        _setDelay(delay);
        for (uint256 i = 0; i < founders.length; i++) {
            if (founders[i].role != IGovernance.Role.Validator) revert NoValidator(founders[i].peer);
            _add(founders[i]);
        }
        _checkValidators();
    }

    function _setDelay(uint64 blocks) private {
        if (blocks == 0 || blocks > DELAY_MAX) revert OutOfRange("validatorDelay", blocks, 1, DELAY_MAX);
        _delay = blocks;
        emit ValidatorDelayChanged(blocks);
    }

    function _effective() private view returns (uint64) {
        return uint64(block.number) + _delay;
    }

    function _requirePower(uint64 power) private pure {
        if (power == 0 || power > POWER_MAX) revert TooMuchPower(power, POWER_MAX);
    }

    function _add(IGovernance.Node memory n) private {
        _requireActive(n.organisation);
        _requirePower(n.power);
        Entry storage e = _entries[n.peer];
        if (e.revoked) revert PeerRevoked(n.peer);
        if (e.power != 0) revert PeerInUse(n.peer);
        if (_listed.length == LISTED_MAX) revert TooManyValidators(LISTED_MAX);
        _claim(n.peer, KeyRole.Peer, n.organisation, n.peer, n.from);
        _claim(n.validatorKey, KeyRole.Validator, n.organisation, n.peer, n.from);
        e.organisation = n.organisation;
        e.index = uint16(_listed.length);
        e.power = n.power;
        e.from = n.from;
        e.key = n.validatorKey;
        e.feeRecipient = n.feeRecipient;
        // Founders begin together: until they were missed they are counted on.
        if (block.number != 0) {
            _unseen(e, n.from);
            (e.standby, e.elsewhere) = (0, false);
        }
        _listed.push(n.peer);
        _note(n.from);
        emit ValidatorAdded(n.peer, n.organisation, n.validatorKey, n.power, n.feeRecipient, n.from);
    }

    /// Nodes act on a change of key or power when it comes, so `version` grows then.
    function _schedule(bytes32 peer, bytes32 key, uint64 power, uint64 height) private {
        Entry storage e = _entries[peer];
        if (e.changes != 0 && e.nextKey != key && e.nextKey != e.key) _release(e.nextKey, _next());
        // A key that was to come counts from then on. One that its node had before keeps its first height.
        if (key != e.key && _claims[key].from == e.changes) _claims[key].from = height;
        e.changes = height;
        e.nextKey = key;
        e.nextPower = power;
        if (height > _next()) return _note(height);
        _apply(peer);
        _changed();
    }
}
