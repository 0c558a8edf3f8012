// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Claims.sol";
import "./Seats.sol";

/// @notice there is or lately was an organisation {name}, perhaps with other capitals; choose another name
/// @dev The name of one that was removed is free again after `EVIDENCE_BLOCKS`.
error NameInUse(string name);
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

/// @notice with fewer than three active organisations none can suspend another by vote; remove it together, or
/// revoke its nodes
error TooFewToSuspend(uint32 active);
/// @notice {numerator}/{denominator} is no quorum; use at least half and less than all, such as 2/3
/// @dev 1/2 <= numerator/denominator < 1.
error BadQuorum(uint16 numerator, uint16 denominator);

/// What all decide about organisations, and what each decides about itself.
abstract contract OrganisationActions is Claims, Seats {
    uint256 public constant ORGANISATIONS_MAX = 128;
    uint256 public constant CA_KEYS_MAX = 4;
    uint256 public constant SERIALS_MAX = 64;
    uint64 public constant DECISION_DELAY_MAX = 30 days;

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
        if (_isActive(id)) _requireOthers(id);
        _setStatus(id, IGovernance.Status.Removed);
        uint32 last = _present[_present.length - 1];
        (_present[m.place], _members[last].place) = (last, m.place);
        _present.pop();
        // As long as its keys: whoever took it sooner would be taken for it, and could use proofs for its name.
        // One that never joined leaves nothing behind.
        _names[Names.folded(m.name)] = m.generation == 0 ? 0 : _next() + EVIDENCE_BLOCKS;
        for (uint256 i = 0; i < m.keys.length; i++) {
            delete _seats[m.keys[i]];
            _keyRemoved(m.keys[i]);
        }
        delete m.keys;
        delete m.threshold;
        _withdrawOffer(m);
        _replaceRecoveryKey(id, address(0));
        _replace(m.senders, new address[](0));
        _replace(m.administrators, new address[](0));
        for (uint256 i = 0; i < m.caKeys.length; i++) {
            uint64 until = m.caKeys[i].until;
            // One that never joined signed nothing by which its key is to be judged.
            if (until == 0 || until > _next()) _release(m.caKeys[i].key, m.generation == 0 ? 0 : _next());
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

    /// Its nodes are refused and do not validate, and it has no vote, until `resumeOrganisation`. It does not
    /// count in that vote, so there must be two others: one alone shall not suspend another.
    function suspendOrganisation(uint32 id) external byAll {
        Member storage m = _existing(id);
        if (m.status == IGovernance.Status.Suspended) revert NothingToChange();
        _requireActive(id);
        if (_active < 3) revert TooFewToSuspend(_active);
        _requireOthers(id);
        _setStatus(id, IGovernance.Status.Suspended);
        _checkValidators();
        emit OrganisationSuspendedSince(id);
        _changed();
    }

    function resumeOrganisation(uint32 id) external byAll {
        Member storage m = _existing(id);
        if (m.status != IGovernance.Status.Suspended) revert NothingToChange();
        _setStatus(id, IGovernance.Status.Active);
        _putOffRecovery(id, uint64(block.timestamp));
        for (uint256 i = 0; i < _listed.length; i++) {
            Entry storage e = _entries[_listed[i]];
            if (e.organisation == id && e.from <= _next()) _unseen(e, _next());
        }
        _checkValidators();
        emit OrganisationResumed(id);
        _changed();
    }

    function setQuorum(uint16 numerator, uint16 denominator) external byAll {
        _setQuorum(numerator, denominator);
    }

    function setDecisionDelay(uint64 delay) external byAll {
        if (delay == _decisionDelay) revert NothingToChange();
        _setDecisionDelay(delay);
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
        // Nobody waits for a key that is free no more before the last height.
        uint64 last = type(uint64).max - EVIDENCE_BLOCKS;
        if (until > last) revert OutOfRange("until", until, _next(), last);
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

    function _setDecisionDelay(uint64 delay) internal {
        if (delay > DECISION_DELAY_MAX) revert OutOfRange("decisionDelay", delay, 0, DECISION_DELAY_MAX);
        _decisionDelay = delay;
        emit DecisionDelayChanged(delay);
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
        if (_present.length == ORGANISATIONS_MAX) {
            revert TooManyOrganisations(ORGANISATIONS_MAX);
        }
        bytes32 packed = Names.pack(name);
        bytes32 small = Names.folded(packed);
        if (_names[small] > block.number) revert NameInUse(name);
        _names[small] = type(uint64).max;
        uint32 id = ++_organisations;
        Member storage m = _members[id];
        m.place = uint16(_present.length);
        _present.push(id);
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

    function _requireOthers(uint32 id) private view {
        if (_active == 1) revert LastOrganisation(id);
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

    function _checkCaKeys(IGovernance.CaKey[] storage cas) private view {
        (bool covered, uint64 gap) = _coverage(cas);
        if (!covered) revert NoCaKeyAt(gap);
    }
}
