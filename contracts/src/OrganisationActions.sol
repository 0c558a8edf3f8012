// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Claims.sol";
import "./Seats.sol";

/// @notice there is an organisation {name}; choose another name
error NameInUse(string name);
/// @notice {threshold} of {keys} keys cannot speak; use a threshold from 1 to the number of keys
error BadThreshold(uint256 threshold, uint256 keys);
/// @notice {id} is the only active organisation; add or resume another first
error LastOrganisation(uint32 id);
/// @notice at most {most} at a time; remove one first
error TooManyOrganisations(uint256 most);
/// @notice the organisation has no CA key {key}, or it ended; see `trefoil org list`
error NoCaKey(bytes32 key);
/// @notice at most {most} at a time; end one first
error TooManyCaKeys(uint256 most);
/// @notice at height {height} the organisation would have no CA key; add the new one first, with `trefoil org
/// rotate-ca --add KEY`
/// @dev It must count from an earlier height.
error NoCaKeyAt(uint64 height);
/// @notice at most {most} an organisation; end the CA key that signed them, then `trefoil node forget-serials`
/// @dev Then `forgetSerials`.
error TooManySerials(uint256 most);
/// @notice height {height} is past; choose {least} or later
error TooEarly(uint64 height, uint64 least);

/// @notice {numerator}/{denominator} is no quorum; use at least half and less than all, such as 2/3
/// @dev 1/2 <= numerator/denominator < 1.
error BadQuorum(uint16 numerator, uint16 denominator);

