// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./ActionKinds.sol";
import "./Acting.sol";
import "./State.sol";

/// @notice {sender} speaks for no organisation; name one of an organisation's keys with --account (`trefoil org
/// list` shows them)
error NotAGovernanceKey(address sender);
/// @notice there is no open proposal {id}: it was executed, taken back or expired; see `trefoil org proposals`,
/// or propose again
error ProposalClosed(uint256 id);
/// @notice proposal {id} is for organisation {decider} alone; nothing is asked of you
error NotYourDecision(uint256 id, uint32 decider);
/// @notice this account has {most} open; take one back with `trefoil org unvote ID`, or wait until one expires
/// @dev `withdraw` takes one back.
error TooManyProposals(uint256 most);
/// @notice {bytesGot} bytes are no action; use a call of at most {most} bytes
error BadAction(uint256 bytesGot, uint256 most);
/// @notice what was proposed is no action of the contract, or ran out of gas; propose another
/// @dev It was refused without a reason.
error ActionFailed();

/// Proposals and approvals: how organisations decide.
///
/// An action is a call of this contract in its own name. One for all passes when of
/// the organisations that are active at that moment more than numerator/denominator
/// approve, each by `threshold` of the keys that it has at that moment; one for an
/// organisation alone, when that one approves. It then runs in the same transaction.
/// The organisation that is to be suspended or given keys does not count where at least
/// two others decide.
///
/// Always: a key counts once and an organisation counts once in a proposal; what
/// ran or closed never runs again; an account has at most 4 proposals open, so one
/// that spams stops nobody else. What is kept for ever is what all decided.
abstract contract Decisions is Acting, State {
    /// A proposal may be approved for a week. In seconds, since a chain's blocks may be 10 ms or a minute apart.
    uint64 public constant PROPOSAL_SECONDS = 7 days;
    uint256 public constant OPEN_MAX = 4;
    uint256 public constant ACTION_BYTES_MAX = 16_384;
    /// So many decisions that an organisation made alone can be read; all of those that all made.
    uint256 public constant OWN_KEPT = 64;

    struct Proposal {
        /// The organisation that decides alone; 0: all.
        uint32 decider;
        /// It does not count, where at least two others decide; 0: all count.
        uint32 concerned;
        /// The last second in which it may be approved; 0: closed.
        uint64 closes;
        /// When it was carried out, in seconds and as a height; 0: it was not.
        uint64 decided;
        uint64 height;
        address proposer;
        /// That of the proposer.
        uint32 organisation;
        bytes action;
        /// Organisations with a ballot; when it was carried out, those that approved.
        uint32[] voters;
    }

    /// An organisation's approvals of one proposal.
    struct Ballot {
        /// Of the organisation's keys, when it was cast; 0: none.
        uint32 generation;
        /// Bit i: key i approves.
        uint16 approvals;
    }

    mapping(uint256 => Proposal) private _proposals;
    mapping(uint256 => mapping(uint32 => Ballot)) private _ballots;
    mapping(address => uint64[OPEN_MAX]) private _open;
    /// The latest decisions of one organisation alone, in a ring, and how many there were.
    mapping(uint32 => uint64[OWN_KEPT]) private _own;
    mapping(uint32 => uint256) private _ownCount;
    uint64 public proposalCount;

    event Proposed(uint256 indexed id, address indexed proposer, uint32 indexed decider, uint64 closes, bytes action);
    event Approved(uint256 indexed id, uint32 indexed organisation, address indexed key);
    event ApprovalWithdrawn(uint256 indexed id, uint32 indexed organisation, address indexed key);
    event ProposalWithdrawn(uint256 indexed id);
    event Executed(uint256 indexed id);

    /// For all to decide. The sender approves with it.
    function propose(bytes calldata action) external returns (uint256 id) {
        return _propose(0, _speaker().organisation, action);
    }

    /// For the sender's organisation alone to decide. The sender approves with it.
    function proposeOwn(bytes calldata action) external returns (uint256 id) {
        uint32 organisation = _speaker().organisation;
        return _propose(organisation, organisation, action);
    }

    /// Approves, and runs the action if that is enough. May be repeated, since also a
    /// change of the organisations may have made the approvals enough.
    function approve(uint256 id) public {
        Seat memory seat = _speaker();
        Proposal storage p = _opened(id);
        if (p.decider != 0 && p.decider != seat.organisation) revert NotYourDecision(id, p.decider);
        Ballot storage b = _ballots[id][seat.organisation];
        if (b.generation == 0) p.voters.push(seat.organisation);
        uint32 generation = _members[seat.organisation].generation;
        if (b.generation != generation) (b.generation, b.approvals) = (generation, 0);
        b.approvals |= uint16(1) << seat.index;
        emit Approved(id, seat.organisation, msg.sender);
        (bool passes, uint32[] memory approving) = _passes(id, p);
        if (passes) _execute(id, p, approving);
    }

    /// Takes the sender's approval back; the proposer's ends the proposal, as long as it speaks for the
    /// organisation that it proposed for.
    function withdraw(uint256 id) external {
        Proposal storage p = _opened(id);
        Seat memory seat = _speaker();
        if (p.proposer == msg.sender && p.organisation == seat.organisation) {
            delete _proposals[id];
            emit ProposalWithdrawn(id);
            return;
        }
        Ballot storage b = _ballots[id][seat.organisation];
        uint16 bit = uint16(1) << seat.index;
        if (b.generation != _members[seat.organisation].generation || b.approvals & bit == 0) revert NothingToChange();
        b.approvals &= ~bit;
        emit ApprovalWithdrawn(id, seat.organisation, msg.sender);
    }

    /// `approving` of `deciding` organisations approve just now, and `needed` must. `closes` 0: there is no such
    /// open proposal.
    function proposal(uint256 id)
        external
        view
        returns (
            address proposer,
            uint32 decider,
            uint64 closes,
            bytes memory action,
            uint32[] memory approving,
            uint256 deciding,
            uint256 needed
        )
    {
        Proposal storage p = _proposals[id];
        if (_isClosed(p)) return (address(0), 0, 0, "", new uint32[](0), 0, 0);
        approving = _approving(id, p);
        (deciding, needed) = (_deciding(p), 1);
        if (p.decider == 0) needed = _needed(deciding);
        return (p.proposer, p.decider, p.closes, p.action, approving, deciding, needed);
    }

    /// What was decided: what, who proposed and approved it, when. `decided` 0: nothing, or one organisation
    /// decided it alone and more than `OWN_KEPT` others since.
    function decision(uint256 id)
        external
        view
        returns (
            uint64 decided,
            uint64 height,
            address proposer,
            uint32 organisation,
            uint32 decider,
            bytes memory action,
            uint32[] memory approved
        )
    {
        Proposal storage p = _proposals[id];
        if (p.decided == 0) return (0, 0, address(0), 0, 0, "", new uint32[](0));
        return (p.decided, p.height, p.proposer, p.organisation, p.decider, p.action, p.voters);
    }

    function quorum() external view returns (uint16 numerator, uint16 denominator) {
        return (_quorumNumerator, _quorumDenominator);
    }

    /// The proposals of one account that are open; 0: a free place.
    function openProposals(address proposer) external view returns (uint64[OPEN_MAX] memory ids) {
        ids = _open[proposer];
        for (uint256 i = 0; i < OPEN_MAX; i++) {
            if (_isClosed(_proposals[ids[i]])) ids[i] = 0;
        }
    }

    /// Whether the key's approval of the proposal counts just now.
    function hasApproved(uint256 id, address key) external view returns (bool) {
        Seat memory seat = _seats[key];
        Ballot memory b = _ballots[id][seat.organisation];
        return b.generation != 0 && b.generation == _members[seat.organisation].generation
            && b.approvals & (uint16(1) << seat.index) != 0;
    }

    function _speaker() private view returns (Seat memory seat) {
        seat = _seats[msg.sender];
        if (seat.organisation == 0) revert NotAGovernanceKey(msg.sender);
        _requireActive(seat.organisation);
    }

    function _opened(uint256 id) private view returns (Proposal storage p) {
        p = _proposals[id];
        if (_isClosed(p)) revert ProposalClosed(id);
    }

    /// Also when its organisation is gone.
    function _isClosed(Proposal storage p) private view returns (bool) {
        return p.closes < block.timestamp || _members[p.organisation].status == IGovernance.Status.Removed;
    }

    function _propose(uint32 decider, uint32 organisation, bytes calldata action) private returns (uint256 id) {
        if (action.length < 4 || action.length > ACTION_BYTES_MAX) revert BadAction(action.length, ACTION_BYTES_MAX);
        uint64[OPEN_MAX] storage places = _open[msg.sender];
        uint256 place = 0;
        while (!_isClosed(_proposals[places[place]])) {
            if (++place == OPEN_MAX) revert TooManyProposals(OPEN_MAX);
        }
        if (_proposals[places[place]].decided == 0) delete _proposals[places[place]];
        id = ++proposalCount;
        places[place] = uint64(id);
        uint64 closes = uint64(block.timestamp) + PROPOSAL_SECONDS;
        Proposal storage p = _proposals[id];
        (p.decider, p.closes, p.proposer, p.organisation, p.action) =
        (decider, closes, msg.sender, organisation, action);
        if (decider == 0) p.concerned = ActionKinds.concerned(action);
        emit Proposed(id, msg.sender, decider, closes, action);
        approve(id);
    }

    /// Whether enough approve, and those that do.
    function _passes(uint256 id, Proposal storage p) private view returns (bool passes, uint32[] memory approving) {
        approving = _approving(id, p);
        passes = approving.length >= (p.decider == 0 ? _needed(_deciding(p)) : 1);
    }

    function _approving(uint256 id, Proposal storage p) private view returns (uint32[] memory approving) {
        approving = p.voters;
        bool spares = _spares(p);
        uint256 count = 0;
        for (uint256 i = 0; i < approving.length; i++) {
            uint32 voter = approving[i];
            if (_hasVoted(id, voter) && !(spares && voter == p.concerned)) approving[count++] = voter;
        }
        assembly ("memory-safe") {
            mstore(approving, count)
        }
    }

    /// How many organisations decide.
    function _deciding(Proposal storage p) private view returns (uint256) {
        if (p.decider != 0) return 1;
        return _spares(p) ? _active - 1 : _active;
    }

    /// Whether the organisation concerned does not count.
    function _spares(Proposal storage p) private view returns (bool) {
        return p.concerned != 0 && _isActive(p.concerned) && _active > 2;
    }

    /// Whether enough of the keys that the organisation has now approve, and it is active.
    function _hasVoted(uint256 id, uint32 organisation) private view returns (bool) {
        Member storage m = _members[organisation];
        Ballot memory b = _ballots[id][organisation];
        if (m.status != IGovernance.Status.Active || b.generation != m.generation) return false;
        uint256 approvals = 0;
        for (uint16 bits = b.approvals; bits != 0; bits &= bits - 1) {
            approvals += 1;
        }
        return approvals >= m.threshold;
    }

    function _execute(uint256 id, Proposal storage p, uint32[] memory approving) private {
        // First, so that nothing that the action does can run it again.
        p.closes = 0;
        (p.decided, p.height) = (uint64(block.timestamp), uint64(block.number));
        if (approving.length != p.voters.length) p.voters = approving;
        if (p.decider != 0) _keepOwn(id, p.decider);
        _run(p.decider == 0 ? ALL : p.decider, p.action);
        emit Executed(id);
    }

    /// One organisation alone shall not make the state grow without bound: its latest take the place of
    /// its oldest.
    function _keepOwn(uint256 id, uint32 organisation) private {
        uint256 place = _ownCount[organisation]++ % OWN_KEPT;
        delete _proposals[_own[organisation][place]];
        _own[organisation][place] = uint64(id);
    }

    function _run(uint32 actor, bytes memory action) internal {
        (bool passed, bytes memory reason) = _act(actor, action);
        if (passed) return;
        if (reason.length == 0) revert ActionFailed();
        assembly ("memory-safe") {
            revert(add(reason, 32), mload(reason))
        }
    }
}
