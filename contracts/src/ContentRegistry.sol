// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import "./IContentRegistry.sol";

/// Names of content. See IContentRegistry.
///
/// Always: the versions of a title ascend; a record is written once, but for
/// its mark `withdrawn`, which is never taken back.
contract ContentRegistry is IContentRegistry {
    uint256 private constant NAME_BYTES_MAX = 128;
    uint256 private constant ORGANISATIONS_MAX = 16;

    struct Record {
        bytes32 root;
        uint64 size;
        uint64 height;
        Kind kind;
        bool withdrawn;
        uint32[] organisations;
    }

    /// One name of one publisher.
    struct Title {
        address publisher;
        string name;
        uint64[] versions;
        mapping(uint64 => Record) records;
    }

    /// In the order of their first versions.
    Title[] private _titles;
    /// By publisher and hash of the name: the place in `_titles`, from 1.
    mapping(address => mapping(bytes32 => uint256)) private _places;
    mapping(bytes32 => address[]) private _publishers;

    function publish(
        string calldata name,
        uint64 version,
        Kind kind,
        bytes32 root,
        uint64 size,
        uint32[] calldata organisations
    ) external returns (uint64) {
        _checkOrganisations(organisations);
        Title storage title = _claim(name);
        uint64 newest = _newest(title);
        if (version == 0 && newest < type(uint64).max) version = newest + 1;
        if (version <= newest) revert NotNewer(version, newest);
        title.versions.push(version);
        title.records[version] = Record(root, size, uint64(block.number), kind, false, organisations);
        emit Published(msg.sender, _hash(name), version, name, kind, root, size, organisations);
        return version;
    }

    function withdraw(string calldata name, uint64 version) external {
        Record storage record = _title(msg.sender, name).records[version];
        if (record.height == 0) revert NotPublished(msg.sender, name, version);
        if (record.withdrawn) revert AlreadyWithdrawn(name, version);
        record.withdrawn = true;
        emit Withdrawn(msg.sender, _hash(name), version);
    }

    function latest(address publisher, string calldata name) external view returns (Entry memory) {
        Title storage title = _title(publisher, name);
        for (uint256 i = title.versions.length; i > 0; i--) {
            uint64 version = title.versions[i - 1];
            if (!title.records[version].withdrawn) return _entry(title, version);
        }
        revert NotPublished(publisher, name, 0);
    }

    function entry(address publisher, string calldata name, uint64 version) external view returns (Entry memory) {
        Title storage title = _title(publisher, name);
        if (title.records[version].height == 0) revert NotPublished(publisher, name, version);
        return _entry(title, version);
    }

    function versions(address publisher, string calldata name, uint256 from, uint256 count)
        external
        view
        returns (Entry[] memory page)
    {
        uint256 place = _places[publisher][_hash(name)];
        if (place == 0) return page;
        Title storage title = _titles[place - 1];
        page = new Entry[](_length(title.versions.length, from, count));
        for (uint256 i = 0; i < page.length; i++) {
            page[i] = _entry(title, title.versions[from + i]);
        }
    }

    function versionCount(address publisher, string calldata name) external view returns (uint256) {
        uint256 place = _places[publisher][_hash(name)];
        return place == 0 ? 0 : _titles[place - 1].versions.length;
    }

    function publishers(string calldata name, uint256 from, uint256 count)
        external
        view
        returns (address[] memory page)
    {
        address[] storage all = _publishers[_hash(name)];
        page = new address[](_length(all.length, from, count));
        for (uint256 i = 0; i < page.length; i++) {
            page[i] = all[from + i];
        }
    }

    function publisherCount(string calldata name) external view returns (uint256) {
        return _publishers[_hash(name)].length;
    }

    function names(uint256 from, uint256 count) external view returns (Entry[] memory page) {
        page = new Entry[](_length(_titles.length, from, count));
        for (uint256 i = 0; i < page.length; i++) {
            Title storage title = _titles[from + i];
            page[i] = _entry(title, _newest(title));
        }
    }

    function nameCount() external view returns (uint256) {
        return _titles.length;
    }

    function _hash(string calldata name) private pure returns (bytes32) {
        return keccak256(bytes(name));
    }

    /// The sender's title; a new one, if it has none of that name.
    function _claim(string calldata name) private returns (Title storage title) {
        bytes32 hash = _hash(name);
        uint256 place = _places[msg.sender][hash];
        if (place != 0) return _titles[place - 1];
        _checkName(name);
        title = _titles.push();
        title.publisher = msg.sender;
        title.name = name;
        _places[msg.sender][hash] = _titles.length;
        _publishers[hash].push(msg.sender);
    }

    function _title(address publisher, string calldata name) private view returns (Title storage) {
        uint256 place = _places[publisher][_hash(name)];
        if (place == 0) revert NotPublished(publisher, name, 0);
        return _titles[place - 1];
    }

    /// 0: it has none yet.
    function _newest(Title storage title) private view returns (uint64) {
        uint256 count = title.versions.length;
        return count == 0 ? 0 : title.versions[count - 1];
    }

    function _entry(Title storage title, uint64 version) private view returns (Entry memory) {
        Record storage record = title.records[version];
        return Entry({
            publisher: title.publisher,
            name: title.name,
            version: version,
            kind: record.kind,
            root: record.root,
            size: record.size,
            organisations: record.organisations,
            height: record.height,
            withdrawn: record.withdrawn
        });
    }

    /// How long a page of a list is.
    function _length(uint256 all, uint256 from, uint256 count) private pure returns (uint256) {
        if (from >= all) return 0;
        return count < all - from ? count : all - from;
    }

    function _checkName(string calldata name) private pure {
        bytes calldata text = bytes(name);
        if (text.length == 0 || text.length > NAME_BYTES_MAX) revert BadContentName(name);
        if (!_isAlphanumeric(text[0])) revert BadContentName(name);
        for (uint256 i = 1; i < text.length; i++) {
            bytes1 c = text[i];
            if (!_isAlphanumeric(c) && c != "." && c != "-" && c != "_") revert BadContentName(name);
        }
    }

    function _isAlphanumeric(bytes1 c) private pure returns (bool) {
        return (c >= "0" && c <= "9") || (c >= "A" && c <= "Z") || (c >= "a" && c <= "z");
    }

    function _checkOrganisations(uint32[] calldata organisations) private pure {
        if (organisations.length > ORGANISATIONS_MAX) revert BadOrganisations();
        uint32 last = 0;
        for (uint256 i = 0; i < organisations.length; i++) {
            if (organisations[i] <= last) revert BadOrganisations();
            last = organisations[i];
        }
    }
}
