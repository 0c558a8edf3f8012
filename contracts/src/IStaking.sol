// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./IMembership.sol";

/// Who stakes most validates: anyone may, nobody decides. Heights count time.
///
/// A candidate is registered, then has a seat of one unit of power on probation; if it signs
/// half of an epoch it is active, else jailed. The power of active validators follows
/// stake at the ends of epochs, at most a fifth of all power each time (at least one
/// unit), and never so that the seats that were seen to sign are no quorum.
///
/// A block's fees go to its proposer's `feeRecipient` at once, as the header's
/// beneficiary; the base fee is burned. So there are no rewards to claim here.
interface IStaking is IMembership {
    struct Founder {
        bytes32 key;
        /// Its stake is `power * stakeUnit`; genesis gives this contract that balance.
        /// More than twice the power of `minStake`.
        uint64 power;
        /// The account that owns the stake.
        address owner;
        address feeRecipient;
    }

    struct Parameters {
        /// The set is chosen anew after each block whose height this divides.
        uint64 epochBlocks;
        /// Stake leaves so many blocks after `unbond`, and can be slashed until then.
        uint64 unbondingBlocks;
        /// Wei of stake for one unit of voting power.
        uint96 stakeUnit;
        /// The least stake of a candidate, wei.
        uint96 minStake;
        uint16 maxValidators;
        /// Nobody leaves whole while fewer would stay: it keeps one unit of power until another comes.
        uint16 minValidators;
        /// A validator does not grow beyond this part of all power, in ten thousandths.
        uint16 maxShare;
        /// The part of its stake that an equivocator loses, in ten thousandths.
        uint16 slashParts;
        /// Absence is judged over at least so many blocks …
        uint32 windowBlocks;
        /// … and seconds. A validator that signs less than half of them is jailed …
        uint32 windowSeconds;
        /// … and loses this part of its stake, in ten thousandths, if it signs less than a quarter.
        uint16 absenceParts;
        /// Jail lasts at least so many blocks; each one twice as many, until a window was served.
        uint64 jailBlocks;
    }

    /// What `found` decodes: `abi.decode(founding, (Founding))`.
    struct Founding {
        Founder[] founders;
        Parameters parameters;
    }

    struct Candidate {
        address owner;
        bytes32 key;
        address feeRecipient;
        /// Wei.
        uint96 stake;
        /// In the set of the next block; 0: not in it.
        uint64 power;
        /// `unjail` works from this height on; 0: not jailed; 2^64 - 1: never.
        uint64 jailedUntil;
        /// It was seen to sign, so its power follows its stake; else it has one unit at most.
        bool active;
    }

    struct Unbonding {
        uint128 amount;
        /// `withdraw` pays it from this height on; later, while its power is not gone.
        uint64 release;
    }

    /// As `open`, with whose turn it was to propose the parent in the rounds in which nothing was decided.
    function openAfter(bytes32[] calldata failed, bytes32[] calldata absent, bytes32[] calldata equivocators) external;

    /// Registers the sender as a candidate with `msg.value` as its stake. `proof` is the key's own
    /// signature (r, s) that it agrees to this owner: see KeyProofs.
    function deposit(bytes32 validatorKey, address feeRecipient, bytes calldata proof) external payable;
    /// Adds `msg.value` to the sender's stake.
    function addStake() external payable;
    /// Takes `amount` of the sender's stake back; all of it, or at least `minStake` stays.
    function unbond(uint96 amount) external;
    /// Pays the sender what was unbonded long enough ago.
    function withdraw() external;
    /// Ends the sender's jail; it can be elected again at the next epoch's end.
    function unjail() external;
    function setFeeRecipient(address feeRecipient) external;
    /// The sender's seat moves to this key by itself when its own signed none of 64 blocks in a row; 0: to none.
    /// Once it moved there is no standby. `proof` as for `deposit`.
    function setStandby(bytes32 validatorKey, bytes calldata proof) external;

    /// The genesis hash, which signatures of keys name.
    function network() external view returns (bytes32);
    /// Whose key it is or was; `free`: another may claim it from that height on, 0: it is in use.
    function keyUse(bytes32 key) external view returns (address owner, uint64 free, bool isConvicted);
    function parameters() external view returns (Parameters memory);
    /// The key of an owner's standby (0: none), and when its seat moved last (in seconds; 0: never).
    function standby(address owner) external view returns (bytes32 key, uint64 moved);
    function candidates() external view returns (Candidate[] memory);
    /// Also of one that is no candidate any more.
    function candidate(address owner) external view returns (Candidate memory);
    function unbonding(address owner) external view returns (Unbonding[] memory);
    /// Wei that equivocators lost: it stays here for ever.
    function burned() external view returns (uint256);
}
