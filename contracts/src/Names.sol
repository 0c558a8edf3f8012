// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// @notice "{name}" is no name; use 1 to 32 letters, digits, - or _, not digits only
error BadName(string name);

/// Names of 1 to 32 of A-Z a-z 0-9 - _, kept in one word. Not of digits only, which would be taken
/// for an organisation's number.
library Names {
    function pack(string memory name) internal pure returns (bytes32 packed) {
        bytes memory text = bytes(name);
        if (text.length == 0 || text.length > 32) revert BadName(name);
        bool number = true;
        for (uint256 i = 0; i < text.length; i++) {
            if (!allowed(text[i])) revert BadName(name);
            number = number && text[i] <= "9" && text[i] >= "0";
        }
        if (number) revert BadName(name);
        assembly ("memory-safe") {
            packed := mload(add(text, 32))
        }
        // What lies beyond a string's end in memory need not be zero.
        packed &= bytes32(type(uint256).max << (256 - 8 * text.length));
    }

    /// The same in small letters: names that differ by case only would be taken for each other.
    function folded(bytes32 packed) internal pure returns (bytes32 small) {
        for (uint256 i = 0; i < 32; i++) {
            bytes1 c = packed[i];
            if (c >= "A" && c <= "Z") c |= 0x20;
            small |= bytes32(c) >> (8 * i);
        }
    }

    function unpack(bytes32 packed) internal pure returns (string memory) {
        uint256 length = 0;
        while (length < 32 && packed[length] != 0) length++;
        bytes memory text = new bytes(length);
        for (uint256 i = 0; i < length; i++) {
            text[i] = packed[i];
        }
        return string(text);
    }

    function allowed(bytes1 c) private pure returns (bool) {
        return (c >= "0" && c <= "9") || (c >= "A" && c <= "Z") || (c >= "a" && c <= "z") || c == "-" || c == "_";
    }
}
