// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Seats.sol";

/// @notice {account} is not the recovery key of organisation {organisation}, which `trefoil org list` shows
error NotTheRecoveryKey(address account, uint32 organisation);
/// @notice organisation {organisation} can be recovered from {ready:time} and height {height} on; repeat it then, with
/// the same accounts
error RecoveryNotDue(uint32 organisation, uint64 ready, uint64 height);

/// A second way to an organisation's seats, for one that lost its keys: an account that lies in a
/// safe names others. The keys, if they are not lost, see it coming and call it off, so a stolen
/// recovery key takes nothing.
abstract contract Recovery is Acting, Seats {
    event RecoveryKeyChanged(uint32 indexed id, address account);
    event RecoveryBegins(uint32 indexed id, uint8 threshold, address[] keys, uint64 ready);

    /// 0: none. It also calls off a recovery that has begun.
    function setRecoveryKey(uint32 id, address account) external by(id) {
        _existing(id);
        if (_recovery[id].account == account && _recovery[id].ready == 0) revert NothingToChange();
        _replaceRecoveryKey(id, account);
        emit RecoveryKeyChanged(id, account);
    }

    /// The sender's organisation is to have these keys. The first call announces it; after the delay of
    /// decisions, for a week, the same call offers them their seats. While the organisation is suspended or held its
    /// keys cannot call it off: the delay begins when they can.
    function recover(uint32 id, uint8 threshold, address[] calldata keys) external alone {
        _existing(id);
        RecoveryKey storage r = _recovery[id];
        if (r.account != msg.sender) revert NotTheRecoveryKey(msg.sender, id);
        bytes32 offered = keccak256(abi.encode(threshold, keys));
        if (r.offer != offered || block.timestamp > uint256(r.ready) + RECOVERY_SECONDS) {
            uint64 since = _heldNow() == id ? _held.until : uint64(block.timestamp);
            (r.offer, r.ready, r.began) = (offered, since + _decisionDelay, uint64(block.number));
            emit RecoveryBegins(id, threshold, keys, r.ready);
            return;
        }
        // Its keys could not call it off.
        _requireActive(id);
        _requireNotHeld(id);
        uint64 height = _answeredFrom(r.began);
        if (block.timestamp < r.ready || block.number < height) revert RecoveryNotDue(id, r.ready, height);
        (r.offer, r.ready) = (0, 0);
        _offer(id, threshold, keys);
        _install(id);
    }

    /// The account that can give an organisation new keys (0: none), and from when on what it announced can be
    /// carried out (in seconds; 0: nothing).
    function recoveryKey(uint32 organisation) external view returns (address account, uint64 ready) {
        return (_recovery[organisation].account, _recovery[organisation].ready);
    }
}
