// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Membership.sol";

/// The next height at which something changes by itself, so that the node's call
/// in each block costs one read when nothing does.
///
/// Always: no such height lies between the next block and the one noted. The
/// noted one may have been called off; then the block before it looks in vain.
abstract contract Calendar is Membership {
    /// 0: none.
    uint64 private _noted;

    /// `height` is when something changes by itself, if it lies ahead.
    function _note(uint64 height) internal {
        if (height > _next() && (_noted == 0 || height < _noted)) _noted = height;
    }

    /// Whether something may change by itself in the next block; then each part
    /// must `_note` again what still lies ahead of it.
    function _due() internal returns (bool due) {
        due = _noted != 0 && _noted <= _next();
        if (due) _noted = 0;
    }
}
