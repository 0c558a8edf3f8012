//! What a peer says of a resource: pieces that it has now, pieces that it is
//! fetching from the origin, and pieces that it gave up fetching there.

use std::ops::Range;

/// A change since the last news; the first news of a connection is all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Ascending and apart.
    pub have: Vec<Range<u32>>,
    /// Ascending. Others leave these pieces at the origin alone.
    pub claims: Vec<u32>,
    /// Ascending.
    pub released: Vec<u32>,
}
