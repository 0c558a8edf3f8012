//! Every bound on what a peer, a caller or a file can make the node hold.
//!
//! Those that decide whether a block is valid ([`BLOCK_BYTES_MAX`], [`BLOCK_TXS_MAX`],
//! [`BLOCK_EVIDENCE_MAX`], [`EVIDENCE_BLOCKS_MAX`], [`VALIDATORS_MAX`], [`POWER_MAX`]) are
//! rules of the chain: a node with another value splits from the network.

/// The largest encoded block, bytes (EIP-7934: 10 MiB less a 2 MiB margin).
pub const BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;

// A block must always fit in one message: blocks are not sent in parts. The 1 MiB beyond it
// is for what travels beside the block, its certificate and evidence.
/// The largest message between nodes, bytes: a block with its certificate.
pub const MESSAGE_BYTES_MAX: usize = BLOCK_BYTES_MAX + 1024 * 1024;

// geth's pool refuses larger ones. It also bounds a piece of a large proposal, which is
// shared out transaction by transaction (ADR 22).
/// The largest transaction, bytes, as other Ethereum pools have it (128 KiB).
pub const TX_BYTES_MAX: usize = 128 * 1024;

// The gas limit of a chain is at most 600 million, so gas binds first in an honest block.
// The bound exists for the list of hashes of a proposal, which is read before any gas is
// counted.
/// The most transactions in a block: a block of 21,000-gas transfers at a
/// gas limit of 630 million.
pub const BLOCK_TXS_MAX: usize = 30_000;

// Attack: a proposer fills a block with evidence, each piece of which costs every node two
// signature checks and the governing contract a conviction.
/// The most validators that one block convicts: of a set of 128, a third that is
/// dishonest is out within three blocks.
pub const BLOCK_EVIDENCE_MAX: usize = 16;

// A node that joined from a snapshot must know the validator sets of this window, to judge
// evidence as the others do (ADR 16).
/// How many heights back a block of a network of members may convict: about six days of
/// half-second blocks. On a public network the unbonding time takes its place, since stake
/// can be slashed until then (ADR 16).
pub const EVIDENCE_BLOCKS_MAX: u64 = 1_000_000;

// 128 KiB of hashes. geth, too, bounds a peer's announcements by 4,096.
/// The most transaction hashes in one announcement or request.
pub const TX_HASHES_MAX: usize = 4_096;

// Half of the longest frame of the gossip lane (4 MiB); geth's soft limit for an answer,
// too.
/// The most bytes of transactions in one answer.
pub const TXS_BYTES_MAX: usize = 2 * 1024 * 1024;

// Bounds the work of one message: each block is verified and executed.
/// The most blocks in one answer of block sync. (The byte limit binds first when blocks are
/// large.)
pub const CATCH_UP_BLOCKS_MAX: u64 = 256;

// The first block always goes, whatever its size. Otherwise a node could never pass a large
// block.
/// The most bytes of blocks in one answer of block sync, beyond the first block.
pub const CATCH_UP_BYTES_MAX: usize = 4 * 1024 * 1024;

// A transaction takes some 500 bytes in memory, however short it is on the wire: 15 MB. One
// block may have as many, so that each block fits in an answer.
/// The most transactions that a node puts in one answer of block sync, all its blocks together.
pub const CATCH_UP_TXS_MAX: usize = BLOCK_TXS_MAX;

// A signature alone has 64 bytes. So no honest answer has more, whatever the node that made it
// counts: one that counts bytes only sends 37,000 transfers of 113 bytes. 48 MB in memory.
/// The most transactions that a node reads in one answer of block sync: as many as its bytes
/// can hold, and those of one block beyond them.
pub const CATCH_UP_TXS_READ_MAX: usize = CATCH_UP_BYTES_MAX / 64 + BLOCK_TXS_MAX;

// No honest message unpacks to more, be it full of authorisations (EIP-7702), which take ten times
// their bytes.
/// What a message may take in memory beyond its bytes when it is decoded.
pub const UNPACKED_BYTES_MAX: usize = 10 * MESSAGE_BYTES_MAX;

// Each block carries a certificate with a signature of each validator, about 100 bytes (ADR
// 3), and each node verifies all of them at about 32 µs: 13 KB and 4 ms for a set of 128.
/// The most validators in a set.
pub const VALIDATORS_MAX: usize = 128;

/// The most total voting power, so that sums and ratios cannot overflow.
pub const POWER_MAX: u64 = 1 << 60;

/// The most organisations of a network, as in the governing contract.
pub const ORGANISATIONS_MAX: usize = 128;

// The lists that an organisation can grow alone are bounded, so that it cannot make the
// reads that every node does too expensive (`docs/governance.md`).
/// The most accounts that vote for one organisation.
pub const GOVERNANCE_KEYS_MAX: usize = 16;

// A handshake tries the signature of a certificate with each of them. More than one, so
// that a key can be replaced while certificates of the old one still count.
/// The most CA keys of one organisation at a time.
pub const CA_KEYS_MAX: usize = 4;
