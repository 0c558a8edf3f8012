// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Rules.sol";
import "./Validators.sol";

/// @notice the guardian holds organisation {id} until {until:time}; a vote ends that, in which it may approve:
/// `trefoil org set release`
error OrganisationIsHeld(uint32 id, uint64 until);

/// All that Governance remembers and that its actions change, in one order of
/// storage for both contracts (build.mjs compares their layouts).
abstract contract State is Rules, Validators {
    /// What the guardian holds: a node or an organisation; both 0: nothing.
    struct Held {
        bytes32 peer;
        uint32 organisation;
        /// The last second of it.
        uint64 until;
    }

    /// So long after the delay an announced recovery may be carried out: nobody must watch for older ones.
    uint64 internal constant RECOVERY_SECONDS = 7 days;

    /// 0: none.
    address internal _guardian;
    Held internal _held;
    /// The last second of what the guardian held before, had nothing ended it; 0: it held nothing.
    uint64 internal _heldUntil;

    event LetGo(bytes32 indexed peer, uint32 indexed organisation);

    /// The organisation that the guardian holds just now; 0: none.
    function _heldNow() internal view returns (uint32) {
        return _held.until >= block.timestamp ? _held.organisation : 0;
    }

    function _requireNotHeld(uint32 id) internal view {
        if (_heldNow() == id) revert OrganisationIsHeld(id, _held.until);
    }

    /// Whoever cannot speak until `since` has the whole delay then to call off a recovery that was announced.
    function _putOffRecovery(uint32 id, uint64 since) internal {
        RecoveryKey storage r = _recovery[id];
        if (r.ready == 0 || block.timestamp > uint256(r.ready) + RECOVERY_SECONDS) return;
        if (r.ready < since + _decisionDelay) r.ready = since + _decisionDelay;
        r.began = uint64(block.number);
    }

    function _isHolding() internal view returns (bool) {
        return _held.until != 0;
    }

    /// Lets go what others come to need, while they still make blocks: without one no hold ends.
    function _easeHold() internal {
        if (!_isHolding()) return;
        bytes32 peer = _held.peer;
        bool needed =
            peer != 0 ? _isNeededBesideOne(peer) : _isActive(_held.organisation) && _active - 1 < _needed(_active);
        if (needed) _letGo();
    }

    function _letGo() internal {
        // Nothing changes for nodes if a vote revoked it meanwhile.
        if (_held.peer != 0 && !_entries[_held.peer].revoked) _changed();
        emit LetGo(_held.peer, _held.organisation);
        // Blocks in which its keys could not answer are no time to call a recovery off.
        _recovery[_held.organisation].began = uint64(block.number);
        _heldUntil = _held.until;
        delete _held;
    }
}
