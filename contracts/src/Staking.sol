// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./StakedStandbys.sol";

/// @notice {what} is {got}; choose {least} to {most}
error OutOfRange(string what, uint256 got, uint256 least, uint256 most);
/// @notice genesis gives {got:ether} ether for stakes of {wanted:ether}; correct its balance
error Unfunded(uint256 got, uint256 wanted);
/// @notice {owner} is not jailed; there is nothing to do
error NotJailed(address owner);
/// @notice the jail lasts until height {height}; try again then
/// @dev `unjail` works from that height on.
error JailedYet(uint64 height);

/// The validators of a public network, chosen by stake. See IStaking.sol.
contract Staking is StakedStandbys {
    event Unjailed(address indexed owner);
    event FeeRecipientChanged(address indexed owner, address feeRecipient);
    /// It should have gone, but was the last validator.
    event LastValidatorKept(address indexed owner, bytes32 indexed key);

    function found(bytes calldata founding) external onlyNode onlyOnce {
        Founding memory f = abi.decode(founding, (Founding));
        _setParameters(f.parameters);
        _range("founders", f.founders.length, 1, f.parameters.maxValidators);
        uint256 total = 0;
        for (uint256 i = 0; i < f.founders.length; i++) {
            Founder memory founder = f.founders[i];
            // Attack: least stakes of keys that nobody runs, a unit each on all seats on probation. Three founders
            // of this power of four still are a quorum beside them.
            _range(
                "power",
                founder.power,
                2 * _most(f.parameters.minStake / f.parameters.stakeUnit, PROBATION_MAX) + 1,
                VALIDATOR_POWER_MAX
            );
            uint256 stake = uint256(founder.power) * f.parameters.stakeUnit;
            _range("stake", stake, f.parameters.minStake, type(uint96).max);
            _register(founder.owner, founder.key, founder.feeRecipient, stake);
            _seatFounder(founder.owner, founder.power);
            total += stake;
        }
        if (address(this).balance < total) revert Unfunded(address(this).balance, total);
    }

    function open(bytes32[] calldata absent, bytes32[] calldata equivocators) external onlyNode {
        _open(absent, equivocators);
    }

    function openAfter(bytes32[] calldata failed, bytes32[] calldata absent, bytes32[] calldata equivocators)
        external
        onlyNode
    {
        for (uint256 i = 0; i < failed.length; i++) {
            Owner storage o = _owners[_claims[failed[i]].owner];
            if (o.seat != 0 && o.key == failed[i]) o.failed += 1;
        }
        _open(absent, equivocators);
    }

    /// It never refuses, and its cost is bounded by 192 candidates and 128 validators.
    function _open(bytes32[] calldata absent, bytes32[] calldata equivocators) private {
        // No earlier block can name it: genesis' own hash is over this contract's state.
        if (block.number == 1) _network = blockhash(0);
        for (uint256 i = 0; i < equivocators.length; i++) {
            _convict(equivocators[i]);
        }
        for (uint256 i = 0; i < absent.length; i++) {
            _miss(absent[i]);
        }
        if (block.number % _parameters.epochBlocks == 0) _elect();
    }

    function unjail() external {
        Owner storage o = _owners[msg.sender];
        if (o.jailedUntil == 0) revert NotJailed(msg.sender);
        if (o.jailedUntil == FOR_EVER) revert JailedForEver(msg.sender);
        if (block.number < o.jailedUntil) revert JailedYet(o.jailedUntil);
        uint256 stake = o.place == 0 ? 0 : _places[o.place - 1].stake;
        if (stake < _parameters.minStake) revert TooLittleStake(stake, _parameters.minStake);
        o.jailedUntil = 0;
        // What it missed and failed in jail is not held against it again.
        if (o.seat == 0) o.since = uint48(block.number);
        else _beginWindow(o);
        emit Unjailed(msg.sender);
    }

    function setFeeRecipient(address feeRecipient) external {
        Owner storage o = _owners[msg.sender];
        if (o.number == 0) revert NoCandidate(msg.sender);
        if (o.feeRecipient == feeRecipient) revert NothingToChange();
        _payTo(o, feeRecipient);
        emit FeeRecipientChanged(msg.sender, feeRecipient);
    }

    function network() external view returns (bytes32) {
        return _network;
    }

    function keyUse(bytes32 key) external view returns (address owner, uint64 free, bool isConvicted) {
        KeyClaim storage c = _claims[key];
        return (c.owner, c.free, c.convicted);
    }

    function version() external view returns (uint64) {
        return uint64(_version);
    }

    function validators() external view returns (Validator[] memory set) {
        set = new Validator[](_set.length);
        for (uint256 i = 0; i < set.length; i++) {
            Owner storage o = _owners[_set[i].owner];
            set[i] = Validator(o.key, _set[i].power, o.feeRecipient);
        }
    }

    function convicted(bytes32 key) external view returns (bool) {
        return _claims[key].convicted;
    }

    function parameters() external view returns (Parameters memory) {
        return _parameters;
    }

    function candidates() external view returns (Candidate[] memory all) {
        all = new Candidate[](_places.length);
        for (uint256 i = 0; i < all.length; i++) {
            all[i] = candidate(_places[i].owner);
        }
    }

    function candidate(address owner) public view returns (Candidate memory) {
        Owner storage o = _owners[owner];
        uint96 stake = o.place == 0 ? 0 : _places[o.place - 1].stake;
        uint64 power = o.seat == 0 ? 0 : _set[o.seat - 1].power;
        return Candidate(owner, o.key, o.feeRecipient, stake, power, o.jailedUntil, o.active);
    }

    function unbonding(address owner) external view returns (Unbonding[] memory) {
        return _owners[owner].unbonding;
    }

    /// The validator loses a part of its stake and its seat, for ever.
    function _convict(bytes32 key) private {
        KeyClaim storage c = _claims[key];
        address owner = c.owner;
        if (owner == address(0) || c.convicted) return;
        c.convicted = true;
        Owner storage o = _owners[owner];
        // By another of its keys.
        if (o.jailedUntil == FOR_EVER) return;
        _slash(owner, key, _parameters.slashParts);
        if (o.place != 0) _unbondAll(owner);
        _jail(owner, FOR_EVER);
        if (o.seat == 0) return;
        if (_set.length == 1) emit LastValidatorKept(owner, key);
        else _unseat(owner);
    }

    function _setParameters(Parameters memory p) private {
        // In shorter ones a seat on probation could miss all that it is asked to sign, and have half.
        _range("epochBlocks", p.epochBlocks, 5, 1_000_000);
        // Who left the set at an epoch's end can still be convicted for an epoch.
        _range("unbondingBlocks", p.unbondingBlocks, 2 * uint256(p.epochBlocks), 1_000_000_000);
        _range("stakeUnit", p.stakeUnit, 1, type(uint96).max);
        _range("minStake", p.minStake, p.stakeUnit, type(uint96).max);
        _range("maxValidators", p.maxValidators, 1, VALIDATORS_MAX - PROBATION_MAX);
        _range("minValidators", p.minValidators, 1, p.maxValidators);
        _range("maxShare", p.maxShare, 1, 10_000);
        _range("slashParts", p.slashParts, 1, 10_000);
        _range("windowBlocks", p.windowBlocks, 2 * uint256(p.epochBlocks), 100_000_000);
        _range("windowSeconds", p.windowSeconds, 0, 100_000_000);
        _range("absenceParts", p.absenceParts, 0, p.slashParts);
        _range("jailBlocks", p.jailBlocks, 1, 1_000_000_000);
        _parameters = p;
    }

    function _most(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }

    function _range(string memory what, uint256 got, uint256 least, uint256 most) private pure {
        if (got < least || got > most) revert OutOfRange(what, got, least, most);
    }
}
