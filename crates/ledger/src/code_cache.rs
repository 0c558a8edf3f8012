//! Codes of contracts as they are run: the places that a jump may lead to are found once, and not
//! in each block that runs them.
//!
//! What always holds: the answer is that of the state, since a code's name is its hash.

use std::sync::{Mutex, PoisonError};

use alloy_primitives::{Bytes, map::B256Map};
use revm::state::Bytecode;
use trefoil_types::B256;

use crate::LedgerError;

// About 300 of the longest codes that Ethereum allows (24 KiB).
/// The cache holds so many bytes; with more it begins anew.
const BYTES_MAX: usize = 16 << 20;

// Attack: the shortest codes, and delegations of 23 bytes (EIP-7702): 90 MiB where 16 were counted.
/// What each takes beside its bytes.
const ENTRY_BYTES: usize = 512;

/// The codes that were run lately, by hash.
#[derive(Debug, Default)]
pub(crate) struct CodeCache(Mutex<KnownCodes>);

#[derive(Debug, Default)]
struct KnownCodes {
    codes: B256Map<Bytecode>,
    bytes: usize,
}

impl CodeCache {
    /// The code of this hash: what is remembered, or else what `read` finds.
    pub fn get(
        &self,
        hash: &B256,
        read: impl FnOnce() -> Result<Option<Bytes>, LedgerError>,
    ) -> Result<Option<Bytecode>, LedgerError> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = known().codes.get(hash) {
            return Ok(Some(code.clone()));
        }
        // Not under the lock: nobody waits for another's disk.
        let Some(code) = read()?.map(analysed) else { return Ok(None) };
        known().insert(*hash, code.clone());
        Ok(Some(code))
    }
}

impl KnownCodes {
    fn insert(&mut self, hash: B256, code: Bytecode) {
        let bytes = held_bytes(&code) + ENTRY_BYTES;
        if self.bytes + bytes > BYTES_MAX {
            *self = Self::default();
        }
        if self.codes.insert(hash, code).is_none() {
            self.bytes += bytes;
        }
    }
}

/// A code as it is run.
pub(crate) fn analysed(code: Bytes) -> Bytecode {
    // Code of a genesis may begin like a delegation (EIP-7702) and be none: it runs as it
    // stands.
    Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code))
}

/// What a code takes as it is stored, as it is run, and where its jumps may end.
pub(crate) fn held_bytes(code: &Bytecode) -> usize {
    code.len() * 9 / 4
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;

    #[test]
    fn a_code_is_read_once_until_the_cache_is_full() {
        let cache = CodeCache::default();
        let code = |n: u32| Bytes::from(n.to_be_bytes().repeat(6 << 10));
        let mut read = 0;
        let mut get = |n| {
            let read_it = || {
                read += 1;
                Ok(Some(code(n)))
            };
            let found = cache.get(&keccak256(code(n)), read_it).unwrap().unwrap();
            assert_eq!(found.original_bytes(), code(n));
            read
        };
        let room = (BYTES_MAX / ((24 << 10) * 9 / 4 + ENTRY_BYTES)) as u32;
        for n in 0..room {
            assert_eq!(get(n), n + 1);
        }
        assert_eq!(get(0), room);
        assert_eq!(get(room), room + 1);
        assert_eq!(get(0), room + 2, "it began anew");
        let none = cache.get(&B256::ZERO, || Ok(None)).unwrap();
        assert!(none.is_none());
    }
}
