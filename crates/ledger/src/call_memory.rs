//! What a call of a caller holds in memory, or a trace for it, counted while it runs.
//!
//! Gas is the price of what a chain keeps, and not of memory: 50 million gas buy one frame 5 MiB,
//! but nested frames 36 MiB, their stacks 8 MiB, transient storage and its journal 100 MiB, and as
//! much code as the chain has, if a call only looks at it. What always holds: a call that comes to
//! hold more than its caller claimed for it asks for the rest first, and ends if there is none. A
//! call that ends so has no result: a frame that failed for it could be seen, and handled, by the
//! frame that called it.

use std::{cell::Cell, fmt};

use crate::LedgerError;

/// What a call may come to hold before it asks, bytes; besides what its gas buys one frame, and
/// what that frame returns.
pub const CALL_FREE_BYTES: usize = 2 << 20;

// Seldom enough to cost nothing, often enough that little is reserved in vain.
/// Bytes that are asked for at a time.
const RESERVED_AT_ONCE: usize = 1 << 20;

// Each figure is of tables that have just grown, of which 7/16 are used (hashbrown), or a half.
/// An account that was looked at: as it was read, and in the journal's state.
pub(crate) const ACCOUNT_BYTES: usize = 800;
/// A slot, likewise.
pub(crate) const SLOT_BYTES: usize = 470;
/// An entry of the journal, which may be of a new slot of transient storage.
pub(crate) const ENTRY_BYTES: usize = 330;
/// A log without its data.
pub(crate) const LOG_BYTES: usize = 400;
/// A frame: its stack of 1,024 words, and what it knows of its call.
pub(crate) const FRAME_BYTES: usize = 34 << 10;

/// How much the calls of one request may hold, one after the other, or a trace with all that is
/// made of it.
pub struct CallMemory<'a> {
    /// The most, bytes.
    pub(crate) max: usize,
    /// Asked for more room before it is used; `false` ends the call.
    reserve: &'a dyn Fn(usize) -> bool,
    /// What calls may hold without asking.
    reserved: Cell<usize>,
}

impl fmt::Debug for CallMemory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallMemory").field("max", &self.max).finish_non_exhaustive()
    }
}

impl<'a> CallMemory<'a> {
    pub fn new(max: usize, reserve: &'a dyn Fn(usize) -> bool) -> Self {
        Self { max, reserve, reserved: Cell::new(CALL_FREE_BYTES) }
    }

    /// That of a trace, which asks for all that it holds.
    pub fn of_trace(max: usize, reserve: &'a dyn Fn(usize) -> bool) -> Self {
        Self { max, reserve, reserved: Cell::new(0) }
    }

    /// Asks for what a call lacks that holds so many bytes.
    ///
    /// # Errors
    /// [`LedgerError::CallMemory`]: there is no room for it.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), LedgerError> {
        let reserved = self.reserved.get();
        if bytes <= reserved {
            return Ok(());
        }
        let more = (bytes - reserved).max(RESERVED_AT_ONCE);
        if bytes > self.max || !(self.reserve)(more) {
            return Err(LedgerError::CallMemory(self.max));
        }
        self.reserved.set(reserved + more);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_asks_for_what_it_lacks_up_to_a_bound() {
        let asked = Cell::new(0);
        let reserve = |bytes| {
            asked.set(asked.get() + bytes);
            asked.get() < 8 << 20
        };
        let memory = CallMemory::new(6 << 20, &reserve);
        for (bytes, wanted) in [
            (CALL_FREE_BYTES, 0),
            (CALL_FREE_BYTES + 1, 1 << 20),
            (CALL_FREE_BYTES + (1 << 20), 1 << 20),
            // What was given stays: the next call of the request may hold as much.
            (1, 1 << 20),
            (6 << 20, 4 << 20),
        ] {
            memory.hold(bytes).unwrap();
            assert_eq!(asked.get(), wanted, "{bytes}");
        }
        assert!(memory.hold((6 << 20) + 1).is_err());
        assert_eq!(asked.get(), 4 << 20);
        let refused = CallMemory::new(usize::MAX, &|_| false);
        assert!(
            refused.hold(CALL_FREE_BYTES).is_ok() && refused.hold(CALL_FREE_BYTES + 1).is_err()
        );
    }
}
