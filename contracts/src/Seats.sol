// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Acting.sol";
import "./State.sol";

/// @notice {account} speaks for organisation {organisation} already (0: it can never speak for one), or is named
/// twice; name another account
error AccountInUse(address account, uint32 organisation);
/// @notice organisation {organisation} offers {account} no seat, or it accepted before; see `trefoil org list`
error NoSeat(address account, uint32 organisation);
/// @notice organisation {organisation} was invited more than 30 days ago, and its seats are offered no more; if it
/// shall join yet, all vote to remove it and to invite it anew: `trefoil org propose-remove`, `trefoil org propose-add`
error InvitationLapsed(uint32 organisation);

/// @notice {threshold} of {keys} keys cannot speak; use a threshold from 1 to the number of keys
error BadThreshold(uint256 threshold, uint256 keys);

/// The accounts that speak for organisations.
///
/// Always: an account has a seat only where it was offered one and accepted by a call of its
/// own, so nobody can take it by naming it; an offer holds as soon as `threshold` accounts
/// accepted, and until then those that spoke before go on to speak, so nobody is left without
/// a voice by a typing error.
abstract contract Seats is State {
    uint256 public constant KEYS_MAX = 16;
    /// Nobody must remember for ever who was invited.
    uint64 internal constant INVITATION_SECONDS = 30 days;

    /// Offers accounts seats; those that have one there have accepted.
    function _offer(uint32 id, uint8 threshold, address[] memory keys) internal {
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
        m.offer.lapses = uint64(block.timestamp) + INVITATION_SECONDS;
        emit KeysOffered(id, threshold, keys);
    }

    /// Other accounts that may send whatever the lists say in the place of those before.
    function _replace(address[] storage list, address[] memory accounts) internal {
        while (list.length != 0) {
            _keyRemoved(list[list.length - 1]);
            list.pop();
        }
        for (uint256 i = 0; i < accounts.length; i++) {
            _keyAdded(accounts[i]);
            list.push(accounts[i]);
        }
    }

    function _replaceRecoveryKey(uint32 id, address account) internal {
        RecoveryKey storage r = _recovery[id];
        if (r.account != address(0)) _keyRemoved(r.account);
        if (account != address(0)) _keyAdded(account);
        (r.account, r.ready, r.offer) = (account, 0, 0);
    }

    function _withdrawOffer(Member storage m) internal {
        for (uint256 i = 0; i < m.offer.keys.length; i++) {
            _keyRemoved(m.offer.keys[i]);
        }
        delete m.offer;
    }

    function _install(uint32 id) internal {
        Member storage m = _members[id];
        Offer storage o = m.offer;
        (address[] memory accepted, address[] memory waiting) = _sorted(id, o);
        if (accepted.length < o.threshold) return;
        for (uint256 i = 0; i < m.keys.length; i++) {
            delete _seats[m.keys[i]];
            _keyRemoved(m.keys[i]);
        }
        for (uint8 i = 0; i < accepted.length; i++) {
            _seats[accepted[i]] = Seat(id, i);
        }
        bytes32 before = keccak256(abi.encode(m.status, m.threshold, m.keys));
        (m.threshold, m.keys) = (o.threshold, accepted);
        m.generation += 1;
        // The others may still come.
        (o.threshold, o.accepted, o.keys) = (0, 0, waiting);
        emit KeysChanged(id, m.threshold, accepted);
        if (m.status == IGovernance.Status.Invited) {
            _setStatus(id, IGovernance.Status.Active);
            emit OrganisationJoined(id);
        }
        if (keccak256(abi.encode(m.status, m.threshold, m.keys)) != before) _changed();
    }

    /// The sender takes the seat that the organisation offers it.
    function _accept(uint32 id) internal {
        Member storage m = _existing(id);
        Offer storage o = m.offer;
        uint32 taken = _seats[msg.sender].organisation;
        if (taken != 0 && taken != id) revert AccountInUse(msg.sender, taken);
        uint256 i = 0;
        while (i < o.keys.length && o.keys[i] != msg.sender) i++;
        if (i == o.keys.length || o.accepted & (1 << i) != 0) revert NoSeat(msg.sender, id);
        if (m.status == IGovernance.Status.Invited && block.timestamp > o.lapses) revert InvitationLapsed(id);
        emit SeatAccepted(id, msg.sender);
        if (o.threshold != 0) {
            o.accepted |= uint16(1 << i);
            return _install(id);
        }
        o.keys[i] = o.keys[o.keys.length - 1];
        o.keys.pop();
        _seats[msg.sender] = Seat(id, uint8(m.keys.length));
        m.keys.push(msg.sender);
        emit KeysChanged(id, m.threshold, m.keys);
        _changed();
    }

    /// An account that accepted may have taken a seat elsewhere since.
    function _sorted(uint32 id, Offer storage o)
        private
        view
        returns (address[] memory accepted, address[] memory waiting)
    {
        uint256 count = 0;
        (accepted, waiting) = (new address[](o.keys.length), new address[](o.keys.length));
        for (uint256 i = 0; i < o.keys.length; i++) {
            address key = o.keys[i];
            uint32 taken = _seats[key].organisation;
            bool comes = o.accepted & (1 << i) != 0 && (taken == 0 || taken == id);
            if (comes) accepted[count++] = key;
            else waiting[i - count] = key;
        }
        uint256 others = waiting.length - count;
        assembly ("memory-safe") {
            mstore(accepted, count)
            mstore(waiting, others)
        }
    }
}
