// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Sha512.sol";

/// Ed25519 (RFC 8032): which 32 bytes are a public key that nodes can use, and whether a
/// signature by it is right. Nodes verify with the same strictness (crates/crypto).
///
/// Usable: RFC 8032's canonical encoding of a point of the curve that is not of
/// small order, so that nobody can put into a validator set or a registry what no node
/// can verify with, nor a key whose signatures prove nothing.
library Ed25519 {
    uint256 private constant P = 0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed;
    /// The curve's d: -121665/121666 mod P.
    uint256 private constant D = 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3;
    /// The order of the base point.
    uint256 private constant L = 0x1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed;
    /// 2^256 mod L.
    uint256 private constant WRAP = 0x0ffffffffffffffffffffffffffffffec6ef5bf4737dcf70d6ec31748d98951d;
    /// A square root of -1 mod P.
    uint256 private constant I = 0x2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0;
    /// The base point.
    uint256 private constant BASE_X = 0x216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51a;
    uint256 private constant BASE_Y = 0x6666666666666666666666666666666666666666666666666666666666666658;
    /// The y of the points of order 8; its negative is P - Y8.
    uint256 private constant Y8 = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd83d3d706a17c7;
    address private constant MODEXP = address(5);

    /// @notice the key could not be checked; give the transaction more gas
    error ModexpFailed();

    function isUsable(bytes32 key) internal view returns (bool) {
        uint256 y = reversed(uint256(key)) & (type(uint256).max >> 1);
        if (!isLarge(y)) return false;
        // x² = u/v must be a square. u/v and uv are squares together, and by
        // Euler's criterion uv^((P-1)/2) is 1 exactly then (0 only if y is ±1).
        (uint256 u, uint256 v) = fraction(y);
        return power(mulmod(u, v, P), (P - 1) / 2) == 1;
    }

    /// Whether (`r`, `s`) is a signature of `message` by `key`, which is usable.
    function verify(bytes32 key, bytes32 r, bytes32 s, bytes memory message) internal view returns (bool) {
        uint256 scalar = reversed(uint256(s));
        // A larger one would be a second signature of the same (RFC 8032, 5.1.7).
        if (scalar >= L) return false;
        (bool found, uint256 x, uint256 y) = decoded(key);
        if (!found) return false;
        (bytes32 upper, bytes32 lower) = Sha512.hash(bytes.concat(r, key, message));
        uint256 challenge = mulmod(reversed(uint256(lower)), WRAP, L);
        challenge = addmod(reversed(uint256(upper)), challenge, L);
        // r = s B - h A, both sides encoded.
        return encoded(sum(scalar, challenge, P - x, y)) == r;
    }

    /// The point that a usable key encodes.
    function decoded(bytes32 key) private view returns (bool found, uint256 x, uint256 y) {
        uint256 sign = reversed(uint256(key)) >> 255;
        y = reversed(uint256(key)) & (type(uint256).max >> 1);
        if (!isLarge(y)) return (false, 0, 0);
        // RFC 8032, 5.1.3: the candidate root u v³ (u v⁷)^((P-5)/8), and the one times √-1.
        (uint256 u, uint256 v) = fraction(y);
        uint256 v3 = mulmod(mulmod(v, v, P), v, P);
        x = mulmod(mulmod(v3, v3, P), mulmod(u, v, P), P);
        x = mulmod(mulmod(u, v3, P), power(x, (P - 5) / 8), P);
        uint256 vxx = mulmod(v, mulmod(x, x, P), P);
        if (vxx != u) {
            if (vxx != P - u) return (false, 0, 0);
            x = mulmod(x, I, P);
        }
        if (x & 1 != sign) x = P - x;
        return (true, x, y);
    }

    /// `s` times the base point and `h` times (x, y), in extended coordinates (X, Y, Z, T).
    ///
    /// Both at once, bit by bit from the highest (Straus 1964), with the formulas of Hisil, Wong,
    /// Carter and Dawson (2008) for a = -1, which hold for any two points. A field element is
    /// below P where a difference is formed of it, so no sum exceeds 2^256.
    function sum(uint256 s, uint256 h, uint256 x, uint256 y) private pure returns (uint256[4] memory point) {
        // For each pair of bits the point to be added: Y-X, Y+X, 2dT, 2Z.
        uint256[4][4] memory table;
        table[1] = prepared([BASE_X, BASE_Y, 1, mulmod(BASE_X, BASE_Y, P)]);
        table[2] = prepared([x, y, 1, mulmod(x, y, P)]);
        point = [x, y, 1, mulmod(x, y, P)];
        add(point, table[1]);
        table[3] = prepared(point);
        point = [uint256(0), 1, 1, 0];
        for (uint256 bit = 1 << 252; bit != 0; bit >>= 1) {
            double(point);
            uint256 index = (s & bit == 0 ? 0 : 1) + (h & bit == 0 ? 0 : 2);
            if (index != 0) add(point, table[index]);
        }
    }

    function prepared(uint256[4] memory p) private pure returns (uint256[4] memory) {
        uint256 d2t = mulmod(2 * D % P, p[3], P);
        return [addmod(p[1], P - p[0], P), addmod(p[1], p[0], P), d2t, addmod(p[2], p[2], P)];
    }

    function double(uint256[4] memory point) private pure {
        assembly ("memory-safe") {
            let x := mload(point)
            let y := mload(add(point, 32))
            let z := mload(add(point, 64))
            let e := mulmod(x, y, P)
            e := add(e, e)
            x := mulmod(x, x, P)
            y := mulmod(y, y, P)
            z := mulmod(z, z, P)
            let g := add(y, sub(P, x))
            let f := addmod(add(z, z), add(x, sub(P, y)), P)
            let h := add(x, y)
            mstore(point, mulmod(e, f, P))
            mstore(add(point, 32), mulmod(g, h, P))
            mstore(add(point, 64), mulmod(f, g, P))
            mstore(add(point, 96), mulmod(e, h, P))
        }
    }

    function add(uint256[4] memory point, uint256[4] memory other) private pure {
        assembly ("memory-safe") {
            let x := mload(point)
            let y := mload(add(point, 32))
            let a := mulmod(add(y, sub(P, x)), mload(other), P)
            let b := mulmod(add(y, x), mload(add(other, 32)), P)
            let c := mulmod(mload(add(point, 96)), mload(add(other, 64)), P)
            let d := mulmod(mload(add(point, 64)), mload(add(other, 96)), P)
            let e := add(b, sub(P, a))
            let f := add(d, sub(P, c))
            let g := add(d, c)
            let h := add(b, a)
            mstore(point, mulmod(e, f, P))
            mstore(add(point, 32), mulmod(g, h, P))
            mstore(add(point, 64), mulmod(f, g, P))
            mstore(add(point, 96), mulmod(e, h, P))
        }
    }

    function encoded(uint256[4] memory point) private view returns (bytes32) {
        uint256 inverse = power(point[2], P - 2);
        uint256 x = mulmod(point[0], inverse, P);
        uint256 y = mulmod(point[1], inverse, P);
        return bytes32(reversed(y | (x << 255)));
    }

    /// Whether `y` is reduced, and of no point of small order.
    function isLarge(uint256 y) private pure returns (bool) {
        return y < P && y > 1 && y != P - 1 && y != Y8 && y != P - Y8;
    }

    /// x² as u/v, of a point's y.
    function fraction(uint256 y) private pure returns (uint256 u, uint256 v) {
        uint256 yy = mulmod(y, y, P);
        (u, v) = (addmod(yy, P - 1, P), addmod(mulmod(D, yy, P), 1, P));
    }

    function power(uint256 base, uint256 exponent) private view returns (uint256) {
        (bool ok, bytes memory result) =
            MODEXP.staticcall(abi.encode(uint256(32), uint256(32), uint256(32), base, exponent, P));
        if (!ok) revert ModexpFailed();
        return abi.decode(result, (uint256));
    }

    /// From little-endian to big-endian, and back.
    function reversed(uint256 x) internal pure returns (uint256) {
        uint256 mask = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
        x = ((x & mask) << 8) | ((x >> 8) & mask);
        mask = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
        x = ((x & mask) << 16) | ((x >> 16) & mask);
        mask = 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
        x = ((x & mask) << 32) | ((x >> 32) & mask);
        mask = 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
        x = ((x & mask) << 64) | ((x >> 64) & mask);
        return (x << 128) | (x >> 128);
    }
}
