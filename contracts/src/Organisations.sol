// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Calendar.sol";
import "./IGovernance.sol";
import "./Keys.sol";
import "./Permissions.sol";

/// @notice there is no organisation {id}, or it was removed; see `trefoil org list`
error NoOrganisation(uint32 id);
/// @notice the accounts of organisation {id} have not accepted their seats yet; each does so by `trefoil org accept`
error OrganisationInvited(uint32 id);
/// @notice organisation {id} is suspended; a vote must resume it first: `trefoil org propose-resume`
error OrganisationSuspended(uint32 id);

/// The organisations, who speaks for them, and which keys sign their certificates.
///
/// Always: at least one is active; an account speaks for at most one; each that
/// was not removed has a CA key that counts at every height to come and, once it
/// has joined, 1 ≤ threshold ≤ keys ≤ 16.
abstract contract Organisations is Permissions, Calendar, Keys {
    struct Member {
        IGovernance.Status status;
        uint8 threshold;
        /// In `_present`.
        uint16 place;
        /// Grows when `keys` change: approvals by earlier keys do not count.
        uint32 generation;
        bytes32 name;
        address[] keys;
        IGovernance.CaKey[] caKeys;
        uint160[] serials;
        /// X25519; 0: none.
        bytes32 sealingKey;
        /// Accounts that may send transactions, since the keys are contracts.
        address[] senders;
        /// Accounts that add and freeze accounts of the organisation.
        address[] administrators;
        Offer offer;
    }

    /// Accounts that are to speak for an organisation and have not all accepted.
    struct Offer {
        /// They replace `keys` when so many accepted; 0: they did, and the rest may join one by one.
        uint8 threshold;
        /// Bit i: keys[i] accepts.
        uint16 accepted;
        /// The last second in which the first accounts of an organisation may accept.
        uint64 lapses;
        address[] keys;
    }

    /// An account that can give an organisation new keys.
    struct RecoveryKey {
        address account;
        /// When the recovery that it announced may be carried out; 0: none.
        uint64 ready;
        /// keccak256 of what it offers.
        bytes32 offer;
        /// The block in which the delay began.
        uint64 began;
    }

    struct Seat {
        uint32 organisation;
        /// In the organisation's `keys`.
        uint8 index;
    }

    /// So many blocks, too, before what may hurt somebody is carried out.
    uint64 internal constant ANSWER_BLOCKS = 100;

    mapping(uint32 => Member) internal _members;
    mapping(address => Seat) internal _seats;
    /// By name in small letters: the first height at which another may have it; 2^64 - 1: it is in use.
    mapping(bytes32 => uint64) internal _names;
    /// Ids are 1 to this.
    uint32 internal _organisations;
    uint32 internal _active;
    /// Those that were not removed, in no certain order.
    uint32[] internal _present;

    /// All decide with more than this part of the active organisations.
    uint16 internal _quorumNumerator;
    uint16 internal _quorumDenominator;

    mapping(uint32 => RecoveryKey) internal _recovery;
    /// Between the last approval and the deed, where someone may be hurt. Seconds.
    uint64 internal _decisionDelay;

    event DecisionDelayChanged(uint64 delay);
    event OrganisationAdded(uint32 indexed id, string name, uint8 threshold, address[] keys);
    event OrganisationJoined(uint32 indexed id);
    event OrganisationRemoved(uint32 indexed id);
    event OrganisationSuspendedSince(uint32 indexed id);
    event OrganisationResumed(uint32 indexed id);
    event QuorumChanged(uint16 numerator, uint16 denominator);
    event KeysOffered(uint32 indexed id, uint8 threshold, address[] keys);
    event SeatAccepted(uint32 indexed id, address indexed key);
    event KeysChanged(uint32 indexed id, uint8 threshold, address[] keys);
    event CaKeyAdded(uint32 indexed id, bytes32 indexed key, uint64 from, uint64 until);
    event CaKeyEnds(uint32 indexed id, bytes32 indexed key, uint64 until);
    event SendersChanged(uint32 indexed id, address[] senders);
    event AdministratorsChanged(uint32 indexed id, address[] administrators);
    event AccountAdded(uint32 indexed id, address indexed account);
    /// It was named to `id`, but is of `organisation`, or chose that one.
    event AccountBelongs(uint32 indexed id, address indexed account, uint32 organisation);
    event AccountFrozen(uint32 indexed id, address indexed account);
    event OrganisationChosen(address indexed account, uint32 indexed id);
    event SerialRevoked(uint32 indexed id, uint160 indexed serial);
    event SealingKeyChanged(uint32 indexed id, bytes32 key);
    event SerialForgotten(uint32 indexed id, uint160 indexed serial);

    /// Of so many that decide, so many must approve: more than the quorum's part; of four or
    /// more never all, so that one that is lost does not end all decisions.
    function _needed(uint256 deciding) internal view returns (uint256 needed) {
        needed = deciding * _quorumNumerator / _quorumDenominator + 1;
        if (deciding >= 4 && needed == deciding) needed -= 1;
    }

    /// Whether one has a voice that is not heard just now.
    function _isAnySuspended() internal view returns (bool) {
        for (uint256 i = 0; i < _present.length; i++) {
            if (_members[_present[i]].status == IGovernance.Status.Suspended) return true;
        }
        return false;
    }

    /// The first block in which what began to wait in block `began` may be carried out: seconds go by while the chain
    /// stands, and nobody can answer. As many blocks as the delay has seconds, at most `ANSWER_BLOCKS`.
    function _answeredFrom(uint64 began) internal view returns (uint64) {
        return began + (_decisionDelay < ANSWER_BLOCKS ? _decisionDelay : ANSWER_BLOCKS);
    }

    function _setStatus(uint32 id, IGovernance.Status status) internal {
        bool was = _isActive(id);
        _members[id].status = status;
        bool now_ = _isActive(id);
        if (was == now_) return;
        if (was) _active -= 1;
        else _active += 1;
        _permissions[address(uint160(id))] ^= ACTIVE;
    }

    function _isActive(uint32 id) internal view returns (bool) {
        return _members[id].status == IGovernance.Status.Active;
    }

    function _requireActive(uint32 id) internal view {
        IGovernance.Status status = _existing(id).status;
        if (status == IGovernance.Status.Invited) revert OrganisationInvited(id);
        if (status == IGovernance.Status.Suspended) revert OrganisationSuspended(id);
    }

    /// Whether a CA key begins or ends to count with the next block.
    function _caKeysArrive() internal returns (bool arrived) {
        uint64 next = _next();
        for (uint256 place = 0; place < _present.length; place++) {
            IGovernance.CaKey[] storage cas = _members[_present[place]].caKeys;
            for (uint256 i = 0; i < cas.length; i++) {
                (uint64 from, uint64 until) = (cas[i].from, cas[i].until);
                arrived = arrived || from == next || until == next;
                _note(from);
                _note(until);
            }
        }
    }

    function _existing(uint32 id) internal view returns (Member storage m) {
        m = _members[id];
        if (m.status == IGovernance.Status.None || m.status == IGovernance.Status.Removed) revert NoOrganisation(id);
    }
}
