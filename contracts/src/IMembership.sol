// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// What every node reads of the contract that governs its network, whichever
/// the network's kind. It lies at 0x747265666f696c00000000000000000000000001
/// from genesis on. Storage slot 0 holds `version`, right-aligned.
interface IMembership {
    struct Validator {
        /// Ed25519 consensus key.
        bytes32 key;
        /// Voting power, at least 1.
        uint64 power;
        /// Where the fees of its blocks go.
        address feeRecipient;
    }

    /// Grows in each block after which anything differs that nodes act on:
    /// the validators of the next block, members, permissions' switches, settings.
    function version() external view returns (uint64);

    /// The validators of the block after this one, in no certain order.
    function validators() external view returns (Validator[] memory);

    /// Whether evidence against this validator key has led to a conviction. It does once;
    /// no block may carry more of it, and what `open` is told of it is ignored.
    function convicted(bytes32 key) external view returns (bool);

    /// Called by the node itself (from 0xfffffffffffffffffffffffffffffffffffffffe)
    /// once, in genesis, with the founders; `founding` is ABI-encoded and differs by kind.
    function found(bytes calldata founding) external;

    /// Called by the node itself, first in every block.
    /// `absent`: validators of the parent whose signature its certificate lacks.
    /// `equivocators`: validators convicted by evidence that this block carries.
    function open(bytes32[] calldata absent, bytes32[] calldata equivocators) external;
}
