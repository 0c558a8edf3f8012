// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Names.sol";
import "./State.sol";

/// What nodes read through the EVM, and what explorers show besides.
abstract contract Views is IGovernance, State {
    function version() external view returns (uint64) {
        return uint64(_version);
    }

    function convicted(bytes32 key) external view returns (bool) {
        return _isBurnt(key);
    }

    function permissions(address account) external view returns (uint256) {
        return _permissions[account] & (MAY_TRANSACT | MAY_DEPLOY);
    }

    function validators() external view returns (Validator[] memory set) {
        uint256 listed = _listed.length;
        set = new Validator[](listed);
        uint256 count = 0;
        for (uint256 i = 0; i < listed; i++) {
            Entry storage e = _entries[_listed[i]];
            if (e.from <= _next() && _isActive(e.organisation)) {
                set[count++] = Validator(e.key, e.power, e.feeRecipient);
            }
        }
        assembly ("memory-safe") {
            mstore(set, count)
        }
    }

    function nodes() external view returns (Node[] memory all) {
        uint256 listed = _listed.length;
        all = new Node[](listed + _revoked.length);
        for (uint256 i = 0; i < all.length; i++) {
            bytes32 peer = i < listed ? _listed[i] : _revoked[i - listed];
            Entry storage e = _entries[peer];
            Role role = e.key == 0 ? Role.Full : Role.Validator;
            uint64 until = e.nextPower == 0 ? e.changes : 0;
            all[i] = Node(peer, e.organisation, role, e.revoked, e.key, e.power, e.feeRecipient, e.from, until);
        }
    }

    function organisations() external view returns (Organisation[] memory all) {
        all = new Organisation[](_organisations);
        for (uint32 id = 1; id <= all.length; id++) {
            Member storage m = _members[id];
            all[id - 1] = Organisation(id, m.status, m.threshold, Names.unpack(m.name), m.keys, m.caKeys);
        }
    }

    function sealingKeys() external view returns (bytes32[] memory all) {
        all = new bytes32[](_organisations);
        for (uint32 id = 1; id <= all.length; id++) {
            all[id - 1] = _members[id].sealingKey;
        }
    }

    function revokedSerials() external view returns (Serial[] memory all) {
        uint256 count = 0;
        for (uint32 id = 1; id <= _organisations; id++) {
            count += _members[id].serials.length;
        }
        all = new Serial[](count);
        count = 0;
        for (uint32 id = 1; id <= _organisations; id++) {
            uint160[] storage serials = _members[id].serials;
            for (uint256 i = 0; i < serials.length; i++) {
                all[count++] = Serial(id, serials[i]);
            }
        }
    }

    function settings() external view returns (Settings memory) {
        return _settings;
    }

    function forks() external view returns (Fork[] memory all) {
        all = new Fork[](_forks.length);
        for (uint256 i = 0; i < all.length; i++) {
            all[i] = Fork(Names.unpack(_forks[i].name), _forks[i].height);
        }
    }

    /// What a validator changes to and when; height 0: nothing is pending. Power 0: it leaves.
    function pendingChange(bytes32 peer) external view returns (uint64 height, bytes32 key, uint64 power) {
        Entry storage e = _entries[peer];
        if (!e.revoked && e.changes != 0) return (e.changes, e.nextKey, e.nextPower);
    }

    function validatorDelay() external view returns (uint64) {
        return _delay;
    }
}
