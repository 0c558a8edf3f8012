// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// Whether 32 bytes are a public key that nodes can use, so that nobody can put
/// into a validator set or a registry what no node can verify with.
///
/// Usable: RFC 8032's canonical encoding of a point of the curve that is not of
/// small order. That one holds its secret key cannot be shown here.
library Ed25519 {
    uint256 private constant P = (1 << 255) - 19;
    /// The curve's d: -121665/121666 mod P.
    uint256 private constant D = 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3;
    /// The y of the points of order 8; its negative is P - Y8.
    uint256 private constant Y8 = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd83d3d706a17c7;
    address private constant MODEXP = address(5);

    /// @notice the key could not be checked; give the transaction more gas
    error ModexpFailed();

    function isUsable(bytes32 key) internal view returns (bool) {
        // Little-endian y; the highest bit is the sign of x.
        uint256 y = reversed(uint256(key)) & (type(uint256).max >> 1);
        if (y >= P || y <= 1 || y == P - 1 || y == Y8 || y == P - Y8) return false;
        // x² = u/v must be a square. u/v and uv are squares together, and by
        // Euler's criterion uv^((P-1)/2) is 1 exactly then (0 only if y is ±1).
        uint256 yy = mulmod(y, y, P);
        uint256 u = addmod(yy, P - 1, P);
        uint256 v = addmod(mulmod(D, yy, P), 1, P);
        return power(mulmod(u, v, P), (P - 1) / 2) == 1;
    }

    function power(uint256 base, uint256 exponent) private view returns (uint256) {
        (bool ok, bytes memory result) =
            MODEXP.staticcall(abi.encode(uint256(32), uint256(32), uint256(32), base, exponent, P));
        if (!ok) revert ModexpFailed();
        return abi.decode(result, (uint256));
    }

    function reversed(uint256 x) private pure returns (uint256) {
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
