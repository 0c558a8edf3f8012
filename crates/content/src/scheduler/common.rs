//! State that all transfers of a node share.

use rand_chacha::ChaCha8Rng;
use trefoil_types::PeerId;

use super::bucket::Bucket;

#[derive(Debug)]
pub(crate) struct Common {
    pub me: PeerId,
    pub rng: ChaCha8Rng,
    pub up: Bucket,
    pub down: Bucket,
    pub last_request: u64,
}