/// What all decide about organisations, and what each decides about itself.
abstract contract OrganisationActions is Claims, Seats {
    uint256 public constant ORGANISATIONS_MAX = 128;
    uint256 public constant KEYS_MAX = 16;
    uint256 public constant CA_KEYS_MAX = 4;
    uint256 public constant SERIALS_MAX = 64;

    // What all decide.

    /// It joins when `threshold` of `keys` have accepted (`acceptSeat`); `caKeys` count from the next block on.
    function addOrganisation(string calldata name, uint8 threshold, address[] calldata keys, bytes32[] calldata caKeys)
        external
        byAll
    {
        IGovernance.CaKey[] memory cas = new IGovernance.CaKey[](caKeys.length);
        for (uint256 i = 0; i < cas.length; i++) {
            cas[i] = IGovernance.CaKey(caKeys[i], _next(), 0);
        }
        _addOrganisation(name, threshold, keys, cas);
        _changed();
    }

    /// For ever. Its nodes, certificates and votes count no more from the next block on.
    function removeOrganisation(uint32 id) external byAll {
        Member storage m = _existing(id);
        if (m.status == IGovernance.Status.Active) _deactivate(id);
        m.status = IGovernance.Status.Removed;
        _remaining -= 1;
        _names[m.name] = false;
        for (uint256 i = 0; i < m.keys.length; i++) {
            delete _seats[m.keys[i]];
            _keyRemoved(m.keys[i]);
        }
        delete m.keys;
        delete m.threshold;
        _withdrawOffer(m);
        for (uint256 i = 0; i < m.caKeys.length; i++) {
            uint64 until = m.caKeys[i].until;
            if (until == 0 || until > _next()) _release(m.caKeys[i].key, _next());
        }
        delete m.caKeys;
        delete m.serials;
        delete m.sealingKey;
        for (uint256 i = _listed.length; i > 0; i--) {
            bytes32 peer = _listed[i - 1];
            if (_entries[peer].organisation == id) _unlist(peer);
        }
        _checkValidators();
        emit OrganisationRemoved(id);
        _changed();
    }

    /// Its nodes are refused and do not validate, and it has no vote, until `resumeOrganisation`.
    function suspendOrganisation(uint32 id) external byAll {
        Member storage m = _existing(id);
        if (m.status == IGovernance.Status.Suspended) revert NothingToChange();
        _requireActive(id);
        _deactivate(id);
        m.status = IGovernance.Status.Suspended;
        _checkValidators();
        emit OrganisationSuspendedSince(id);
        _changed();
    }

    function resumeOrganisation(uint32 id) external byAll {
        Member storage m = _existing(id);
        if (m.status != IGovernance.Status.Suspended) revert NothingToChange();
        m.status = IGovernance.Status.Active;
        _active += 1;
        _checkValidators();
        emit OrganisationResumed(id);
        _changed();
    }

    function setQuorum(uint16 numerator, uint16 denominator) external byAll {
        _setQuorum(numerator, denominator);
    }

    // What an organisation decides for itself.

    /// They speak for it as soon as `threshold` of them have accepted (`acceptSeat`; who has a seat
    /// already has accepted). Then those before speak no more, and all its approvals so far are void.
    function setKeys(uint32 id, uint8 threshold, address[] calldata keys) external by(id) {
        _existing(id);
        _offer(id, threshold, keys);
        _install(id);
    }

    /// Its certificates count from height `from` on (0: the next block).
    function addCaKey(uint32 id, bytes32 key, uint64 from) external by(id) {
        IGovernance.CaKey[] storage cas = _existing(id).caKeys;
        if (from == 0) from = _next();
        if (from < _next()) revert TooEarly(from, _next());
        _dropEnded(cas);
        _addCaKey(id, IGovernance.CaKey(key, from, 0));
        _changed();
    }

    /// Its certificates count up to height `until` (0: the next block), not at it.
    function endCaKey(uint32 id, bytes32 key, uint64 until) external by(id) {
        IGovernance.CaKey[] storage cas = _existing(id).caKeys;
        if (until == 0) until = _next();
        if (until < _next()) revert TooEarly(until, _next());
        uint256 i = 0;
        while (i < cas.length && cas[i].key != key) i++;
        if (i == cas.length || (cas[i].until != 0 && cas[i].until <= _next())) revert NoCaKey(key);
        if (cas[i].until == until) revert NothingToChange();
        _release(key, until);
        cas[i].until = until;
        _note(until);
        // One that never counts is another's to claim, so it must not come back from here.
        if (until <= cas[i].from) _dropCaKey(cas, i);
        _checkCaKeys(cas);
        emit CaKeyEnds(id, key, until);
        _changed();
    }

    function revokeSerial(uint32 id, uint160 serial) external by(id) {
        uint160[] storage serials = _existing(id).serials;
        if (serials.length == SERIALS_MAX) revert TooManySerials(SERIALS_MAX);
        for (uint256 i = 0; i < serials.length; i++) {
            if (serials[i] == serial) revert NothingToChange();
        }
        serials.push(serial);
        emit SerialRevoked(id, serial);
        _changed();
    }

    /// For certificates that expired, or whose CA key ended.
    function forgetSerials(uint32 id) external by(id) {
        uint160[] storage serials = _existing(id).serials;
        if (serials.length == 0) revert NothingToChange();
        while (serials.length != 0) {
            emit SerialForgotten(id, serials[serials.length - 1]);
            serials.pop();
        }
        _changed();
    }

    /// What members seal content to from now on: an X25519 key, of which its nodes keep the other half (0: none).
    /// Consensus does not depend on it.
    function setSealingKey(uint32 id, bytes32 key) external by(id) {
        Member storage m = _existing(id);
        if (m.sealingKey == key) revert NothingToChange();
        m.sealingKey = key;
        emit SealingKeyChanged(id, key);
    }

    // Parts.

    function _setQuorum(uint16 numerator, uint16 denominator) internal {
        if (numerator >= denominator || 2 * uint256(numerator) < denominator) revert BadQuorum(numerator, denominator);
        (_quorumNumerator, _quorumDenominator) = (numerator, denominator);
        emit QuorumChanged(numerator, denominator);
    }

    function _foundOrganisations(IGovernance.Organisation[] memory founders) internal {
        for (uint256 i = 0; i < founders.length; i++) {
            IGovernance.Organisation memory o = founders[i];
            if (o.id != i + 1) revert NoOrganisation(o.id);
            _addOrganisation(o.name, o.threshold, o.keys, o.caKeys);
        }
        if (founders.length == 0) revert LastOrganisation(0);
    }

    function _addOrganisation(
        string memory name,
        uint8 threshold,
        address[] memory keys,
        IGovernance.CaKey[] memory cas
    ) private {
        if (_remaining == ORGANISATIONS_MAX) {
            revert TooManyOrganisations(ORGANISATIONS_MAX);
        }
        bytes32 packed = Names.pack(name);
        if (_names[packed]) revert NameInUse(name);
        _names[packed] = true;
        uint32 id = ++_organisations;
        _remaining += 1;
        Member storage m = _members[id];
        m.status = IGovernance.Status.Invited;
        m.name = packed;
        emit OrganisationAdded(id, name, threshold, keys);
        _offer(id, threshold, keys);
        // Founders accepted when they signed the specification.
        if (block.number == 0) m.offer.accepted = type(uint16).max;
        _install(id);
        for (uint256 i = 0; i < cas.length; i++) {
            _addCaKey(id, cas[i]);
        }
        _checkCaKeys(m.caKeys);
    }

    function _deactivate(uint32 id) private {
        if (_active == 1) revert LastOrganisation(id);
        _active -= 1;
    }

    function _offer(uint32 id, uint8 threshold, address[] memory keys) private {
        if (keys.length == 0 || keys.length > KEYS_MAX) revert OutOfRange("keys", keys.length, 1, KEYS_MAX);
        if (threshold == 0 || threshold > keys.length) revert BadThreshold(threshold, keys.length);
        Member storage m = _members[id];
        _withdrawOffer(m);
        uint16 accepted = 0;
        for (uint256 i = 0; i < keys.length; i++) {
            address key = keys[i];
            uint32 taken = _seats[key].organisation;
            for (uint256 j = 0; j < i; j++) {
                if (keys[j] == key) revert AccountInUse(key, id);
            }
            if (key == address(0) || key == address(this) || key == NODE || (taken != 0 && taken != id)) {
                revert AccountInUse(key, taken);
            }
            if (taken == id) accepted |= uint16(1 << i);
            _keyAdded(key);
        }
        (m.offer.threshold, m.offer.accepted, m.offer.keys) = (threshold, accepted, keys);
        emit KeysOffered(id, threshold, keys);
    }

    function _withdrawOffer(Member storage m) private {
        for (uint256 i = 0; i < m.offer.keys.length; i++) {
            _keyRemoved(m.offer.keys[i]);
        }
        delete m.offer;
    }

    function _addCaKey(uint32 id, IGovernance.CaKey memory ca) private {
        IGovernance.CaKey[] storage cas = _members[id].caKeys;
        if (cas.length == CA_KEYS_MAX) revert TooManyCaKeys(CA_KEYS_MAX);
        _claim(ca.key, KeyRole.Ca, id, 0, ca.from);
        cas.push(ca);
        _note(ca.from);
        _note(ca.until);
        emit CaKeyAdded(id, ca.key, ca.from, ca.until);
    }

    function _dropEnded(IGovernance.CaKey[] storage cas) private {
        for (uint256 i = cas.length; i > 0; i--) {
            uint64 until = cas[i - 1].until;
            if (until == 0 || until > _next()) continue;
            _dropCaKey(cas, i - 1);
        }
    }

    /// Coverage can only end where a key ends: it is enough to look there.
    function _checkCaKeys(IGovernance.CaKey[] storage cas) private view {
        _checkCaKeysAt(cas, _next());
        for (uint256 i = 0; i < cas.length; i++) {
            if (cas[i].until > _next()) _checkCaKeysAt(cas, cas[i].until);
        }
    }

    function _checkCaKeysAt(IGovernance.CaKey[] storage cas, uint64 height) private view {
        for (uint256 i = 0; i < cas.length; i++) {
            if (cas[i].from <= height && (cas[i].until == 0 || height < cas[i].until)) return;
        }
        revert NoCaKeyAt(height);
    }
}
