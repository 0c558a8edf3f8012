// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// @notice only the node calls this, with the blocks that it makes
error OnlyTheNode();
/// @notice a network is founded once, in its genesis
error AlreadyFounded();
/// @notice everything is already as asked; there is nothing to do
/// @dev A proposal that finds this can be taken back.
error NothingToChange();

// The most validators of one block (crates/types/src/limits.rs).
uint256 constant VALIDATORS_MAX = 128;
// The most voting power of all validators together (limits.rs): 2^60.
uint256 constant POWER_MAX = 1 << 60;
// A validator that signed none of so many blocks in a row is not counted on, and its seat moves to its standby.
// Proposers leave a signature out in their own blocks only, so a coalition without the turns of a third fakes no row.
uint64 constant PRESENCE_BLOCKS = 64;
// A seat moves to its standby once in so long. Attack: another set in each minute, which every node reads and every
// later snapshot proves.
uint64 constant MOVE_SECONDS = 1 days;

/// What both governing contracts share: the version in slot 0, and who the node is.
abstract contract Membership {
    /// From whom the node's own calls come (EIP-4788's system address).
    address internal constant NODE = 0xffffFFFfFFffffffffffffffFfFFFfffFFFfFFfE;

    /// Slot 0, a whole word of it. 0: not founded.
    uint256 internal _version;

    modifier onlyNode() {
        if (msg.sender != NODE) revert OnlyTheNode();
        _;
    }

    /// Something differs from the next block on that nodes act on.
    function _changed() internal {
        _version += 1;
    }

    /// The height that a change in this block can first hold at.
    function _next() internal view returns (uint64) {
        return uint64(block.number) + 1;
    }

    modifier onlyOnce() {
        if (_version != 0) revert AlreadyFounded();
        _;
        _version = 1;
    }
}
