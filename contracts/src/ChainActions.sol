// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./RuleActions.sol";
import "./ValidatorActions.sol";

/// The actions about validators, gas, fees and rule sets. What it does not know it passes on to
/// AccountActions. See GovernanceActions.
contract ChainActions is RuleActions, ValidatorActions {
    /// The rest of the founding, after the organisations.
    function foundChain(bytes calldata founding) external byAll {
        if (block.number != 0) revert AlreadyFounded();
        IGovernance.Founding memory f = abi.decode(founding, (IGovernance.Founding));
        _foundRules(f);
        _foundValidators(f.nodes, f.validatorDelay);
        _version = 1;
    }

    fallback(bytes calldata action) external returns (bytes memory) {
        return _passOn(ACCOUNT_ACTIONS, action);
    }
}
