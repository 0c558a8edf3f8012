// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./IStaking.sol";
import "./KeyProofs.sol";
import "./Membership.sol";

/// @notice {key} is no Ed25519 key that can be used; check its digits
/// @dev Not a canonical Ed25519 point of large order.
error NotAKey(bytes32 key);
/// @notice {key} is or was used already, and a key has one use by one owner; make a new key
/// @dev It is free again when no evidence against it can come any more.
error KeyInUse(bytes32 key);
/// @notice {key} signed two things once and never counts again; make a new key
error KeyConvicted(bytes32 key);
/// @notice that is no signature by {key} for this network and for owner {owner}; make it anew with `trefoil keys
/// prove validator --owner {owner}` where the key lies
error BadProof(bytes32 key, address owner);
/// @notice the account still validates with key {key}; use that key, or wait until its power is gone
error OtherKey(bytes32 key);
/// @notice {owner} stakes already; use `trefoil validator add-stake`
/// @dev Use `addStake`.
error AlreadyCandidate(address owner);
/// @notice {owner} has no stake; use `trefoil validator stake` first
/// @dev `deposit` first.
error NoCandidate(address owner);
/// @notice {owner} signed twice and never validates again; use another account and another key
error JailedForEver(address owner);
/// @notice {got:ether} ether; a stake is at least {least:ether} ether, also what is left of one (`trefoil validator
/// unstake --all` takes it back whole)
/// @dev With all places taken that is more than the smallest stake of who is not active.
error TooLittleStake(uint256 got, uint256 least);
/// @notice {got:ether} ether; there are at most {most:ether} ether
error TooMuchStake(uint256 got, uint256 most);
/// @notice {most} parts are on their way out; withdraw, or wait
error TooManyUnbondings(uint256 most);
/// @notice nothing can be withdrawn before height {first} (0: nothing is on its way out, use `trefoil validator
/// unstake` first); try again then
error NothingDue(uint64 first);
/// @notice {owner} did not take {amount:ether} ether; it is a contract that refuses payments
error NotPaid(address owner, uint256 amount);

