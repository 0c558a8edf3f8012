//! Every bound on what a peer, a caller or a file may make us hold.

/// The largest encoded block, bytes (EIP-7934: 10 MiB less a 2 MiB margin).
pub const BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The largest message between nodes, bytes: a block with its certificate.
pub const MESSAGE_BYTES_MAX: usize = BLOCK_BYTES_MAX + 1024 * 1024;

/// The largest transaction, bytes, as other Ethereum pools have it (128 KiB).
pub const TX_BYTES_MAX: usize = 128 * 1024;

/// The most transactions in a block: a block of 21,000-gas transfers at a
/// gas limit of 630 million.
pub const BLOCK_TXS_MAX: usize = 30_000;

/// The most validators that one block convicts: of a set of 128, a third that is
/// dishonest is out within three blocks.
pub const BLOCK_EVIDENCE_MAX: usize = 16;

/// How many heights back a block of a network of members may convict: about six
/// days of half-second blocks.
pub const EVIDENCE_BLOCKS_MAX: u64 = 1_000_000;

/// The most transaction hashes in one announcement or request.
pub const TX_HASHES_MAX: usize = 4_096;

/// The most bytes of transactions in one answer.
pub const TXS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The most blocks in one catch-up answer (the byte limit binds first when
/// blocks are large).
pub const CATCH_UP_BLOCKS_MAX: u64 = 256;

/// The most bytes of blocks in one catch-up answer, beyond the first block.
pub const CATCH_UP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most validators in a set.
pub const VALIDATORS_MAX: usize = 128;

/// The most total voting power, so that sums and ratios cannot overflow.
pub const POWER_MAX: u64 = 1 << 60;

/// The most organisations of a network.
pub const ORGANISATIONS_MAX: usize = 64;

/// The most accounts that vote for one organisation.
pub const GOVERNANCE_KEYS_MAX: usize = 16;

/// The most CA keys of one organisation at a time.
pub const CA_KEYS_MAX: usize = 4;
