// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// What the client flows deploy: state, an indexed event, and both kinds of revert.
contract Counter {
    error TooMuch(uint256 asked, uint256 limit);

    event Incremented(address indexed by, uint256 value);

    uint256 public value;

    constructor(uint256 start) {
        value = start;
    }

    function increment(uint256 by) external {
        if (by > 100) revert TooMuch(by, 100);
        require(by != 0, "nothing to add");
        value += by;
        emit Incremented(msg.sender, value);
    }
}
