// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Calendar.sol";
import "./IGovernance.sol";
import "./Permissions.sol";

/// The settings of the chain: gas, fees, the switches of the permissions, forks.
///
/// Always: the gas limit is one that nodes accept (crates/types/src/spec.rs);
/// forks are in the order in which rule sets follow each other, by name and height.
abstract contract Rules is Permissions, Calendar {
    struct Scheduled {
        bytes32 name;
        uint64 height;
    }

    IGovernance.Settings internal _settings;
    Scheduled[] internal _forks;

    event SettingsChanged(IGovernance.Settings settings);
    event ForkScheduledAt(string name, uint64 height);
    event ForkCancelled(string name);

    /// Whether a fork begins at the next block.
    function _forksArrive() internal returns (bool arrived) {
        for (uint256 i = _forks.length; i > 0; i--) {
            uint64 height = _forks[i - 1].height;
            if (height < _next()) break;
            arrived = arrived || height == _next();
            _note(height);
        }
    }
}
