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
/// @notice {peer:peer} is no validator; see `trefoil validator list`
error NoValidator(bytes32 peer);

/// @notice power of {got} would be new at once, for keys that nobody saw sign; those that sign now must be a
/// quorum without it: use {most} at most, or wait until what is pending holds and signs
error TooMuchNewPower(uint256 got, uint256 most);
/// @notice with power {got} no quorum would be without this validator; use {most} at most, or raise others first
error TooMuchForOne(uint256 got, uint256 most);
/// @notice validators of {online} of {all} of the power would be known to sign, which is no quorum: the chain would
/// stand; bring back or remove those that are away first, or lower the power of those that are to come
/// (`trefoil validator list` shows who signs, `trefoil validator propose-power`)
error TooFewOnline(uint256 online, uint256 all);

/// The nodes that the network knows by their keys: validators, and what was revoked.
///
/// Always, at every height to come: 1 to 128 validators of active organisations,
/// of at most 2^60 power together. A peer has one entry; one change of it is
/// pending at most, and what is due at the next height was applied in this block,
/// so an entry says what holds at the next height. A revoked peer stays revoked. No decision makes
/// the validators that are *online* fewer than a quorum: those whose key was seen to sign, and not
/// missed in the last `PRESENCE_BLOCKS` blocks in a row.
abstract contract Validators is Organisations {
    struct Entry {
        uint32 organisation;
        /// In `_listed`, while it is a validator.
        uint16 index;
        bool revoked;
        /// It moved to its standby, and its key was not rotated since: another machine than `peer` signs.
        bool elsewhere;
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
        /// When its organisation last changed its key alone, in seconds; 0: never, or all changed it since.
        uint64 rotated;
        /// The newest height that its key did not sign, and how many before it in a row; a key that was never
        /// seen has missed `PRESENCE_BLOCKS` up to its beginning.
        uint64 missedLast;
        uint64 missedRow;
        /// When it moved to its standby last, in seconds; 0: never.
        uint64 moved;
        /// The key that it moves to when its own is away; 0: none.
        bytes32 standby;
    }

    /// What the blocks to come would have.
    struct Outlook {
        /// The fewest validators, and the first height with so few.
        uint256 fewest;
        uint64 when;
        /// The most validators, and the most power.
        uint256 most;
        uint256 power;
        /// The least of what the validators online have beyond a quorum, in thirds of power (0 or less: they are
        /// none), and the power online and in all there.
        int256 margin;
        uint256 online;
        uint256 all;
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

    /// Whether its key is known to sign.
    function _isOnline(Entry storage e) internal view returns (bool) {
        return e.missedLast + 1 < block.number || e.missedRow < PRESENCE_BLOCKS;
    }

    /// Its key signs from `height` on at the earliest, and was not seen before.
    function _unseen(Entry storage e, uint64 height) internal {
        (e.missedLast, e.missedRow) = (height - 1, PRESENCE_BLOCKS);
    }

    function _validator(bytes32 peer) internal view returns (Entry storage e) {
        e = _entries[peer];
        if (e.power == 0) revert NoValidator(peer);
    }

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
        return _outlook(peer).fewest != 0;
    }

    /// Attack, or mistake: a decision after which nodes that do not run are needed for a quorum.
    function _checkValidators() internal view {
        Outlook memory o = _checkSets();
        if (o.margin <= 0) revert TooFewOnline(o.online, o.all);
    }

    /// As `_checkValidators`, after `power` came that nobody saw sign.
    function _checkNewPower(uint256 power) internal view {
        Outlook memory o = _checkSets();
        if (o.margin > 0) return;
        int256 room = o.margin + 2 * int256(power);
        revert TooMuchNewPower(power, room > 0 ? (uint256(room) - 1) / 2 : 0);
    }

    function _checkSets() private view returns (Outlook memory o) {
        o = _outlook(0);
        if (o.fewest == 0) revert NoValidatorAt(o.when);
        if (o.most > VALIDATORS_MAX) revert TooManyValidators(VALIDATORS_MAX);
        if (o.power > POWER_MAX) revert TooMuchPower(o.power, POWER_MAX);
    }

    /// Attack, or mistake: so much power for one that signs that no quorum is without it, where one was. As much as
    /// the largest other has is no more than its part: of three equals each is needed.
    function _checkShare(bytes32 peer, uint256 before, uint256 power) internal view {
        (uint256 others, uint256 all, uint256 own, uint256 largest) = _others(peer, false);
        uint256 rest = all - own;
        if (own == 0 || power <= largest) return;
        if (3 * others <= 2 * (rest + before) || 3 * others > 2 * (rest + power)) return;
        uint256 most = (3 * others - 2 * rest - 1) / 2;
        revert TooMuchForOne(power, most > largest ? most : largest);
    }

    /// Whether all other validators of the next block are no quorum of it.
    function _isNeeded(bytes32 peer) internal view returns (bool) {
        (uint256 others, uint256 all, uint256 own,) = _others(peer, true);
        return own != 0 && 3 * others <= 2 * all;
    }

    /// Whether those of them that are online are no quorum any more when the largest goes away as well.
    function _isNeededBesideOne(bytes32 peer) internal view returns (bool) {
        (uint256 others, uint256 all, uint256 own, uint256 largest) = _others(_seatOf(peer), false);
        return own != 0 && 3 * (others - largest) <= 2 * all;
    }

    /// The seat for which the machine may sign. One that moved signs on a machine whose peer id the chain does not
    /// know: of these it is the one that counts most. A key that was rotated is of the node that was voted in.
    function _seatOf(bytes32 peer) internal view returns (bytes32 seat) {
        if (_entries[peer].power != 0) return peer;
        uint256 most = 0;
        for (uint256 i = 0; i < _listed.length; i++) {
            Entry storage e = _entries[_listed[i]];
            if (!e.elsewhere || !_isActive(e.organisation)) continue;
            uint256 power = _isOnline(e) ? e.power : 0;
            if (seat == 0 || power > most) (seat, most) = (_listed[i], power);
        }
    }

    /// Power in the next block: of the others, those online or all, of the whole set, of `peer`, and the most of one
    /// of the others.
    function _others(bytes32 peer, bool ifAllSign)
        internal
        view
        returns (uint256 others, uint256 all, uint256 own, uint256 largest)
    {
        for (uint256 i = 0; i < _listed.length; i++) {
            Entry storage e = _entries[_listed[i]];
            uint256 power = e.power;
            if (e.from > _next() || !_isActive(e.organisation)) continue;
            all += power;
            if (_listed[i] == peer) {
                own = power;
            } else if (ifAllSign || _isOnline(e)) {
                others += power;
                if (power > largest) largest = power;
            }
        }
    }

    function _apply(bytes32 peer) internal {
        Entry storage e = _entries[peer];
        if (e.nextPower == 0) {
            _unlist(peer);
            return;
        }
        if (e.nextKey != e.key) {
            _release(e.key, e.changes);
            _unseen(e, e.changes);
            e.elsewhere = false;
        }
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

    /// The blocks to come, as if `without` were not listed: the set of the next block, then the changes to come in
    /// the order of their heights.
    function _outlook(bytes32 without) private view returns (Outlook memory o) {
        // Height, power that comes, power that goes, and whether that is online: 64 bits each.
        uint256[] memory changes = new uint256[](_listed.length);
        (uint256 coming, uint256 count) = (0, 0);
        for (uint256 i = 0; i < _listed.length; i++) {
            if (_listed[i] == without) continue;
            Entry storage e = _entries[_listed[i]];
            if (!_isActive(e.organisation)) continue;
            if (e.from > _next()) {
                changes[coming++] = (uint256(e.from) << 192) | (uint256(e.power) << 128);
                continue;
            }
            bool online = _isOnline(e);
            count += 1;
            o.all += e.power;
            if (online) o.online += e.power;
            if (e.changes == 0) continue;
            uint256 after_ = online ? (e.nextKey == e.key ? 3 : 1) : 0;
            changes[coming++] =
                (uint256(e.changes) << 192) | (uint256(e.nextPower) << 128) | (uint256(e.power) << 64) | after_;
        }
        (o.fewest, o.when, o.most, o.power) = (count, _next(), count, o.all);
        (uint256 online_, uint256 all) = (o.online, o.all);
        o.margin = int256(3 * online_) - int256(2 * all);
        _sort(changes, coming);
        for (uint256 i = 0; i < coming; i++) {
            (uint64 gained, uint64 lost) = (uint64(changes[i] >> 128), uint64(changes[i] >> 64));
            if (gained != 0) count += 1;
            if (lost != 0) count -= 1;
            all = all + gained - lost;
            if (changes[i] & 1 != 0) online_ -= lost;
            if (changes[i] & 2 != 0) online_ += gained;
            uint64 height = uint64(changes[i] >> 192);
            if (i + 1 < coming && uint64(changes[i + 1] >> 192) == height) continue;
            if (count < o.fewest) (o.fewest, o.when) = (count, height);
            if (count > o.most) o.most = count;
            if (all > o.power) o.power = all;
            int256 margin = int256(3 * online_) - int256(2 * all);
            if (margin < o.margin) (o.margin, o.online, o.all) = (margin, online_, all);
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
