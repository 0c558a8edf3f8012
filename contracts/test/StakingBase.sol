// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "../src/Staking.sol";
import "./Base.sol";

/// In place of Ed25519Verifier, since nobody knows the secrets of `ed`'s keys.
contract SignatureByHash {
    function verify(bytes32 key, bytes32 r, bytes32, bytes calldata message) external pure returns (bool) {
        return r == keccak256(bytes.concat(key, message));
    }
}

/// A public network of a few founders, each with 100 units of stake, one ether a unit.
abstract contract StakingBase is Base {
    Staking internal constant staking = Staking(CONTRACT);
    uint64 internal constant EPOCH = 10;
    uint64 internal constant UNBONDING = 30;
    uint32 internal constant WINDOW = 20;
    uint32 internal constant SECONDS = 20;
    uint64 internal constant JAIL = 15;

    function start(uint256 founders, uint16 maxValidators) internal {
        start(founding(founders, maxValidators));
    }

    function start(IStaking.Founding memory f) internal {
        vm.etch(CONTRACT, type(Staking).runtimeCode);
        vm.etch(address(KeyProofs.VERIFIER), type(SignatureByHash).runtimeCode);
        vm.roll(0);
        uint256 stakes = 0;
        for (uint256 i = 0; i < f.founders.length; i++) {
            stakes += f.founders[i].power * uint256(f.parameters.stakeUnit);
        }
        vm.deal(CONTRACT, stakes);
        bytes memory encoded = abi.encode(f);
        vm.prank(NODE);
        staking.found(encoded);
        nextBlock();
    }

    function founding(uint256 founders, uint16 maxValidators) internal view returns (IStaking.Founding memory f) {
        f.founders = new IStaking.Founder[](founders);
        for (uint256 i = 0; i < founders; i++) {
            f.founders[i] = IStaking.Founder(ed(i), 100, account(i), account(500 + i));
        }
        f.parameters = IStaking.Parameters(
            EPOCH, UNBONDING, 1 ether, 10 ether, maxValidators, 1, 10_000, 500, WINDOW, SECONDS, 10, JAIL
        );
    }

    function nextBlock() internal {
        nextBlock(new bytes32[](0), new bytes32[](0));
    }

    function nextBlock(bytes32[] memory absent, bytes32[] memory equivocators) internal virtual {
        vm.roll(block.number + 1);
        vm.warp(block.timestamp + 1);
        vm.prank(NODE);
        staking.open(absent, equivocators);
    }

    function epoch() internal {
        do {
            nextBlock();
        } while (block.number % EPOCH != 0);
    }

    function epochs(uint256 count) internal {
        for (uint256 i = 0; i < count; i++) {
            epoch();
        }
    }

    function blocksWithout(bytes32 key, uint256 count) internal {
        for (uint256 i = 0; i < count; i++) {
            nextBlock(one(key), new bytes32[](0));
        }
    }

    /// An epoch in which these do not sign.
    function epochWithout(bytes32[] memory absent) internal {
        do {
            nextBlock(absent, new bytes32[](0));
        } while (block.number % EPOCH != 0);
    }

    function convict(bytes32 key) internal {
        nextBlock(new bytes32[](0), one(key));
    }

    function one(bytes32 key) internal pure returns (bytes32[] memory keys) {
        keys = new bytes32[](1);
        keys[0] = key;
    }

    function deposit(uint256 n, uint256 amount) internal {
        bytes32 key = ed(n);
        bytes memory proof = proofOf(key, account(n));
        vm.deal(account(n), amount);
        vm.prank(account(n));
        staking.deposit{value: amount}(key, account(500 + n), proof);
    }

    /// The key agrees to that owner.
    function proofOf(bytes32 key, address owner) internal view returns (bytes memory) {
        return proofOf(key, staking.network(), CONTRACT, KeyRole.Validator, owner);
    }

    function proofOf(bytes32 key, bytes32 network, address where, KeyRole role, address owner)
        internal
        pure
        returns (bytes memory)
    {
        bytes memory message = bytes.concat(
            "trefoil/key-proof/1", hex"00", network, bytes20(where), bytes1(uint8(role)), bytes12(0), bytes20(owner)
        );
        return bytes.concat(keccak256(bytes.concat(key, message)), bytes32(0));
    }

    function power(uint256 n) internal view returns (uint64) {
        IMembership.Validator[] memory set = staking.validators();
        bytes32 key = ed(n);
        for (uint256 i = 0; i < set.length; i++) {
            if (set[i].key == key) return set[i].power;
        }
        return 0;
    }

    function total() internal view returns (uint256 sum) {
        IMembership.Validator[] memory set = staking.validators();
        for (uint256 i = 0; i < set.length; i++) {
            sum += set[i].power;
        }
    }

    /// The set as a hash that does not depend on its order.
    function seen() internal view returns (uint256 sum) {
        IMembership.Validator[] memory set = staking.validators();
        for (uint256 i = 0; i < set.length; i++) {
            unchecked {
                sum += uint256(keccak256(abi.encode(set[i])));
            }
        }
    }
}
