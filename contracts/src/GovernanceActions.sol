// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./OrganisationActions.sol";

/// The actions of Governance, which runs them by `delegatecall` when a decision
/// passed: contracts of their own only because one would exceed EIP-170's code limit.
/// Those about the chain and accounts are passed on to ChainActions for the same reason.
///
/// Nobody acts there itself, so each action refuses; what a call of one account writes there counts nowhere. Besides
/// the actions there are such calls (keys that agree, the guardian, recovery keys, administrators), which
/// Governance passes on.
contract GovernanceActions is OrganisationActions {
    /// Genesis' own action: no decision can found again.
    function found(bytes calldata founding) external byAll onlyOnce {
        IGovernance.Founding memory f = abi.decode(founding, (IGovernance.Founding));
        _setQuorum(f.quorumNumerator, f.quorumDenominator);
        _setDecisionDelay(f.decisionDelay);
        _foundOrganisations(f.organisations);
        for (uint32 i = 0; i < f.recoveryKeys.length; i++) {
            if (f.recoveryKeys[i] == address(0)) continue;
            _existing(i + 1);
            _replaceRecoveryKey(i + 1, f.recoveryKeys[i]);
        }
        for (uint32 i = 0; i < f.senders.length; i++) {
            _replace(_existing(i + 1).senders, f.senders[i]);
        }
    }

    fallback(bytes calldata action) external returns (bytes memory) {
        return _passOn(CHAIN_ACTIONS, action);
    }
}
