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
        return _permissionsOf(account);
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

    function nodes(uint256 from, uint256 count) external view returns (Node[] memory page) {
        uint256 listed = _listed.length;
        // A full node that the guardian holds is the last.
        uint256 known = listed + _revoked.length;
        Entry storage held = _entries[_held.peer];
        uint256 all = _held.peer == 0 || held.power != 0 || held.revoked ? known : known + 1;
        page = new Node[](_length(all, from, count));
        for (uint256 i = 0; i < page.length; i++) {
            uint256 place = from + i;
            bytes32 peer = _held.peer;
            if (place < listed) peer = _listed[place];
            else if (place < known) peer = _revoked[place - listed];
            Entry storage e = _entries[peer];
            Role role = e.key == 0 ? Role.Full : Role.Validator;
            uint64 until = e.nextPower == 0 ? e.changes : 0;
            bool revoked = e.revoked || (peer == _held.peer && peer != 0);
            page[i] = Node(peer, e.organisation, role, revoked, e.key, e.power, e.feeRecipient, e.from, until);
        }
    }

    function organisationCount() external view returns (uint256) {
        return _organisations;
    }

    function organisations(uint256 from, uint256 count) external view returns (Organisation[] memory page) {
        page = new Organisation[](_length(_organisations, from, count));
        for (uint256 i = 0; i < page.length; i++) {
            uint32 id = uint32(from + i + 1);
            Member storage m = _members[id];
            page[i] = Organisation(id, m.status, m.threshold, Names.unpack(m.name), m.keys, m.caKeys);
        }
    }

    /// Accounts that may send transactions for an organisation, since its keys are contracts.
    function senders(uint32 organisation) external view returns (address[] memory) {
        return _members[organisation].senders;
    }

    /// What may hurt an organisation is carried out so many seconds after the last approval.
    function decisionDelay() external view returns (uint64) {
        return _decisionDelay;
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

    function sealingKeys(uint256 from, uint256 count) external view returns (bytes32[] memory page) {
        page = new bytes32[](_length(_organisations, from, count));
        for (uint256 i = 0; i < page.length; i++) {
            page[i] = _members[uint32(from + i + 1)].sealingKey;
        }
    }

    function revokedSerials(uint256 from, uint256 count) external view returns (Serial[] memory all) {
        uint256 length = _length(_organisations, from, count);
        uint256 found = 0;
        for (uint256 i = 0; i < length; i++) {
            found += _members[uint32(from + i + 1)].serials.length;
        }
        all = new Serial[](found);
        found = 0;
        for (uint256 i = 0; i < length; i++) {
            uint32 id = uint32(from + i + 1);
            uint160[] storage serials = _members[id].serials;
            for (uint256 j = 0; j < serials.length; j++) {
                all[found++] = Serial(id, serials[j]);
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

    function parameters() external view returns (Parameter[] memory all) {
        uint256 count = 0;
        for (uint256 i = 0; i < _parameterNames.length; i++) {
            count += _values[_parameterNames[i]].length;
        }
        all = new Parameter[](count);
        count = 0;
        for (uint256 i = 0; i < _parameterNames.length; i++) {
            Value[] storage values = _values[_parameterNames[i]];
            string memory name = Names.unpack(_parameterNames[i]);
            for (uint256 j = 0; j < values.length; j++) {
                all[count++] = Parameter(name, values[j].value, values[j].from);
            }
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

    /// How long a page of a list is.
    function _length(uint256 all, uint256 from, uint256 count) private pure returns (uint256) {
        if (from >= all) return 0;
        return count < all - from ? count : all - from;
    }
}
