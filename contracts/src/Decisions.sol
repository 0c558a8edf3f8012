// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./AccountActions.sol";

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
/// @notice proposal {id} cannot be carried out yet: any governance key does that with `trefoil org execute {id}` from
/// {ready:time} and height {height} on (never: too few approve), if as many as it needs still approve; after an objection
/// one more, or as long again later none more
error NotDue(uint256 id, uint64 ready, uint64 height);
/// @notice proposal {id} is not about the keys of your organisation; only one that is concerned can object
error NotConcerned(uint256 id);
/// @notice what proposal {id} would change is of organisation {organisation} now, which had no time to answer; propose it
/// again
error ConcernsAnother(uint256 id, uint32 organisation);
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
/// The organisation that is to be suspended or given keys has no vote where at least
/// two others decide, but no fewer must approve than otherwise, as far as there are others. What may
/// hurt somebody (`_kind`) waits for `_decisionDelay` after the last
/// approval, unless all approve and none is suspended. The organisation whose keys it is about may object: then the
/// delay is twice as long and one more must approve, as far as there are others, until as long again has gone by.
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
        /// Whose keys it is about; 0: nobody's.
        uint32 concerned;
        /// `concerned` does not count, where at least two others decide.
        bool spared;
        /// It waits for the delay after the last approval.
        bool delayed;
        /// `concerned` objected.
        bool objected;
        /// It ends what the guardian holds, so the organisation that is held decides too.
        bool endsHold;
        /// It does not wait where `concerned` approves.
        bool inItsName;
        /// So many approvals began the delay.
        uint16 enough;
        /// It may be carried out from then on, in seconds; 0: too few have approved so far.
        uint64 ready;
        /// The last second in which it may be approved; 0: closed.
        uint64 closes;
        /// When it was carried out, in seconds and as a height; 0: it was not.
        uint64 decided;
        uint64 height;
        /// The block in which the delay began.
        uint64 began;
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
    /// By proposal: the approvals of an objection.
    mapping(uint256 => Ballot) private _objections;
    mapping(address => uint64[OPEN_MAX]) private _open;
    /// The latest decisions of one organisation alone, in a ring, and how many there were.
    mapping(uint32 => uint64[OWN_KEPT]) private _own;
    mapping(uint32 => uint256) private _ownCount;
    uint64 public proposalCount;

    event Proposed(uint256 indexed id, address indexed proposer, uint32 indexed decider, uint64 closes, bytes action);
    event Approved(uint256 indexed id, uint32 indexed organisation, address indexed key);
    event ApprovalWithdrawn(uint256 indexed id, uint32 indexed organisation, address indexed key);
    event ProposalWithdrawn(uint256 indexed id);
    /// Enough have approved; it may be carried out from `ready` on.
    event Waiting(uint256 indexed id, uint64 ready);
    event Objected(uint256 indexed id, uint32 indexed organisation);
    event Executed(uint256 indexed id);

    /// For all to decide. The sender approves with it.
    function propose(bytes calldata action) external returns (uint256 id) {
        return _propose(0, _speaker(false).organisation, action);
    }

    /// For the sender's organisation alone to decide. The sender approves with it.
    function proposeOwn(bytes calldata action) external returns (uint256 id) {
        uint32 organisation = _speaker(false).organisation;
        return _propose(organisation, organisation, action);
    }

    /// Approves, and runs the action if that is enough. May be repeated, since also a
    /// change of the organisations may have made the approvals enough.
    function approve(uint256 id) public {
        Seat memory seat = _speaker(_proposals[id].endsHold);
        Proposal storage p = _opened(id);
        if (p.decider != 0 && p.decider != seat.organisation) revert NotYourDecision(id, p.decider);
        // Organisations that approved may have changed their keys.
        if (p.ready != 0) _checkReady(id, p);
        Ballot storage b = _ballots[id][seat.organisation];
        if (b.generation == 0) p.voters.push(seat.organisation);
        _mark(b, seat);
        emit Approved(id, seat.organisation, msg.sender);
        _advance(id, p);
    }

    /// Carries out what waited for its delay, if enough still approve.
    function execute(uint256 id) external {
        _speaker(false);
        Proposal storage p = _opened(id);
        if (p.ready == 0 || !_advance(id, p)) revert NotDue(id, p.ready, _answeredFrom(p.began));
    }

    /// Objects to what all decide about the keys of the sender's organisation; it does when enough of its
    /// keys have. It never blocks: the others wait, and then as many are enough as otherwise.
    function object(uint256 id) external {
        // Also one that is suspended, or held by the guardian: it must be able to answer.
        Seat memory seat = _seats[msg.sender];
        if (seat.organisation == 0) revert NotAGovernanceKey(msg.sender);
        Proposal storage p = _opened(id);
        if (p.decider != 0 || !p.delayed || p.concerned != seat.organisation) revert NotConcerned(id);
        if (p.objected) revert NothingToChange();
        Ballot storage b = _objections[id];
        _mark(b, seat);
        if (_count(b.approvals) < _members[seat.organisation].threshold) return;
        p.objected = true;
        if (p.ready != 0) (p.ready, p.closes) = (p.ready + _decisionDelay, p.closes + 2 * _decisionDelay);
        emit Objected(id, seat.organisation);
    }

    /// Takes the sender's approval back; the proposer's ends the proposal, as long as it speaks for the
    /// organisation that it proposed for.
    function withdraw(uint256 id) external {
        Proposal storage p = _opened(id);
        Seat memory seat = _speaker(p.endsHold);
        if (p.proposer == msg.sender && p.organisation == seat.organisation) {
            delete _proposals[id];
            emit ProposalWithdrawn(id);
            return;
        }
        if (!hasApproved(id, msg.sender)) revert NothingToChange();
        _ballots[id][seat.organisation].approvals &= ~(uint16(1) << seat.index);
        if (p.ready != 0) _checkReady(id, p);
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
        if (!_isClosed(p)) {
            (proposer, decider, closes, action) = (p.proposer, p.decider, p.closes, p.action);
            (approving, deciding, needed) = (_approving(id, p, _silenced(p)), _deciding(p), _required(p));
        }
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
        if (p.decided != 0) return (p.decided, p.height, p.proposer, p.organisation, p.decider, p.action, p.voters);
    }

    /// Whether a proposal waits for the delay, from when on it may be carried out (0: too few have approved so
    /// far), whose keys it is about (0: nobody's), and whether that one objected.
    function waiting(uint256 id) external view returns (bool delayed, uint64 ready, uint32 concerned, bool objected) {
        Proposal storage p = _proposals[id];
        if (!_isClosed(p)) return (p.delayed, p.ready, p.concerned, p.objected);
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
    function hasApproved(uint256 id, address key) public view returns (bool) {
        Seat memory seat = _seats[key];
        Ballot memory b = _ballots[id][seat.organisation];
        return b.generation != 0 && b.generation == _members[seat.organisation].generation
            && b.approvals & (uint16(1) << seat.index) != 0;
    }

    function _speaker(bool evenHeld) private view returns (Seat memory seat) {
        seat = _seats[msg.sender];
        if (seat.organisation == 0) revert NotAGovernanceKey(msg.sender);
        _requireActive(seat.organisation);
        if (!evenHeld) _requireNotHeld(seat.organisation);
    }

    function _mark(Ballot storage b, Seat memory seat) private {
        uint32 generation = _members[seat.organisation].generation;
        if (b.generation != generation) (b.generation, b.approvals) = (generation, 0);
        b.approvals |= uint16(1) << seat.index;
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
        if (decider == 0) {
            ActionKinds.Kind memory k = _kind(action);
            (p.delayed, p.concerned, p.spared, p.endsHold, p.inItsName) =
            (k.delayed, k.concerned, k.spared, k.endsHold, k.inItsName);
        }
        emit Proposed(id, msg.sender, decider, closes, action);
        approve(id);
    }

    /// What too few approve does not wait: the delay begins with the approval that makes them enough. Attack: it would
    /// begin anew with each organisation that joins, and while the guardian holds one.
    function _checkReady(uint256 id, Proposal storage p) private {
        uint256 count = _approving(id, p, 0).length;
        if (count < p.enough && count < _usual(p)) p.ready = 0;
    }

    /// Goes as far as the approvals and the time allow; whether it was carried out.
    function _advance(uint256 id, Proposal storage p) private returns (bool) {
        uint32[] memory approving = _approving(id, p, _silenced(p));
        uint256 usual = _usual(p);
        if (approving.length < usual) return false;
        // Where all approve nobody is left whom a delay could protect. One that is suspended is left.
        bool all = approving.length == _deciding(p) && (!_spares(p) || _hasVoted(id, p.concerned)) && !_isAnySuspended();
        all = all || (p.inItsName && _hasVoted(id, p.concerned) && _heldNow() != p.concerned);
        // Nor where an invitation is corrected or taken back: nothing else concerns who has not joined (`_kind`).
        if (p.delayed && !all && _members[p.concerned].status != IGovernance.Status.Invited) {
            if (p.ready == 0) {
                p.ready = uint64(block.timestamp) + (p.objected ? 2 : 1) * _decisionDelay;
                p.closes = p.ready + (p.objected ? _decisionDelay : 0) + PROPOSAL_SECONDS;
                (p.enough, p.began) = (uint16(usual), uint64(block.number));
                emit Waiting(id, p.ready);
            }
            if (block.timestamp < p.ready || block.number < _answeredFrom(p.began)) return false;
            if (approving.length < _required(p)) return false;
            // Attack: the delay is over when the one concerned comes, such as by joining.
            uint32 concerned = _kind(p.action).concerned;
            if (concerned != p.concerned) revert ConcernsAnother(id, concerned);
        }
        _execute(id, p, approving);
        return true;
    }

    /// How many must approve.
    function _required(Proposal storage p) private view returns (uint256 required) {
        required = _usual(p);
        // Attack: one ally of the one that objects would block what needs one more, so that is for a time.
        if (!p.objected || (p.ready != 0 && block.timestamp >= p.ready + _decisionDelay)) return required;
        // Never the one that objects.
        uint256 deciding = _deciding(p);
        uint256 others = _spares(p) || !_isActive(p.concerned) ? deciding : deciding - 1;
        if (required < others) required += 1;
    }

    /// How many must approve if nobody objects.
    function _usual(Proposal storage p) private view returns (uint256 required) {
        if (p.decider != 0) return 1;
        uint256 deciding = _deciding(p);
        // Of all, so that sparing one makes no smaller coalition enough.
        required = _needed(_active);
        if (required > deciding) required = deciding;
    }

    /// The organisation that the guardian keeps from deciding this; 0: none.
    function _silenced(Proposal storage p) private view returns (uint32) {
        return p.endsHold ? 0 : _heldNow();
    }

    function _approving(uint256 id, Proposal storage p, uint32 held) private view returns (uint32[] memory approving) {
        approving = p.voters;
        bool spares = _spares(p);
        uint256 count = 0;
        for (uint256 i = 0; i < approving.length; i++) {
            uint32 voter = approving[i];
            if (voter == held || (spares && voter == p.concerned)) continue;
            if (_hasVoted(id, voter)) approving[count++] = voter;
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
        return p.spared && _isActive(p.concerned) && _active > 2;
    }

    /// Whether enough of the keys that the organisation has now approve, and it is active.
    function _hasVoted(uint256 id, uint32 organisation) private view returns (bool) {
        Member storage m = _members[organisation];
        Ballot memory b = _ballots[id][organisation];
        if (m.status != IGovernance.Status.Active || b.generation != m.generation) return false;
        return _count(b.approvals) >= m.threshold;
    }

    function _count(uint16 bits) private pure returns (uint256 count) {
        for (; bits != 0; bits &= bits - 1) {
            count += 1;
        }
    }

    function _execute(uint256 id, Proposal storage p, uint32[] memory approving) private {
        // First, so that nothing that the action does can run it again.
        p.closes = 0;
        (p.decided, p.height) = (uint64(block.timestamp), uint64(block.number));
        if (approving.length != p.voters.length) p.voters = approving;
        if (p.decider != 0) _keepOwn(id, p.decider);
        _run(p.decider == 0 ? ALL : p.decider, p.action);
        _easeHold();
        emit Executed(id);
    }

    /// One organisation alone shall not make the state grow without bound: its latest take the place of
    /// its oldest.
    function _keepOwn(uint256 id, uint32 organisation) private {
        uint256 place = _ownCount[organisation]++ % OWN_KEPT;
        delete _proposals[_own[organisation][place]];
        _own[organisation][place] = uint64(id);
    }

    /// By the code that has room for it.
    function _kind(bytes memory action) private returns (ActionKinds.Kind memory) {
        return abi.decode(_run(NOBODY, abi.encodeCall(ActionKinds.kindOf, (action))), (ActionKinds.Kind));
    }

    function _run(uint32 actor, bytes memory action) internal returns (bytes memory reason) {
        bool passed;
        (passed, reason) = _act(actor, action);
        if (passed) return reason;
        if (reason.length == 0) revert ActionFailed();
        assembly ("memory-safe") {
            revert(add(reason, 32), mload(reason))
        }
    }
}
