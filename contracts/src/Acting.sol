// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// @notice this is an action; propose it, and it runs when the vote passes
/// @dev `propose` its calldata.
error OnlyByDecision();
/// @notice this is no action, but the call of one account; send it from that account
error NotAnAction();
/// @notice all decide about this; let all vote
/// @dev Use `propose`, not `proposeOwn`.
error OnlyByAll();
/// @notice it is for organisation {organisation} or all to decide, not for {acting}; let all vote
error NotYourAffair(uint32 organisation, uint32 acting);
/// @notice {what} is {got}; choose {least} to {most}
error OutOfRange(string what, uint256 got, uint256 least, uint256 most);
/// @notice genesis lacks the code of the actions; found the network with another version
/// @dev Place GovernanceActions at `ACTIONS`, ChainActions and AccountActions where those look.
error NoActions();

/// On whose behalf an action runs just now.
///
/// Always: nobody acts outside of `_act`, so actions refuse whoever calls them
/// directly; an action calls no foreign code, so nobody else runs meanwhile.
abstract contract Acting {
    /// Where genesis places GovernanceActions: code only, of which Governance borrows.
    address public constant ACTIONS = 0x747265666f696c00000000000000000000000101;

    /// Where genesis places ChainActions, of which GovernanceActions borrows.
    address internal constant CHAIN_ACTIONS = 0x747265666F696c00000000000000000000000103;

    /// Where genesis places AccountActions, of which ChainActions borrows.
    address internal constant ACCOUNT_ACTIONS = 0x747265666f696c00000000000000000000000104;

    uint32 internal constant NOBODY = 0;
    uint32 internal constant ALL = type(uint32).max;

    uint32 private transient _acting;

    modifier byAll() {
        _requireAll();
        _;
    }

    /// One account, by a call of its own.
    modifier alone() {
        if (_acting != NOBODY) revert NotAnAction();
        _;
    }

    modifier by(uint32 organisation) {
        _requireAllOr(organisation);
        _;
    }

    /// Runs `action` of GovernanceActions on this contract's storage.
    function _act(uint32 actor, bytes memory action) internal returns (bool passed, bytes memory result) {
        if (ACTIONS.code.length == 0 || CHAIN_ACTIONS.code.length == 0 || ACCOUNT_ACTIONS.code.length == 0) {
            revert NoActions();
        }
        _acting = actor;
        (passed, result) = ACTIONS.delegatecall(action);
        _acting = NOBODY;
    }

    /// Runs what this contract does not know by another's code.
    function _passOn(address code, bytes calldata call) internal returns (bytes memory) {
        (bool passed, bytes memory result) = code.delegatecall(call);
        if (passed) return result;
        assembly ("memory-safe") {
            revert(add(result, 32), mload(result))
        }
    }

    function _allAct() internal view returns (bool) {
        return _acting == ALL;
    }

    function _requireAll() private view {
        if (_acting == NOBODY) revert OnlyByDecision();
        if (!_allAct()) revert OnlyByAll();
    }

    function _requireAllOr(uint32 organisation) private view {
        if (_acting == NOBODY) revert OnlyByDecision();
        if (!_allAct() && _acting != organisation) revert NotYourAffair(organisation, _acting);
    }
}
