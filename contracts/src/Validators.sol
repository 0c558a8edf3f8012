// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Organisations.sol";

/// @notice block {height} would have no validator; add one that begins earlier
error NoValidatorAt(uint64 height);
/// @notice at most {most} at a time; remove one first
/// @dev Nodes accept no more.
error TooManyValidators(uint256 most);
/// @notice {got} together; at most {most} is possible, and at least 1 each
/// @dev Nodes accept no more together.
error TooMuchPower(uint256 got, uint256 most);

/// @notice power of {got} would be new at once, for keys that nobody saw sign; those that validate now must be a
/// quorum without it: use {most} at most, or wait until what is pending holds
error TooMuchNewPower(uint256 got, uint256 most);

/// The nodes that the network knows by their keys: validators, and what was revoked.
///
/// Always, at every height to come: 1 to 128 validators of active organisations,
/// of at most 2^60 power together. A peer has one entry; one change of it is
/// pending at most, and what is due at the next height was applied in this block,
/// so an entry says what holds at the next height. A revoked peer stays revoked.
abstract contract Validators is Organisations {
    struct Entry {
        uint32 organisation;
        /// In `_listed`, while it is a validator.
        uint16 index;
        bool revoked;
        /// 0: it is no validator.
        uint64 power;
        uint64 from;
        /// When it changes to `nextKey` and `nextPower`; 0: nothing pending.
        uint64 changes;
        bytes32 key;
        address feeRecipient;
        /// 0: it leaves.
        uint64 nextPower;
        bytes32 nextKey;
        /// When its organisation last changed its key alone, in seconds.
        uint64 rotated;
    }

    mapping(bytes32 => Entry) internal _entries;
    bytes32[] internal _listed;
    bytes32[] internal _revoked;
    /// Which peer a consensus key belongs or belonged to.
    mapping(bytes32 => bytes32) internal _peerOf;
    uint64 internal _delay;

    event ValidatorAdded(
        bytes32 indexed peer, uint32 indexed organisation, bytes32 key, uint64 power, address feeRecipient, uint64 from
    );
    event ValidatorRemoved(bytes32 indexed peer, uint32 indexed organisation, uint64 until);
    event ValidatorChanges(bytes32 indexed peer, bytes32 key, uint64 power, uint64 from);
    event FeeRecipientChanged(bytes32 indexed peer, address feeRecipient);
    event NodeRevoked(bytes32 indexed peer, uint32 indexed organisation);
    event EquivocatorRemoved(bytes32 indexed peer, bytes32 key);
    /// It was the last validator: the chain could not go on without.
    event EquivocatorKept(bytes32 indexed peer, bytes32 key);
    event ValidatorDelayChanged(uint64 blocks);

    /// Whether a validator begins, changes or ends with the next block. What ends leaves the list.
    function _validatorsArrive() internal returns (bool arrived) {
        uint64 next = _next();
        for (uint256 i = _listed.length; i > 0; i--) {
            bytes32 peer = _listed[i - 1];
            Entry storage e = _entries[peer];
            if (e.from == next) arrived = true;
            if (e.changes != 0 && e.changes <= next) {
                arrived = true;
                _apply(peer);
            } else {
                _note(e.from);
                _note(e.changes);
            }
        }
    }

    /// The validator, if it is one yet, is none from the next block on, and its key never again.
    ///
    /// Once for each key: its organisations may have voted the peer back with another.
    function _convict(bytes32 validatorKey) internal {
        if (_claims[validatorKey].convicted) return;
        _claims[validatorKey].convicted = true;
        bytes32 peer = _peerOf[validatorKey];
        Entry storage e = _entries[peer];
        if (e.power == 0) return;
        if (!_canGo(peer)) {
            emit EquivocatorKept(peer, validatorKey);
            return;
        }
        _unlist(peer);
        emit EquivocatorRemoved(peer, validatorKey);
        _changed();
    }

    /// Whether every block to come has a validator without this one. One other that stays for
    /// good shows it, which is cheap enough for a block that convicts all.
    function _canGo(bytes32 peer) private view returns (bool) {
        for (uint256 i = 0; i < _listed.length; i++) {
            Entry storage e = _entries[_listed[i]];
            bool stays = e.from <= _next() && (e.changes == 0 || e.nextPower != 0);
            if (stays && _listed[i] != peer && _isActive(e.organisation)) return true;
        }
        (uint256 fewest,,,) = _survey(peer);
        return fewest != 0;
    }

    function _checkValidators() internal view {
        (uint256 fewest, uint64 when, uint256 most, uint256 power) = _survey(0);
        if (fewest == 0) revert NoValidatorAt(when);
        if (most > VALIDATORS_MAX) revert TooManyValidators(VALIDATORS_MAX);
        if (power > POWER_MAX) revert TooMuchPower(power, POWER_MAX);
    }

    /// Whether `peer` may come to `power`. Attack, or mistake: power of nodes that do not run. The power
    /// that stays must be a quorum beside all that is to come, or the chain would stand.
    function _checkNewPower(bytes32 peer, uint256 power) internal view {
        (uint256 stays, uint256 comes) = (0, power);
        for (uint256 i = 0; i < _listed.length; i++) {
            Entry storage e = _entries[_listed[i]];
            if (!_isActive(e.organisation)) continue;
            uint256 has = e.from > block.number ? 0 : e.power;
            uint256 coming = e.changes == 0 ? e.power : e.nextPower;
            if (_listed[i] == peer) (coming, comes) = (power, comes - power);
            stays += has < coming ? has : coming;
            if (coming > has) comes += coming - has;
        }
        if (stays <= 2 * comes) revert TooMuchNewPower(comes, stays == 0 ? 0 : (stays - 1) / 2);
    }

    function _apply(bytes32 peer) internal {
        Entry storage e = _entries[peer];
        if (e.nextPower == 0) {
            _unlist(peer);
            return;
        }
        if (e.nextKey != e.key) _release(e.key, e.changes);
        e.key = e.nextKey;
        e.power = e.nextPower;
        _clearPending(e);
    }

    function _unlist(bytes32 peer) internal {
        Entry storage e = _entries[peer];
        bytes32 last = _listed[_listed.length - 1];
        _listed[e.index] = last;
        _entries[last].index = e.index;
        _listed.pop();
        _release(peer, _next());
        _release(e.key, _next());
        if (e.changes != 0 && e.nextKey != e.key) _release(e.nextKey, _next());
        e.power = 0;
        _clearPending(e);
    }

    function _clearPending(Entry storage e) internal {
        e.changes = 0;
        e.nextPower = 0;
        e.nextKey = 0;
    }

    /// The fewest validators that any block to come has (and the first such block), the most, and
    /// the most power together, as if `without` were not listed.
    ///
    /// The set of the next block, then the changes to come in the order of their heights.
    function _survey(bytes32 without) private view returns (uint256 fewest, uint64 when, uint256 most, uint256 power) {
        uint256[] memory changes = new uint256[](_listed.length);
        uint256 coming = 0;
        uint256 count = 0;
        uint256 sum = 0;
        for (uint256 i = 0; i < _listed.length; i++) {
            if (_listed[i] == without) continue;
            Entry storage e = _entries[_listed[i]];
            if (!_isActive(e.organisation)) continue;
            if (e.from > _next()) {
                changes[coming++] = (uint256(e.from) << 128) | (uint256(e.power) << 64);
                continue;
            }
            count += 1;
            sum += e.power;
            if (e.changes != 0) {
                changes[coming++] = (uint256(e.changes) << 128) | (uint256(e.nextPower) << 64) | e.power;
            }
        }
        (fewest, when, most, power) = (count, _next(), count, sum);
        _sort(changes, coming);
        for (uint256 i = 0; i < coming; i++) {
            (uint64 gained, uint64 lost) = (uint64(changes[i] >> 64), uint64(changes[i]));
            if (gained != 0) count += 1;
            if (lost != 0) count -= 1;
            sum = sum + gained - lost;
            if (i + 1 < coming && changes[i + 1] >> 128 == changes[i] >> 128) continue;
            if (count < fewest) (fewest, when) = (count, uint64(changes[i] >> 128));
            if (count > most) most = count;
            if (sum > power) power = sum;
        }
    }

    /// Insertion sort of the first `count`: few changes are pending at a time, 256 at most.
    function _sort(uint256[] memory items, uint256 count) private pure {
        for (uint256 i = 1; i < count; i++) {
            uint256 item = items[i];
            uint256 j = i;
            for (; j > 0 && items[j - 1] > item; j--) {
                items[j] = items[j - 1];
            }
            items[j] = item;
        }
    }
}
