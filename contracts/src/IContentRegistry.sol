// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// @notice "{name}" is no name; use 1 to 128 letters, digits, `.`, `-` and `_`, the first a letter or digit
error BadContentName(string name);
/// @notice version {newest} is there already; publish a later one, or leave @VERSION out for the next
error NotNewer(uint64 version, uint64 newest);
/// @notice name at most 16 organisations, by ascending numbers
/// @dev Numbers begin at 1.
error BadOrganisations();
/// @notice {publisher} has published no version {version} of {name} (0: none at all), or has withdrawn it; see
/// `trefoil names {name}`
error NotPublished(address publisher, string name, uint64 version);
/// @notice {name}@{version} was withdrawn before
error AlreadyWithdrawn(string name, uint64 version);

/// What was published under which name, by whom and when. It lies at
/// 0x747265666f696c00000000000000000000000002 from genesis on, in every kind of
/// network.
///
/// A key is (publisher, name, version), so nobody publishes in another's name.
/// Versions are numbers that only grow, so the newest is known without parsing
/// and nothing that was published can be written again.
interface IContentRegistry {
    enum Kind {
        File,
        Directory,
        /// A file or directory that some can read, as an age file (age-encryption.org/v1) of a tar.
        Sealed
    }

    struct Entry {
        address publisher;
        string name;
        /// From 1.
        uint64 version;
        Kind kind;
        /// BLAKE3 root of the file (sealed: as it is stored), or of the directory's manifest.
        bytes32 root;
        /// Bytes: of the file, or of all files of the directory.
        uint64 size;
        /// Who may have it, by the organisations' numbers; empty: whoever may connect.
        uint32[] organisations;
        /// The block that it was published in.
        uint64 height;
        /// The publisher takes it back: do not use it any more.
        bool withdrawn;
    }

    event Published(
        address indexed publisher,
        bytes32 indexed nameHash,
        uint64 indexed version,
        string name,
        Kind kind,
        bytes32 root,
        uint64 size,
        uint32[] organisations
    );
    event Withdrawn(address indexed publisher, bytes32 indexed nameHash, uint64 indexed version);

    /// Publishes in the sender's name. Version 0: one more than the newest.
    function publish(
        string calldata name,
        uint64 version,
        Kind kind,
        bytes32 root,
        uint64 size,
        uint32[] calldata organisations
    ) external returns (uint64);

    /// Marks what the sender published; the entry stays as it is.
    function withdraw(string calldata name, uint64 version) external;

    /// The newest version that is not withdrawn.
    function latest(address publisher, string calldata name) external view returns (Entry memory);

    /// One version, withdrawn or not.
    function entry(address publisher, string calldata name, uint64 version) external view returns (Entry memory);

    // Lists, from the oldest on: at most `count` from index `from` on, fewer at the end.

    /// The versions of one name of one publisher.
    function versions(address publisher, string calldata name, uint256 from, uint256 count)
        external
        view
        returns (Entry[] memory);
    function versionCount(address publisher, string calldata name) external view returns (uint256);

    /// Who has published under a name.
    function publishers(string calldata name, uint256 from, uint256 count) external view returns (address[] memory);
    function publisherCount(string calldata name) external view returns (uint256);

    /// All names of all publishers, each with its newest version, withdrawn or not.
    function names(uint256 from, uint256 count) external view returns (Entry[] memory);
    function nameCount() external view returns (uint256);
}
