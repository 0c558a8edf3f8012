// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./ChainActions.sol";
import "./Decisions.sol";
import "./Seats.sol";
import "./Views.sol";

/// @notice that is no signature by {key} for this network, role and organisation; make it anew with `trefoil keys
/// prove` where the key lies
error BadProof(bytes32 key);

/// Organisations that decide together. See IGovernance.sol for what nodes read and
/// docs/governance.md for who may do what, when it takes effect, and why it is safe.
///
/// It has no constructor and no owner: genesis places the code and calls `found`;
/// from then on nothing changes but by `open` and by decisions.
contract Governance is Views, Decisions, Seats {
    /// Actions have no way in but a decision.
    fallback() external {
        revert OnlyByDecision();
    }

    function found(bytes calldata founding) external onlyNode {
        _run(ALL, msg.data);
        _run(ALL, abi.encodeCall(ChainActions.foundChain, (founding)));
    }

    /// `key` agrees to be used by the organisation of that name (which may be one to come): `signature` is its
    /// own (r, s), of what KeyProofs says. Anyone may bring it; it claims nothing, so it is in nobody's way.
    function prove(bytes32 key, KeyRole role, string calldata organisation, bytes calldata signature) external {
        bytes32 name = Names.pack(organisation);
        if (!KeyProofs.isProof(key, _network, role, name, signature)) revert BadProof(key);
        _prove(key, role, name);
    }

    /// The sender takes the seat that the organisation offers it.
    function acceptSeat(uint32 organisation) external {
        _accept(organisation);
    }

    /// Applies what is due at the next block, and convicts. It never refuses.
    ///
    /// Nothing is kept of `absent`: here the organisations know each other, and one
    /// votes out a validator that is gone. A rule would take a vote that nobody cast.
    function open(bytes32[] calldata, bytes32[] calldata equivocators) external onlyNode {
        // No earlier block can name it: genesis' own hash is over this contract's state.
        if (block.number == 1) _network = blockhash(0);
        if (_due()) {
            // Each must look, so no `||` that stops at the first.
            bool arrived = _forksArrive();
            arrived = _caKeysArrive() || arrived;
            arrived = _validatorsArrive() || arrived;
            if (arrived) _changed();
        }
        for (uint256 i = 0; i < equivocators.length; i++) {
            _convict(equivocators[i]);
        }
    }
}
