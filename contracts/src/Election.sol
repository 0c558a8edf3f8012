// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Stakes.sol";

/// The seats of the validators, and how their power follows the stakes.
///
/// Always: 1 to `maxValidators` seats, and few more on probation or on their way out, of at
/// most 2^60 power together. A new seat has one unit of power, until it signed half of
/// an epoch: then it is active. At an epoch's end at most a fifth of the power comes and
/// at most a fifth goes, but at least one unit. Seats that signed at least half of the
/// epoch are a quorum of the new set by themselves: power that nobody was seen to use
/// never stops the chain. A conviction takes its seat at once. Where a rule would leave
/// nobody, the set stays.
abstract contract Election is Stakes {
    /// So that no set of 128 exceeds 2^60.
    uint256 public constant VALIDATOR_POWER_MAX = POWER_MAX / VALIDATORS_MAX;
    /// Seats beyond `maxValidators`: a newcomer is seen to sign before it displaces anybody.
    uint256 public constant PROBATION_MAX = 8;
    /// Fewer turns to propose are not judged: one slow round would be most of them.
    uint256 public constant TURNS_MIN = 4;
    /// A jail is at most a million times as long as the first one.
    uint8 private constant DOUBLINGS_MAX = 20;
    /// Parts of a turn that are counted: 2^28 turns fit.
    uint256 private constant TURN = 4096;
    /// Four fifths are more than two thirds: old and new sets share a quorum.
    uint256 private constant CHURN = 5;

    /// In one word, since all are read at an election.
    struct Seat {
        address owner;
        uint64 power;
        /// Blocks of this epoch that it did not sign.
        uint32 missed;
    }

    /// The power of a set that changes, and how much more of it may change.
    struct Balance {
        uint256 total;
        /// Of the seats that signed at least half of the epoch.
        uint256 present;
        uint256 mayCome;
        uint256 mayGo;
        /// Of seats that go because they are in jail.
        uint256 jailed;
    }

    Seat[] internal _set;

    event ValidatorsElected(uint256 count);
    /// It was seen to sign: its power follows its stake from now on.
    event Activated(address indexed owner, bytes32 indexed key);
    event Jailed(address indexed owner, bytes32 indexed key, uint64 until);

    /// Without probation or limit, for nobody validated before.
    function _seatFounder(address owner, uint64 power) internal {
        _seat(owner, power);
        _owners[owner].active = true;
    }

    /// It leaves the set at once.
    function _unseat(address owner) internal {
        _removeSeat(_owners[owner].seat - 1);
        _changed();
    }

    /// It is elected no more; its power goes at the epochs' ends.
    function _jail(address owner, uint64 until) internal {
        Owner storage o = _owners[owner];
        (o.jailedUntil, o.active) = (until, false);
        emit Jailed(owner, o.key, until);
    }

    /// Attack: least stakes whose seats come and go make another set at each epoch's end, which every node reads and
    /// every later snapshot proves. So each jail is twice as long as the one before, until the seat served a window.
    function _jailForLonger(address owner) private {
        Owner storage o = _owners[owner];
        uint64 blocks = _parameters.jailBlocks << o.jails;
        if (o.jails < DOUBLINGS_MAX) o.jails += 1;
        _jail(owner, uint64(block.number) + blocks);
    }

    /// The set moves towards the `maxValidators` largest stakes of who is active; of equal
    /// stakes, towards who came first.
    function _elect() internal {
        Seat[] memory seats = _set;
        Balance memory b = _balance(seats);
        for (uint256 i = 0; i < seats.length; i++) {
            _judge(seats[i], b);
        }
        (uint256[] memory wanted, uint256 least) = _wanted(seats);
        if (least != type(uint256).max) {
            _release(seats, wanted, b, false);
            _release(seats, wanted, b, true);
        }
        _grow(seats, wanted, b);
        bool changed = _store(seats);
        if (_seatNewcomers(least, b)) changed = true;
        if (!changed) return;
        emit ValidatorsElected(_set.length);
        _changed();
    }

    function _balance(Seat[] memory seats) private view returns (Balance memory b) {
        for (uint256 i = 0; i < seats.length; i++) {
            b.total += seats[i].power;
            if (_isPresent(seats[i])) b.present += seats[i].power;
            if (_owners[seats[i].owner].jailedUntil != 0) b.jailed += seats[i].power;
        }
        b.mayCome = b.total / CHURN;
        if (b.mayCome == 0) b.mayCome = 1;
        b.mayGo = b.mayCome;
    }

    function _isPresent(Seat memory seat) private view returns (bool) {
        return 2 * uint256(seat.missed) <= _parameters.epochBlocks;
    }

    /// A seat on probation is active now, or jailed. An active one is jailed if it signed less than half of its
    /// window, or nothing was decided in more than half of its turns to propose; it is slashed if it signed less
    /// than a quarter. No more than a third of the power is in jail: if more is absent, the network is at fault.
    ///
    /// Proposers with less than a third of the turns leave out its signature in less than a third of the
    /// blocks, so they alone come to neither bound (docs/economics.md).
    function _judge(Seat memory seat, Balance memory b) private {
        Owner storage o = _owners[seat.owner];
        if (o.jailedUntil != 0) return;
        if (!o.active) {
            if (!_isPresent(seat)) return _jailForLonger(seat.owner);
            o.active = true;
            emit Activated(seat.owner, o.key);
        }
        o.missed += seat.missed;
        uint256 window = block.number - o.since;
        // Up: what is lost in each epoch would make those who failed half of their turns seem to have failed more.
        uint256 turns = TURN * _least(window, _parameters.epochBlocks);
        // At most 2^44, of powers up to 2^60.
        unchecked {
            turns = o.turns + (turns * seat.power + b.total - 1) / b.total;
        }
        o.turns = uint40(_least(turns, type(uint40).max));
        if (window < _parameters.windowBlocks || block.timestamp - o.sinceTime < _parameters.windowSeconds) return;
        uint256 missed = o.missed;
        if (2 * missed > window || _isIdle(o.failed, o.turns)) {
            if (3 * (b.jailed + seat.power) > b.total) return;
            b.jailed += seat.power;
            _jailForLonger(seat.owner);
            if (4 * missed > 3 * window) _slash(seat.owner, o.key, _parameters.absenceParts);
        } else {
            o.jails = 0;
        }
        _beginWindow(o);
    }

    /// `turns`, in parts of one (`TURN`), by the power of each epoch: by today's, who gave power back would seem to have had
    /// few, and a count of them would write in each block.
    function _isIdle(uint256 failed, uint256 turns) private pure returns (bool) {
        return turns >= TURN * TURNS_MIN && 2 * TURN * failed > turns;
    }

    function _beginWindow(Owner storage o) internal {
        (o.since, o.sinceTime) = (uint48(block.number), uint40(block.timestamp));
        (o.missed, o.failed, o.turns) = (0, 0, 0);
    }

    /// The power of each seat by its stake, 0: it goes; and which stake a newcomer must exceed: with all seats taken
    /// twice the least one (2^256 - 1: nobody who stays has a seat).
    function _wanted(Seat[] memory seats) private view returns (uint256[] memory wanted, uint256 least) {
        wanted = new uint256[](seats.length);
        uint256[] memory ranks = new uint256[](seats.length);
        uint256 count = 0;
        for (uint256 i = 0; i < seats.length; i++) {
            Owner storage o = _owners[seats[i].owner];
            if (!o.active || o.place == 0) continue;
            uint256 stake = _places[o.place - 1].stake;
            if (stake < _parameters.minStake) continue;
            // Of equal stakes, who came last is the least.
            ranks[i] = (stake << 32) | (type(uint32).max - o.number);
            wanted[i] = _least(stake / _parameters.stakeUnit, VALIDATOR_POWER_MAX);
            count++;
        }
        if (count == 0) return (wanted, type(uint256).max);
        _hold(seats, wanted, count);
        for (; count > _parameters.maxValidators; count--) {
            uint256 last = _lowest(ranks);
            (wanted[last], ranks[last]) = (0, 0);
        }
        // Attack: stakes just above the least displace others, whose stake then counts for nothing.
        least = count < _parameters.maxValidators ? 0 : 2 * (ranks[_lowest(ranks)] >> 32);
    }

    /// Below `minValidators` those who leave keep one unit until others are active: fewer than four bear no fault.
    function _hold(Seat[] memory seats, uint256[] memory wanted, uint256 count) private view {
        for (uint256 i = 0; i < seats.length && count < _parameters.minValidators; i++) {
            if (wanted[i] != 0 || !_isPresent(seats[i]) || _owners[seats[i].owner].jailedUntil != 0) continue;
            wanted[i] = 1;
            count++;
        }
    }

    /// The index of the lowest that is not 0.
    function _lowest(uint256[] memory ranks) private pure returns (uint256 index) {
        uint256 lowest = type(uint256).max;
        for (uint256 i = 0; i < ranks.length; i++) {
            if (ranks[i] != 0 && ranks[i] < lowest) (lowest, index) = (ranks[i], i);
        }
    }

    /// Takes power from the seats that have too much; from those that are present only
    /// as far as the others that are remain a quorum.
    function _release(Seat[] memory seats, uint256[] memory wanted, Balance memory b, bool present) private view {
        for (uint256 i = 0; i < seats.length; i++) {
            uint256 power = seats[i].power;
            if (wanted[i] >= power || _isPresent(seats[i]) != present) continue;
            // Never the last unit.
            uint256 less = _least(_least(power - wanted[i], b.mayGo), present ? _spare(b) : b.total - 1);
            if (present) b.present -= less;
            b.total -= less;
            b.mayGo -= less;
            seats[i].power = uint64(power - less);
        }
    }

    /// Gives more power to seats that are present.
    function _grow(Seat[] memory seats, uint256[] memory wanted, Balance memory b) private view {
        for (uint256 i = 0; i < seats.length; i++) {
            uint256 power = seats[i].power;
            if (wanted[i] <= power || !_isPresent(seats[i])) continue;
            uint256 more = _least(_least(wanted[i] - power, b.mayCome), _room(power, b.total));
            b.present += more;
            b.total += more;
            b.mayCome -= more;
            seats[i].power = uint64(power + more);
        }
    }

    /// By how much a seat may grow before it has more than its share.
    function _room(uint256 power, uint256 total) private view returns (uint256) {
        (uint256 share, uint256 whole) = (_parameters.maxShare, 10_000);
        if (share == whole) return type(uint256).max;
        (uint256 most, uint256 has) = (share * total, whole * power);
        return most > has ? (most - has) / (whole - share) : 0;
    }

    /// By how much `3 * present` exceeds what a quorum of the total needs: so much power that is
    /// present may go, or half of it may come that is not.
    function _spare(Balance memory b) private pure returns (uint256) {
        uint256 needed = 2 * b.total + 1;
        return 3 * b.present > needed ? 3 * b.present - needed : 0;
    }

    /// Writes the seats, without those that have no power left, and a new epoch begins for them.
    function _store(Seat[] memory seats) private returns (bool changed) {
        for (uint256 i = seats.length; i > 0; i--) {
            Seat memory seat = seats[i - 1];
            uint64 before = _set[i - 1].power;
            if (seat.power == 0) {
                _removeSeat(i - 1);
            } else if (seat.power != before || seat.missed != 0) {
                seat.missed = 0;
                _set[i - 1] = seat;
            }
            if (seat.power != before) changed = true;
            _checkBacking(seat.owner, seat.power > before ? seat.power : before);
        }
    }

    /// Power that outlives its stake holds what unbonds. What goes now counted in this block yet, of which evidence
    /// comes for `unbondingBlocks`.
    function _checkBacking(address owner, uint256 power) private {
        uint256 place = _owners[owner].place;
        uint256 stake = place == 0 ? 0 : _places[place - 1].stake;
        uint256 backed = power * _parameters.stakeUnit;
        if (backed > stake) _prolong(owner, backed - stake);
    }

    /// Seats on probation, for those of more than `least` stake that have waited longest: each
    /// has its turn, whatever others stake.
    function _seatNewcomers(uint256 least, Balance memory b) private returns (bool came) {
        address[] memory waiting = _waiting(least == type(uint256).max ? 0 : least);
        for (uint256 i = 0; i < waiting.length; i++) {
            if (_set.length >= _parameters.maxValidators + PROBATION_MAX || b.mayCome == 0 || _spare(b) < 2) break;
            b.total += 1;
            b.mayCome -= 1;
            _seat(waiting[i], 1);
            came = true;
        }
    }

    /// The candidates without a seat that have waited longest, at most as many as may be on probation.
    function _waiting(uint256 least) private view returns (address[] memory owners) {
        owners = new address[](PROBATION_MAX);
        uint256[] memory since = new uint256[](PROBATION_MAX);
        uint256 count = 0;
        for (uint256 i = 0; i < _places.length; i++) {
            Place memory p = _places[i];
            Owner storage o = _owners[p.owner];
            if (o.seat != 0 || o.jailedUntil != 0 || p.stake < _parameters.minStake || p.stake <= least) continue;
            uint256 rank = (uint256(o.since) << 32) | o.number;
            if (count == PROBATION_MAX && rank >= since[count - 1]) continue;
            if (count < PROBATION_MAX) count++;
            uint256 j = count - 1;
            for (; j > 0 && since[j - 1] > rank; j--) {
                (since[j], owners[j]) = (since[j - 1], owners[j - 1]);
            }
            (since[j], owners[j]) = (rank, p.owner);
        }
        assembly ("memory-safe") {
            mstore(owners, count)
        }
    }

    function _seat(address owner, uint64 power) private {
        _set.push(Seat(owner, power, 0));
        Owner storage o = _owners[owner];
        o.seat = uint16(_set.length);
        _beginWindow(o);
    }

    function _removeSeat(uint256 index) private {
        Owner storage o = _owners[_set[index].owner];
        (o.seat, o.active, o.since) = (0, false, uint48(block.number));
        _releaseKey(_set[index].owner);
        if (index != _set.length - 1) {
            Seat memory last = _set[_set.length - 1];
            _set[index] = last;
            _owners[last.owner].seat = uint16(index + 1);
        }
        _set.pop();
    }

    function _least(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
