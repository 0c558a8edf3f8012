// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./StakingBase.sol";

/// Consensus keys on a public network: what they agree to, whose they are and how long; and what an
/// eviction leaves alone.
contract StakingKeysTest is StakingBase {
    function refused(uint256 n, bytes32 key, bytes memory proof, bytes memory why) private {
        vm.deal(account(n), 100 ether);
        vm.prank(account(n));
        vm.expectRevert(why);
        staking.deposit{value: 20 ether}(key, account(n), proof);
    }

    function unbondAll(uint256 n) private {
        uint96 stake = staking.candidate(account(n)).stake;
        vm.prank(account(n));
        staking.unbond(stake);
    }

    /// It was: who registered a key first shut its holder out.
    function testNobodyRegistersAKeyThatAnotherHolds() public {
        start(4, 64);
        bytes32 key = ed(7);
        // What the attacker can have: the proof that the holder sends, before it is in a block.
        bytes memory proof = proofOf(key, account(7));
        refused(66, key, proof, abi.encodeWithSelector(BadProof.selector, key, account(66)));
        refused(66, key, "", abi.encodeWithSelector(BadProof.selector, key, account(66)));
        deposit(7, 20 ether);
        same("the holder", staking.candidate(account(7)).key, key);
    }

    function testAProofServesOneNetworkContractRoleAndOwner() public {
        start(4, 64);
        (bytes32 key, bytes32 network, address owner) = (ed(7), staking.network(), account(7));
        check("the network is known", network != 0);
        bytes memory why = abi.encodeWithSelector(BadProof.selector, key, owner);
        refused(7, key, proofOf(key, ~network, CONTRACT, KeyRole.Validator, owner), why);
        refused(7, key, proofOf(key, network, address(1), KeyRole.Validator, owner), why);
        refused(7, key, proofOf(key, network, CONTRACT, KeyRole.Peer, owner), why);
        refused(7, key, proofOf(key, network, CONTRACT, KeyRole.Validator, account(8)), why);
        refused(7, key, proofOf(ed(8), network, CONTRACT, KeyRole.Validator, owner), why);
        bytes memory proof = proofOf(key, owner);
        refused(7, key, bytes.concat(proof, hex"00"), why);
        deposit(7, 20 ether);
    }

    function testAnOwnerComesBackWithAnotherKeyOnceItsPowerIsGone() public {
        start(4, 64);
        unbondAll(0);
        bytes32 fresh = ed(70);
        refused(0, fresh, proofOf(fresh, account(0)), abi.encodeWithSelector(OtherKey.selector, ed(0)));
        epochs(3);
        same("gone", power(0), 0);
        bytes memory proof = proofOf(fresh, account(0));
        vm.prank(account(0));
        staking.deposit{value: 20 ether}(fresh, account(0), proof);
        epochs(2);
        same("back", power(70), 20);
    }

    function testAKeyIsItsOwnersAsLongAsEvidenceCanCome() public {
        start(4, 64);
        bytes32 key = ed(0);
        bytes memory proof = proofOf(key, account(9));
        bytes memory inUse = abi.encodeWithSelector(KeyInUse.selector, key);
        refused(9, key, proof, inUse);
        unbondAll(0);
        refused(9, key, proof, inUse);
        epochs(3);
        same("gone", power(0), 0);
        (address owner, uint64 free,) = staking.keyUse(key);
        same("its owner still", owner, account(0));
        // The last block that it signed is that of the second epoch's end, whose evidence is taken for UNBONDING blocks.
        same("free", free, 2 * EPOCH + UNBONDING + 1);
        while (block.number < free - 1) nextBlock();
        refused(9, key, proof, inUse);
        nextBlock();
        vm.prank(account(9));
        staking.deposit{value: 20 ether}(key, account(9), proof);
        (owner, free,) = staking.keyUse(key);
        same("another's", owner, account(9));
        same("in use", free, 0);
    }

    /// Also when it has another key by now, and whatever it unbonds is there.
    function testEvidenceConvictsTheOwnerAtItsHeight() public {
        start(4, 64);
        unbondAll(0);
        epochs(3);
        bytes32 fresh = ed(70);
        bytes memory proof = proofOf(fresh, account(0));
        vm.deal(account(0), 20 ether);
        vm.prank(account(0));
        staking.deposit{value: 20 ether}(fresh, account(0), proof);
        epoch();
        convict(ed(0));
        check("that key", staking.convicted(ed(0)) && !staking.convicted(fresh));
        same("a twentieth of both", staking.burned(), 6 ether);
        same("out", power(70), 0);
        // More evidence, of its other key: it has been punished.
        convict(fresh);
        same("once", staking.burned(), 6 ether);
        check("both", staking.convicted(fresh));
    }

    /// It was: the part that an eviction adds was joined to the newest, and put it off.
    function testAnEvictionPutsOffNothingThatUnbondsAlready() public {
        start(1, 120);
        for (uint256 i = 1; i < staking.CANDIDATES_MAX(); i++) {
            deposit(1000 + i, 30 ether);
        }
        address victim = account(1191);
        for (uint256 i = 0; i < 8; i++) {
            vm.prank(victim);
            staking.unbond(1 ether);
            nextBlock();
        }
        IStaking.Unbonding[] memory before = staking.unbonding(victim);
        for (uint256 i = 0; i < 20; i++) {
            nextBlock();
        }
        deposit(8, 23 ether);
        IStaking.Unbonding[] memory parts = staking.unbonding(victim);
        same("one more", parts.length, 9);
        for (uint256 i = 0; i < 8; i++) {
            same("when", parts[i].release, before[i].release);
            same("how much", parts[i].amount, before[i].amount);
        }
        same("the evicted stake", parts[8].amount, 22 ether);
        // Another stake could be evicted again: there is no room for that part yet.
        bytes32 key = ed(1191);
        bytes memory proof = proofOf(key, victim);
        refused(1191, key, proof, abi.encodeWithSelector(TooManyUnbondings.selector, 8));
        while (block.number < parts[0].release) nextBlock();
        vm.prank(victim);
        staking.withdraw();
        vm.prank(victim);
        staking.deposit{value: 40 ether}(key, victim, proof);
    }
}
