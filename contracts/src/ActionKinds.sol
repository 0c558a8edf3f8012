// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./OrganisationActions.sol";

/// What an action is about, by its calldata.
library ActionKinds {
    /// The organisation that shall not count when all decide: the one that is to be
    /// suspended, or to be given keys since it lost its own; 0: none.
    function concerned(bytes memory action) internal pure returns (uint32) {
        bytes4 kind = bytes4(action);
        if (kind != OrganisationActions.suspendOrganisation.selector && kind != OrganisationActions.setKeys.selector) {
            return 0;
        }
        return action.length < 36 ? 0 : uint32(uint256(word(action)));
    }

    /// The first argument.
    function word(bytes memory action) private pure returns (bytes32 first) {
        assembly ("memory-safe") {
            first := mload(add(action, 36))
        }
    }
}
