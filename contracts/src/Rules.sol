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

    struct Value {
        uint64 value;
        uint64 from;
    }

    IGovernance.Settings internal _settings;
    Scheduled[] internal _forks;

    /// Names of parameters that have values, and what each was and is to be, in the order of heights.
    bytes32[] internal _parameterNames;
    mapping(bytes32 => Value[]) internal _values;

    event ParameterSet(string name, uint64 value, uint64 from);
    event SettingsChanged(IGovernance.Settings settings);
    event ForkScheduledAt(string name, uint64 height);
    event ForkCancelled(string name);

    /// Whether a parameter has another value from the next block on.
    function _parametersArrive() internal returns (bool arrived) {
        for (uint256 i = 0; i < _parameterNames.length; i++) {
            Value[] storage values = _values[_parameterNames[i]];
            uint64 from = values.length == 0 ? 0 : values[values.length - 1].from;
            arrived = arrived || from == _next();
            _note(from);
        }
    }

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
