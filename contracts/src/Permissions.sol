// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Membership.sol";

/// @notice {permissions} for {account}; use 0 to 3
/// @dev More permission bits than there are.
error UnknownPermission(address account, uint256 permissions);
/// @notice {accounts} accounts and {permissions} permissions; give one for each
error UnequalLengths(uint256 accounts, uint256 permissions);

/// Which accounts may transact and deploy, where the switches ask for it.
///
/// Always: a governance key may transact, or a list of accounts could shut out
/// those who can change it.
abstract contract Permissions is Membership {
    uint256 internal constant MAY_TRANSACT = 1;
    uint256 internal constant MAY_DEPLOY = 2;
    /// `MAY_TRANSACT` came with a governance key and goes with it.
    uint256 private constant BY_KEY = 1 << 255;

    /// Slot 1. Nodes read bits 0 and 1.
    mapping(address => uint256) internal _permissions;

    event PermissionsSet(address indexed account, uint256 permissions);

    function _setPermissions(address[] calldata accounts, uint256[] calldata granted) internal {
        if (accounts.length != granted.length) revert UnequalLengths(accounts.length, granted.length);
        for (uint256 i = 0; i < accounts.length; i++) {
            address account = accounts[i];
            uint256 bits = granted[i];
            if (bits > (MAY_TRANSACT | MAY_DEPLOY)) revert UnknownPermission(account, bits);
            if (bits & MAY_TRANSACT == 0 && _isGovernanceKey(account)) bits |= MAY_TRANSACT | BY_KEY;
            _write(account, bits);
        }
    }

    function _keyAdded(address account) internal {
        uint256 bits = _permissions[account];
        if (bits & MAY_TRANSACT == 0) _write(account, bits | MAY_TRANSACT | BY_KEY);
    }

    function _keyRemoved(address account) internal {
        uint256 bits = _permissions[account];
        if (bits & BY_KEY != 0) _write(account, bits & ~(MAY_TRANSACT | BY_KEY));
    }

    function _write(address account, uint256 bits) private {
        _permissions[account] = bits;
        emit PermissionsSet(account, bits & ~BY_KEY);
    }

    function _isGovernanceKey(address account) internal view virtual returns (bool);
}
