// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Accounts.sol";
import "./ChainActions.sol";
import "./Guardian.sol";
import "./OrganisationActions.sol";
import "./Recovery.sol";
import "./Standbys.sol";

/// What an action is about, by its calldata.
abstract contract ActionKinds is Acting, State {
    struct Kind {
        /// Those whom it hurts must have had time to see and answer it: about another's keys, power or place, the
        /// lists, the fees, the guardian, and how is decided.
        bool delayed;
        /// Whose; it may object. 0: nobody's.
        uint32 concerned;
        /// `concerned` does not count, since it is to be suspended, or given keys because it lost its own.
        bool spared;
        /// It ends what the guardian holds.
        bool endsHold;
        /// It does not wait where `concerned` approves: it is done in that one's name.
        bool inItsName;
    }

    function kindOf(bytes calldata action) external view alone returns (Kind memory k) {
        (k.delayed, k.concerned, k.spared, k.endsHold) = _kind(action);
        if (bytes4(action) == ValidatorActions.addValidator.selector) {
            // Attack: two thirds add a validator of their own in another's name.
            (k.delayed, k.inItsName) = (true, true);
            k.concerned = _answering(action.length < 68 ? 0 : uint32(uint256(bytes32(action[36:68]))));
        }
    }

    function _kind(bytes calldata action)
        private
        view
        returns (bool delayed, uint32 concerned, bool spared, bool endsHold)
    {
        bytes4 kind = bytes4(action);
        bytes32 first = action.length < 36 ? bytes32(0) : bytes32(action[4:36]);
        uint32 id = uint32(uint256(first));
        // One that does not exist yet cannot answer.
        if (id > _organisations) id = 0;
        bool gives = kind == OrganisationActions.setKeys.selector;
        if (gives || kind == OrganisationActions.suspendOrganisation.selector) return (gives, id, true, false);
        bool names = kind == Guardian.setGuardian.selector;
        if (names || kind == Guardian.release.selector) return (names, 0, false, true);
        if (kind == OrganisationActions.removeOrganisation.selector) return (true, id, false, false);
        id = _answering(id);
        if (
            kind == OrganisationActions.addCaKey.selector || kind == OrganisationActions.endCaKey.selector
                || kind == OrganisationActions.setSealingKey.selector
                || kind == OrganisationActions.forgetSerials.selector || kind == Accounts.setSenders.selector
                || kind == Accounts.setAdministrators.selector || kind == Recovery.setRecoveryKey.selector
        ) return (true, id, false, false);
        if (
            kind == ValidatorActions.rotateValidatorKey.selector || kind == Accounts.setFeeRecipient.selector
                || kind == ValidatorActions.setPower.selector || kind == Standbys.setStandby.selector
        ) {
            return (true, _entries[first].organisation, false, false);
        }
        // Attack: a floor that the one concerned cannot pay for keeps it from answering what waits.
        if (kind == RuleActions.setMinBaseFee.selector) {
            return (uint256(first) > _settings.minBaseFee, 0, false, false);
        }
        delayed = kind == RuleActions.setPermissions.selector || kind == RuleActions.setAccountsListed.selector
            || kind == RuleActions.setDeployersListed.selector || kind == OrganisationActions.setQuorum.selector
            || kind == OrganisationActions.setDecisionDelay.selector;
    }

    // Attack: one that was invited is given a foreign key just before it joins. It cannot answer, and only its
    // invitation is corrected or taken back at once (`_advance`).
    function _answering(uint32 id) private view returns (uint32) {
        return id > _organisations || _members[id].status == IGovernance.Status.Invited ? 0 : id;
    }
}
