// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./State.sol";

/// @notice at a base fee of {minBaseFee} wei {able} of {needed} organisations could pay for ten approvals by each
/// of the keys that they need; send their accounts coins first ({price:ether} ether each)
error TooFewCouldPay(uint64 minBaseFee, uint256 able, uint256 needed, uint256 price);
/// @notice {able} of {needed} organisations could still send ten approvals by each of the keys that they need; send
/// the accounts of the others coins first ({price:ether} ether each), or, if their keys are contracts, each names accounts
/// that may send for it, with `trefoil org senders` (the first 8 are looked at)
/// @dev `setSenders` names them.
error TooFewCouldSend(uint256 able, uint256 needed, uint256 price);

/// Whether those who decide could still send transactions under other rules.
///
/// Always: no vote makes a rule under which fewer than a quorum could vote again.
abstract contract Reach is State {
    /// Of the accounts that may send for contracts so many are looked at. Attack: lists of accounts that cannot send, by
    /// organisations under a third, so that the vote does not fit into a transaction.
    uint256 private constant SENDERS_READ = 8;
    /// No approval that a block can hold costs more than the smallest block.
    uint256 private constant APPROVALS_GAS = 10 * 1_000_000;
    /// How the code of an account begins that delegates (EIP-7702): it can still send.
    bytes3 private constant DELEGATES = 0xef0100;

    function _requireCouldPay(uint64 minBaseFee) internal view {
        uint256 price = APPROVALS_GAS * minBaseFee;
        (uint256 able, uint256 needed) = _ableIf(price);
        if (able < needed) revert TooFewCouldPay(minBaseFee, able, needed, price);
    }

    /// Attack, or mistake: a list of accounts while a fee is asked and who decides owns nothing. Whoever owns coins
    /// could send it none any more.
    function _requireCouldSend(uint64 minBaseFee) internal view {
        uint256 price = APPROVALS_GAS * minBaseFee;
        (uint256 able, uint256 needed) = _ableIf(price);
        if (able < needed) revert TooFewCouldSend(able, needed, price);
    }

    /// How many organisations have, for as many of their keys as they need, an account that can send
    /// and owns so much.
    function _ableIf(uint256 price) private view returns (uint256 able, uint256 needed) {
        needed = _needed(_active);
        for (uint256 i = 0; i < _present.length && able < needed; i++) {
            uint32 id = _present[i];
            if (_isActive(id) && _isAble(_members[id], price)) able += 1;
        }
    }

    function _isAble(Member storage m, uint256 price) private view returns (bool) {
        uint256 count = 0;
        (bool looked, bool sends) = (false, false);
        for (uint256 i = 0; i < m.keys.length && count < m.threshold; i++) {
            address key = m.keys[i];
            bool able = key.balance >= price;
            if (_isContract(key)) {
                if (!looked) (looked, sends) = (true, _hasSender(m, price));
                able = sends;
            }
            if (able) count += 1;
        }
        return count >= m.threshold;
    }

    function _hasSender(Member storage m, uint256 price) private view returns (bool) {
        for (uint256 i = 0; i < m.senders.length && i < SENDERS_READ; i++) {
            if (m.senders[i].balance >= price && !_isContract(m.senders[i])) return true;
        }
        return false;
    }

    function _isContract(address account) private view returns (bool) {
        uint256 first;
        assembly ("memory-safe") {
            // No more: it may be code of 65,536 bytes.
            extcodecopy(account, 0, 0, 3)
            first := mload(0)
        }
        return account.code.length != 0 && bytes3(bytes32(first)) != DELEGATES;
    }
}
