// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./OrganisationActions.sol";

/// The actions of Governance, which runs them by `delegatecall` when a decision
/// passed: contracts of their own only because one would exceed EIP-170's code limit.
/// Those about the chain and accounts are passed on to ChainActions for the same reason.
///
/// Its own storage stays empty. Nobody acts there, so each function refuses. Besides the actions
/// there are calls of one account (keys that agree, the guardian, recovery keys), which Governance passes on.
contract GovernanceActions is OrganisationActions {
    /// Genesis' own action: no decision can found again.
    function found(bytes calldata founding) external byAll onlyOnce {
        IGovernance.Founding memory f = abi.decode(founding, (IGovernance.Founding));
        _setQuorum(f.quorumNumerator, f.quorumDenominator);
        _setDecisionDelay(f.decisionDelay);
        _foundOrganisations(f.organisations);
    }

    fallback(bytes calldata action) external returns (bytes memory) {
        return _passOn(CHAIN_ACTIONS, action);
    }
}
