// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Acting.sol";
import "./Names.sol";
import "./Reach.sol";

/// @notice {name} holds or is scheduled already; if it has not begun, call it off first with `trefoil org set
/// cancel-fork {name}`
/// @dev `cancelFork` calls it off.
error ForkScheduled(string name);
/// @notice {name} follows {first}; schedule {first} first
error ForkOrder(string name, string first);
/// @notice height {height} leaves no time to prepare; choose {least} or later
/// @dev The rule sets before it begin at `least`, or the notice ends there.
error ForkTooEarly(uint64 height, uint64 least);
/// @notice {name} is not the last rule set that is scheduled, or has begun; only that one can be called off
error ForkNotCancellable(string name);
/// @notice a chain has at most {most}; no more can be scheduled
error TooManyForks(uint256 most);

/// What all decide about gas, fees, permissions and rule sets.
abstract contract RuleActions is Acting, Reach {
    uint64 public constant GAS_LIMIT_MIN = 1_000_000;
    uint64 public constant GAS_LIMIT_MAX = 600_000_000;
    /// 1,000 gwei: a floor beyond what accounts own would stop all votes too.
    uint64 public constant BASE_FEE_MAX = 1_000_000_000_000;
    /// A fork is announced so many blocks before, so that every node can be updated.
    uint64 public constant FORK_NOTICE = 100;
    /// A name that this contract does not know may be mistyped, and then every node stops: so long it can be called off.
    uint64 internal constant UNKNOWN_NOTICE = 10_000;
    uint256 public constant FORKS_MAX = 16;
    uint256 internal constant PARAMETERS_MAX = 32;

    /// Where every chain begins.
    bytes32 private constant CANCUN = "cancun";
    bytes32 private constant PRAGUE = "prague";
    bytes32 private constant OSAKA = "osaka";

    function setGasLimit(uint64 gasLimit) external byAll {
        IGovernance.Settings memory s = _settings;
        s.gasLimit = gasLimit;
        _change(s);
    }

    function setMinBaseFee(uint64 minBaseFee) external byAll {
        IGovernance.Settings memory s = _settings;
        if (minBaseFee > s.minBaseFee) _requireCouldPay(minBaseFee);
        s.minBaseFee = minBaseFee;
        _change(s);
    }

    function setAccountsListed(bool listed) external byAll {
        IGovernance.Settings memory s = _settings;
        if (listed) _requireCouldSend(s.minBaseFee);
        s.accountsListed = listed;
        _change(s);
    }

    function setDeployersListed(bool listed) external byAll {
        IGovernance.Settings memory s = _settings;
        s.deployersListed = listed;
        _change(s);
    }

    function setPermissions(address[] calldata accounts, uint256[] calldata granted) external byAll {
        _setPermissions(accounts, granted);
    }

    /// `height` is at least `FORK_NOTICE` blocks ahead, and `UNKNOWN_NOTICE` if this contract does not know the name.
    /// Nodes that do not know the rule set stop before `height` and say so.
    function scheduleFork(string calldata name, uint64 height) external byAll {
        bytes32 packed = Names.pack(name);
        uint64 least = _next() + (_isOfFuture(packed) ? UNKNOWN_NOTICE : FORK_NOTICE);
        if (height < least) revert ForkTooEarly(height, least);
        _schedule(name, height);
        _changed();
    }

    function cancelFork(string calldata name) external byAll {
        uint256 count = _forks.length;
        if (count == 0) revert ForkNotCancellable(name);
        Scheduled memory last = _forks[count - 1];
        if (last.name != Names.pack(name) || last.height <= _next()) revert ForkNotCancellable(name);
        _forks.pop();
        emit ForkCancelled(name);
        _changed();
    }

    /// `name` has `value` from height `from` on (0: the soonest), `FORK_NOTICE` blocks ahead at least; value 0: what
    /// the rule set says. What was to come of it is called off. A name that this contract does not know is a
    /// later program's: that one knows its bounds, and programs that do not know it stop before `from`.
    function setParameter(string calldata name, uint64 value, uint64 from) external byAll {
        bytes32 packed = Names.pack(name);
        uint64 least = _next() + (_checkParameter(packed, value) ? FORK_NOTICE : UNKNOWN_NOTICE);
        if (from == 0) from = least;
        if (from < least) revert ForkTooEarly(from, least);
        Value[] storage values = _values[packed];
        bool calledOff = values.length != 0 && values[values.length - 1].from > _next();
        if (calledOff) {
            Value memory coming = values[values.length - 1];
            if (coming.value == value && coming.from == from) revert NothingToChange();
            values.pop();
        }
        if (value != (values.length == 0 ? 0 : values[values.length - 1].value)) {
            _nameParameter(packed);
            values.push(Value(value, from));
            _note(from);
        } else if (!calledOff) {
            revert NothingToChange();
        } else if (values.length == 0) {
            _forgetParameter(packed);
        }
        emit ParameterSet(name, value, from);
        _changed();
    }

    /// After the organisations: a list must not shut out those who can change it.
    function _foundRules(IGovernance.Founding memory f) internal {
        _foundPermissions(f.accounts, f.deployers);
        if (f.settings.accountsListed) _requireCouldSend(f.settings.minBaseFee);
        _change(f.settings);
        for (uint256 i = 0; i < f.forks.length; i++) {
            _schedule(f.forks[i].name, f.forks[i].height);
        }
        for (uint256 i = 0; i < f.parameters.length; i++) {
            bytes32 name = Names.pack(f.parameters[i].name);
            _checkParameter(name, f.parameters[i].value);
            _nameParameter(name);
            _values[name].push(Value(f.parameters[i].value, 0));
        }
    }

    function _change(IGovernance.Settings memory s) private {
        if (s.gasLimit < GAS_LIMIT_MIN || s.gasLimit > GAS_LIMIT_MAX) {
            revert OutOfRange("gasLimit", s.gasLimit, GAS_LIMIT_MIN, GAS_LIMIT_MAX);
        }
        if (s.minBaseFee > BASE_FEE_MAX) revert OutOfRange("minBaseFee", s.minBaseFee, 0, BASE_FEE_MAX);
        if (keccak256(abi.encode(s)) == keccak256(abi.encode(_settings))) revert NothingToChange();
        _settings = s;
        emit SettingsChanged(s);
        _changed();
    }

    function _nameParameter(bytes32 name) private {
        for (uint256 i = 0; i < _parameterNames.length; i++) {
            if (_parameterNames[i] == name) return;
        }
        if (_parameterNames.length == PARAMETERS_MAX) revert TooManyForks(PARAMETERS_MAX);
        _parameterNames.push(name);
    }

    /// A name that never held anything leaves room for another.
    function _forgetParameter(bytes32 name) private {
        uint256 i = 0;
        while (_parameterNames[i] != name) i++;
        _parameterNames[i] = _parameterNames[_parameterNames.length - 1];
        _parameterNames.pop();
    }

    /// Whether this contract knows its name, and so its bounds.
    function _checkParameter(bytes32 name, uint64 value) private pure returns (bool known) {
        // EIP-170's, to what a transaction can bring as init code.
        if (name == "code-size" && value != 0 && (value < 24_576 || value > 65_536)) {
            revert OutOfRange("code-size", value, 24_576, 65_536);
        }
        // Every vote fits, in the largest network too: as from Osaka on (EIP-7825). At most a block's.
        if (name == "tx-gas" && value != 0 && (value < 16_777_216 || value > GAS_LIMIT_MAX)) {
            revert OutOfRange("tx-gas", value, 16_777_216, GAS_LIMIT_MAX);
        }
        return name == "code-size" || name == "tx-gas";
    }

    function _isOfFuture(bytes32 fork) private pure returns (bool) {
        return fork != CANCUN && fork != PRAGUE && fork != OSAKA;
    }

    function _schedule(string memory name, uint64 height) private {
        bytes32 packed = Names.pack(name);
        uint256 count = _forks.length;
        if (count == FORKS_MAX) revert TooManyForks(FORKS_MAX);
        if (count > 0 && height < _forks[count - 1].height) revert ForkTooEarly(height, _forks[count - 1].height);
        bool prague = false;
        bool osaka = false;
        for (uint256 i = 0; i < count; i++) {
            bytes32 known = _forks[i].name;
            if (known == packed) revert ForkScheduled(name);
            prague = prague || known == PRAGUE;
            osaka = osaka || known == OSAKA;
        }
        // `cancun` is where every chain begins; names after osaka are the future's.
        if (packed == OSAKA && !prague) revert ForkOrder(name, "prague");
        if (_isOfFuture(packed) && !osaka) revert ForkOrder(name, "osaka");
        if (packed == CANCUN && count != 0) revert ForkScheduled(name);
        _forks.push(Scheduled(packed, height));
        _note(height);
        emit ForkScheduledAt(name, height);
    }
}
