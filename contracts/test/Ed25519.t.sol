// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "../src/Ed25519Verifier.sol";
import "./Base.sol";

contract Ed25519Test is Base {
    function key(uint256 y) private pure returns (bytes32) {
        uint256 reversed = 0;
        for (uint256 i = 0; i < 32; i++) {
            reversed = (reversed << 8) | ((y >> (8 * i)) & 0xff);
        }
        return bytes32(reversed);
    }

    function testKnownKeys() public view {
        // RFC 8032, 7.1, tests 1 to 3.
        check("1", Ed25519.isUsable(0xd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a));
        check("2", Ed25519.isUsable(0x3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c));
        check("3", Ed25519.isUsable(0xfc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025));
        // The base point, and its negative.
        check("base", Ed25519.isUsable(0x5866666666666666666666666666666666666666666666666666666666666666));
        check("-base", Ed25519.isUsable(0x58666666666666666666666666666666666666666666666666666666666666e6));
    }

    function testSmallOrderIsRefused() public view {
        uint256 p = (1 << 255) - 19;
        uint256 y8 = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd83d3d706a17c7;
        uint256[5] memory ys = [0, 1, p - 1, y8, p - y8];
        for (uint256 i = 0; i < ys.length; i++) {
            check("small order", !Ed25519.isUsable(key(ys[i])));
            check("small order, the other sign", !Ed25519.isUsable(key(ys[i] | (1 << 255))));
        }
    }

    function testNonCanonicalIsRefused() public view {
        // 18 encodings of y from P to 2^255 - 1 name points that have another encoding.
        for (uint256 y = (1 << 255) - 19; y < 1 << 255; y++) {
            check("not canonical", !Ed25519.isUsable(key(y)));
        }
    }

    function testNoPointIsRefused() public view {
        // y = 2 and 7 are on no point of the curve; 3 to 6 are.
        for (uint256 y = 2; y <= 7; y++) {
            check("point", Ed25519.isUsable(key(y)) == (y > 2 && y < 7));
        }
    }

    /// The curve's own equation, with a square root, says the same.
    function testFuzzAgainstTheSquareRoot(uint256 y) public view {
        uint256 p = (1 << 255) - 19;
        y = 2 + y % (p - 3);
        check("as the root says", Ed25519.isUsable(key(y)) == hasRoot(y, p));
    }

    function hasRoot(uint256 y, uint256 p) private view returns (bool) {
        uint256 d = mulmod(p - 121_665, pow(121_666, p - 2, p), p);
        uint256 yy = mulmod(y, y, p);
        uint256 xx = mulmod(yy - 1, pow(addmod(mulmod(d, yy, p), 1, p), p - 2, p), p);
        // RFC 8032, 5.1.3: the candidate root and the one times sqrt(-1).
        uint256 x = pow(xx, (p + 3) / 8, p);
        uint256 i = pow(2, (p - 1) / 4, p);
        return mulmod(x, x, p) == xx || mulmod(mulmod(x, i, p), mulmod(x, i, p), p) == xx;
    }

    function pow(uint256 base, uint256 exponent, uint256 modulus) private view returns (uint256) {
        (, bytes memory r) =
            address(5).staticcall(abi.encode(uint256(32), uint256(32), uint256(32), base, exponent, modulus));
        return abi.decode(r, (uint256));
    }

    // Signatures.

    /// RFC 8032, 7.1.
    struct Vector {
        bytes32 key;
        bytes32 r;
        bytes32 s;
        bytes message;
    }

    function vectors() private pure returns (Vector[4] memory v) {
        v[0] = Vector(
            0xd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a,
            0xe5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155,
            0x5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b,
            ""
        );
        v[1] = Vector(
            0x3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c,
            0x92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da,
            0x085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00,
            hex"72"
        );
        v[2] = Vector(
            0xfc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025,
            0x6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac,
            0x18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a,
            hex"af82"
        );
        // SHA(abc).
        v[3] = Vector(
            0xec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf,
            0xdc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589,
            0x09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704,
            hex"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        );
    }

    function testKnownSignatures() public {
        Ed25519Verifier verifier = new Ed25519Verifier();
        for (uint256 i = 0; i < 4; i++) {
            Vector memory v = vectors()[i];
            uint256 before = gasleft();
            bool right = verifier.verify(v.key, v.r, v.s, v.message);
            check("450,000 gas", before - gasleft() < 450_000);
            check("right", right);
        }
    }

    function testNoOtherSignature() public view {
        Vector memory v = vectors()[2];
        for (uint256 bit = 0; bit < 256; bit += 5) {
            bytes32 flip = bytes32(1 << bit);
            check("r", !Ed25519.verify(v.key, v.r ^ flip, v.s, v.message));
            check("s", !Ed25519.verify(v.key, v.r, v.s ^ flip, v.message));
            check("key", !Ed25519.verify(v.key ^ flip, v.r, v.s, v.message));
        }
        check("message", !Ed25519.verify(v.key, v.r, v.s, hex"af83"));
        check("longer", !Ed25519.verify(v.key, v.r, v.s, hex"af8200"));
        // s + L is the same number to a careless verifier (malleability).
        uint256 order = 0x1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed;
        bytes32 larger = bytes32(Ed25519.reversed(Ed25519.reversed(uint256(v.s)) + order));
        check("s + L", !Ed25519.verify(v.key, v.r, larger, v.message));
    }

    /// A key of small order would "sign" anything: with key 0 A, r = s B for any s.
    function testNothingIsSignedByAKeyOfSmallOrder() public view {
        // The identity as key, the base point as r, s = 1: s B - h A = B for each message.
        bytes32 base = 0x5866666666666666666666666666666666666666666666666666666666666666;
        check("identity", !Ed25519.verify(bytes32(uint256(1) << 248), base, bytes32(uint256(1) << 248), "any"));
    }
}
