// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "../src/Ed25519.sol";

/// forge's cheat codes, as far as these tests use them.
interface Vm {
    function prank(address sender) external;
    function roll(uint256 height) external;
    function warp(uint256 time) external;
    function deal(address account, uint256 balance) external;
    function etch(address account, bytes calldata code) external;
    function load(address account, bytes32 slot) external view returns (bytes32);
    function store(address account, bytes32 slot, bytes32 value) external;
    function expectRevert(bytes calldata reason) external;
    /// Makes the storage cold again, as at a transaction's beginning.
    function cool(address account) external;
    function snapshotState() external returns (uint256);
    function revertToState(uint256 snapshot) external returns (bool);
    function revertToStateAndDelete(uint256 snapshot) external returns (bool);
    function envOr(string calldata name, uint256 otherwise) external view returns (uint256);
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);

    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }
}

/// What every test has: cheat codes, checks, keys, and the node's blocks.
abstract contract Base {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
    address internal constant NODE = 0xffffFFFfFFffffffffffffffFfFFFfffFFFfFFfE;
    address internal constant CONTRACT = 0x747265666f696C00000000000000000000000001;

    error Different(string what, uint256 got, uint256 wanted);
    error Untrue(string what);

    function same(string memory what, uint256 got, uint256 wanted) internal pure {
        if (got != wanted) revert Different(what, got, wanted);
    }

    function same(string memory what, address got, address wanted) internal pure {
        same(what, uint160(got), uint160(wanted));
    }

    function same(string memory what, bytes32 got, bytes32 wanted) internal pure {
        same(what, uint256(got), uint256(wanted));
    }

    function same(string memory what, string memory got, string memory wanted) internal pure {
        same(what, keccak256(bytes(got)), keccak256(bytes(wanted)));
    }

    function check(string memory what, bool holds) internal pure {
        if (!holds) revert Untrue(what);
    }

    /// The `n`th of a row of usable Ed25519 public keys (whose secrets nobody knows).
    function ed(uint256 n) internal view returns (bytes32 key) {
        key = keccak256(abi.encode("ed25519", n));
        while (!Ed25519.isUsable(key)) key = keccak256(abi.encode(key));
    }

    function account(uint256 n) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("account", n)))));
    }
}
