// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// SHA-512 (FIPS 180-4), which Ed25519 hashes with and the EVM lacks.
library Sha512 {
    /// The rounds' constants, 8 bytes each.
    bytes private constant ROUNDS = hex"428a2f98d728ae227137449123ef65cdb5c0fbcfec4d3b2fe9b5dba58189dbbc3956c25bf348b53859f111f1b605d019"
        hex"923f82a4af194f9bab1c5ed5da6d8118d807aa98a303024212835b0145706fbe243185be4ee4b28c550c7dc3d5ffb4e2"
        hex"72be5d74f27b896f80deb1fe3b1696b19bdc06a725c71235c19bf174cf692694e49b69c19ef14ad2efbe4786384f25e3"
        hex"0fc19dc68b8cd5b5240ca1cc77ac9c652de92c6f592b02754a7484aa6ea6e4835cb0a9dcbd41fbd476f988da831153b5"
        hex"983e5152ee66dfaba831c66d2db43210b00327c898fb213fbf597fc7beef0ee4c6e00bf33da88fc2d5a79147930aa725"
        hex"06ca6351e003826f142929670a0e6e7027b70a8546d22ffc2e1b21385c26c9264d2c6dfc5ac42aed53380d139d95b3df"
        hex"650a73548baf63de766a0abb3c77b2a881c2c92e47edaee692722c851482353ba2bfe8a14cf10364a81a664bbc423001"
        hex"c24b8b70d0f89791c76c51a30654be30d192e819d6ef5218d69906245565a910f40e35855771202a106aa07032bbd1b8"
        hex"19a4c116b8d2d0c81e376c085141ab532748774cdf8eeb9934b0bcb5e19b48a8391c0cb3c5c95a634ed8aa4ae3418acb"
        hex"5b9cca4f7763e373682e6ff3d6b2b8a3748f82ee5defb2fc78a5636f43172f6084c87814a1f0ab728cc702081a6439ec"
        hex"90befffa23631e28a4506cebde82bde9bef9a3f7b2c67915c67178f2e372532bca273eceea26619cd186b8c721c0c207"
        hex"eada7dd6cde0eb1ef57d4f7fee6ed17806f067aa72176fba0a637dc5a2c898a6113f9804bef90dae1b710b35131c471b"
        hex"28db77f523047d8432caab7b40c724933c9ebe0a15c9bebc431d67c49c100d4c4cc5d4becb3e42b6597f299cfc657e2a"
        hex"5fcb6fab3ad6faec6c44198c4a475817";
    /// Memory of one block's work: 80 words of its schedule, then 84 of each of the two chains.
    uint256 private constant WORK_WORDS = 80 + 84 + 84;
    /// Two copies of a 64-bit word side by side: shifting them right rotates the lower one.
    uint256 private constant TWICE = 0x10000000000000001;
    uint256 private constant MASK = 0xffffffffffffffff;

    /// The digest, as two halves in big-endian order.
    function hash(bytes memory message) internal pure returns (bytes32 upper, bytes32 lower) {
        bytes memory padded = pad(message);
        bytes memory rounds = ROUNDS;
        uint256[8] memory state = [
            uint256(0x6a09e667f3bcc908),
            0xbb67ae8584caa73b,
            0x3c6ef372fe94f82b,
            0xa54ff53a5f1d36f1,
            0x510e527fade682d1,
            0x9b05688c2b3e6c1f,
            0x1f83d9abfb41bd6b,
            0x5be0cd19137e2179
        ];
        uint256[] memory work = new uint256[](WORK_WORDS);
        for (uint256 start = 0; start < padded.length; start += 128) {
            compress(state, padded, start, rounds, work);
        }
        upper = bytes32((state[0] << 192) | (state[1] << 128) | (state[2] << 64) | state[3]);
        lower = bytes32((state[4] << 192) | (state[5] << 128) | (state[6] << 64) | state[7]);
    }

    /// A bit 1, zeros, and the length in bits as 16 bytes, up to a multiple of 128 bytes.
    function pad(bytes memory message) private pure returns (bytes memory padded) {
        uint256 zeros = (239 - message.length % 128) % 128;
        padded = bytes.concat(message, hex"80", new bytes(zeros), bytes16(uint128(8 * message.length)));
    }

    /// The standard's eight variables are two chains: each round makes one new `a` and one new
    /// `e`, and b, c, d and f, g, h are the three before them. Round t writes at index t + 4.
    function compress(
        uint256[8] memory state,
        bytes memory padded,
        uint256 start,
        bytes memory rounds,
        uint256[] memory work
    ) private pure {
        assembly ("memory-safe") {
            let w := add(work, 32)
            // The schedule.
            {
                let from := add(add(padded, 32), start)
                for { let i := 0 } lt(i, 16) { i := add(i, 1) } {
                    mstore(add(w, shl(5, i)), shr(192, mload(add(from, shl(3, i)))))
                }
            }
            for {
                let p := add(w, 512)
                let end := add(w, 2560)
            } lt(p, end) { p := add(p, 32) } {
                let x := mul(mload(sub(p, 64)), TWICE)
                let sum := xor(xor(shr(19, x), shr(61, x)), shr(6, and(x, MASK)))
                sum := add(and(sum, MASK), mload(sub(p, 224)))
                x := mul(mload(sub(p, 480)), TWICE)
                sum := add(sum, and(xor(xor(shr(1, x), shr(8, x)), shr(7, and(x, MASK))), MASK))
                mstore(p, and(add(sum, mload(sub(p, 512))), MASK))
            }
            // The chains begin with the state, oldest first.
            let a := add(w, 2560)
            let e := add(a, 2688)
            for { let i := 0 } lt(i, 4) { i := add(i, 1) } {
                mstore(add(a, shl(5, i)), mload(add(state, shl(5, sub(3, i)))))
                mstore(add(e, shl(5, i)), mload(add(state, shl(5, sub(7, i)))))
            }
            let k := add(rounds, 32)
            a := add(a, 128)
            e := add(e, 128)
            for { let end := add(w, 2560) } lt(w, end) { w := add(w, 32) } {
                let x := mload(sub(e, 32))
                let y := mload(sub(e, 96))
                // Ch: where e has a 1, f, else g.
                let t := xor(y, and(x, xor(mload(sub(e, 64)), y)))
                x := mul(x, TWICE)
                t := add(t, and(xor(xor(shr(14, x), shr(18, x)), shr(41, x)), MASK))
                t := add(t, add(mload(sub(e, 128)), add(shr(192, mload(k)), mload(w))))
                mstore(e, and(add(t, mload(sub(a, 128))), MASK))
                x := mload(sub(a, 32))
                y := mload(sub(a, 64))
                // Maj: what two of a, b, c have.
                t := add(t, or(and(x, y), and(mload(sub(a, 96)), or(x, y))))
                x := mul(x, TWICE)
                t := add(t, and(xor(xor(shr(28, x), shr(34, x)), shr(39, x)), MASK))
                mstore(a, and(t, MASK))
                a := add(a, 32)
                e := add(e, 32)
                k := add(k, 8)
            }
            for { let i := 0 } lt(i, 4) { i := add(i, 1) } {
                let p := add(state, shl(5, i))
                mstore(p, and(add(mload(p), mload(sub(a, shl(5, add(i, 1))))), MASK))
                p := add(p, 128)
                mstore(p, and(add(mload(p), mload(sub(e, shl(5, add(i, 1))))), MASK))
            }
        }
    }
}
