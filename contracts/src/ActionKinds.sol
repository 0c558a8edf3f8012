// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./AccountActions.sol";
import "./ChainActions.sol";
import "./OrganisationActions.sol";

/// What an action is about, by its calldata.
abstract contract ActionKinds is State {
    /// Decisions of all after which those whom they hurt must have had time to see and answer them:
    /// about another's keys, power or place, the lists, the guardian, and how is decided. `concerned`:
    /// whose; it may object.
    /// `spared`: it does not count, since it is to be suspended, or given keys because it lost its own.
    /// `endsHold`: it ends what the guardian holds.
    function _kind(bytes memory action)
        internal
        view
        returns (bool delayed, uint32 concerned, bool spared, bool endsHold)
    {
        bytes4 kind = bytes4(action);
        bytes32 first = action.length < 36 ? bytes32(0) : _word(action);
        uint32 id = uint32(uint256(first));
        // One that does not exist yet cannot answer.
        if (id > _organisations) id = 0;
        bool gives = kind == OrganisationActions.setKeys.selector;
        if (gives || kind == OrganisationActions.suspendOrganisation.selector) return (gives, id, true, false);
        bool names = kind == Guardian.setGuardian.selector;
        if (names || kind == Guardian.release.selector) return (names, 0, false, true);
        if (kind == OrganisationActions.removeOrganisation.selector) return (true, id, false, false);
        // Attack: one that was invited is given a foreign key just before it joins. It cannot answer, and only its
        // invitation is corrected or taken back at once (`_advance`).
        if (_members[id].status == IGovernance.Status.Invited) id = 0;
        if (
            kind == OrganisationActions.addCaKey.selector || kind == OrganisationActions.endCaKey.selector
                || kind == OrganisationActions.setSealingKey.selector
                || kind == OrganisationActions.forgetSerials.selector || kind == Accounts.setSenders.selector
                || kind == Accounts.setAdministrators.selector || kind == Recovery.setRecoveryKey.selector
        ) return (true, id, false, false);
        if (
            kind == ValidatorActions.rotateValidatorKey.selector || kind == ValidatorActions.setFeeRecipient.selector
                || kind == ValidatorActions.setPower.selector || kind == Standbys.setStandby.selector
        ) {
            return (true, _entries[first].organisation, false, false);
        }
        delayed = kind == RuleActions.setPermissions.selector || kind == RuleActions.setAccountsListed.selector
            || kind == RuleActions.setDeployersListed.selector || kind == OrganisationActions.setQuorum.selector
            || kind == OrganisationActions.setDecisionDelay.selector;
    }

    /// The first argument.
    function _word(bytes memory action) private pure returns (bytes32 first) {
        assembly ("memory-safe") {
            first := mload(add(action, 36))
        }
    }
}
