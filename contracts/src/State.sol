// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Rules.sol";
import "./Validators.sol";

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

    /// 0: none.
    address internal _guardian;
    Held internal _held;

    event LetGo(bytes32 indexed peer, uint32 indexed organisation);

    function _isHolding() internal view returns (bool) {
        return _held.until != 0;
    }

    function _letGo() internal {
        // Nothing changes for nodes if a vote revoked it meanwhile.
        if (_held.peer != 0 && !_entries[_held.peer].revoked) _changed();
        emit LetGo(_held.peer, _held.organisation);
        delete _held;
    }
}
