// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./ChainActions.sol";
import "./Decisions.sol";
import "./Views.sol";

/// @notice the contract has no such call, its arguments are wrong, or it ran out of gas; look at the call, or give it
/// more gas
error NoSuchCall();

/// Organisations that decide together. See IGovernance.sol for what nodes read and
/// docs/governance.md for who may do what, when it takes effect, and why it is safe.
///
/// It has no constructor and no owner: genesis places the code and calls `found`;
/// from then on nothing changes but by `open` and by decisions.
contract Governance is Views, Decisions {
    /// Calls of one account: of keys that agree, the guardian, recovery keys. Nobody acts in them, so
    /// actions refuse: those have no way in but a decision.
    fallback(bytes calldata call) external returns (bytes memory) {
        (bool done, bytes memory result) = ACTIONS.delegatecall(call);
        if (done) return result;
        if (result.length == 0) revert NoSuchCall();
        assembly ("memory-safe") {
            revert(add(result, 32), mload(result))
        }
    }

    function found(bytes calldata founding) external onlyNode {
        _run(ALL, msg.data);
        _run(ALL, abi.encodeCall(ChainActions.foundChain, (founding)));
    }

    /// Applies what is due at the next block, and convicts. It never refuses.
    ///
    /// Of `absent` it keeps on whom decisions may count, and moves seats to the standbys that their organisations
    /// named. It takes no seat away: the organisations know each other, and vote out a validator that is gone.
    function open(bytes32[] calldata absent, bytes32[] calldata equivocators) external onlyNode {
        // No earlier block can name it: genesis' own hash is over this contract's state.
        if (block.number == 1) _network = blockhash(0);
        if (_isHolding() && _held.until < block.timestamp) _letGo();
        if (absent.length != 0) _run(ALL, abi.encodeCall(Standbys.noteAbsent, (absent)));
        if (_due()) {
            // Each must look, so no `||` that stops at the first.
            bool arrived = _forksArrive();
            arrived = _parametersArrive() || arrived;
            arrived = _caKeysArrive() || arrived;
            arrived = _validatorsArrive() || arrived;
            if (arrived) _changed();
        }
        for (uint256 i = 0; i < equivocators.length; i++) {
            _convict(equivocators[i]);
        }
        _easeHold();
    }
}
