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
        vm.expectRevert(abi.encodeWithSelector(TooFewCouldSend.selector, 0, 1, 0));
        second.run(CONTRACT, approval);
        // It names who sends for its wallets; they get past the list, and vote with nothing.
        address[] memory senders = new address[](1);
        senders[0] = account(5);
        bytes memory named = abi.encodeCall(Accounts.setSenders, (1, senders));
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
        bytes memory more = abi.encodeCall(Accounts.setSenders, (1, new address[](17)));
        refusedOwn(1, more, abi.encodeWithSelector(OutOfRange.selector, "accounts", 17, 0, 16));
        address[] memory twice = new address[](2);
        (twice[0], twice[1]) = (account(5), account(5));
        bytes memory named = abi.encodeWithSelector(AccountInUse.selector, account(5), 1);
        refusedOwn(1, abi.encodeCall(Accounts.setSenders, (1, twice)), named);
        address[] memory senders = new address[](1);
        senders[0] = account(5);
        decideOwn(1, abi.encodeCall(Accounts.setSenders, (1, senders)));
        decideOwn(1, abi.encodeCall(Accounts.setSenders, (1, new address[](0))));
        same("taken back", gov.permissions(account(5)), 0);
        decideOwn(2, abi.encodeCall(Accounts.setSenders, (2, senders)));
        decide(abi.encodeCall(OrganisationActions.removeOrganisation, (2)));
        same("gone with its organisation", gov.permissions(account(5)), 0);
    }

    function parameter(string memory name_, uint64 value, uint64 from) private pure returns (bytes memory) {
        return abi.encodeCall(RuleActions.setParameter, (name_, value, from));
    }

    function testAParameterHoldsFromItsHeightOn() public {
        start(1);
        uint64 version = gov.version();
        uint64 soonest = uint64(block.number) + 101;
        decide(parameter("code-size", 49_152, 0));
        IGovernance.Parameter[] memory all = gov.parameters();
        same("one", all.length, 1);
        same("name", all[0].name, "code-size");
        same("value", all[0].value, 49_152);
        same("from", all[0].from, soonest);
        same("version", gov.version(), version + 1);
        while (block.number + 1 < soonest) {
            same("version until then", gov.version(), version + 1);
            nextBlock();
        }
        same("version", gov.version(), version + 2);
        nextBlock();
        same("version afterwards", gov.version(), version + 2);
        // What held is still told, so that a block of the past has its own.
        decide(parameter("code-size", 0, uint64(block.number) + 500));
        decide(parameter("tx-gas", 100_000_000, uint64(block.number) + 200));
        all = gov.parameters();
        same("three", all.length, 3);
        same("as it was", all[0].value, 49_152);
        same("the rule set's", all[1].value, 0);
        same("another", all[2].name, "tx-gas");
    }

    function testAParameterToComeIsCalledOff() public {
        start(1);
        refused(parameter("tx-gas", 0, 0), abi.encodePacked(NothingToChange.selector));
        decide(parameter("tx-gas", 100_000_000, 300));
        decide(parameter("tx-gas", 90_000_000, 200));
        same("in its place", gov.parameters().length, 1);
        same("value", gov.parameters()[0].value, 90_000_000);
        refused(parameter("tx-gas", 90_000_000, 200), abi.encodePacked(NothingToChange.selector));
        decide(parameter("tx-gas", 0, 0));
        same("called off", gov.parameters().length, 0);
        vm.roll(299);
        nextBlock();
        refused(parameter("tx-gas", 0, 0), abi.encodePacked(NothingToChange.selector));
    }

    function testParametersHaveBoundsAndNotice() public {
        start(1);
        bytes memory early = abi.encodeWithSelector(ForkTooEarly.selector, block.number + 100, block.number + 101);
        refused(parameter("tx-gas", 100_000_000, uint64(block.number) + 100), early);
        bytes memory range = abi.encodeWithSelector(OutOfRange.selector, "tx-gas", 16_777_215, 16_777_216, 600_000_000);
        refused(parameter("tx-gas", 16_777_215, 0), range);
        range = abi.encodeWithSelector(OutOfRange.selector, "tx-gas", 600_000_001, 16_777_216, 600_000_000);
        refused(parameter("tx-gas", 600_000_001, 0), range);
        range = abi.encodeWithSelector(OutOfRange.selector, "code-size", 24_575, 24_576, 65_536);
        refused(parameter("code-size", 24_575, 0), range);
        range = abi.encodeWithSelector(OutOfRange.selector, "code-size", 65_537, 24_576, 65_536);
        refused(parameter("code-size", 65_537, 0), range);
        refused(parameter("no name", 1, 0), abi.encodeWithSelector(BadName.selector, "no name"));
        // A later program's, without a new contract.
        decide(parameter("blob-count", 7, 0));
        same("told", gov.parameters()[0].name, "blob-count");
        for (uint256 i = 1; i < 32; i++) {
            decide(parameter(name(uint32(i)), 7, 0));
        }
        refused(parameter("one-more", 1, 0), abi.encodeWithSelector(TooManyForks.selector, 32));
        // A name that is called off before it held makes room.
        decide(parameter("blob-count", 0, 0));
        decide(parameter("one-more", 1, 0));
        IGovernance.Parameter[] memory all = gov.parameters();
        same("as many", all.length, 32);
        for (uint256 i = 0; i < all.length; i++) {
            check("gone", keccak256(bytes(all[i].name)) != keccak256("blob-count"));
        }
        refused(parameter("blob-count", 7, 0), abi.encodeWithSelector(TooManyForks.selector, 32));
        refused(parameter("blob-count", 0, 0), abi.encodePacked(NothingToChange.selector));
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

    function testSendersAndParametersHoldFromGenesis() public {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(2);
        f.settings.accountsListed = true;
        f.senders = new address[][](2);
        f.senders[1] = new address[](1);
        f.senders[1][0] = account(55);
        f.parameters = new IGovernance.Parameter[](2);
        f.parameters[0] = IGovernance.Parameter("code-size", 40_000, 0);
        f.parameters[1] = IGovernance.Parameter("tx-gas", 20_000_000, 0);
        foundWith(f);
        same("sends", gov.permissions(account(55)), 1);
        same("for the second", gov.senders(2).length, 1);
        same("and nobody for the first", gov.senders(1).length, 0);
        IGovernance.Parameter[] memory all = gov.parameters();
        same("both", all.length, 2);
        same("the size of code", all[0].value, 40_000);
        same("the gas of a transaction", all[1].value, 20_000_000);
        same("from genesis on", all[1].from, 0);
        nextBlock();
        decide(parameter("tx-gas", 0, 0));
        same("and a vote ends it", gov.parameters().length, 3);
        refused(parameter("tx-gas", 0, 0), abi.encodePacked(NothingToChange.selector));
    }

    function testNoNetworkIsFoundedWithAParameterOutOfRange() public {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(1);
        f.parameters = new IGovernance.Parameter[](1);
        f.parameters[0] = IGovernance.Parameter("code-size", 100_000, 0);
        vm.expectRevert(abi.encodeWithSelector(OutOfRange.selector, "code-size", 100_000, 24_576, 65_536));
        foundWith(f);
    }

    function testNoNetworkIsFoundedWhoseListShutsItsOrganisationsOut() public {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(1);
        f.settings.accountsListed = true;
        vm.etch(govKey(1, 0), hex"00");
        vm.etch(govKey(1, 1), hex"00");
        vm.prank(NODE);
        vm.expectRevert(abi.encodeWithSelector(TooFewCouldSend.selector, 0, 1, 0));
        gov.found(abi.encode(f));
    }

    function testNoNetworkIsFoundedWhoseListKeepsAllCoinsFromItsOrganisations() public {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(4);
        (f.settings.accountsListed, f.settings.minBaseFee) = (true, 7);
        vm.deal(account(5000), 1 ether);
        for (uint32 id = 1; id < 3; id++) {
            fund(id, 70_000_000);
        }
        fund(3, 69_999_999);
        vm.prank(NODE);
        vm.expectRevert(abi.encodeWithSelector(TooFewCouldSend.selector, 2, 3, 70_000_000));
        gov.found(abi.encode(f));
        fund(3, 70_000_000);
        foundWith(f);
        check("listed", gov.settings().accountsListed);
    }

    /// Where a fee is asked from the beginning, coins may come after the founding, but not after the list.
    function testAListThatKeepsAllCoinsFromOrganisationsIsRefused() public {
        place();
        vm.roll(0);
        IGovernance.Founding memory f = founding(4);
        f.settings.minBaseFee = 1;
        foundWith(f);
        nextBlock();
        bytes memory list = abi.encodeCall(RuleActions.setAccountsListed, (true));
        refused(list, abi.encodeWithSelector(TooFewCouldSend.selector, 0, 3, 10_000_000));
        for (uint32 id = 1; id < 4; id++) {
            fund(id, 10_000_000);
        }
        decide(list);
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
        height += 10_000;
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

    /// A name that is mistyped stops every node: there is time to see it and call it off.
    function testNamesThatTheContractDoesNotKnowHaveALongNotice() public {
        start(1);
        decide(fork("osaka", uint64(block.number) + 101));
        uint64 height = uint64(block.number) + 10_001;
        refused(fork("Osaka", height - 1), abi.encodeWithSelector(ForkTooEarly.selector, height - 1, height));
        decide(fork("Osaka", height));
        refused(parameter("txgas", 1, height - 1), abi.encodeWithSelector(ForkTooEarly.selector, height - 1, height));
        decide(parameter("txgas", 1, 0));
        same("the soonest", gov.parameters()[0].from, height);
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
        decide(fork("amsterdam", height + 10_000));
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
