// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./OrganisationActions.sol";
import "./RuleActions.sol";
import "./ValidatorActions.sol";

/// The actions of Governance, which runs them by `delegatecall` when a decision
/// passed: two contracts only because one would exceed EIP-170's code limit.
///
/// Its own storage stays empty. Nobody acts there, so each function refuses.
contract GovernanceActions is RuleActions, OrganisationActions, ValidatorActions {
    /// Genesis' own action: no decision can found again.
    function found(bytes calldata founding) external byAll onlyOnce {
        IGovernance.Founding memory f = abi.decode(founding, (IGovernance.Founding));
        _setQuorum(f.quorumNumerator, f.quorumDenominator);
        _foundRules(f.settings, f.forks);
        _foundOrganisations(f.organisations);
        _foundValidators(f.nodes, f.validatorDelay);
    }
}