/// The candidates, their keys and their money.
///
/// Always: the balance is at least all stakes, all that unbonds, and what was
/// burned; an owner has one key at a time; a key has agreed to its owner by its own
/// signature, and is that owner's while it is in use and as long as evidence against it
/// can come; a convicted key is never used again; at most 192 are candidates, so that
/// an election fits into the node's call.
abstract contract Stakes is IStaking, Membership {
    uint256 public constant CANDIDATES_MAX = 192;
    /// That an owner may have on their way out by its own will; an eviction or conviction may add one.
    uint256 public constant UNBONDINGS_MAX = 8;
    uint64 internal constant FOR_EVER = type(uint64).max;

    /// A candidate's place in the list, in one word, since all are read at an election.
    struct Place {
        address owner;
        uint96 stake;
    }

    struct Owner {
        bytes32 key;
        address feeRecipient;
        /// Its number by first deposit: who came first wins a tie.
        uint32 number;
        /// Index + 1 in `_places`; 0: no candidate.
        uint16 place;
        /// Index + 1 in the set; 0: no validator.
        uint16 seat;
        /// It was seen to sign, and has had a seat since then.
        bool active;
        /// How often it was jailed since it last served a window.
        uint8 jails;
        uint64 jailedUntil;
        /// With a seat: the block and time from which on its absence is judged, and what it missed in
        /// the epochs since; without: from when on it waits for a seat.
        uint48 since;
        uint40 sinceTime;
        uint32 missed;
        /// Its turns to propose since then in which nothing was decided.
        uint32 failed;
        /// Its turns in the epochs since, by the power that it had in each, in parts of one (`TURN`).
        uint40 turns;
        /// In the order of their release.
        Unbonding[] unbonding;
    }

    /// What a key is or was used for.
    struct KeyClaim {
        address owner;
        /// From this height on another may claim it; 0: it is in use.
        uint64 free;
        /// For ever.
        bool convicted;
    }

    Parameters internal _parameters;
    Place[] internal _places;
    mapping(address => Owner) internal _owners;
    mapping(bytes32 => KeyClaim) internal _claims;
    /// The genesis hash, from block 1 on.
    bytes32 internal _network;
    uint32 private _ownersEver;
    uint256 public burned;

    event Deposited(address indexed owner, bytes32 indexed key, address feeRecipient, uint256 amount);
    event StakeAdded(address indexed owner, uint256 amount, uint256 stake);
    event Unbonded(address indexed owner, uint256 amount, uint256 stake, uint64 release);
    /// Its power is not gone yet: the part that backs it is paid from `release` on.
    event UnbondingProlonged(address indexed owner, uint64 release);
    event Evicted(address indexed owner, address indexed by);
    event Withdrawn(address indexed owner, uint256 amount);
    event Slashed(address indexed owner, bytes32 indexed key, uint256 amount);

    function deposit(bytes32 validatorKey, address feeRecipient, bytes calldata proof) external payable {
        uint256 least = _parameters.minStake;
        if (msg.value < least) revert TooLittleStake(msg.value, least);
        // So that an eviction or a conviction finds room, and puts off no other part.
        if (_owners[msg.sender].unbonding.length > UNBONDINGS_MAX) revert TooManyUnbondings(UNBONDINGS_MAX);
        _checkProof(validatorKey, proof);
        if (_places.length == CANDIDATES_MAX) _evictFor(msg.value);
        _register(msg.sender, validatorKey, feeRecipient, msg.value);
    }

    function addStake() external payable {
        Place storage p = _placeOf(msg.sender);
        if (msg.value == 0) revert TooLittleStake(0, 1);
        p.stake = _wei(p.stake + msg.value);
        emit StakeAdded(msg.sender, msg.value, p.stake);
    }

    function unbond(uint96 amount) external {
        Place storage p = _placeOf(msg.sender);
        if (amount == 0) revert TooLittleStake(0, 1);
        if (amount > p.stake) revert TooMuchStake(amount, p.stake);
        uint96 rest = p.stake - amount;
        if (rest != 0 && rest < _parameters.minStake) revert TooLittleStake(rest, _parameters.minStake);
        if (_owners[msg.sender].unbonding.length == UNBONDINGS_MAX) revert TooManyUnbondings(UNBONDINGS_MAX);
        p.stake = rest;
        _unbond(msg.sender, amount, rest);
        if (rest == 0) _leave(msg.sender);
    }

    function withdraw() external {
        Unbonding[] storage parts = _owners[msg.sender].unbonding;
        uint256 due = 0;
        uint256 paid = 0;
        while (paid < parts.length && parts[paid].release <= block.number) {
            due += parts[paid++].amount;
        }
        if (due == 0) revert NothingDue(parts.length == 0 ? 0 : parts[0].release);
        uint256 left = parts.length - paid;
        for (uint256 i = 0; i < left; i++) {
            parts[i] = parts[i + paid];
        }
        while (parts.length > left) parts.pop();
        emit Withdrawn(msg.sender, due);
        // Last, when all is written: the receiver may call again.
        (bool taken,) = msg.sender.call{value: due}("");
        if (!taken) revert NotPaid(msg.sender, due);
    }

    function _register(address owner, bytes32 key, address feeRecipient, uint256 amount) internal {
        Owner storage o = _owners[owner];
        if (o.place != 0) revert AlreadyCandidate(owner);
        if (o.jailedUntil == FOR_EVER) revert JailedForEver(owner);
        // Its old key counts until its power is gone.
        if (o.seat != 0 && o.key != key) revert OtherKey(o.key);
        _claim(key, owner);
        o.key = key;
        if (o.number == 0) o.number = ++_ownersEver;
        if (o.seat == 0) o.since = uint48(block.number);
        _payTo(o, feeRecipient);
        _places.push(Place(owner, _wei(amount)));
        o.place = uint16(_places.length);
        emit Deposited(owner, key, feeRecipient, amount);
    }

    /// That the key agrees to the sender's use of it.
    function _checkProof(bytes32 key, bytes calldata proof) internal view {
        bytes32 claimer = bytes32(uint256(uint160(msg.sender)));
        if (!KeyProofs.isProof(key, _network, KeyRole.Validator, claimer, proof)) revert BadProof(key, msg.sender);
    }

    function _isFreeFor(address owner, bytes32 key) internal view returns (bool) {
        KeyClaim storage c = _claims[key];
        if (c.convicted) return false;
        return c.owner == address(0) || c.owner == owner || (c.free != 0 && c.free <= block.number);
    }

    function _requireFreeFor(address owner, bytes32 key) internal view {
        if (_claims[key].convicted) revert KeyConvicted(key);
        if (!_isFreeFor(owner, key)) revert KeyInUse(key);
    }

    function _claim(bytes32 key, address owner) private {
        _requireFreeFor(owner, key);
        if (!Ed25519.isUsable(key)) revert NotAKey(key);
        _claims[key] = KeyClaim(owner, 0, false);
    }

    /// If neither stake nor power is left, the key is in use no more.
    function _releaseKey(address owner) internal {
        Owner storage o = _owners[owner];
        if (o.place == 0 && o.seat == 0) _free(o.key);
    }

    /// The key is in use no more: it signs this block at most, and evidence of that comes for `unbondingBlocks`.
    function _free(bytes32 key) internal {
        _claims[key].free = uint64(block.number) + _parameters.unbondingBlocks + 1;
    }

    function _payTo(Owner storage o, address feeRecipient) internal {
        // Also one that left and came back within an epoch is in the set.
        if (o.seat != 0 && o.feeRecipient != feeRecipient) _changed();
        o.feeRecipient = feeRecipient;
    }

    /// Burns so many ten thousandths of all that `owner` has here, for what its `key` did.
    function _slash(address owner, bytes32 key, uint256 parts) internal {
        Owner storage o = _owners[owner];
        uint256 lost = 0;
        for (uint256 i = 0; i < o.unbonding.length; i++) {
            uint128 part = uint128(uint256(o.unbonding[i].amount) * parts / 10_000);
            o.unbonding[i].amount -= part;
            lost += part;
        }
        if (o.place != 0) {
            Place storage p = _places[o.place - 1];
            uint96 part = uint96(uint256(p.stake) * parts / 10_000);
            p.stake -= part;
            lost += part;
        }
        burned += lost;
        emit Slashed(owner, key, lost);
    }

    /// The newest parts together back `excess` wei of power that has not gone yet: they unbond from now on.
    ///
    /// Otherwise a validator that leaves step by step would be paid while it could still sign two blocks.
    function _prolong(address owner, uint256 excess) internal {
        Unbonding[] storage parts = _owners[owner].unbonding;
        uint64 release = uint64(block.number) + _parameters.unbondingBlocks;
        uint256 i = parts.length;
        if (i == 0 || parts[i - 1].release == release) return;
        while (i > 0 && excess > 0) {
            Unbonding storage part = parts[--i];
            part.release = release;
            excess -= part.amount < excess ? part.amount : excess;
        }
        emit UnbondingProlonged(owner, release);
    }

    function _placeOf(address owner) private view returns (Place storage) {
        uint256 place = _owners[owner].place;
        if (place == 0) revert NoCandidate(owner);
        return _places[place - 1];
    }

    /// The smallest stake of who is not active makes place for a larger one; of equals, who came last. Attack: stakes
    /// for keys that nobody runs in the places of those who sign. At most 128 have a seat, so others are left.
    function _evictFor(uint256 amount) private {
        Place memory smallest = Place(address(0), type(uint96).max);
        for (uint256 i = 0; i < _places.length; i++) {
            Place memory p = _places[i];
            if (p.stake > smallest.stake) continue;
            Owner storage o = _owners[p.owner];
            if (o.active || (p.stake == smallest.stake && o.number < _owners[smallest.owner].number)) continue;
            smallest = p;
        }
        if (amount <= smallest.stake) revert TooLittleStake(amount, uint256(smallest.stake) + 1);
        emit Evicted(smallest.owner, msg.sender);
        _unbondAll(smallest.owner);
    }

    function _unbondAll(address owner) internal {
        uint96 amount = _places[_owners[owner].place - 1].stake;
        _leave(owner);
        if (amount != 0) _unbond(owner, amount, 0);
    }

    function _unbond(address owner, uint96 amount, uint96 rest) private {
        uint64 release = uint64(block.number) + _parameters.unbondingBlocks;
        _owners[owner].unbonding.push(Unbonding(amount, release));
        emit Unbonded(owner, amount, rest, release);
    }

    function _leave(address owner) private {
        uint16 place = _owners[owner].place;
        Place memory last = _places[_places.length - 1];
        _places[place - 1] = last;
        _owners[last.owner].place = place;
        _places.pop();
        _owners[owner].place = 0;
        _releaseKey(owner);
    }

    function _wei(uint256 amount) private pure returns (uint96) {
        if (amount > type(uint96).max) revert TooMuchStake(amount, type(uint96).max);
        return uint96(amount);
    }
}
