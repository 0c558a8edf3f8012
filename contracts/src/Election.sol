// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Stakes.sol";

/// The seats of the validators, and how their power follows the stakes.
///
/// Always: 1 to `maxValidators` seats of at most 2^60 power together. At an epoch's end
/// at most a fifth of the power comes and at most a fifth goes, but at least one unit.
/// Seats that signed at least half of the epoch are a quorum of the new set by
/// themselves: power that nobody was seen to use never stops the chain. A conviction
/// takes its seat at once. Where a rule would leave nobody, the set stays.
abstract contract Election is Stakes {
    /// So that no set of 128 exceeds 2^60.
    uint256 public constant VALIDATOR_POWER_MAX = POWER_MAX / VALIDATORS_MAX;
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
    }

    Seat[] internal _set;

    event ValidatorsElected(uint256 count);

    /// Without the limit, for nobody validated before.
    function _seatFounder(address owner, uint64 power) internal {
        _set.push(Seat(owner, power, 0));
        _owners[owner].seat = uint16(_set.length);
    }

    /// It leaves the set at once.
    function _unseat(address owner) internal {
        _removeSeat(_owners[owner].seat - 1);
        _changed();
    }

    /// The set moves towards the `maxValidators` largest stakes of who is not jailed; of
    /// equal stakes, towards who came first.
    function _elect() internal {
        uint256[] memory ranked = _ranked();
        Seat[] memory seats = _set;
        Balance memory b = _balance(seats);
        if (ranked.length != 0) {
            uint256[] memory wanted = _wanted(ranked, seats.length);
            _release(seats, wanted, b, false);
            _release(seats, wanted, b, true);
            _grow(seats, wanted, b, ranked);
        }
        bool changed = _store(seats);
        if (_seatNewcomers(ranked, b)) changed = true;
        if (!changed) return;
        emit ValidatorsElected(_set.length);
        _changed();
    }

    function _balance(Seat[] memory seats) private view returns (Balance memory b) {
        for (uint256 i = 0; i < seats.length; i++) {
            b.total += seats[i].power;
            if (_isPresent(seats[i])) b.present += seats[i].power;
        }
        b.mayCome = b.total / CHURN;
        if (b.mayCome == 0) b.mayCome = 1;
        b.mayGo = b.mayCome;
    }

    function _isPresent(Seat memory seat) private view returns (bool) {
        return 2 * uint256(seat.missed) <= _parameters.epochBlocks;
    }

    /// The power of each seat by its stake; 0: it goes.
    function _wanted(uint256[] memory ranked, uint256 seats) private view returns (uint256[] memory wanted) {
        wanted = new uint256[](seats);
        for (uint256 i = 0; i < ranked.length; i++) {
            uint256 seat = _owners[_ownerAt(ranked[i])].seat;
            if (seat != 0) wanted[seat - 1] = _powerOf(ranked[i]);
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
    function _grow(Seat[] memory seats, uint256[] memory wanted, Balance memory b, uint256[] memory ranked)
        private
        view
    {
        for (uint256 i = 0; i < ranked.length; i++) {
            uint256 number = _owners[_ownerAt(ranked[i])].seat;
            if (number == 0) continue;
            (Seat memory seat, uint256 most) = (seats[number - 1], wanted[number - 1]);
            if (most <= seat.power || !_isPresent(seat)) continue;
            uint256 more = _least(most - seat.power, b.mayCome);
            b.present += more;
            b.total += more;
            b.mayCome -= more;
            seat.power += uint64(more);
        }
    }

    /// New seats, as far as places are free; nobody has seen them sign.
    function _seatNewcomers(uint256[] memory ranked, Balance memory b) private returns (bool came) {
        for (uint256 i = 0; i < ranked.length && _set.length < _parameters.maxValidators; i++) {
            address owner = _ownerAt(ranked[i]);
            if (_owners[owner].seat != 0) continue;
            uint256 power = _least(_least(_powerOf(ranked[i]), b.mayCome), _spare(b) / 2);
            if (power == 0) return came;
            b.total += power;
            b.mayCome -= power;
            _seatFounder(owner, uint64(power));
            came = true;
        }
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
            _checkBacking(seat);
        }
    }

    /// Power that outlives its stake holds what unbonds.
    function _checkBacking(Seat memory seat) private {
        uint256 place = _owners[seat.owner].place;
        uint256 stake = place == 0 ? 0 : _places[place - 1].stake;
        uint256 backed = uint256(seat.power) * _parameters.stakeUnit;
        if (backed > stake) _prolong(seat.owner, backed - stake);
    }

    function _removeSeat(uint256 index) private {
        address owner = _set[index].owner;
        _owners[owner].seat = 0;
        if (index != _set.length - 1) {
            Seat memory last = _set[_set.length - 1];
            _set[index] = last;
            _owners[last.owner].seat = uint16(index + 1);
        }
        _set.pop();
        _releaseKey(owner);
    }

    /// The best candidates, best first: stake, then earliness, then their place.
    function _ranked() private view returns (uint256[] memory best) {
        uint256 most = _parameters.maxValidators;
        uint256 minStake = _parameters.minStake;
        uint256 count = 0;
        best = new uint256[](most);
        for (uint256 i = 0; i < _places.length; i++) {
            Place memory p = _places[i];
            Owner storage o = _owners[p.owner];
            if (p.stake < minStake || o.jailedUntil != 0) continue;
            uint256 rank = (uint256(p.stake) << 160) | (uint256(type(uint32).max - o.number) << 16) | i;
            if (count == most && rank <= best[count - 1]) continue;
            if (count < most) count++;
            uint256 j = count - 1;
            for (; j > 0 && best[j - 1] < rank; j--) {
                best[j] = best[j - 1];
            }
            best[j] = rank;
        }
        assembly ("memory-safe") {
            mstore(best, count)
        }
    }

    function _ownerAt(uint256 rank) private view returns (address) {
        return _places[uint16(rank)].owner;
    }

    function _powerOf(uint256 rank) private view returns (uint256) {
        return _least((rank >> 160) / _parameters.stakeUnit, VALIDATOR_POWER_MAX);
    }

    function _least(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
