// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Acting.sol";
import "./Seats.sol";

/// @notice {account} is no account of organisation {organisation}; see `trefoil org settings --account`
error NotItsAccount(address account, uint32 organisation);
/// @notice {account} does not administer organisation {organisation}; a governance key of that one names it
/// by `trefoil org accounts administrators`
error NotAnAdministrator(address account, uint32 organisation);

/// The accounts of an organisation besides those that speak for it: of its people and programs, and those to which
/// its validators' tips go.
///
/// Always: an account belongs to one organisation at most, may transact by that as long as it is active, and
/// never votes by it. Attack: to name another's account as one's own, and freeze it. That takes nothing but what
/// the organisation itself gave: another may add whom its organisation does not let send, and whoever can send chooses.
abstract contract Accounts is Acting, Seats {
    uint256 public constant SENDERS_MAX = 16;

    // What an organisation decides for itself.

    /// Accounts that may send transactions whatever the lists say: for an organisation whose keys are contracts,
    /// which cannot. They do not vote.
    function setSenders(uint32 id, address[] calldata senders) external by(id) {
        _requireList(id, senders);
        _replace(_existing(id).senders, senders);
        emit SendersChanged(id, senders);
    }

    /// Accounts that add and freeze its accounts, each alone, instead of those before. They may send whatever the
    /// lists say, and do not vote.
    function setAdministrators(uint32 id, address[] calldata accounts) external by(id) {
        _requireList(id, accounts);
        _replace(_existing(id).administrators, accounts);
        emit AdministratorsChanged(id, accounts);
    }

    function setFeeRecipient(bytes32 peer, address feeRecipient) external by(_entries[peer].organisation) {
        Entry storage e = _validator(peer);
        if (e.feeRecipient == feeRecipient) revert NothingToChange();
        e.feeRecipient = feeRecipient;
        emit FeeRecipientChanged(peer, feeRecipient);
        _changed();
    }

    // What an administrator does alone.

    /// They belong to the organisation, also those that it had frozen; but for those of another, or that chose
    /// another. Attack: who names one of many accounts first would stop them all.
    function addAccounts(uint32 id, address[] calldata accounts) external alone {
        _requireAdministrator(id);
        for (uint256 i = 0; i < accounts.length; i++) {
            uint256 word = _permissions[accounts[i]];
            (uint32 has, uint32 chosen) = (uint32(word >> BELONGS), uint32(word >> CHOSEN));
            bool lost = word & FROZEN != 0;
            uint32 other = chosen != id && _isActive(chosen) && !(has == chosen && lost) ? chosen : 0;
            if (other == 0 && has != id && !lost && _isActive(has)) other = has;
            if (other != 0) {
                emit AccountBelongs(id, accounts[i], other);
                continue;
            }
            word &= ~(uint256(type(uint32).max) << BELONGS | FROZEN);
            // An account that cannot send cannot choose anew.
            if (chosen != id) word &= ~(uint256(type(uint32).max) << CHOSEN);
            _permissions[accounts[i]] = word | uint256(id) << BELONGS;
            emit AccountAdded(id, accounts[i]);
        }
    }

    /// They may not transact by the organisation any more. What a vote gave them is for a vote to take.
    function freezeAccounts(uint32 id, address[] calldata accounts) external alone {
        _requireAdministrator(id);
        for (uint256 i = 0; i < accounts.length; i++) {
            uint256 word = _permissions[accounts[i]];
            if (uint32(word >> BELONGS) != id) revert NotItsAccount(accounts[i], id);
            _permissions[accounts[i]] = word | FROZEN;
            emit AccountFrozen(id, accounts[i]);
        }
    }

    // What an account does alone.

    /// From now on only that organisation may add the sender, and it leaves any other, until that one is active no
    /// more, or freezes it; 0: any may.
    function chooseOrganisation(uint32 id) external alone {
        if (id != 0) _existing(id);
        uint256 word = _permissions[msg.sender];
        if (uint32(word >> BELONGS) != id) word &= ~(uint256(type(uint32).max) << BELONGS | FROZEN);
        word &= ~(uint256(type(uint32).max) << CHOSEN);
        _permissions[msg.sender] = word | uint256(id) << CHOSEN;
        emit OrganisationChosen(msg.sender, id);
    }

    /// Accounts that add and freeze accounts of an organisation.
    function administrators(uint32 organisation) external view returns (address[] memory) {
        return _members[organisation].administrators;
    }

    /// The organisation that an account belongs to (0: none), whether that froze it, and the only one that the
    /// account lets add it (0: any).
    function belongsTo(address account) external view returns (uint32 organisation, bool frozen, uint32 chosen) {
        uint256 word = _permissions[account];
        return (uint32(word >> BELONGS), word & FROZEN != 0, uint32(word >> CHOSEN));
    }

    function _requireAdministrator(uint32 id) private view {
        _requireActive(id);
        _requireNotHeld(id);
        address[] storage all = _members[id].administrators;
        for (uint256 i = 0; i < all.length; i++) {
            if (all[i] == msg.sender) return;
        }
        revert NotAnAdministrator(msg.sender, id);
    }

    function _requireList(uint32 id, address[] calldata accounts) private pure {
        if (accounts.length > SENDERS_MAX) revert OutOfRange("accounts", accounts.length, 0, SENDERS_MAX);
        for (uint256 i = 0; i < accounts.length; i++) {
            for (uint256 j = 0; j < i; j++) {
                if (accounts[i] == accounts[j]) revert AccountInUse(accounts[i], id);
            }
        }
    }
}
