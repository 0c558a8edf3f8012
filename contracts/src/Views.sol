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
        return _claims[key].convicted;
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

    /// Accounts that an organisation offers a seat: when `threshold` have accepted, they replace those that
    /// speak for it now; 0: the rest may join one by one.
    function offer(uint32 organisation)
        external
        view
        returns (uint8 threshold, address[] memory keys, bool[] memory accepted)
    {
        Offer storage o = _members[organisation].offer;
        (threshold, keys, accepted) = (o.threshold, o.keys, new bool[](o.keys.length));
        for (uint256 i = 0; i < accepted.length; i++) {
            accepted[i] = o.accepted & (1 << i) != 0;
        }
    }

    /// The organisation that an account speaks for; 0: none.
    function seatOf(address account) external view returns (uint32 organisation) {
        return _seats[account].organisation;
    }

    /// Whether the key has agreed to that use by the organisation of that name.
    function isProven(bytes32 key, KeyRole role, string calldata organisation) external view returns (bool) {
        return _hasProven(key, role, Names.pack(organisation));
    }

    /// What an Ed25519 key is or was used for; `free`: from that height on another may claim it, 0: it is in use.
    function keyUse(bytes32 key)
        external
        view
        returns (KeyRole role, uint32 organisation, bool isConvicted, uint64 from, uint64 free)
    {
        Claim storage c = _claims[key];
        return (c.role, c.organisation, c.convicted, c.from, c.free);
    }

    /// The genesis hash, which signatures of keys name.
    function network() external view returns (bytes32) {
        return _network;
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
