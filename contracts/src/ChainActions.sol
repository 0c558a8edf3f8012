// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Guardian.sol";
import "./RuleActions.sol";
import "./ValidatorActions.sol";

/// The actions about validators, gas, fees and rule sets, and the guardian. See GovernanceActions.
contract ChainActions is RuleActions, ValidatorActions, Guardian {
    /// The rest of the founding, after the organisations.
    function foundChain(bytes calldata founding) external byAll {
        if (block.number != 0) revert AlreadyFounded();
        IGovernance.Founding memory f = abi.decode(founding, (IGovernance.Founding));
        _foundRules(f);
        _foundValidators(f.nodes, f.validatorDelay);
        _version = 1;
    }
}
