// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./State.sol";

/// @notice {account} speaks for organisation {organisation} already (0: it can never speak for one), or is named
/// twice; name another account
error AccountInUse(address account, uint32 organisation);
/// @notice organisation {organisation} offers {account} no seat, or it accepted before; see `trefoil org list`
error NoSeat(address account, uint32 organisation);

/// The accounts that speak for organisations.
///
/// Always: an account has a seat only where it was offered one and accepted by a call of its
/// own, so nobody can take it by naming it; an offer holds as soon as `threshold` accounts
/// accepted, and until then those that spoke before go on to speak, so nobody is left without
/// a voice by a typing error.
abstract contract Seats is State {
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
        (m.threshold, m.keys) = (o.threshold, accepted);
        m.generation += 1;
        // The others may still come.
        (o.threshold, o.accepted, o.keys) = (0, 0, waiting);
        emit KeysChanged(id, m.threshold, accepted);
        if (m.status == IGovernance.Status.Invited) {
            m.status = IGovernance.Status.Active;
            _active += 1;
            emit OrganisationJoined(id);
        }
        _changed();
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
