// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Names.sol";
import "./Seats.sol";

/// @notice that is no signature by {key} for this network, role and organisation; make it anew with `trefoil keys
/// prove` where the key lies
error BadProof(bytes32 key);

/// How keys and accounts agree to their use, each by itself.
abstract contract Consent is Acting, Seats {
    /// `key` agrees to be used by the organisation of that name (which may be one to come): `signature` is its
    /// own (r, s), of what KeyProofs says. Anyone may bring it; it claims nothing, so it is in nobody's way.
    function prove(bytes32 key, KeyRole role, string calldata organisation, bytes calldata signature) external alone {
        bytes32 name = Names.pack(organisation);
        if (!KeyProofs.isProof(key, _network, role, name, signature)) revert BadProof(key);
        _prove(key, role, name);
    }

    /// The sender takes the seat that the organisation offers it.
    function acceptSeat(uint32 organisation) external alone {
        _accept(organisation);
    }

    /// Accounts that an organisation offers a seat: when `threshold` have accepted, they replace those that
    /// speak for it now; 0: the rest may join one by one.
    function offer(uint32 organisation)
        external
        view
        returns (uint8 threshold, address[] memory keys, bool[] memory accepted)
    {
        Offer storage o = _members[organisation].offer;
        (threshold, keys, accepted) = (o.threshold, o.keys, new bool[](o.keys.length));
        for (uint256 i = 0; i < accepted.length; i++) {
            accepted[i] = o.accepted & (1 << i) != 0;
        }
    }
}
