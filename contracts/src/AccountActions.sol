// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Accounts.sol";
import "./Consent.sol";
import "./Guardian.sol";
import "./Recovery.sol";
import "./Standbys.sol";

/// The actions about accounts and standbys, and all calls of one account. See GovernanceActions.
contract AccountActions is Accounts, Consent, Guardian, Recovery, Standbys {}
