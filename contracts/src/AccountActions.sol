// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Accounts.sol";
import "./ActionKinds.sol";
import "./Consent.sol";
import "./Guardian.sol";
import "./Recovery.sol";
import "./Standbys.sol";

/// The actions about accounts and standbys, all calls of one account, and what an action is about. See GovernanceActions.
contract AccountActions is Accounts, ActionKinds, Consent, Guardian, Recovery, Standbys {}
