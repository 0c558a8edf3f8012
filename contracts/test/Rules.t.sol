// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./GovernanceBase.sol";

/// Gas, fees, permissions, rule sets.
contract RulesTest is GovernanceBase {
    /// Gives two of an organisation's keys so many coins.
    function fund(uint32 id, uint256 wei_) private {
        vm.deal(govKey(id, 0), wei_);
        vm.deal(govKey(id, 1), wei_);
    }

    function testSettings() public {
        start(1);
        fund(1, 1 ether);
        decide(abi.encodeCall(RuleActions.setGasLimit, (1_000_000)));
        decide(abi.encodeCall(RuleActions.setMinBaseFee, (7)));
        decide(abi.encodeCall(RuleActions.setAccountsListed, (true)));
        decide(abi.encodeCall(RuleActions.setDeployersListed, (true)));
        IGovernance.Settings memory s = gov.settings();
        same("gas limit", s.gasLimit, 1_000_000);
        same("base fee", s.minBaseFee, 7);
        check("accounts", s.accountsListed);
        check("deployers", s.deployersListed);
        same("version", gov.version(), 5);
        refused(abi.encodeCall(RuleActions.setAccountsListed, (true)), abi.encodePacked(NothingToChange.selector));
        decide(abi.encodeCall(RuleActions.setAccountsListed, (false)));
        check("accounts", !gov.settings().accountsListed);
    }

    function testSettingsHaveRanges() public {
        start(1);
        fund(1, 100 ether);
        bytes memory bad = abi.encodeCall(RuleActions.setGasLimit, (999_999));
        refused(bad, abi.encodeWithSelector(OutOfRange.selector, "gasLimit", 999_999, 1_000_000, 600_000_000));
        bad = abi.encodeCall(RuleActions.setGasLimit, (600_000_001));
        refused(bad, abi.encodeWithSelector(OutOfRange.selector, "gasLimit", 600_000_001, 1_000_000, 600_000_000));
        bad = abi.encodeCall(RuleActions.setMinBaseFee, (1e12 + 1));
        refused(bad, abi.encodeWithSelector(OutOfRange.selector, "minBaseFee", 1e12 + 1, 0, 1e12));
        decide(abi.encodeCall(RuleActions.setGasLimit, (600_000_000)));
        decide(abi.encodeCall(RuleActions.setMinBaseFee, (1e12)));
    }

    function testFeesThatAQuorumCannotPayAreRefused() public {
        start(4);
        bytes memory raise = abi.encodeCall(RuleActions.setMinBaseFee, (1));
        refused(raise, abi.encodeWithSelector(TooFewCouldPay.selector, 1, 0, 3, 10_000_000));
        fund(1, 10_000_000);
        fund(2, 10_000_000);
        fund(3, 9_999_999);
        refused(raise, abi.encodeWithSelector(TooFewCouldPay.selector, 1, 2, 3, 10_000_000));
        fund(3, 10_000_000);
        decide(raise);
        refused(
            abi.encodeCall(RuleActions.setMinBaseFee, (1000)),
            abi.encodeWithSelector(TooFewCouldPay.selector, 1000, 0, 3, 10_000_000_000)
        );
        fund(1, 0);
        decide(abi.encodeCall(RuleActions.setMinBaseFee, (0)));
    }

    /// An organisation whose keys are contracts, two of them.
    function wallets(uint32 id) private returns (Wallet first, Wallet second) {
        (first, second) = (new Wallet(), new Wallet());
        address[] memory keys = new address[](2);
        (keys[0], keys[1]) = (address(first), address(second));
        decideOwn(id, abi.encodeCall(OrganisationActions.setKeys, (id, 2, keys)));
    }

    function testAListThatShutsWalletsOutIsRefused() public {
        start(1);
        (Wallet first, Wallet second) = wallets(1);
        bytes memory list = abi.encodeCall(RuleActions.setAccountsListed, (true));
        first.run(CONTRACT, abi.encodeCall(Decisions.propose, (list)));
        bytes memory approval = abi.encodeCall(Decisions.approve, (gov.proposalCount()));
        vm.expectRevert(abi.encodeWithSelector(TooFewCouldSend.selector, 0, 1));
        second.run(CONTRACT, approval);
        // It names who sends for its wallets; they get past the list, and vote with nothing.
        address[] memory senders = new address[](1);
        senders[0] = account(5);
        bytes memory named = abi.encodeCall(OrganisationActions.setSenders, (1, senders));
        first.run(CONTRACT, abi.encodeCall(Decisions.proposeOwn, (named)));
        second.run(CONTRACT, abi.encodeCall(Decisions.approve, (gov.proposalCount())));
        second.run(CONTRACT, approval);
        check("listed", gov.settings().accountsListed);
        same("may send", gov.permissions(account(5)), 1);
        same("has no seat", gov.seatOf(account(5)), 0);
        // The floor asks the senders' coins.
        bytes memory raise = abi.encodeCall(RuleActions.setMinBaseFee, (1));
        first.run(CONTRACT, abi.encodeCall(Decisions.propose, (raise)));
        approval = abi.encodeCall(Decisions.approve, (gov.proposalCount()));
        vm.expectRevert(abi.encodeWithSelector(TooFewCouldPay.selector, 1, 0, 1, 10_000_000));
        second.run(CONTRACT, approval);
        vm.deal(account(5), 10_000_000);
        second.run(CONTRACT, approval);
        same("raised", gov.settings().minBaseFee, 1);
    }

    function testAnAccountThatDelegatesCanStillSend() public {
        start(1);
        vm.etch(govKey(1, 0), abi.encodePacked(hex"ef0100", CONTRACT));
        vm.etch(govKey(1, 1), abi.encodePacked(hex"ef0100", CONTRACT));
        fund(1, 10_000_000);
        decide(abi.encodeCall(RuleActions.setAccountsListed, (true)));
        decide(abi.encodeCall(RuleActions.setMinBaseFee, (1)));
    }

    function testSendersHaveABound() public {
        start(2);
        bytes memory more = abi.encodeCall(OrganisationActions.setSenders, (1, new address[](17)));
        refusedOwn(1, more, abi.encodeWithSelector(OutOfRange.selector, "senders", 17, 0, 16));
        address[] memory senders = new address[](1);
        senders[0] = account(5);
        decideOwn(1, abi.encodeCall(OrganisationActions.setSenders, (1, senders)));
        decideOwn(1, abi.encodeCall(OrganisationActions.setSenders, (1, new address[](0))));
        same("taken back", gov.permissions(account(5)), 0);
        decideOwn(2, abi.encodeCall(OrganisationActions.setSenders, (2, senders)));
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (2)));
        same("gone with its organisation", gov.permissions(account(5)), 0);
    }

    function testListsHoldFromGenesis() public {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(1);
        (f.settings.accountsListed, f.settings.deployersListed) = (true, true);
        (f.accounts, f.deployers) = (new address[](2), new address[](2));
        (f.accounts[0], f.accounts[1]) = (account(55), account(56));
        (f.deployers[0], f.deployers[1]) = (account(56), govKey(1, 0));
        foundWith(f);
        check("accounts", gov.settings().accountsListed);
        check("deployers", gov.settings().deployersListed);
        same("sends", gov.permissions(account(55)), 1);
        same("sends and deploys", gov.permissions(account(56)), 3);
        same("a governance key sends whatever is listed", gov.permissions(govKey(1, 1)), 1);
        same("and deploys where it is listed", gov.permissions(govKey(1, 0)), 3);
        same("nobody else", gov.permissions(account(57)), 0);
        nextBlock();
        decide(permit(account(56), 0));
        same("a vote takes it back", gov.permissions(account(56)), 0);
        decide(permit(govKey(1, 0), 0));
        same("but for a governance key's right to send", gov.permissions(govKey(1, 0)), 1);
    }

    function testNoNetworkIsFoundedWhoseListShutsItsOrganisationsOut() public {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(1);
        f.settings.accountsListed = true;
        vm.etch(govKey(1, 0), hex"00");
        vm.etch(govKey(1, 1), hex"00");
        vm.prank(NODE);
        vm.expectRevert(abi.encodeWithSelector(TooFewCouldSend.selector, 0, 1));
        gov.found(abi.encode(f));
    }

    function permit(address who, uint256 bits) private pure returns (bytes memory) {
        (address[] memory accounts, uint256[] memory granted) = (new address[](1), new uint256[](1));
        (accounts[0], granted[0]) = (who, bits);
        return abi.encodeCall(RuleActions.setPermissions, (accounts, granted));
    }

    function testPermissions() public {
        start(1);
        address who = account(55);
        decide(permit(who, 3));
        same("granted", gov.permissions(who), 3);
        same("slot", uint256(vm.load(CONTRACT, keccak256(abi.encode(who, uint256(1))))) & 3, 3);
        same("nodes read it by slot: no new version", gov.version(), 1);
        decide(permit(who, 0));
        same("taken back", gov.permissions(who), 0);
        refused(permit(who, 4), abi.encodeWithSelector(UnknownPermission.selector, who, 4));
        bytes memory unequal = abi.encodeCall(RuleActions.setPermissions, (new address[](2), new uint256[](1)));
        refused(unequal, abi.encodeWithSelector(UnequalLengths.selector, 2, 1));
    }

    function testGovernanceKeysAlwaysTransact() public {
        start(1);
        address[] memory keys = keysOf(1);
        (address given, address listed) = (keys[2], account(55));
        decide(permit(given, 2));
        same("the vote cannot silence a key", gov.permissions(given), 3);
        decide(permit(listed, 1));
        keys[2] = listed;
        decideOwn(1, abi.encodeCall(OrganisationActions.setKeys, (1, 2, keys)));
        same("what came with the key went with it", gov.permissions(given), 2);
        keys[2] = account(56);
        decideOwn(1, abi.encodeCall(OrganisationActions.setKeys, (1, 2, keys)));
        same("what a vote gave stays", gov.permissions(listed), 1);
        decide(permit(account(56), 1));
        keys[2] = given;
        decideOwn(1, abi.encodeCall(OrganisationActions.setKeys, (1, 2, keys)));
        same("what a vote gave a key stays", gov.permissions(account(56)), 1);
    }

    function fork(string memory named, uint64 height) private pure returns (bytes memory) {
        return abi.encodeCall(RuleActions.scheduleFork, (named, height));
    }

    function testForkIsScheduled() public {
        start(1);
        uint64 height = uint64(block.number) + 101;
        decide(fork("osaka", height));
        same("name", gov.forks()[2].name, "osaka");
        same("height", gov.forks()[2].height, height);
        same("version", gov.version(), 2);
        blocks(99);
        same("not yet", gov.version(), 2);
        nextBlock();
        same("the next block's rules", gov.version(), 3);
        blocks(10);
        same("once", gov.version(), 3);
    }

    function testForksAreInOrder() public {
        start(1);
        uint64 height = uint64(block.number) + 200;
        refused(fork("osaka", height - 100), abi.encodeWithSelector(ForkTooEarly.selector, height - 100, height - 99));
        refused(fork("prague", height), abi.encodeWithSelector(ForkScheduled.selector, "prague"));
        refused(fork("cancun", height), abi.encodeWithSelector(ForkScheduled.selector, "cancun"));
        refused(fork("amsterdam", height), abi.encodeWithSelector(ForkOrder.selector, "amsterdam", "osaka"));
        refused(fork("os aka", height), abi.encodeWithSelector(BadName.selector, "os aka"));
        decide(fork("osaka", height));
        refused(fork("amsterdam", height - 1), abi.encodeWithSelector(ForkTooEarly.selector, height - 1, height));
        decide(fork("amsterdam", height));
        for (uint64 i = 4; i < 16; i++) {
            decide(fork(name(uint32(i)), height));
        }
        refused(fork("more", height), abi.encodeWithSelector(TooManyForks.selector, 16));
    }

    function testOsakaNeedsPrague() public {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(1);
        f.forks = new IGovernance.Fork[](1);
        f.forks[0] = IGovernance.Fork("cancun", 0);
        foundWith(f);
        nextBlock();
        uint64 height = uint64(block.number) + 200;
        refused(fork("osaka", height), abi.encodeWithSelector(ForkOrder.selector, "osaka", "prague"));
        decide(fork("prague", height));
        decide(fork("osaka", height));
    }

    function testForkIsCalledOff() public {
        start(1);
        uint64 height = uint64(block.number) + 101;
        decide(fork("osaka", height));
        decide(fork("amsterdam", height));
        bytes memory off = abi.encodeCall(RuleActions.cancelFork, ("osaka"));
        refused(off, abi.encodeWithSelector(ForkNotCancellable.selector, "osaka"));
        decide(abi.encodeCall(RuleActions.cancelFork, ("amsterdam")));
        decide(off);
        same("forks", gov.forks().length, 2);
        uint64 version = gov.version();
        blocks(110);
        same("nothing came", gov.version(), version);
        // The noted height was in vain, and the next one is found.
        height = uint64(block.number) + 101;
        decide(fork("osaka", height));
        blocks(100);
        same("came", gov.version(), version + 2);
        refused(off, abi.encodeWithSelector(ForkNotCancellable.selector, "osaka"));
        off = abi.encodeCall(RuleActions.cancelFork, ("prague"));
        refused(off, abi.encodeWithSelector(ForkNotCancellable.selector, "prague"));
    }
}

contract Wallet {
    function run(address to, bytes calldata data) external {
        (bool done, bytes memory why) = to.call(data);
        if (done) return;
        assembly ("memory-safe") {
            revert(add(why, 32), mload(why))
        }
    }
}
