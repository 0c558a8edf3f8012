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
/// Always: an account that speaks for an organisation, or is asked to, may transact, or a list
/// of accounts could shut out those who can change it. An account of an organisation may as long as that is
/// active: with it all of them go and come, however many they are.
abstract contract Permissions is Membership {
    uint256 internal constant MAY_TRANSACT = 1;
    uint256 internal constant MAY_DEPLOY = 2;
    /// A vote gave `MAY_TRANSACT`: it stays when the seat goes.
    uint256 private constant BY_VOTE = 4;
    /// Its organisation took back that it may transact.
    uint256 internal constant FROZEN = 8;
    /// In the word of the address that is an organisation's number: its accounts may transact.
    uint256 internal constant ACTIVE = 16;
    /// From these bits on, 32 each: the organisation that the account belongs to, and the only one
    /// that the account lets add it; 0: none, any.
    uint256 internal constant BELONGS = 32;
    uint256 internal constant CHOSEN = 64;
    /// From this bit on: how many organisations gave or offer it a seat.
    uint256 private constant SEAT = 1 << 128;

    /// Slot 1. Nodes read bits 0, 1, 3, 4 and those of `BELONGS`.
    mapping(address => uint256) internal _permissions;

    event PermissionsSet(address indexed account, uint256 permissions);

    function _setPermissions(address[] calldata accounts, uint256[] calldata granted) internal {
        if (accounts.length != granted.length) revert UnequalLengths(accounts.length, granted.length);
        for (uint256 i = 0; i < accounts.length; i++) {
            if (granted[i] > (MAY_TRANSACT | MAY_DEPLOY)) revert UnknownPermission(accounts[i], granted[i]);
            _setPermission(accounts[i], granted[i]);
        }
    }

    function _foundPermissions(address[] memory accounts, address[] memory deployers) internal {
        for (uint256 i = 0; i < accounts.length; i++) {
            _setPermission(accounts[i], MAY_TRANSACT);
        }
        for (uint256 i = 0; i < deployers.length; i++) {
            bool transacts = _permissions[deployers[i]] & BY_VOTE != 0;
            _setPermission(deployers[i], MAY_DEPLOY | (transacts ? MAY_TRANSACT : 0));
        }
    }

    function _setPermission(address account, uint256 bits) private {
        uint256 others = _permissions[account] & ~(MAY_TRANSACT | MAY_DEPLOY | BY_VOTE);
        _write(account, others | (bits & MAY_DEPLOY) | (bits & MAY_TRANSACT == 0 ? 0 : BY_VOTE));
    }

    function _keyAdded(address account) internal {
        _write(account, _permissions[account] + SEAT);
    }

    function _keyRemoved(address account) internal {
        _write(account, _permissions[account] - SEAT);
    }

    /// What nodes go by.
    function _permissionsOf(address account) internal view returns (uint256) {
        uint256 word = _permissions[account];
        bool belongs = word & FROZEN == 0 && _permissions[address(uint160(uint32(word >> BELONGS)))] & ACTIVE != 0;
        return (word & (MAY_TRANSACT | MAY_DEPLOY)) | (belongs ? MAY_TRANSACT : 0);
    }

    function _write(address account, uint256 word) private {
        uint256 before = _permissions[account];
        bool transacts = word & BY_VOTE != 0 || word >= SEAT;
        word = transacts ? word | MAY_TRANSACT : word & ~MAY_TRANSACT;
        _permissions[account] = word;
        uint256 shown = MAY_TRANSACT | MAY_DEPLOY;
        if ((word ^ before) & shown != 0) emit PermissionsSet(account, word & shown);
    }
}
