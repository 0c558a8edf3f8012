// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Acting.sol";
import "./State.sol";

/// @notice {account} is not the guardian; `trefoil org settings` shows it
error NotTheGuardian(address account);
/// @notice the guardian holds one already, until {until:time}; a vote ends that: `trefoil org set release`
error GuardInForce(uint64 until);
/// @notice the guardian rests until {until:time}, a week after what it held before; until then all vote
error GuardRests(uint64 until);
/// @notice without it (of nodes: and without one more that goes away) the others would be too few to go on; the
/// guardian stops nothing that a quorum needs, and any full node may be the machine of a seat that moved to its standby
/// (until its key is rotated). Its organisation may revoke a node (`trefoil node revoke`), or all vote
error NeededForQuorum();

/// Who can act before a vote can: an account that all may name, for the hours in which keys are
/// stolen and nobody is awake.
///
/// Always: it holds one node or one organisation at a time, for at most 7 days, then nothing for as
/// long, nothing that a quorum needs, and a vote ends it. It takes no validator's vote.
abstract contract Guardian is Acting, State {
    uint64 public constant GUARD_SECONDS = 7 days;

    event GuardianChanged(address guardian);
    event NodeHeld(bytes32 indexed peer, uint64 until);
    event OrganisationHeld(uint32 indexed id, uint64 until);

    // What all decide.

    /// 0: none. What the one before holds is let go.
    function setGuardian(address guardian) external byAll {
        if (guardian == _guardian) revert NothingToChange();
        if (_guardian != address(0)) _keyRemoved(_guardian);
        if (guardian != address(0)) _keyAdded(guardian);
        _guardian = guardian;
        if (_isHolding()) _letGo();
        _heldUntil = 0;
        emit GuardianChanged(guardian);
    }

    function release() external byAll {
        if (!_isHolding()) revert NothingToChange();
        _letGo();
    }

    // What the guardian does alone.

    /// From the next block on no honest node talks to `peer`. If it validates, it stays in the set, and the
    /// others must be enough without it; also if a seat moved, and it may be the machine that signs for it.
    function holdNode(bytes32 peer) external alone {
        _begin();
        if (_entries[peer].revoked) revert NothingToChange();
        if (_isNeededBesideOne(peer)) revert NeededForQuorum();
        _held.peer = peer;
        _changed();
        emit NodeHeld(peer, _held.until);
    }

    /// The organisation's keys decide nothing. It still counts among those that decide, so no decision
    /// becomes easier.
    function holdOrganisation(uint32 id) external alone {
        _begin();
        _requireActive(id);
        if (_active - 1 < _needed(_active)) revert NeededForQuorum();
        _held.organisation = id;
        _putOffRecovery(id, _held.until);
        emit OrganisationHeld(id, _held.until);
    }

    /// The guardian (0: none), and the node or organisation that it holds until then (in seconds; 0: nothing).
    function guard() external view returns (address guardian, bytes32 peer, uint32 organisation, uint64 until) {
        return (_guardian, _held.peer, _held.organisation, _held.until);
    }

    function _begin() private {
        if (msg.sender != _guardian || _guardian == address(0)) revert NotTheGuardian(msg.sender);
        if (_isHolding()) revert GuardInForce(_held.until);
        // Otherwise it would hold the same one for ever, a week at a time.
        uint64 rests = _heldUntil + GUARD_SECONDS;
        if (_heldUntil != 0 && block.timestamp <= rests) revert GuardRests(rests);
        _held.until = uint64(block.timestamp) + GUARD_SECONDS;
    }
}
