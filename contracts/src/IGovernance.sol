// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./IMembership.sol";

/// Organisations that decide together (consortium), or one that decides alone
/// (private): who may connect, who validates, who may transact, how much gas.
///
/// Storage that nodes read by slot, besides slot 0:
/// slot 1: `mapping(address => uint256) permissions`, bit 0: may send transactions,
/// bit 1: may deploy contracts; bits 32 to 63: the organisation by which the account may send
/// too, unless bit 3 is set, as long as bit 4 of the word of the address with that number is.
interface IGovernance is IMembership {
    enum Status {
        None,
        Active,
        Suspended,
        Removed,
        /// It was added, and too few of its accounts have accepted their seats: its nodes are
        /// refused and it has no vote until they did.
        Invited
    }
    enum Role {
        None,
        Full,
        Validator
    }

    /// An Ed25519 key whose certificates count at heights `from <= h < until`; 0: no end.
    struct CaKey {
        bytes32 key;
        uint64 from;
        uint64 until;
    }

    struct Organisation {
        /// From 1, never used again.
        uint32 id;
        Status status;
        /// So many of `keys` speak for it.
        uint8 threshold;
        string name;
        address[] keys;
        /// At most 4 at a time.
        CaKey[] caKeys;
    }

    /// A node that the network knows by its key. A full node needs no entry: its
    /// certificate is enough. A validator needs one, and so does what was revoked.
    struct Node {
        /// Ed25519 identity key, which its peer id is made of.
        bytes32 peer;
        uint32 organisation;
        Role role;
        /// For ever: this key is never admitted again.
        bool revoked;
        /// Of a validator: its consensus key, power, and where its fees go.
        bytes32 validatorKey;
        uint64 power;
        address feeRecipient;
        /// It validates blocks `from <= h < until`; until 0: no end.
        uint64 from;
        uint64 until;
    }

    /// A certificate that was taken back: an organisation's X.509 serial number.
    struct Serial {
        uint32 organisation;
        uint160 serial;
    }

    /// A rule set of the chain (`prague`, `osaka`, …) and the height it begins at.
    struct Fork {
        string name;
        uint64 height;
    }

    /// A number that nodes act on from height `from` on; value 0: what the rule set says. Nodes that do not
    /// know its name stop before `from`, and say so.
    struct Parameter {
        string name;
        uint64 value;
        uint64 from;
    }

    struct Settings {
        /// Gas that one block may use.
        uint64 gasLimit;
        /// The base fee never falls below this, in wei; 0: gas is free.
        uint64 minBaseFee;
        /// Whether only accounts with permission bit 0 may send transactions.
        bool accountsListed;
        /// Whether only accounts with permission bit 1 may deploy contracts.
        bool deployersListed;
    }

    /// What `found` decodes: `abi.decode(founding, (Founding))`. Nodes' `from` is 1.
    struct Founding {
        Organisation[] organisations;
        Node[] nodes;
        Settings settings;
        Fork[] forks;
        /// A vote passes with more than `quorumNumerator / quorumDenominator` of
        /// the active organisations (2/3 by default).
        uint16 quorumNumerator;
        uint16 quorumDenominator;
        /// A change of validators that is no punishment holds so many blocks later.
        uint64 validatorDelay;
        /// What may hurt an organisation is carried out so many seconds after the last approval.
        uint64 decisionDelay;
        /// Who may send, and who may deploy, where the settings list them.
        address[] accounts;
        address[] deployers;
        /// Of the organisations in their order; 0: none.
        address[] recoveryKeys;
        /// By organisation: accounts that may send for it whatever is listed, since its keys are contracts.
        address[][] senders;
        /// They hold from genesis on; `from` is not looked at.
        Parameter[] parameters;
    }

    // Lists, in pages: at most `count` from index `from` on, fewer at the end.

    /// All that there ever were; organisation 1 has index 0.
    function organisations(uint256 from, uint256 count) external view returns (Organisation[] memory);
    function nodes(uint256 from, uint256 count) external view returns (Node[] memory);
    /// Of the organisations with these indexes: at most 64 of each.
    function revokedSerials(uint256 from, uint256 count) external view returns (Serial[] memory);
    /// X25519 keys to which content is sealed, of the organisations with these indexes; 0: none.
    function sealingKeys(uint256 from, uint256 count) external view returns (bytes32[] memory);
    /// How many organisations there ever were.
    function organisationCount() external view returns (uint256);
    function settings() external view returns (Settings memory);
    function forks() external view returns (Fork[] memory);
    /// All that hold, held, or are to come; those of one name in the order of their heights.
    function parameters() external view returns (Parameter[] memory);
    function permissions(address account) external view returns (uint256);
}
