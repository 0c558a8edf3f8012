// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Rules.sol";
import "./Validators.sol";

/// All that Governance remembers and that its actions change, in one order of
/// storage for both contracts (build.mjs compares their layouts).
abstract contract State is Rules, Validators {}
