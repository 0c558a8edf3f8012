// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./Base.sol";
import "../src/ContentRegistry.sol";

contract ContentRegistryTest is Base {
    ContentRegistry internal registry = new ContentRegistry();
    address internal constant ANN = address(0xa);
    address internal constant BOB = address(0xb);

    function setUp() public {
        vm.roll(7);
    }

    function publish(address publisher, string memory name, uint64 version, uint256 root) internal returns (uint64) {
        vm.prank(publisher);
        return registry.publish(name, version, IContentRegistry.Kind.Directory, bytes32(root), 1 << 40, new uint32[](0));
    }

    function withdraw(address publisher, string memory name, uint64 version) internal {
        vm.prank(publisher);
        registry.withdraw(name, version);
    }

    function refused(address publisher, string memory name, uint64 version, bytes memory reason) internal {
        vm.prank(publisher);
        vm.expectRevert(reason);
        registry.publish(name, version, IContentRegistry.Kind.File, 0, 0, new uint32[](0));
    }

    function testWhatWasPublishedIsRead() public {
        uint32[] memory organisations = new uint32[](2);
        (organisations[0], organisations[1]) = (1, 300);
        vm.recordLogs();
        vm.prank(ANN);
        uint64 version =
            registry.publish("maps-2.0_eu", 0, IContentRegistry.Kind.Directory, bytes32(uint256(9)), 5, organisations);
        same("version", version, 1);
        IContentRegistry.Entry memory e = registry.entry(ANN, "maps-2.0_eu", 1);
        same("publisher", e.publisher, ANN);
        same("name", e.name, "maps-2.0_eu");
        same("kind", uint256(e.kind), 1);
        same("root", uint256(e.root), 9);
        same("size", e.size, 5);
        same("height", e.height, 7);
        check("stands", !e.withdrawn);
        same("organisations", keccak256(abi.encode(e.organisations)), keccak256(abi.encode(organisations)));
        Vm.Log memory log = vm.getRecordedLogs()[0];
        same("event", log.topics[0], IContentRegistry.Published.selector);
        same("by", uint256(log.topics[1]), uint160(ANN));
        same("name's hash", log.topics[2], keccak256("maps-2.0_eu"));
        same("event's version", uint256(log.topics[3]), 1);
    }

    function testVersionsOnlyGrow() public {
        same("first", publish(ANN, "a", 0, 1), 1);
        same("a date", publish(ANN, "a", 20261128, 2), 20261128);
        same("next", publish(ANN, "a", 0, 3), 20261129);
        refused(ANN, "a", 20261129, abi.encodeWithSelector(NotNewer.selector, 20261129, 20261129));
        refused(ANN, "a", 5, abi.encodeWithSelector(NotNewer.selector, 5, 20261129));
        publish(ANN, "a", type(uint64).max, 4);
        refused(ANN, "a", 0, abi.encodeWithSelector(NotNewer.selector, 0, type(uint64).max));
        same("kept", uint256(registry.entry(ANN, "a", 1).root), 1);
        same("latest", uint256(registry.latest(ANN, "a").root), 4);
    }

    function testNobodyPublishesInAnothersName() public {
        publish(ANN, "a", 0, 1);
        publish(BOB, "a", 0, 2);
        same("hers", uint256(registry.latest(ANN, "a").root), 1);
        same("his", uint256(registry.latest(BOB, "a").root), 2);
        publish(BOB, "b", 0, 3);
        vm.prank(ANN);
        vm.expectRevert(abi.encodeWithSelector(NotPublished.selector, ANN, "b", 0));
        registry.withdraw("b", 1);
        same("publishers", registry.publisherCount("a"), 2);
        same("second", registry.publishers("a", 1, 9)[0], BOB);
        same("names", registry.nameCount(), 3);
    }

    function testWithdrawnStaysToBeRead() public {
        publish(ANN, "a", 0, 1);
        publish(ANN, "a", 0, 2);
        withdraw(ANN, "a", 2);
        same("latest is the one before", registry.latest(ANN, "a").version, 1);
        check("marked", registry.entry(ANN, "a", 2).withdrawn);
        same("kept", uint256(registry.entry(ANN, "a", 2).root), 2);
        vm.prank(ANN);
        vm.expectRevert(abi.encodeWithSelector(AlreadyWithdrawn.selector, "a", 2));
        registry.withdraw("a", 2);
        vm.prank(ANN);
        vm.expectRevert(abi.encodeWithSelector(NotPublished.selector, ANN, "a", 3));
        registry.withdraw("a", 3);
        same("its number is not used again", publish(ANN, "a", 0, 3), 3);
        withdraw(ANN, "a", 1);
        withdraw(ANN, "a", 3);
        vm.expectRevert(abi.encodeWithSelector(NotPublished.selector, ANN, "a", 0));
        registry.latest(ANN, "a");
    }

    function testWhatIsNotThereIsSaid() public {
        vm.expectRevert(abi.encodeWithSelector(NotPublished.selector, ANN, "a", 0));
        registry.latest(ANN, "a");
        publish(ANN, "a", 0, 1);
        vm.expectRevert(abi.encodeWithSelector(NotPublished.selector, ANN, "a", 2));
        registry.entry(ANN, "a", 2);
        same("none", registry.versions(BOB, "a", 0, 9).length, 0);
        same("no count", registry.versionCount(BOB, "a"), 0);
    }

    function testNamesAreBounded() public {
        string memory longest = repeat("x", 128);
        publish(ANN, longest, 0, 1);
        same("longest", registry.latest(ANN, longest).name, longest);
        string[8] memory bad = ["", repeat("x", 129), "a b", "a/b", "a@1", ".a", "-a", unicode"ä"];
        for (uint256 i = 0; i < bad.length; i++) {
            refused(ANN, bad[i], 0, abi.encodeWithSelector(BadContentName.selector, bad[i]));
        }
        same("nothing of it stays", registry.nameCount(), 1);
    }

    function testOrganisationsAreBounded() public {
        uint32[] memory most = new uint32[](16);
        for (uint32 i = 0; i < 16; i++) {
            most[i] = i + 1;
        }
        registry.publish("a", 0, IContentRegistry.Kind.File, 0, 0, most);
        uint32[] memory twice = new uint32[](2);
        (twice[0], twice[1]) = (1, 1);
        uint32[][3] memory bad = [new uint32[](17), new uint32[](1), twice];
        for (uint256 i = 0; i < bad.length; i++) {
            vm.expectRevert(abi.encodePacked(BadOrganisations.selector));
            registry.publish("a", 0, IContentRegistry.Kind.File, 0, 0, bad[i]);
        }
    }

    function testListsByPages() public {
        for (uint256 i = 1; i <= 5; i++) {
            publish(ANN, "a", 0, i);
        }
        IContentRegistry.Entry[] memory page = registry.versions(ANN, "a", 3, 9);
        same("rest", page.length, 2);
        same("from", page[0].version, 4);
        same("beyond", registry.versions(ANN, "a", 5, 9).length, 0);
        same("far beyond", registry.versions(ANN, "a", type(uint256).max, type(uint256).max).length, 0);
        same("few", registry.versions(ANN, "a", 1, 2).length, 2);
        publish(BOB, "b", 0, 9);
        page = registry.names(0, 9);
        same("names", page.length, 2);
        same("newest", page[0].version, 5);
        same("name", page[1].name, "b");
    }

    function testFuzzVersionsAscend(uint64[] calldata wanted) public {
        uint64 newest = 0;
        for (uint256 i = 0; i < wanted.length; i++) {
            vm.prank(ANN);
            try registry.publish("a", wanted[i], IContentRegistry.Kind.File, bytes32(i), 0, new uint32[](0)) returns (
                uint64 version
            ) {
                check("ascends", version > newest);
                newest = version;
            } catch {
                check("refused for a reason", wanted[i] <= newest);
            }
        }
        if (newest != 0) same("latest", registry.latest(ANN, "a").version, newest);
    }

    function repeat(bytes1 c, uint256 count) private pure returns (string memory) {
        bytes memory text = new bytes(count);
        for (uint256 i = 0; i < count; i++) {
            text[i] = c;
        }
        return string(text);
    }
}
