// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

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
}
